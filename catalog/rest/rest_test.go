package rest_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/catalog/rest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// client asks a catalog with tables t00..t11 in app.public and one in each of "app.Odd Schema" and "app.a.b".
type client struct {
	t   *testing.T
	url string
	lsn pg.LSN

	opts rest.Options
	body string // of every request, if not empty
}

type answer struct {
	code   int
	header http.Header
	raw    string
	body   map[string]any
}

func newClient(t *testing.T) *client {
	t.Helper()
	store := objstore.NewMem()
	c, err := catalog.Open(t.Context(), catalog.Options{Store: store, MaintainEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	var changes []lake.TableChange
	for i := range 14 {
		name := lake.TableName{Database: "app", Namespace: "public", Name: fmt.Sprintf("t%02d", i)}
		switch i {
		case 12:
			name.Namespace, name.Name = "Odd Schema", "a/b ü%41"
		case 13:
			name.Namespace, name.Name = "a.b", "t"
		}
		ch := laketest.New(store, pg.OID(100+i), name).Change()
		ch.Create = true
		changes = append(changes, ch)
	}
	for lsn := pg.LSN(0x100); lsn <= 0x300; lsn += 0x100 {
		if err := c.Publish(t.Context(), lake.Publication{LSN: lsn, Timeline: 1, SystemID: 1, Tables: changes}); err != nil {
			t.Fatal(err)
		}
		ch := changes[0]
		ch.Create, ch.Properties = false, map[string]string{"comment": "at " + lsn.String()}
		ch.AddData = []lake.File{{Key: fmt.Sprintf("lake/f%d", lsn), Rows: 1, Bytes: 1}}
		changes = []lake.TableChange{ch}
	}
	return serve(t, rest.Options{View: c.View(), Registerer: prometheus.NewRegistry(), TableConfig: map[string]string{"client.region": "local"}})
}

func serve(t *testing.T, opts rest.Options) *client {
	t.Helper()
	h, err := rest.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return &client{t: t, url: srv.URL, lsn: 0x300, opts: opts}
}

func (c *client) do(method, path string, header ...string) answer {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.url+path, strings.NewReader(cmp.Or(c.body, "{}")))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	a := answer{code: resp.StatusCode, header: resp.Header, raw: string(b)}
	if len(b) > 0 && resp.Header.Get("Content-Encoding") == "" {
		if err := json.Unmarshal(b, &a.body); err != nil {
			c.t.Fatalf("%s %s: %q is not JSON", method, path, b)
		}
	}
	c.declared(method, path, a)
	return a
}

// refused checks the error model.
func (c *client) refused(a answer, code int, kind, text string) {
	c.t.Helper()
	e, _ := a.body["error"].(map[string]any)
	msg, _ := e["message"].(string)
	if a.code != code || e["type"] != kind || e["code"] != float64(code) || !strings.Contains(msg, text) {
		c.t.Errorf("got %d %s, want %d %s with %q", a.code, a.raw, code, kind, text)
	}
}

func TestConfig(t *testing.T) {
	c := newClient(t)
	a := c.do("GET", "/v1/config?warehouse=app%400%2F200")
	if p := a.body["overrides"].(map[string]any)["prefix"]; a.code != 200 || p != "app~400~2F200" {
		t.Fatalf("%d %s", a.code, a.raw)
	}
	if a := c.do("GET", "/v1/config"); a.code != 200 || a.body["overrides"].(map[string]any)["prefix"] != "app" {
		t.Errorf("without a warehouse, with one database: %s", a.raw)
	}
	c.refused(c.do("GET", "/v1/config?warehouse=nope"), 404, "NoSuchWarehouseException", `"nope"`)
	c.refused(c.do("GET", "/v1/config?warehouse=app@0/301"), 404, "NoSuchWarehouseException", "the lake is at 0/300")
	c.refused(c.do("GET", "/v1/config?warehouse=app@0/FF"), 404, "NoSuchWarehouseException", "begins at 0/100")
	c.refused(c.do("GET", "/v1/config?warehouse=app@Yesterday"), 400, "BadRequestException", "database@X/Y")
	c.refused(c.do("GET", "/v1/config?warehouse=app@yesterday"), 404, "NoSuchWarehouseException", "no such branch")
	if a := c.do("POST", "/v1/oauth/tokens"); a.code != 400 || a.body["error"] != "unsupported_grant_type" || !strings.Contains(a.body["error_description"].(string), "AUTHORIZATION_TYPE 'none'") {
		t.Errorf("a client with a credential: %d %s", a.code, a.raw)
	}
	c.refused(c.do("GET", "/"), 404, "NotFoundException", "/v1/config")
	c.refused(c.do("PATCH", "/v1/app/namespaces"), 405, "MethodNotAllowedException", "GET")
}

// TestEndpointsAreTrue calls every endpoint that config lists: none may be unknown, and those that write are refused with
// the reason, not with a server error.
func TestEndpointsAreTrue(t *testing.T) {
	c := newClient(t)
	c.body = `{"source": {"namespace": ["public"], "name": "t00"}, "destination": {"namespace": ["public"], "name": "t01"}}`
	rename := c.body
	c.body = "["
	c.refused(c.do("POST", "/v1/app/tables/rename"), 400, "BadRequestException", "rename a table")
	c.body = rename
	list := c.do("GET", "/v1/config?warehouse=app").body["endpoints"].([]any)
	if len(list) < 15 {
		t.Fatalf("endpoints: %v", list)
	}
	for _, e := range list {
		method, template, _ := strings.Cut(e.(string), " ")
		path := strings.NewReplacer("{prefix}", "app", "{namespace}", "public", "{table}", "t00", "{view}", "v").Replace(template)
		a := c.do(method, path)
		reads := method == "GET" || method == "HEAD" || strings.HasSuffix(path, "/metrics")
		if reads && a.code/100 != 2 {
			t.Errorf("%s: %d %s", e, a.code, a.raw)
		}
		if !reads {
			c.refused(a, 403, "ForbiddenException", "PostgreSQL")
		}
	}
}

func TestNamespaces(t *testing.T) {
	c := newClient(t)
	if a := c.do("GET", "/v1/app/namespaces"); a.raw != `{"namespaces":[["Odd Schema"],["a.b"],["public"]]}` {
		t.Error(a.raw)
	}
	if a := c.do("GET", "/v1/app/namespaces?parent=public"); a.raw != `{"namespaces":[]}` {
		t.Error(a.raw)
	}
	c.refused(c.do("GET", "/v1/app/namespaces?parent=nope"), 404, "NoSuchNamespaceException", "nope")
	c.refused(c.do("GET", "/v1/app/namespaces/public%1Fdeeper"), 404, "NoSuchNamespaceException", "public.deeper")
	c.refused(c.do("GET", "/v1/nope/namespaces"), 404, "NoSuchWarehouseException", "nope")
	if a := c.do("HEAD", "/v1/app/namespaces/Odd%20Schema"); a.code != 204 {
		t.Errorf("HEAD namespace: %d", a.code)
	}
	if a := c.do("HEAD", "/v1/app/namespaces/Odd+Schema"); a.code != 204 {
		t.Errorf("HEAD namespace as Java writes it: %d", a.code)
	}
	if a := c.do("HEAD", "/v1/app/namespaces/odd"); a.code != 404 {
		t.Errorf("HEAD namespace that is not there: %d", a.code)
	}
	if a := c.do("GET", "/v1/app/namespaces/public"); a.body["properties"].(map[string]any)["tarn.lsn"] != "0/300" {
		t.Error(a.raw)
	}
	if a := c.do("GET", "/v1/app/namespaces/public/views"); a.raw != `{"identifiers":[]}` {
		t.Error(a.raw)
	}
	c.refused(c.do("GET", "/v1/app/namespaces/public/views/v"), 404, "NoSuchViewException", "v")
}

func TestPages(t *testing.T) {
	c := newClient(t)
	var got []string
	token, pages := "", 0
	for {
		a := c.do("GET", "/v1/app/namespaces/public/tables?pageSize=5&pageToken="+url.QueryEscape(token))
		for _, id := range a.body["identifiers"].([]any) {
			got = append(got, id.(map[string]any)["name"].(string))
		}
		pages++
		next, more := a.body["next-page-token"].(string)
		if !more {
			break
		}
		token = next
	}
	if len(got) != 12 || pages != 3 || !slices.IsSorted(got) {
		t.Errorf("%d pages: %v", pages, got)
	}
	c.refused(c.do("GET", "/v1/app/namespaces/public/tables?pageToken=&pageSize=0"), 400, "BadRequestException", "pageSize")
	if a := c.do("GET", "/v1/app/namespaces/public/tables?pageSize=5"); len(a.body["identifiers"].([]any)) != 12 || a.body["next-page-token"] != nil {
		t.Errorf("a client that does not page: %s", a.raw)
	}
	c.refused(c.do("GET", "/v1/app/namespaces/public/tables?pageToken=!"), 400, "BadRequestException", "pageToken")
}

func TestLoadTable(t *testing.T) {
	c := newClient(t)
	const path = "/v1/app/namespaces/public/tables/t00"
	all, refs := c.do("GET", path), c.do("GET", path+"?snapshots=refs")
	snapshots := func(a answer) int { return len(a.body["metadata"].(map[string]any)["snapshots"].([]any)) }
	if snapshots(all) != 3 || snapshots(refs) != 1 || all.header.Get("ETag") == refs.header.Get("ETag") {
		t.Errorf("all: %d snapshots, %s; refs: %d, %s", snapshots(all), all.header.Get("ETag"), snapshots(refs), refs.header.Get("ETag"))
	}
	if all.body["config"].(map[string]any)["client.region"] != "local" {
		t.Errorf("config %v", all.body["config"])
	}
	etag := all.header.Get("ETag")
	for header, code := range map[string]int{etag: 304, "W/" + etag: 304, `"x", ` + etag: 304, "*": 304, `"x"`: 200, refs.header.Get("ETag"): 200} {
		if a := c.do("GET", path, "If-None-Match", header); a.code != code {
			t.Errorf("If-None-Match: %s answers %d, want %d", header, a.code, code)
		}
	}
	pinned := c.do("GET", "/v1/app~400~2F200/namespaces/public/tables/t00")
	if got := pinned.body["metadata"].(map[string]any)["properties"].(map[string]any)["comment"]; got != "at 0/100" || snapshots(pinned) != 2 {
		t.Errorf("pinned: comment %v, %d snapshots", got, snapshots(pinned))
	}
	if escaped := c.do("GET", "/v1/app%400%2F200/namespaces/public/tables/t00"); escaped.raw != pinned.raw {
		t.Errorf("an escaped prefix: %s", escaped.raw)
	}
	if a := c.do("GET", "/v1/app/namespaces/Odd%20Schema/tables/a%2Fb%20%C3%BC%2541"); a.code != 200 {
		t.Errorf("an odd name: %d %s", a.code, a.raw)
	}
	if a := c.do("GET", "/v1/app/namespaces/Odd+Schema/tables/a%2Fb+%C3%BC%2541"); a.code != 200 {
		t.Errorf("an odd name as Java writes it: %d %s", a.code, a.raw)
	}
	c.refused(c.do("GET", "/v1/app/namespaces/Odd%2BSchema/tables/a%2Fb+%C3%BC%2541"), 404, "NoSuchTableException", "Odd+Schema")
	if a := c.do("GET", "/v1/app/namespaces/a%1Fb/tables/t"); a.code != 200 {
		t.Errorf("a namespace with a dot as DuckDB writes it: %d %s", a.code, a.raw)
	}
	if a := c.do("GET", "/v1/app/namespaces/a%1Fb/tables"); a.raw != `{"identifiers":[{"namespace":["a.b"],"name":"t"}]}` {
		t.Errorf("tables of a namespace with a dot: %s", a.raw)
	}
	if a := c.do("HEAD", path); a.code != 204 {
		t.Errorf("HEAD: %d", a.code)
	}
	c.refused(c.do("GET", path+"/credentials"), 404, "NotFoundException", "not part of this")
	c.refused(c.do("GET", "/v1/app/namespaces/public/tables/T00"), 404, "NoSuchTableException", "T00")
	c.refused(c.do("GET", "/v1/app/namespaces/nope/tables/t00"), 404, "NoSuchTableException", "nope.t00")
	c.refused(c.do("GET", path+"?snapshots=some"), 400, "BadRequestException", "all or refs")
}
