package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/connect"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

const vendToken = "0123456789abcdef-canary"

// vendRig is a tarn on minio whose catalog hands out credentials.
type vendRig struct {
	*s3Rig
	sts *s3test.Proxy // between tarn and the STS
}

// newVendRig makes two tables, of which the one in Shop has 4711 rows. The STS is minio's, or one before it.
func newVendRig(t *testing.T, before func(sts string) string) *vendRig {
	t.Helper()
	if os.Getenv("TARN_MINIO") == "" {
		t.Skip("versitygw has no AssumeRole: make test-minio runs this")
	}
	for _, v := range os.Environ() { // no engine finds a key
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "AWS_") {
			t.Setenv(name, "")
			os.Unsetenv(name)
		}
	}
	r := &vendRig{s3Rig: &s3Rig{rig: &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}}}
	r.s3 = s3test.New(t, "lake")
	r.proxy = s3test.NewProxy(t, r.s3.URL)
	sts := r.s3.URL
	if before != nil {
		sts = before(sts)
	}
	r.sts = s3test.NewProxy(t, sts)
	r.pg = pgtest.NewTestServer(t, pgtest.Options{Major: 18, Databases: []string{database}})
	r.exec(`CREATE SCHEMA "Shop"`, `CREATE TABLE "Shop"."Or""der's" (id int)`, `INSERT INTO "Shop"."Or""der's" SELECT generate_series(1, 4711)`,
		`CREATE TABLE other AS SELECT generate_series(1, 815) AS id`)
	r.tarn = newTarnOn(t, r.pg.ReplConnString(database), t.TempDir(), "s3://lake/some/prefix")
	r.tarn.serveArgs = []string{"--log-level", "debug"}
	tokens := filepath.Join(r.tarn.dir, "tokens")
	text, err := os.ReadFile(r.tarn.config)
	if err != nil {
		t.Fatal(err)
	}
	yaml := strings.Replace(string(text), "catalog: {", fmt.Sprintf("catalog: {tokens_file: %q, ", tokens), 1) +
		fmt.Sprintf("s3: {vend: sts, vend_duration: 15m, endpoint: %q, sts_endpoint: %q, region: %s, access_key_id: %s, secret_access_key: %s}\n",
			r.proxy.URL, r.sts.URL, s3test.Region, s3test.AccessKeyID, s3test.SecretAccessKey)
	for path, content := range map[string]string{tokens: vendToken + "\n", r.tarn.config: yaml} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.tarn.startReady()
	r.publish()
	r.tarn.env = []string{connect.TokenVariable + "=" + vendToken, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/none", "AWS_SHARED_CREDENTIALS_FILE=/none"}
	return r
}

// load asks the catalog for a table as an engine does.
func (r *vendRig) load(namespace, table string) (code int, header http.Header, body []byte) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.tarn.catalogURL()+"/v1/"+database+"/namespaces/"+namespace+"/tables/"+url.PathEscape(table), http.NoBody)
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+vendToken)
	req.Header.Set("X-Iceberg-Access-Delegation", "vended-credentials")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// vendedStore is the store as one who was given a table's credential sees it, the prefix it is for and its secrets.
func (r *vendRig) vendedStore(namespace, table string) (store *objstore.S3, prefix string, secrets map[string]string) {
	r.t.Helper()
	code, _, body := r.load(namespace, table)
	var a struct {
		List []struct {
			Prefix string
			Config map[string]string
		} `json:"storage-credentials"`
	}
	if err := json.Unmarshal(body, &a); err != nil || code != 200 || len(a.List) != 1 {
		r.t.Fatalf("%d %s: %v", code, body, err)
	}
	c := a.List[0].Config
	o := r.s3.Options("")
	o.AccessKeyID, o.SecretAccessKey, o.SessionToken = c["s3.access-key-id"], c["s3.secret-access-key"], c["s3.session-token"]
	store, err := objstore.OpenS3(r.t.Context(), "lake", "", o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { store.Close() })
	return store, strings.TrimPrefix(a.List[0].Prefix, "s3://lake/"), map[string]string{"secret of " + table: o.SecretAccessKey, "token of " + table: o.SessionToken}
}

// What the catalog hands out for a table opens each of its files, and no other object of all that tarn has written.
func TestS3Vended(t *testing.T) {
	r := newVendRig(t, nil)
	shop, shopPrefix, secrets := r.vendedStore("Shop", oddTable)
	other, otherPrefix, more := r.vendedStore("public", "other")
	own, closed := map[string]int{}, 0
	err := r.s3.Open(t, "lake", "").List(t.Context(), "", func(o objstore.ObjectInfo) error {
		for _, s := range []struct {
			store  *objstore.S3
			prefix string
		}{{shop, shopPrefix}, {other, otherPrefix}} {
			_, _, err := s.store.Get(t.Context(), o.Key)
			if strings.HasPrefix(o.Key, s.prefix) {
				own[s.prefix]++
			} else if closed++; fault.CodeOf(err) == fault.StoreDenied {
				err = nil
			} else {
				err = fmt.Errorf("it is not refused: %w", err)
			}
			if err != nil {
				t.Errorf("%s with the credential for %s: %v", o.Key, s.prefix, err)
			}
			if _, err := s.store.Put(t.Context(), o.Key, nil); fault.CodeOf(err) != fault.StoreDenied {
				t.Errorf("%s is written with the credential for %s: %v", o.Key, s.prefix, err)
			}
		}
		return nil
	})
	if err != nil || own[shopPrefix] < 4 || own[otherPrefix] < 4 || closed < 20 {
		t.Errorf("%v, %d; %v", own, closed, err)
	}
	for _, name := range []string{"store.vend", "engines.jvm_io"} {
		if out, code := r.tarn.run("doctor"); code != 0 || !regexp.MustCompile(`(?m)^ok +`+regexp.QuoteMeta(name)+` `).MatchString(out) {
			t.Errorf("doctor, %d: no %s in\n%s", code, name, out)
		}
	}
	for what, secret := range more {
		secrets[what] = secret
	}
	secrets["own secret"] = s3test.SecretAccessKey
	r.downAndSilent(secrets)
}

