package listen

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/tarn-db/tarn/internal/fault"
)

// loadCerts reads certificate, key and client CAs. All three are new or none is: a renewal replaces one file after the
// other, and a key that does not belong to its certificate is seen here.
func (g *Guard) loadCerts() error {
	o := g.opts
	if o.Cert == "" && o.Key == "" && o.ClientCA == "" {
		return nil
	}
	var pems [2][]byte
	for i, f := range []struct{ key, path string }{{"cert", o.Cert}, {"key", o.Key}} {
		b, err := os.ReadFile(f.path)
		if err != nil {
			return fmt.Errorf("%s.tls.%s %s cannot be read (%w): name a PEM file that the user tarn runs as may read", o.Name, f.key, f.path, fault.Cause(err))
		}
		pems[i] = b
	}
	pair, err := tls.X509KeyPair(pems[0], pems[1])
	if err != nil {
		return fmt.Errorf("%s.tls: %s and %s are no certificate with its key (%w): give PEM files that belong together", o.Name, o.Cert, o.Key, err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{g.opts.Protocol}, Certificates: []tls.Certificate{pair}}
	if o.ClientCA != "" {
		b, err := os.ReadFile(o.ClientCA)
		if err != nil {
			return fmt.Errorf("%s.tls.client_ca %s cannot be read (%w): name a PEM file that the user tarn runs as may read", o.Name, o.ClientCA, fault.Cause(err))
		}
		c.ClientCAs = x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(b) {
			return fmt.Errorf("%s.tls.client_ca %s holds no PEM certificate: name one that does", o.Name, o.ClientCA)
		}
		c.ClientAuth = tls.RequireAndVerifyClientCert
	}
	g.certs.Store(c)
	return nil
}
