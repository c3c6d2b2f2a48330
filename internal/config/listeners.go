package config

import (
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"

	"github.com/tarn-db/tarn/internal/fault"
)

func (c *Config) checkListeners() error {
	taken := map[string]string{}
	for _, l := range []struct {
		name string
		at   *Listener
	}{{"catalog", &c.Catalog}, {"sql", &c.SQL}, {"http", &c.HTTP}, {"pages", &c.Pages}} {
		if l.at == &c.Pages && l.at.Listen == "" {
			continue // it is off
		}
		if err := c.checkListener(l.name, l.at); err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(l.at.Listen)
		key := l.name + ".listen"
		if other, ok := taken[port]; ok && port != "0" {
			return c.bad(key, fmt.Sprintf("%s and %s share port %s", other, key, port), "give each its own")
		}
		taken[port] = key
	}
	return nil
}

// checkListener refuses an address that other hosts reach without TLS and without asking them who they are. Without TLS a
// token could be read off the network, so one does not do without the other.
func (c *Config) checkListener(name string, l *Listener) error {
	key := name + ".listen"
	host, port, err := net.SplitHostPort(l.Listen)
	if err != nil {
		return c.bad(key, fmt.Sprintf("%s is %q", key, l.Listen), "write host:port, such as 127.0.0.1:8080")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return c.bad(key, fmt.Sprintf("%s is %q", key, l.Listen), "write a port between 0 and 65535")
	}
	if err := c.checkGuard(name, l); err != nil {
		return err
	}
	secret := l.TLS.Cert != "" && (l.TokensFile != "" || l.TLS.ClientCA != "")
	if secret || loopback(host) {
		return nil
	}
	fix := "listen on 127.0.0.1:" + port
	if name != "sql" { // which nothing serves yet
		fix += fmt.Sprintf(", or set %[1]s.tls.cert, %[1]s.tls.key and %[1]s.tokens_file", name)
	}
	return &Error{Where: c.origins[key], What: fmt.Sprintf("%s %s can be reached from other hosts without TLS and authentication", key, l.Listen), Fix: fix, Code: fault.OpenListener}
}

func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// checkGuard checks that a listener's files go together, and makes their paths absolute. What is in them is read at start.
func (c *Config) checkGuard(name string, l *Listener) error {
	cert, key := name+".tls.cert", name+".tls.key"
	switch {
	case l.TLS.Cert != "" && l.TLS.Key == "":
		return c.bad(cert, cert+" is set and "+key+" is not", "name the certificate's private key")
	case l.TLS.Key != "" && l.TLS.Cert == "":
		return c.bad(key, key+" is set and "+cert+" is not", "name the key's certificate")
	case l.TLS.ClientCA != "" && l.TLS.Cert == "":
		return c.bad(name+".tls.client_ca", name+".tls.client_ca is set and "+cert+" is not", "set "+cert+" and "+key+" too: without TLS no client shows a certificate")
	}
	for _, p := range []*string{&l.TLS.Cert, &l.TLS.Key, &l.TLS.ClientCA, &l.TokensFile} {
		if *p == "" {
			continue
		}
		abs, err := filepath.Abs(*p)
		if err != nil {
			return c.bad(name+".listen", fmt.Sprintf("%q has no absolute path (%v)", *p, err), "write one that starts with /")
		}
		*p = abs
	}
	return nil
}
