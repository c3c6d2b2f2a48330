package rest_test

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/tarn-db/tarn/catalog/rest"
)

// TestUnauthorized: without a token nothing is told, not even whether a warehouse exists; with it, all.
func TestUnauthorized(t *testing.T) {
	all := newClient(t)
	opts := all.opts
	opts.Registerer = nil
	opts.Allow = func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer open" }
	c := serve(t, opts)
	for _, path := range []string{"/v1/config?warehouse=app", "/v1/config?warehouse=nope", "/v1/app/namespaces", "/nothing"} {
		a := c.do("GET", path)
		c.refused(a, 401, "NotAuthorizedException", "tokens_file")
		if a.header.Get("WWW-Authenticate") != `Bearer realm="tarn"` {
			t.Errorf("%s: WWW-Authenticate: %q", path, a.header.Get("WWW-Authenticate"))
		}
	}
	c.refused(c.do("DELETE", "/v1/app/namespaces/public"), 401, "NotAuthorizedException", "")
	if a := c.do("POST", "/v1/oauth/tokens"); a.code != 400 {
		t.Errorf("who has no token yet asks for one: %d", a.code)
	}
	if a := c.do("GET", "/v1/config?warehouse=app", "Authorization", "Bearer open"); a.code != 200 {
		t.Errorf("with a token: %d %s", a.code, a.raw)
	}
}

// TestGzip: the compressed answer is the plain one, under an ETag of its own that a 304 knows as well.
func TestGzip(t *testing.T) {
	c := newClient(t)
	const path = "/v1/app/namespaces/public/tables/t00"
	plain, zipped := c.do("GET", path, "Accept-Encoding", "identity"), c.do("GET", path, "Accept-Encoding", "deflate, gzip;q=0.5")
	z, err := gzip.NewReader(strings.NewReader(zipped.raw))
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(z)
	if err != nil || string(got) != plain.raw || len(zipped.raw) > len(plain.raw)/2 {
		t.Errorf("%v; %d bytes from %d", err, len(zipped.raw), len(plain.raw))
	}
	one, other := plain.header.Get("ETag"), zipped.header.Get("ETag")
	if one == other || other == "" || zipped.header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("ETags %s and %s", one, other)
	}
	for _, etag := range []string{one, other} {
		if a := c.do("GET", path, "If-None-Match", etag, "Accept-Encoding", "gzip"); a.code != 304 || a.raw != "" {
			t.Errorf("If-None-Match: %s: %d", etag, a.code)
		}
	}
	for _, none := range []string{"gzip;q=0", "br", "gzip; q=0.0"} {
		if a := c.do("GET", path, "Accept-Encoding", none); a.header.Get("Content-Encoding") != "" {
			t.Errorf("Accept-Encoding: %s is answered compressed", none)
		}
	}
	if a := c.do("GET", "/v1/app/namespaces", "Accept-Encoding", "gzip"); a.header.Get("Content-Encoding") != "" {
		t.Error("a short answer is compressed")
	}
}

// TestETagNamesTheConfig: a 304 says that the whole answer is as before, the store's configuration included.
func TestETagNamesTheConfig(t *testing.T) {
	c := newClient(t)
	opts := c.opts
	opts.Registerer, opts.TableConfig = nil, map[string]string{"client.region": "elsewhere"}
	moved := serve(t, opts)
	const path = "/v1/app/namespaces/public/tables/t00"
	if a := moved.do("GET", path, "If-None-Match", c.do("GET", path).header.Get("ETag")); a.code != 200 {
		t.Errorf("the region is another and the answer is %d", a.code)
	}
	if a := moved.do("GET", "/v1/config?warehouse=app"); a.body["defaults"].(map[string]any)["client.region"] != "elsewhere" {
		t.Error(a.raw)
	}
}

// TestForwarded: behind a proxy on this machine clients are told the proxy's address; nonsense is not passed on.
func TestForwarded(t *testing.T) {
	c := newClient(t)
	for _, x := range []struct {
		want   any
		header []string
	}{
		{nil, nil},
		{nil, []string{"X-Forwarded-Proto", "https"}},
		{"https://lake.example.com", []string{"X-Forwarded-Host", "lake.example.com", "X-Forwarded-Proto", "https", "X-Forwarded-Port", "443"}},
		{"https://lake.example.com:8443/iceberg", []string{"X-Forwarded-Host", "lake.example.com, inner", "X-Forwarded-Proto", "https, http", "X-Forwarded-Port", "8443", "X-Forwarded-Prefix", "/iceberg/"}},
		{"http://[2001:db8::1]:8181", []string{"X-Forwarded-Host", "[2001:db8::1]:8181"}},
		{nil, []string{"X-Forwarded-Host", "evil.example/@lake", "X-Forwarded-Proto", "https"}},
		{nil, []string{"X-Forwarded-Host", "a", "X-Forwarded-Proto", "javascript"}},
		{nil, []string{"X-Forwarded-Host", "a", "X-Forwarded-Port", "99999"}},
		{nil, []string{"X-Forwarded-Host", "a", "X-Forwarded-Prefix", "x"}},
	} {
		a := c.do("GET", "/v1/config?warehouse=app", x.header...)
		if got := a.body["overrides"].(map[string]any)["uri"]; got != x.want {
			t.Errorf("%v: uri %v, want %v", x.header, got, x.want)
		}
	}
}

// TestForwardedByStrangers: from another machine the headers mean nothing.
func TestForwardedByStrangers(t *testing.T) {
	c := newClient(t)
	opts := c.opts
	opts.Registerer = nil
	h, err := rest.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	for peer, want := range map[string]bool{"127.0.0.1:5": true, "[::1]:5": true, "10.0.0.7:5": false, "": false} {
		r, _ := http.NewRequestWithContext(t.Context(), "GET", "/v1/config?warehouse=app", http.NoBody)
		r.Header.Set("X-Forwarded-Host", "lake.example.com")
		r.RemoteAddr = peer
		w := &memory{header: http.Header{}}
		h.ServeHTTP(w, r)
		if got := strings.Contains(w.String(), "lake.example.com"); got != want {
			t.Errorf("peer %q: %s", peer, w)
		}
	}
}

type memory struct {
	bytes.Buffer
	header http.Header
}

func (m *memory) Header() http.Header { return m.header }
func (m *memory) WriteHeader(int)     {}

// TestReports: an engine's report is taken and forgotten; one without end is not read.
func TestReports(t *testing.T) {
	c := newClient(t)
	const path = "/v1/app/namespaces/public/tables/t00/metrics"
	if a := c.do("POST", path); a.code != 204 {
		t.Errorf("%d %s", a.code, a.raw)
	}
	c.refused(c.do("POST", "/v1/app/namespaces/public/tables/nope/metrics"), 404, "NoSuchTableException", "nope")
	c.refused(c.do("POST", "/v1/nope/namespaces/public/tables/t00/metrics"), 404, "NoSuchWarehouseException", "nope")
	endless := iotest.ErrReader(io.ErrUnexpectedEOF)
	req, _ := http.NewRequestWithContext(t.Context(), "POST", c.url+path, io.MultiReader(strings.NewReader(strings.Repeat(" ", 2<<20)), endless))
	resp, err := http.DefaultClient.Do(req)
	if err == nil { // else the server has hung up while we were writing
		resp.Body.Close()
		if resp.StatusCode != 400 {
			t.Errorf("a report of 2 MiB: %d", resp.StatusCode)
		}
	}
	c.body = strings.Repeat(" ", 1<<20+1)
	c.refused(c.do("POST", path), 400, "BadRequestException", "too large")
}
