package rest

import (
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/pg"
)

// splitWarehouse divides database@LSN at the last '@' that is followed by an LSN; a database's name may hold '@'.
func splitWarehouse(name string) (database string, lsn pg.LSN, pinned bool, err error) {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return name, 0, false, nil
	}
	lsn, err = pg.ParseLSN(name[at+1:])
	if err != nil {
		return name, 0, false, err
	}
	return name[:at], lsn, true, nil
}

// cut is the warehouse's tables.
func (s *server) cut(name string) (catalog.Cut, bool, error) {
	database, lsn, pinned, bad := splitWarehouse(name)
	var cut catalog.Cut
	var err error
	if pinned {
		cut, err = s.opts.View.At(database, lsn)
	} else {
		cut, err = s.opts.View.Newest(database)
	}
	if bad != nil && errors.Is(err, catalog.ErrNoDatabase) {
		return cut, false, badRequest("warehouse %q: %s; a pinned warehouse is written database@X/Y", name, bad)
	}
	if err != nil {
		return cut, false, warehouseError(name, err)
	}
	return cut, pinned, nil
}

// A warehouse's path prefix is its name with every byte but letters, digits, '-', '_' and '.' written ~XX. All of these
// are unreserved in URLs, so that no client or proxy escapes, unescapes or normalizes the prefix once more: %2F would not
// survive many of them.
func encodePrefix(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_', c == '.' && name != "." && name != "..":
			b.WriteByte(c)
		default:
			b.WriteByte('~')
			b.WriteString(strings.ToUpper(hex.EncodeToString([]byte{c})))
		}
	}
	return b.String()
}

// decodePrefix is the inverse. A prefix that was not written by encodePrefix is taken as the name itself: someone typed it.
func decodePrefix(prefix string) string {
	var b strings.Builder
	for i := 0; i < len(prefix); i++ {
		if prefix[i] != '~' {
			b.WriteByte(prefix[i])
			continue
		}
		if i+2 >= len(prefix) {
			return prefix
		}
		c, err := hex.DecodeString(prefix[i+1 : i+3])
		if err != nil {
			return prefix
		}
		b.Write(c)
		i += 2
	}
	return b.String()
}

// warehouse resolves the request's prefix.
func (s *server) resolve(req *request) error {
	req.warehouse = decodePrefix(req.vars["prefix"])
	cut, pinned, err := s.cut(req.warehouse)
	if err != nil {
		// A client that escapes what is escaped.
		if again, uerr := url.PathUnescape(req.warehouse); uerr == nil && again != req.warehouse {
			if c, p, err := s.cut(again); err == nil {
				req.warehouse, req.cut, req.pinned = again, c, p
				return nil
			}
		}
		return err
	}
	req.cut, req.pinned = cut, pinned
	return nil
}

// config answers GET /v1/config: it is what a client asks first.
func (s *server) config(w http.ResponseWriter, r *http.Request, _ *request) error {
	name := r.URL.Query().Get("warehouse")
	if name == "" {
		databases := s.opts.View.Databases()
		if len(databases) != 1 {
			return badRequest("say which warehouse: a database of the lake (%s), or database@LSN", strings.Join(databases, ", "))
		}
		name = databases[0]
	}
	if _, _, err := s.cut(name); err != nil {
		return err
	}
	defaults := map[string]string{}
	for k, v := range s.opts.TableConfig {
		defaults[k] = v
	}
	overrides := map[string]string{"prefix": encodePrefix(name)}
	if uri := publicURI(r); uri != "" {
		overrides["uri"] = uri
	}
	return reply(w, r, map[string]any{
		"defaults":  defaults,
		"overrides": overrides,
		"endpoints": s.endpoints(),
	})
}

// forwardedHost is a host, with or without a port, as a URL may hold it.
var forwardedHost = regexp.MustCompile(`^([A-Za-z0-9.-]+|\[[0-9a-fA-F:.]+\])(:[0-9]{1,5})?$`)

// publicURI is where a client finds the catalog when a proxy on this machine passed its request on and says so
// (X-Forwarded-Host, -Proto, -Port, -Prefix), else "". Headers of any other peer could have been written by anyone and are
// not looked at; its client goes on with the address it has.
func publicURI(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() {
		return ""
	}
	// Each proxy on the way adds to the list; the first is the one the client asked.
	first := func(header string) string {
		v, _, _ := strings.Cut(r.Header.Get("X-Forwarded-"+header), ",")
		return strings.TrimSpace(v)
	}
	host, proto := first("Host"), first("Proto")
	if proto == "" {
		proto = "http"
	}
	if !forwardedHost.MatchString(host) || proto != "http" && proto != "https" {
		return ""
	}
	if port := first("Port"); port != "" && !strings.Contains(strings.TrimLeft(host, "["), ":") && port != map[string]string{"http": "80", "https": "443"}[proto] {
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return ""
		}
		host += ":" + port
	}
	u := url.URL{Scheme: proto, Host: host, Path: strings.TrimRight(first("Prefix"), "/")}
	if u.Path != "" && u.Path[0] != '/' {
		return ""
	}
	return u.String()
}
