package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/listen"
)

// Variables with which a verb reaches a server it has no settings file of.
const (
	envToken = "TARN_HTTP_TOKEN" // bearer token
	envCA    = "TARN_HTTP_CA"    // PEM file of the CA that signed the server's certificate
	envCert  = "TARN_HTTP_CERT"  // PEM files of the client's own certificate and key
	envKey   = "TARN_HTTP_KEY"
)

// clientFlags are how verbs that talk to a running server find it.
type clientFlags struct{ file, addr string }

func (f *clientFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "config", "", "settings `FILE` of the server, for its section http")
	cmd.Flags().StringVar(&f.addr, "http", "", "`ADDR` of the server's HTTP port, as host:port or https://host:port (default TARN_HTTP, else "+config.DefaultHTTPListen+")")
}

// client finds the server: --config FILE, else --http ADDR, else TARN_HTTP, else the default.
func (f *clientFlags) client() (*admin.Client, error) {
	token, trust := os.Getenv(envToken), &tls.Config{MinVersion: tls.VersionTLS12}
	if err := trustFiles(trust); err != nil {
		return nil, err
	}
	if f.file != "" {
		return configuredClient(f.file, token, trust)
	}
	addr, from := config.DefaultHTTPListen, "default"
	if v := os.Getenv("TARN_HTTP"); v != "" {
		addr, from = v, "TARN_HTTP"
	}
	if f.addr != "" {
		addr, from = f.addr, "--http"
	}
	host, secure := strings.CutPrefix(addr, "https://")
	host = strings.TrimSuffix(strings.TrimPrefix(host, "http://"), "/")
	if _, _, err := net.SplitHostPort(host); err != nil {
		return nil, usagef("%s is %q: write host:port, such as %s", from, addr, config.DefaultHTTPListen)
	}
	if token != "" && !secure && !local(host) {
		return nil, usagef("%s is %q, and %s would cross the network as plain text: write https://%s", from, addr, envToken, host)
	}
	return newClient(host, secure, token, trust), nil
}

func newClient(addr string, secure bool, token string, trust *tls.Config) *admin.Client {
	tr := http.DefaultTransport.(*http.Transport).Clone()
	tr.TLSClientConfig = trust
	tr.Proxy = nil
	return &admin.Client{Addr: addr, TLS: secure, Token: token, HTTP: &http.Client{
		Transport: tr,
		// A redirect would carry the token elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// local says whether an address is this machine's own.
func local(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip, bad := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || bad == nil && ip.Unmap().IsLoopback())
}

// configuredClient is of the server that file configures.
func configuredClient(file, token string, trust *tls.Config) (*admin.Client, error) {
	l, err := config.HTTP(config.Options{File: file})
	if err != nil {
		return nil, err
	}
	if l.TokensFile != "" && token == "" {
		list, err := listen.ReadTokens("http.tokens_file", l.TokensFile)
		if err != nil {
			return nil, err
		}
		token = list[0]
	}
	secure := l.TLS.Cert != ""
	if secure {
		if err := pin(trust, l.TLS.Cert); err != nil {
			return nil, err
		}
	}
	return newClient(reachable(l.Listen), secure, token, trust), nil
}

// reachable is where this machine finds a listener: one on every address is on loopback too.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	switch ip, err := netip.ParseAddr(host); {
	case host == "", err == nil && ip.IsUnspecified() && ip.Is4():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}

// pin trusts the very certificate in a file, whatever names it is for and whoever signed it: the server on this machine was
// told to show it.
func pin(trust *tls.Config, cert string) error {
	pair, err := os.ReadFile(cert)
	if err != nil {
		return usagef("http.tls.cert %s cannot be read (%v): run as a user who may, or give --http and %s", cert, fault.Cause(err), envCA)
	}
	want, err := leaf(pair)
	if err != nil {
		return usagef("http.tls.cert %s holds no PEM certificate: name one that does", cert)
	}
	trust.InsecureSkipVerify = true // in favour of what follows, which is stricter
	trust.VerifyConnection = func(s tls.ConnectionState) error {
		if len(s.PeerCertificates) == 0 || !s.PeerCertificates[0].Equal(want) {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: errors.New("it is not the one in " + cert)}
		}
		return nil
	}
	return nil
}

// trustFiles takes what the variables name.
func trustFiles(trust *tls.Config) error {
	if path := os.Getenv(envCA); path != "" {
		pool, err := readCA(envCA, path)
		if err != nil {
			return err
		}
		trust.RootCAs = pool
	}
	cert, key := os.Getenv(envCert), os.Getenv(envKey)
	if cert == "" && key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return usagef("%s %s and %s %s are no certificate with its key (%v): name PEM files that belong together", envCert, cert, envKey, key, fault.Cause(err))
	}
	trust.Certificates = []tls.Certificate{pair}
	return nil
}

// readCA reads the CA certificates of a PEM file that name names.
func readCA(name, path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, usagef("%s %s cannot be read (%v): name a PEM file", name, path, fault.Cause(err))
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, usagef("%s %s holds no PEM certificate: name one that does", name, path)
	}
	return pool, nil
}

// tables are the running server's, for completion: without a server there are none.
func (f *clientFlags) tables(ctx context.Context) (names []string) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	c, err := f.client()
	if err != nil {
		return nil
	}
	s, err := c.Status(ctx)
	if err != nil {
		return nil
	}
	for _, t := range s.Tables {
		if t.State != admin.TableExcluded {
			names = append(names, t.Name)
		}
	}
	return names
}

// writeJSON prints one value for scripts.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// leaf is the first certificate of a PEM file.
func leaf(text []byte) (*x509.Certificate, error) {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil, errors.New("no certificate")
		}
		if block.Type == "CERTIFICATE" {
			return x509.ParseCertificate(block.Bytes)
		}
		text = rest
	}
}
