package listen_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tarn-db/tarn/internal/listen"
	"github.com/tarn-db/tarn/internal/listen/testcert"
)

const (
	first  = "canary-first-token-0123456789"
	second = "canary-second-token-0123456789"
)

// lines collects a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a guarded port that answers "in" to whom it lets in.
type rig struct {
	t    *testing.T
	opts listen.Options
	addr string
	log  lines
	now  chan struct{}
}

func start(t *testing.T, opts listen.Options) *rig {
	t.Helper()
	r := &rig{t: t, now: make(chan struct{})}
	opts.Name, opts.Logger = "catalog", slog.New(slog.NewTextHandler(&r.log, nil))
	r.opts = opts
	g, err := listen.Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = tcp.Addr().String()
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !g.Allows(q) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(w, "in")
	})}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Add(2)
	go func() { defer wg.Done(); _ = srv.Serve(g.Listener(tcp)) }()
	go func() { defer wg.Done(); g.Run(ctx, r.now) }()
	t.Cleanup(func() { cancel(); _ = srv.Close(); wg.Wait(); goleak.VerifyNone(t) })
	return r
}

// ask makes one request on a connection of its own: the status, and the common name of the server's certificate.
func (r *rig) ask(token string, client *testcert.Pair) (code int, name string, err error) {
	cfg := &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
		name = s.PeerCertificates[0].Subject.CommonName
		return nil
	}}
	if client != nil {
		pair, err := tls.LoadX509KeyPair(client.Cert, client.Key)
		if err != nil {
			return 0, "", err
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	scheme := "http://"
	if r.opts.Cert != "" {
		scheme = "https://"
	}
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, scheme+r.addr, http.NoBody)
	if err != nil {
		return 0, "", err
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}).Do(req)
	if err != nil {
		return 0, name, err
	}
	return resp.StatusCode, name, resp.Body.Close()
}

// eventually holds for as long as a reload may take.
func (r *rig) eventually(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not within 30 s: %s; log:\n%s", what, r.log.String())
		}
	}
}

