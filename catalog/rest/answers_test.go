package rest_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/tarn-db/tarn/catalog/rest"
)

// answered are the answers of all tests of this package: "GET /v1/config 200".
var answered sync.Map

// anywhere are answers that any request may get.
var anywhere = map[string]bool{
	"401 NotAuthorizedException": true, "404 NotFoundException": true, "405 MethodNotAllowedException": true,
	"500 InternalServerError": true, "503 ServiceUnavailableException": true,
}

var inBraces = regexp.MustCompile(`\\{[a-z]+\\}`)

// declared holds an answer to what its endpoint says it gives.
func (c *client) declared(method, path string, a answer) {
	c.t.Helper()
	path, _, _ = strings.Cut(path, "?")
	said := fmt.Sprint(a.code)
	switch e := a.body["error"].(type) {
	case map[string]any:
		said += " " + e["type"].(string)
	case string:
		said += " " + e
	}
	if anywhere[said] {
		return
	}
	for _, e := range rest.Endpoints() {
		verb, template, _ := strings.Cut(e.Name, " ")
		if verb != method || !regexp.MustCompile("^"+inBraces.ReplaceAllString(regexp.QuoteMeta(template), "[^/]+")+"$").MatchString(path) {
			continue
		}
		for _, one := range e.Answers {
			if one == said || method == "HEAD" && strings.HasPrefix(one, said) {
				answered.Store(e.Name+" "+one, true)
				said = ""
			}
		}
		if said != "" {
			c.t.Errorf("%s answers %s, which it does not declare", e.Name, said)
		}
		return
	}
	c.t.Errorf("%s %s answers %s and is no endpoint", method, path, said)
}

// TestMain holds the declared answers to what the tests saw, once all of them have run.
func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.list").Value.String() == "" {
		for _, e := range rest.Endpoints() {
			for _, a := range e.Answers {
				if _, ok := answered.Load(e.Name + " " + a); !ok {
					fmt.Fprintf(os.Stderr, "no test saw %s answer %s, which it declares\n", e.Name, a)
					code = 1
				}
			}
		}
	}
	os.Exit(code)
}

// TestDocumentedEndpoints holds docs/CATALOG.md to the code.
func TestDocumentedEndpoints(t *testing.T) {
	b, err := os.ReadFile("../../docs/CATALOG.md")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	for _, e := range rest.Endpoints() {
		listed := ""
		if e.Listed {
			listed = "yes"
		}
		if e.Vends {
			listed = "with `s3.vend`"
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s |\n", e.Name, listed, strings.Join(e.Answers, ", "))
	}
	if !strings.Contains(string(b), want.String()) {
		t.Errorf("docs/CATALOG.md must hold this table:\n%s", want.String())
	}
}

// TestRefusals asks every endpoint for what is not there, and for what it does not do.
func TestRefusals(t *testing.T) {
	c := newClient(t)
	for _, e := range rest.Endpoints() {
		method, template, _ := strings.Cut(e.Name, " ")
		ask := func(warehouse, namespace, table, query string) {
			t.Helper()
			path := strings.NewReplacer("{prefix}", warehouse, "{namespace}", namespace, "{table}", table, "{view}", "v").Replace(template)
			if a := c.do(method, path+query); a.code >= 500 {
				t.Errorf("%s %s%s: %d %s", method, path, query, a.code, a.raw)
			}
		}
		ask("nope", "public", "t00", "")
		ask("app", "nope", "t00", "")
		ask("app", "public", "nope", "")
		ask("app", "public", "t00", "?pageToken=!&snapshots=some")
		ask("app", "public%1Fx", "t00", "?parent=public%1Fx")
	}
}