// downAndSilent has the STS fail: the table it gave a credential for is read on, another's request is a 503, and doctor says
// what to do. Nothing of all this repeats a secret.
func (r *vendRig) downAndSilent(secrets map[string]string) {
	t := r.t
	t.Helper()
	r.exec(`CREATE TABLE late AS SELECT 1 AS id`)
	r.publish()
	r.sts.Inject(s3test.Fault{Status: 500, Code: "InternalError"})
	code, header, body := r.load("public", "late")
	if code != 503 || !bytes.Contains(body, []byte(`"ServiceUnavailableException"`)) || !bytes.Contains(body, []byte("TARN-0318")) {
		t.Errorf("no credential: %d %s", code, body)
	}
	said := bytes.NewBufferString(fmt.Sprint(header) + string(body))
	if code, _, body := r.load("public", "other"); code != 200 || !bytes.Contains(body, []byte(`"storage-credentials"`)) {
		t.Errorf("one that is still good: %d %s", code, body)
	}
	for _, args := range [][]string{{"doctor"}, {"doctor", "--json"}, {"status", "--json"}, {"connect", "duckdb"}, {"config", "print"}} {
		out, code := r.tarn.run(args...)
		said.WriteString(out)
		if args[0] == "doctor" && (code == 0 || !strings.Contains(out, "TARN-0318") || !strings.Contains(out, "s3.sts_endpoint")) {
			t.Errorf("doctor, with the STS down: %d\n%s", code, out)
		}
	}
	if metrics, err := http.Get("http://" + r.tarn.httpAddr + "/metrics"); err != nil {
		t.Error(err)
	} else {
		_, _ = io.Copy(said, metrics.Body)
		metrics.Body.Close()
	}
	r.sts.Clear()
	if code, _, body := r.load("public", "late"); code != 200 {
		t.Errorf("the STS is back: %d %s", code, body)
	}
	// A start does not wait for the STS.
	r.tarn.stop()
	r.sts.Inject(s3test.Fault{Status: 503, Code: "SlowDown"})
	r.tarn.startReady()
	r.sts.Clear()
	r.tarn.stop()
	log, err := os.ReadFile(r.tarn.logPath())
	if err != nil || !bytes.Contains(log, []byte("code=TARN-0318")) || !bytes.Contains(log, []byte("preflight: no credential")) {
		t.Errorf("the log does not say that there was no credential: %v", err)
	}
	if found := search(append(said.Bytes(), log...), secrets); found != nil {
		t.Errorf("tarn said %v", found)
	}
	a := &aviary{t: t, tarn: r.tarn}
	a.searchFiles(secrets)
}

// Each snippet that `tarn connect` prints is run with the catalog's token and no key of the store.
func TestS3VendedConnect(t *testing.T) {
	r := newVendRig(t, nil)
	for _, engine := range connect.Engines() {
		if engine == "psql" {
			continue // it does not read the store
		}
		t.Run(engine, func(t *testing.T) { runSnippet(t, r.tarn, engine, `Shop.`+oddTable, "", "4711") })
	}
}

// A credential that comes to its end sends Iceberg's own client to the endpoint for another.
func TestS3VendedRefresh(t *testing.T) {
	expiry := regexp.MustCompile(`<Expiration>[^<]*</Expiration>`)
	r := newVendRig(t, func(sts string) string {
		u, err := url.Parse(sts)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(u); p.Out.Host = p.In.Host },
			ModifyResponse: func(resp *http.Response) error {
				b, err := io.ReadAll(resp.Body)
				if err != nil {
					return err
				}
				soon := time.Now().Add(4 * time.Minute).UTC().Format(time.RFC3339) // within the five in which Iceberg wants a new one
				b = expiry.ReplaceAll(b, []byte("<Expiration>"+soon+"</Expiration>"))
				resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
				resp.Header.Set("Content-Length", strconv.Itoa(len(b)))
				return nil
			},
		})
		t.Cleanup(srv.Close)
		return srv.URL
	})
	runSnippet(t, r.tarn, "spark", `Shop.`+oddTable, "", "4711")
	log, err := os.ReadFile(r.tarn.logPath())
	if err != nil || !regexp.MustCompile(`path=\S*/credentials \S* ?.*status=200`).Match(log) {
		t.Errorf("Spark did not ask for another credential: %v", err)
	}
}
