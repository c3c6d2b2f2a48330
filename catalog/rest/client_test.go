package rest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/rest"
	"github.com/tarn-db/tarn/internal/listen"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/materialize/lake"
)

// exchange notes what the client asked and got.
type exchange struct {
	mu   sync.Mutex
	said []string // "GET /v1/config 200"
}

func (e *exchange) wrap(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := &noting{ResponseWriter: w, code: 200}
		h.ServeHTTP(n, r)
		e.mu.Lock()
		defer e.mu.Unlock()
		e.said = append(e.said, fmt.Sprintf("%s %s %d", r.Method, r.URL.RequestURI(), n.code))
	})
}

type noting struct {
	http.ResponseWriter
	code int
}

func (n *noting) WriteHeader(code int) { n.code = code; n.ResponseWriter.WriteHeader(code) }

const clientToken = "0123456789abcdef-client"

// TestJavaClient has Iceberg's own client (RESTCatalog, HadoopTables) walk the catalog: what it finds, and the very exceptions
// that it makes of refusals. testdata/client.golden is what it printed; addresses and folders are left out of it.
func TestJavaClient(t *testing.T) {
	jars, err := filepath.Abs("../../.cache/rest-client/lib")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(jars), ".stamp")); err != nil {
		pgtest.Missing(t, fmt.Errorf("Iceberg's Java client: run internal/tools/install-rest-client (%w)", err))
	}
	store, err := objstore.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c, err := catalog.Open(t.Context(), catalog.Options{Store: store, MaintainEvery: -1, VersionHint: func(lake.TableName) bool { return true }})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &lakeFixture{t: t, c: c, want: map[pg.LSN]map[string]seen{}, history: map[lake.TableID][]int{}, at: map[lake.TableID]pg.LSN{}}
	folder := f.clientLake()
	if err := c.Close(); err != nil { // which puts the version hints that are due
		t.Fatal(err)
	}
	var said exchange
	url := said.serve(t, c.View())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "java", "-Xmx256m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", filepath.Join(jars, "*"),
		"testdata/Client.java", url, clientToken, folder, "app@0/2000140")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	got := strings.NewReplacer(url, "URL", filepath.Dir(folder), "ROOT").Replace(string(out))
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile("testdata/client.golden", []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/client.golden")
	if err != nil || got != string(want) {
		t.Errorf("it is now, %v:\n%s", err, got)
	}
	said.check(t)
}

// clientLake publishes three versions of public.users and a table of an odd name, and returns users' folder.
func (f *lakeFixture) clientLake() string {
	users, odd := f.table("public", "users"), f.table("Odd Schema", "a/b c+ü%41")
	ch, odds := created(users), created(odd)
	ch.AddData, odds.AddData = f.insert(users, 1, 2, 3), f.insert(odd, 7)
	f.publish(ch, odds)
	for _, id := range []int64{4, 5} {
		ch = users.Change()
		ch.AddData, ch.AddDeletes = f.insert(users, id, id+10, id+20), f.delete(users, id-3)
		f.publish(ch)
	}
	f.publish(created(f.table("public", "visits")))
	return strings.TrimPrefix(f.c.View().Store().URL(users.ID.Root()), "file://")
}

func (e *exchange) serve(t *testing.T, view catalog.View) string {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte(clientToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	guard, err := listen.Open(listen.Options{Name: "catalog", Tokens: tokens})
	if err != nil {
		t.Fatal(err)
	}
	h, err := rest.New(rest.Options{View: view, Allow: guard.Allows})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(e.wrap(h))
	t.Cleanup(srv.Close)
	return srv.URL
}

// check holds the exchange to what the client is known to do with a catalog like this one.
func (e *exchange) check(t *testing.T) {
	t.Helper()
	const users = "/v1/app/namespaces/public/tables/users"
	for what, line := range map[string]string{
		"a table it has comes from its cache":  "GET " + users + "?snapshots=all 304",
		"snapshots come as they are asked for": "GET " + users + "?snapshots=refs 200",
		"a scan is reported":                   "POST " + users + "/metrics 204",
		"existence is asked for by HEAD":       "HEAD " + users + " 204",
	} {
		found := false
		for _, s := range e.said {
			found = found || s == line
		}
		if !found {
			t.Errorf("%s: no %s among\n%s", what, line, strings.Join(e.said, "\n"))
		}
	}
	for _, s := range e.said {
		if code := s[strings.LastIndexByte(s, ' ')+1:]; code[0] == '5' {
			t.Errorf("a definite answer looks unknown: %s", s)
		}
	}
}
