package doctor

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/tarn-db/tarn/internal/fault"
)

// listeners looks at the addresses tarn will listen on. Those open to other hosts without protection the configuration
// refuses before it comes to this.
func (x *examiner) listeners() (c checks) {
	for _, l := range []struct{ key, addr string }{
		{"http.listen", x.Config.HTTP.Listen}, {"catalog.listen", x.Config.Catalog.Listen}, {"pages.listen", x.Config.Pages.Listen}, // nothing listens on sql.listen yet
	} {
		if l.addr == "" {
			continue // it is off
		}
		name := "listen." + strings.TrimSuffix(l.key, ".listen")
		switch err := checkPort(l.key, l.addr); {
		case err == nil:
			c.ok(name, l.addr+" is free")
		case x.running != nil && fault.CodeOf(err) == fault.PortTaken:
			c.ok(name, l.addr+" is in use by the tarn that runs on this configuration")
		default:
			c.failErr(name, err)
		}
	}
	const name = "listen.catalog_reach"
	host, port, _ := net.SplitHostPort(x.Config.Catalog.Listen)
	if a, err := netip.ParseAddr(host); host == "localhost" || err == nil && a.IsLoopback() {
		c.advise(name, "engines on this machine alone reach the catalog at "+x.Config.Catalog.Listen,
			"for others set catalog.tls.cert, catalog.tls.key and catalog.tokens_file and listen on another address, or put a tunnel in front, such as ssh -L "+port+":"+x.Config.Catalog.Listen+" <this machine>")
	} else {
		c.ok(name, "engines on other hosts reach the catalog at "+x.Config.Catalog.Listen+" if no firewall forbids it")
	}
	return c
}

// checkPort says whether an address can be listened on.
func checkPort(key, addr string) error {
	flag := strings.Replace(key, ".", "-", 1)
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fault.Errorf(fault.PortTaken, "%s %s is taken by another process: stop it, or give another address with --%s", key, addr, flag)
	}
	return fault.Errorf(fault.PortUnusable, "%s %s cannot be listened on (%w): give another address with --%s", key, addr, fault.Cause(err), flag)
}
