package admin

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// answerBytesMax bounds an answer; a status of 100,000 tables is about 20 MB.
const answerBytesMax = 256 << 20

const (
	// answerTimeout bounds what is answered at once, with time for a machine under load.
	answerTimeout = 30 * time.Second
	// waitGrace is how much later than asked a wait may be answered.
	waitGrace = 3 * time.Second
)

// errNoAnswer: something listens there and says nothing, such as a process that was stopped in its tracks.
var errNoAnswer = fault.New(fault.NoAnswer, "no answer")

// ErrTimeout: a wait's time ran out before the LSN was reached.
var ErrTimeout = fault.New(fault.WaitTimeout, "timed out")

// Client talks to a running server. Errors are one line that names the server.
type Client struct {
	Addr  string       // host:port of http.listen
	TLS   bool         // it speaks https
	Token string       // bearer token; empty for none
	HTTP  *http.Client // http.DefaultClient if nil
}

// Status asks for the server's status.
func (c *Client) Status(ctx context.Context) (Status, error) {
	var s Status
	err := c.call(ctx, answerTimeout, http.MethodGet, "/api/v1/status", nil, &s)
	return s, err
}

// Publications asks what readers can pin, oldest first.
func (c *Client) Publications(ctx context.Context) ([]PublicationInfo, error) {
	var p struct{ Publications []PublicationInfo }
	err := c.call(ctx, answerTimeout, http.MethodGet, "/api/v1/publications", nil, &p)
	return p.Publications, err
}

// Ready asks whether readers are served current data.
func (c *Client) Ready(ctx context.Context) (ready bool, reasons []string, err error) {
	var r readiness
	err = c.call(ctx, answerTimeout, http.MethodGet, "/readyz", nil, &r)
	var se *ServerError
	if errors.As(err, &se) && se.Code == http.StatusServiceUnavailable {
		err = nil
	}
	return r.Ready, r.Reasons, err
}

// Resync asks to rebuild one table, or everything.
func (c *Client) Resync(ctx context.Context, table string, all bool) error {
	return c.call(ctx, answerTimeout, http.MethodPost, "/api/v1/resync", resyncRequest{Table: table, All: all}, nil)
}

// Wait blocks until the stage has reached lsn. It returns an error that wraps ErrTimeout after timeout.
func (c *Client) Wait(ctx context.Context, stage Stage, lsn pg.LSN, timeout time.Duration) (WaitResult, error) {
	deadline := time.Now().Add(timeout)
	for {
		left := min(max(0, time.Until(deadline)), WaitMax)
		q := url.Values{"lsn": {lsn.String()}, "for": {string(stage)}, "timeout": {left.String()}}
		var r WaitResult
		err := c.call(ctx, left+waitGrace, http.MethodGet, "/api/v1/wait?"+q.Encode(), nil, &r)
		if errors.Is(err, errNoAnswer) {
			return r, fmt.Errorf("%w after %s: %w", ErrTimeout, timeout, err)
		}
		var se *ServerError
		if errors.As(err, &se) && se.Code == http.StatusGatewayTimeout {
			if time.Until(deadline) > 0 {
				continue
			}
			return r, fmt.Errorf("%w after %s: %s has reached %s, not %s: see `tarn status`", ErrTimeout, timeout, stage, r.Reached, lsn)
		}
		return r, err
	}
}

// ServerError is an answer other than success.
type ServerError struct {
	Addr    string
	Code    int // HTTP status
	Message string
	Fault   string // the server's own code, such as TARN-0601; empty if it gave none
}

// FaultCode implements fault.Coded: the server's own code, else one by the kind of answer.
func (e *ServerError) FaultCode() fault.Code {
	if c, ok := fault.Parse(e.Fault); ok && e.Fault != "" {
		return c
	}
	switch {
	case e.Code == http.StatusNotFound, e.Code == http.StatusMethodNotAllowed:
		return fault.NotTarn
	case e.Code/100 == 4:
		return fault.RequestBad
	}
	return fault.ServerFailed
}

func (e *ServerError) Error() string { return fmt.Sprintf("tarn at %s: %s", e.Addr, e.Message) }

func (c *Client) call(parent context.Context, within time.Duration, method, path string, send, receive any) error {
	ctx, cancel := context.WithTimeout(parent, within)
	defer cancel()
	var body io.Reader
	if send != nil {
		b, err := json.Marshal(send)
		if err != nil {
			panic("BUG: admin: " + err.Error())
		}
		body = bytes.NewReader(b)
	}
	scheme := "http://"
	if c.TLS {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+c.Addr+path, body)
	if err != nil {
		return fault.Errorf(fault.Usage, "server address %q is not host:port: give --http HOST:PORT", c.Addr)
	}
	if send != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	hc := c.HTTP
	if hc == nil {
		hc = http.DefaultClient
	}
	resp, err := hc.Do(req)
	if err != nil {
		return c.unreachable(parent, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, answerBytesMax))
	if err != nil {
		return c.unreachable(parent, err)
	}
	if resp.StatusCode >= 300 {
		if receive != nil {
			_ = json.Unmarshal(data, receive) // an answer of another shape leaves it as it is; the error says enough
		}
		message, code := serverMessage(resp.StatusCode, data)
		return &ServerError{Addr: c.Addr, Code: resp.StatusCode, Message: message, Fault: code}
	}
	if receive == nil {
		return nil
	}
	if err := json.Unmarshal(data, receive); err != nil {
		return fault.Errorf(fault.NotTarn, "%s does not answer as tarn does (%v): give tarn's address with --http or --config", c.Addr, err)
	}
	return nil
}

func serverMessage(code int, data []byte) (message, faultCode string) {
	if code == http.StatusBadRequest && strings.Contains(string(data), "HTTP request to an HTTPS server") {
		return "it speaks TLS: give its address as https://HOST:PORT, or give --config", ""
	}
	var e struct{ Error, Code string }
	if json.Unmarshal(data, &e) == nil && e.Error != "" {
		return e.Error, e.Code
	}
	return "it answered " + strconv.Itoa(code) + " " + http.StatusText(code) + ": is that tarn's http.listen?", ""
}

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	why := err.Error()
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &cert):
		return fault.Errorf(fault.CertificateUntrusted, "tarn at %s shows a certificate that is not trusted (%w): name its CA with TARN_HTTP_CA, or give --config", c.Addr, cert.Err)
	case strings.Contains(why, "HTTP response to HTTPS client"):
		return fault.Errorf(fault.NotTarn, "tarn at %s speaks no TLS: give its address as http://%s", c.Addr, c.Addr)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w from tarn at %s: see whether its process hangs", errNoAnswer, c.Addr)
	case errors.Is(err, syscall.ECONNREFUSED):
		why = "connection refused"
	case errors.As(err, &op):
		why = op.Err.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		why = "it hung up"
	}
	return fault.Errorf(fault.NoServer, "no tarn at %s (%s): start `tarn serve`, or give its address with --http or --config", c.Addr, strings.TrimSpace(why))
}

func itoa(n uint64) string { return strconv.FormatUint(n, 10) }