func pair(t *testing.T, dir, name string, signer *testcert.Pair) *testcert.Pair {
	t.Helper()
	p, err := testcert.Make(dir, name, signer)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	// As an editor or a secret's mount does: a new file in the old one's place.
	if err := errors.Join(os.WriteFile(path+".new", []byte(text), 0o600), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

// TestTokens: one of the file's tokens lets in, in any of the ways a header may be written; a changed file counts, a broken
// one does not.
func TestTokens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	write(t, path, "# of engines\n"+first+"\n\n  "+second+"  \r\n")
	r := start(t, listen.Options{Tokens: path})
	for header, want := range map[string]int{
		"Bearer " + first: 200, "bearer  " + second: 200, "": 401, "Bearer": 401, "Bearer ": 401, first: 401, "Basic " + first: 401,
		"Bearer " + first + "x": 401, "Bearer " + first[1:]: 401, "Bearer # of engines": 401, "Bearer " + strings.ToUpper(first): 401,
	} {
		if code, _, err := r.ask(header, nil); err != nil || code != want {
			t.Errorf("Authorization: %q: %d, %v; want %d", header, code, err, want)
		}
	}
	write(t, path, second+"\n")
	r.eventually("a removed token is refused", func() bool { code, _, _ := r.ask("Bearer "+first, nil); return code == 401 })
	for what, text := range map[string]string{"line 1 is no token": "short", "holds no token": "# none\n", "longer than": strings.Repeat("x", 1<<17)} {
		write(t, path, text)
		r.eventually(what, func() bool { return strings.Contains(r.log.String(), what) })
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	r.now <- struct{}{}
	r.eventually("the log names what is gone", func() bool { return strings.Contains(r.log.String(), "no such file") })
	if code, _, err := r.ask("Bearer "+second, nil); code != 200 || err != nil {
		t.Errorf("the last good tokens are not in force: %d, %v", code, err)
	}
	if said := r.log.String(); strings.Contains(said, "canary") || strings.Contains(said, "short") {
		t.Errorf("the log quotes tokens:\n%s", said)
	}
}

// TestReload: a new certificate is shown as soon as it is whole, a broken one never, and each is said in one line.
func TestReload(t *testing.T) {
	dir := t.TempDir()
	p := pair(t, dir, "old", nil)
	fresh := pair(t, dir, "new", nil)
	r := start(t, listen.Options{Cert: p.Cert, Key: p.Key})
	shows := func(name string) bool { _, got, err := r.ask("", nil); return err == nil && got == name }
	if !shows("old") {
		t.Fatal("the first certificate is not shown")
	}
	newCert, err := os.ReadFile(fresh.Cert)
	if err != nil {
		t.Fatal(err)
	}
	newKey, err := os.ReadFile(fresh.Key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.Cert, string(newCert)) // the key is still the old one's
	r.eventually("a mismatch is said", func() bool { return strings.Contains(r.log.String(), "former one stays in force") })
	if !shows("old") {
		t.Error("half a renewal is shown")
	}
	write(t, p.Key, string(newKey))
	r.eventually("the new certificate is shown", func() bool { return shows("new") })
	if n := strings.Count(r.log.String(), "level=ERROR"); n != 1 {
		t.Errorf("%d errors for one half of a renewal:\n%s", n, r.log.String())
	}
	write(t, p.Cert, "-----BEGIN CERTIFICATE-----\nno\n")
	r.now <- struct{}{}
	r.eventually("a broken one is said at once", func() bool { return strings.Count(r.log.String(), "level=ERROR") == 2 })
	if !shows("new") {
		t.Error("a broken certificate replaced the good one")
	}
}

// TestClientCertificates: with a CA only its clients get as far as HTTP, and tokens are asked for beside it.
func TestClientCertificates(t *testing.T) {
	dir := t.TempDir()
	ca := pair(t, dir, "ca", nil)
	server, client, stranger := pair(t, dir, "server", ca), pair(t, dir, "client", ca), pair(t, dir, "stranger", nil)
	tokens := filepath.Join(dir, "tokens")
	write(t, tokens, first)
	r := start(t, listen.Options{Cert: server.Cert, Key: server.Key, ClientCA: ca.Cert, Tokens: tokens})
	if code, _, err := r.ask("Bearer "+first, client); code != 200 || err != nil {
		t.Errorf("certificate and token: %d, %v", code, err)
	}
	if code, _, err := r.ask("", client); code != 401 || err != nil {
		t.Errorf("certificate alone: %d, %v", code, err)
	}
	for who, p := range map[string]*testcert.Pair{"none": nil, "a stranger's": stranger} {
		if code, _, err := r.ask("Bearer "+first, p); err == nil {
			t.Errorf("certificate: %s: %d", who, code)
		}
	}
	// TLS 1.1 is refused whatever it shows.
	conn, err := tls.Dial("tcp", r.addr, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}
	// Who trusts the CA needs no exception.
	pool := x509.NewCertPool()
	pem, err := os.ReadFile(ca.Cert)
	if err != nil {
		t.Fatal(err)
	}
	pool.AppendCertsFromPEM(pem)
	own, err := tls.LoadX509KeyPair(client.Cert, client.Key)
	if err != nil {
		t.Fatal(err)
	}
	conn, err = tls.Dial("tcp", r.addr, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{own}})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

// TestOpenRefuses: at the start each fault is an error of one line that names file and setting.
func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	p, other := pair(t, dir, "a", nil), pair(t, dir, "b", nil)
	empty := filepath.Join(dir, "empty")
	write(t, empty, "")
	for want, o := range map[string]listen.Options{
		"http.tls.cert " + dir + "/none cannot be read (no such file or directory)":   {Cert: dir + "/none", Key: p.Key},
		"http.tls.key " + dir + "/none cannot be read":                                {Cert: p.Cert, Key: dir + "/none"},
		"are no certificate with its key (tls: private key does not match public key": {Cert: p.Cert, Key: other.Key},
		"are no certificate with its key (tls: failed to find any PEM data":           {Cert: empty, Key: p.Key},
		"http.tls.client_ca " + empty + " holds no PEM certificate":                   {Cert: p.Cert, Key: p.Key, ClientCA: empty},
		"http.tokens_file " + empty + " holds no token":                               {Tokens: empty},
		"http.tokens_file " + p.Key + ": line 1 is no token":                          {Tokens: p.Key},
		"http.tokens_file " + dir + " cannot be read":                                 {Tokens: dir},
	} {
		o.Name = "http"
		if _, err := listen.Open(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
