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
	"github.com/tarn-db/tarn/pageserver"
)

// splitWarehouse divides database@LSN and database@branch at the last '@'. An LSN has a slash and a branch's name has none, so no
// suffix is both; ok is false if it is neither.
func splitWarehouse(name string) (database string, lsn pg.LSN, branch string, ok bool) {
	at := strings.LastIndexByte(name, '@')
	if at < 0 {
		return name, 0, "", false
	}
	database, suffix := name[:at], name[at+1:]
	if lsn, err := pg.ParseLSN(suffix); err == nil {
		return database, lsn, "", true
	}
	return database, 0, suffix, pageserver.IsBranchName(suffix)
}

// cut is the warehouse's tables. A database's name may hold '@' too: with a suffix that is no LSN, the whole name may be a
// database's or that of one at a branch, and is refused if it is both.
func (s *server) cut(name string) (catalog.Cut, error) {
	database, lsn, branch, ok := splitWarehouse(name)
	if lsn != 0 {
		cut, err := s.opts.View.At(database, lsn)
		return cut, warehouseError(name, err)
	}
	cut, err := s.opts.View.Newest(name)
	switch {
	case !ok && errors.Is(err, catalog.ErrNoDatabase) && strings.Contains(name, "@"):
		return cut, badRequest("warehouse %q: what follows the @ is neither an LSN nor a branch: a pinned warehouse is written database@X/Y or database@branch", name)
	case !ok:
		return cut, warehouseError(name, err)
	}
	at, atErr := s.branch(database, branch)
	switch {
	case err == nil && !errors.Is(atErr, catalog.ErrNoBranch) && !errors.Is(atErr, catalog.ErrNoDatabase):
		return cut, badRequest("warehouse %q is a database and database %q at branch %q: rename the branch", name, database, branch)
	case err == nil:
		return cut, nil
	}
	return at, warehouseError(name, atErr)
}

// branch is a database at a branch.
func (s *server) branch(database, branch string) (catalog.Cut, error) {
	if branch == pageserver.MainBranch {
		return s.opts.View.Newest(database)
	}
	return s.opts.View.Branch(database, branch)
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
	cut, err := s.cut(req.warehouse)
	if err != nil {
		// A client that escapes what is escaped.
		if again, uerr := url.PathUnescape(req.warehouse); uerr == nil && again != req.warehouse {
			if c, err := s.cut(again); err == nil {
				req.warehouse, req.cut = again, c
				return nil
			}
		}
		return err
	}
	req.cut = cut
	return nil
}

// config answers GET /v1/config: it is what a client asks first.
func (s *server) config(w http.ResponseWriter, r *http.Request, _ *request) error {
	name := r.URL.Query().Get("warehouse")
	if name == "" {
		databases := s.opts.View.Databases()
		if len(databases) != 1 {
			return badRequest("say which warehouse: a database of the lake (%s), database@LSN, or database@branch", strings.Join(databases, ", "))
		}
		name = databases[0]
	}
	if _, err := s.cut(name); err != nil {
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
