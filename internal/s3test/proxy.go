package s3test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Fault is what a Proxy does to a request. The zero value of each field does nothing or restricts nothing.
type Fault struct {
	Method   string // of the request
	Contains string // the path and query have this part

	Skip  int // let the first Skip matching requests through
	Times int // then act on this many; 0 is for ever

	Latency  time.Duration // wait before the request goes on
	Status   int           // answer with this status; nothing reaches the server
	Code     string        // the error code of that answer
	LoseIt   bool          // do it, then break the connection: applied, but the answer was lost
	Reset    bool          // break the connection; nothing reaches the server
	CutBody  bool          // break the connection in the midst of the answer's body
	Hang     bool          // neither go on nor answer, until the proxy closes
	SlowBody time.Duration // wait so long in the midst of the answer's body
}

// Proxy stands before an S3 server, counts requests and plays faults, the first rule that is due. Signatures stay valid: the
// Host header goes through as it came.
type Proxy struct {
	URL  string
	Kind func(*http.Request) string // what TakeTraffic counts a request as, Kind if nil; set before the first one

	server *httptest.Server
	next   http.Handler
	closed chan struct{}

	mu      sync.Mutex
	latency time.Duration
	rules   []*rule
	counts  map[string]int // by Kind
	in, out int64
}

type rule struct {
	Fault
	seen, hits int
}

// NewProxy is StartProxy for a test.
func NewProxy(t TB, target string) *Proxy {
	t.Helper()
	p, err := StartProxy(target)
	if err != nil {
		t.Fatalf("proxy of %q: %v", target, err)
	}
	t.Cleanup(p.Close)
	return p
}

// StartProxy starts a proxy before a server's URL.
func StartProxy(target string) (*Proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &Proxy{closed: make(chan struct{}), counts: map[string]int{}}
	p.next = forward(u)
	p.server = httptest.NewServer(p)
	p.URL = p.server.URL
	return p, nil
}

// Close ends it, and every request that hangs.
func (p *Proxy) Close() {
	close(p.closed)
	p.server.CloseClientConnections()
	p.server.Close()
}

// forward hands requests on as they came.
func forward(to *url.URL) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			hijack(w) // as the server's own end of the connection would
		},
	}
}

// Inject adds a rule and returns how often it has acted.
func (p *Proxy) Inject(f Fault) (hits func() int) {
	r := &rule{Fault: f}
	p.mu.Lock()
	p.rules = append(p.rules, r)
	p.mu.Unlock()
	return func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return r.hits
	}
}

// Clear removes all rules.
func (p *Proxy) Clear() {
	p.mu.Lock()
	p.rules = nil
	p.mu.Unlock()
}

// SetLatency delays every request.
func (p *Proxy) SetLatency(d time.Duration) {
	p.mu.Lock()
	p.latency = d
	p.mu.Unlock()
}

// Traffic is what has gone through.
type Traffic struct {
	Requests map[string]int // by Proxy.Kind; by Kind: GET, HEAD, PUT, PUT if-none-match, PUT if-match, POST, DELETE, LIST
	Sent     int64          // bytes of bodies to the server
	Received int64          // bytes of bodies from it
}

// Total is the number of requests.
func (t Traffic) Total() int {
	n := 0
	for _, c := range t.Requests {
		n += c
	}
	return n
}

// TakeTraffic returns what has gone through since it was last called.
func (p *Proxy) TakeTraffic() Traffic {
	p.mu.Lock()
	defer p.mu.Unlock()
	t := Traffic{p.counts, p.in, p.out}
	p.counts, p.in, p.out = map[string]int{}, 0, 0
	return t
}

// Kind tells requests by their method and condition.
func Kind(r *http.Request) string {
	switch {
	case r.Method == http.MethodGet && r.URL.Query().Has("list-type"):
		return "LIST"
	case r.Header.Get("If-None-Match") != "":
		return r.Method + " if-none-match"
	case r.Header.Get("If-Match") != "":
		return r.Method + " if-match"
	}
	return r.Method
}

// due counts a request and finds the rule for it.
func (p *Proxy) due(r *http.Request) (Fault, time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kind := p.Kind
	if kind == nil {
		kind = Kind
	}
	p.counts[kind(r)]++
	p.in += max(0, r.ContentLength)
	for _, u := range p.rules {
		if u.Method != "" && u.Method != r.Method || !strings.Contains(r.URL.RequestURI(), u.Contains) {
			continue
		}
		u.seen++
		if u.seen > u.Skip && (u.Times == 0 || u.hits < u.Times) {
			u.hits++
			return u.Fault, p.latency
		}
	}
	return Fault{}, p.latency
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f, latency := p.due(r)
	if d := latency + f.Latency; d > 0 {
		select {
		case <-time.After(d):
		case <-p.closed:
			return
		}
	}
	switch {
	case f.Hang:
		select {
		case <-p.closed:
		case <-r.Context().Done():
		}
	case f.Reset:
		hijack(w)
	case f.Status != 0:
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/xml")
		w.WriteHeader(f.Status)
		fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>injected</Message></Error>", f.Code)
	case f.LoseIt:
		p.next.ServeHTTP(httptest.NewRecorder(), r)
		hijack(w)
	case f.CutBody, f.SlowBody > 0:
		rec := httptest.NewRecorder()
		p.next.ServeHTTP(rec, r)
		p.half(w, rec, f)
	default:
		p.next.ServeHTTP(&counted{w, p}, r)
	}
}

// half sends the first half of an answer's body, and then the rest late or not at all.
func (p *Proxy) half(w http.ResponseWriter, rec *httptest.ResponseRecorder, f Fault) {
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	body := rec.Body.Bytes()
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(rec.Code)
	_, _ = w.Write(body[:len(body)/2])
	if fl, ok := w.(http.Flusher); ok {
		fl.Flush()
	}
	if f.CutBody {
		hijack(w)
		return
	}
	select {
	case <-time.After(f.SlowBody):
	case <-p.closed:
	}
	_, _ = w.Write(body[len(body)/2:])
}

// hijack breaks the client's connection.
func hijack(w http.ResponseWriter) {
	if c, ok := w.(*counted); ok {
		w = c.ResponseWriter
	}
	h, ok := w.(http.Hijacker)
	if !ok {
		return // a recorder
	}
	if c, _, err := h.Hijack(); err == nil {
		if t, ok := c.(*net.TCPConn); ok {
			_ = t.SetLinger(0) // a reset, not an end
		}
		_ = c.Close()
	}
}

// counted counts an answer's bytes.
type counted struct {
	http.ResponseWriter
	p *Proxy
}

// Write implements http.ResponseWriter.
func (c *counted) Write(b []byte) (int, error) {
	c.p.mu.Lock()
	c.p.out += int64(len(b))
	c.p.mu.Unlock()
	return c.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the writer.
func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }
