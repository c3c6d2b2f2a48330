// Package listen guards a port: TLS whose certificate is read again when its files change, and bearer tokens. A port without
// either is left as it is, for loopback.
//
// Invariant: what is broken never replaces what works. A certificate or tokens file that cannot be read at the start is an
// error; one that becomes so later is logged in one line, and the former one stays in force.
// Invariant: neither a token nor a key is kept as text, logged, or part of an error.
package listen

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// reloadEvery is how often the files are looked at.
const reloadEvery = 2 * time.Second

// Options name a port's files; all may be empty.
type Options struct {
	Name     string // of the port, for messages: "http" or "catalog"
	Cert     string // PEM certificate, with its intermediates
	Key      string // PEM private key
	ClientCA string // PEM certificates; each client must then show a certificate that one of them signed
	Tokens   string // one bearer token a line
	Protocol string // that TLS agrees on (ALPN); default "http/1.1"
	Logger   *slog.Logger
}

// Guard is a port's TLS and tokens.
type Guard struct {
	opts   Options
	certs  atomic.Pointer[tls.Config] // nil: no TLS
	tokens atomic.Pointer[tokens]     // nil: everyone may
	seen   [2]string                  // what the files of certs and of tokens were when last looked at; Run's
}

// Open reads the files.
func Open(o Options) (*Guard, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Protocol == "" {
		o.Protocol = "http/1.1"
	}
	g := &Guard{opts: o}
	for i, load := range g.loads() {
		g.seen[i] = fingerprint(load.files)
		if err := load.do(); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// load is one thing that is read anew as a whole.
type load struct {
	what  string
	files []string
	do    func() error
}

func (g *Guard) loads() [2]load {
	return [2]load{
		{"TLS certificate", []string{g.opts.Cert, g.opts.Key, g.opts.ClientCA}, g.loadCerts},
		{"tokens", []string{g.opts.Tokens}, g.loadTokens},
	}
}

// Run reads files again that have changed: every few seconds, and at once, changed or not, when now says so. It returns
// when the context ends.
func (g *Guard) Run(ctx context.Context, now <-chan struct{}) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-now:
			all = true
		case <-tick.C:
		}
		g.reload(all)
	}
}

func (g *Guard) reload(all bool) {
	for i, load := range g.loads() {
		if strings.Join(load.files, "") == "" {
			continue
		}
		print := fingerprint(load.files)
		if print == g.seen[i] && !all {
			continue
		}
		changed := print != g.seen[i]
		g.seen[i] = print
		switch err := load.do(); {
		case err != nil:
			g.opts.Logger.Error("the "+load.what+" cannot be used; the former one stays in force", "port", g.opts.Name, "error", err)
		case changed:
			g.opts.Logger.Info("read the "+load.what+" anew", "port", g.opts.Name)
		}
	}
}

// fingerprint changes when one of the files does: time, length and inode, so that a rename over a file of the same second
// counts.
func fingerprint(files []string) string {
	var b strings.Builder
	for _, f := range files {
		if f == "" {
			continue
		}
		if st, err := os.Stat(f); err == nil {
			fmt.Fprint(&b, f, st.ModTime().UnixNano(), st.Size(), inode(st), ";")
		} else {
			fmt.Fprint(&b, f, " gone;")
		}
	}
	return b.String()
}

// Secure says whether the port speaks TLS.
func (g *Guard) Secure() bool { return g.certs.Load() != nil }

// Listener is l behind TLS, or l itself.
func (g *Guard) Listener(l net.Listener) net.Listener {
	if !g.Secure() {
		return l
	}
	return tls.NewListener(l, &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{g.opts.Protocol},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			return g.certs.Load(), nil
		},
	})
}

// Scheme is what the port's URLs begin with.
func (g *Guard) Scheme() string {
	if g.Secure() {
		return "https"
	}
	return "http"
}

// AllowsHeader says whether an Authorization header shows a token that is asked for.
func (g *Guard) AllowsHeader(authorization string) bool {
	t := g.tokens.Load()
	return t == nil || t.has(bearer(authorization))
}

// Allows says whether a request shows a token that is asked for. It is not to be asked where no token is needed.
func (g *Guard) Allows(r *http.Request) bool {
	return g.AllowsHeader(r.Header.Get("Authorization"))
}
