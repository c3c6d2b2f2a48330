package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/listen/testcert"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// canaries are secrets that nothing may repeat, by what they are.
var canaries = map[string]string{
	"password": "canaryPassword7f3a", "wrong password": "canaryWrong91bc", "S3 secret": "canaryS3Secret55d0", "S3 session": "canaryS3Session0e1f",
	"http token": "canaryHTTPToken4410", "catalog token": "canaryCatalogToken2b7d", "tried token": "canaryTriedToken88aa",
}

// aviary collects what tarn says, and looks for canaries in it.
type aviary struct {
	t    *testing.T
	tarn *tarn
	said bytes.Buffer
}

func (a *aviary) sing(text string) { a.said.WriteString(text + "\n") }

// run runs a verb with a canary in every variable that holds a secret.
func (a *aviary) run(wantCode int, args ...string) {
	a.t.Helper()
	path, err := binary()
	if err != nil {
		a.t.Fatal(err)
	}
	cmd := exec.CommandContext(a.t.Context(), path, args...)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+canaries["wrong password"], "AWS_ACCESS_KEY_ID=key", "AWS_REGION=local", "AWS_MAX_ATTEMPTS=1",
		"AWS_SECRET_ACCESS_KEY="+canaries["S3 secret"], "AWS_SESSION_TOKEN="+canaries["S3 session"], "TARN_HTTP_TOKEN="+canaries["http token"])
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != wantCode {
		a.t.Errorf("tarn %v: exit code %d, want %d: %s", args, code, wantCode, out)
	}
	a.sing(string(out))
}

// ask takes an HTTP answer, headers and all.
func (a *aviary) ask(wantCode int, url, token string) {
	a.t.Helper()
	req, err := http.NewRequestWithContext(a.t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		a.t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}).Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	if resp.StatusCode != wantCode {
		a.t.Errorf("%s: %d, want %d: %s", url, resp.StatusCode, wantCode, body)
	}
	a.sing(fmt.Sprint(resp.Header) + string(body))
}

// search names what of the canaries is in some text.
func search(text []byte, secrets map[string]string) (found []string) {
	for what, secret := range secrets {
		if bytes.Contains(text, []byte(secret)) {
			found = append(found, what)
		}
	}
	return found
}

// TestNoSecretIsRepeated: passwords, tokens and keys go in by every way there is, with right and with wrong settings, and come
// out nowhere: not on stdout or stderr, in logs, HTTP answers or a dump of goroutines, nor in a file of the data
// directory or the store.
func TestNoSecretIsRepeated(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{Databases: []string{database}})
	if err := srv.Exec(t.Context(), database, `ALTER ROLE replicator PASSWORD '`+canaries["password"]+`'`, `CREATE TABLE t AS SELECT 1 AS i`); err != nil {
		t.Fatal(err)
	}
	url := func(password string) string {
		return fmt.Sprintf("postgres://replicator:%s@127.0.0.1:%d/%s?sslmode=disable", password, srv.Port(), database)
	}
	a := &aviary{t: t, tarn: newTarn(t, url(canaries["password"]))}
	secrets := a.guard()
	a.tarn.serveArgs = []string{"--log-level", "debug"}
	a.tarn.start()
	a.wait()

	for _, args := range [][]string{{"status"}, {"status", "--json"}, {"tables"}} {
		a.run(0, append(args, "--config", a.tarn.config)...)
	}
	a.run(1, "resync", "app.public.nope", "--config", a.tarn.config)
	a.run(1, "status", "--http", "https://"+a.tarn.httpAddr)
	for _, path := range []string{"/metrics", "/api/v1/status", "/readyz", "/healthz"} {
		a.ask(200, "https://"+a.tarn.httpAddr+path, canaries["http token"])
	}
	a.ask(401, "https://"+a.tarn.httpAddr+"/metrics", canaries["tried token"])
	a.ask(200, "https://"+a.tarn.catalogAddr+"/v1/config?warehouse="+database, canaries["catalog token"])
	a.ask(200, "https://"+a.tarn.catalogAddr+"/v1/"+database+"/namespaces/public/tables/t", canaries["catalog token"])
	a.ask(401, "https://"+a.tarn.catalogAddr+"/v1/config", canaries["tried token"])
	a.wrongSettings(url(canaries["wrong password"]), srv.Port())

	a.reload()

	// A dump of all goroutines, as a panic prints.
	if err := a.tarn.cmd.Process.Signal(syscall.SIGQUIT); err != nil {
		t.Fatal(err)
	}
	<-a.tarn.exited
	if log, err := os.ReadFile(a.tarn.logPath()); err != nil || !bytes.Contains(log, []byte("goroutine ")) {
		t.Errorf("no dump in the log: %v", err)
	}
	if found := search(a.said.Bytes(), secrets); found != nil {
		t.Errorf("tarn said %v:\n%s", found, a.said.String())
	}
	a.searchFiles(secrets)
}

// guard puts TLS, tokens and an S3 secret into the configuration, and returns all secrets.
func (a *aviary) guard() map[string]string {
	t := a.t
	t.Helper()
	dir := filepath.Join(a.tarn.dir, "secret")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	cert, err := testcert.Make(dir, "server", nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(a.tarn.config)
	if err != nil {
		t.Fatal(err)
	}
	yaml := string(text)
	for _, name := range []string{"http", "catalog"} {
		tokens := filepath.Join(dir, name+"-tokens")
		token := canaries[map[string]string{"http": "http token", "catalog": "catalog token"}[name]]
		if err := os.WriteFile(tokens, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		yaml = strings.Replace(yaml, name+": {", fmt.Sprintf("%s: {tls: {cert: %q, key: %q}, tokens_file: %q, ", name, cert.Cert, cert.Key, tokens), 1)
	}
	yaml += fmt.Sprintf("s3: {secret_access_key: %s}\n", canaries["S3 secret"])
	if err := os.WriteFile(a.tarn.config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(cert.Key)
	if err != nil {
		t.Fatal(err)
	}
	secrets := map[string]string{"TLS key": strings.Split(string(key), "\n")[1]}
	for what, secret := range canaries {
		secrets[what] = secret
	}
	if len(secrets["TLS key"]) < 40 || search(text, secrets) == nil {
		t.Fatal("the search finds nothing where there is something")
	}
	return secrets
}

// wait waits until the table is published.
func (a *aviary) wait() {
	a.t.Helper()
	for deadline := time.Now().Add(readyTimeout); ; time.Sleep(100 * time.Millisecond) {
		out, _ := a.tarn.run("status", "--json")
		a.sing(out)
		if strings.Contains(out, `"live"`) {
			return
		}
		if !a.tarn.running() || time.Now().After(deadline) {
			a.t.Fatalf("table t is not published: %s", out)
		}
	}
}

// reload has the server read a tokens file that is no good on each SIGHUP: it says so and goes on with the former one.
func (a *aviary) reload() {
	a.t.Helper()
	tokens := filepath.Join(a.tarn.dir, "secret", "http-tokens")
	if err := os.WriteFile(tokens, []byte(canaries["tried token"]+" and a blank\n"), 0o600); err != nil {
		a.t.Fatal(err)
	}
	said := func() int {
		log, err := os.ReadFile(a.tarn.logPath())
		if err != nil {
			a.t.Fatal(err)
		}
		return bytes.Count(log, []byte("line 1 is no token"))
	}
	// Once for the change, and then for each signal, which alone asks for files that are as before.
	for want := 1; want <= 3; want++ {
		if err := a.tarn.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			a.t.Fatal(err)
		}
		for deadline := time.Now().Add(30 * time.Second); said() < want; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				a.t.Fatalf("the log speaks of it %d times, want %d", said(), want)
			}
		}
	}
	a.ask(200, "https://"+a.tarn.httpAddr+"/metrics", canaries["http token"])
}

// wrongSettings are refused, each with a secret close by.
func (a *aviary) wrongSettings(wrongURL string, port int) {
	store, data := "file://"+filepath.Join(a.tarn.dir, "lake2"), filepath.Join(a.tarn.dir, "data2")
	serve := func(code int, args ...string) {
		a.t.Helper()
		a.run(code, append([]string{"serve", "--log-level", "debug", "--data-dir", data, "--http-listen", freeAddr(a.t), "--catalog-listen", freeAddr(a.t)}, args...)...)
	}
	serve(1, "--store", store, "--source", wrongURL)
	serve(1, "--store", store, "--source", fmt.Sprintf("host=127.0.0.1 port=%d user=replicator dbname=%s sslmode=disable", port, database)) // PGPASSWORD
	serve(2, "--store", store, "--source", strings.Replace(wrongURL, "postgres:", "mysql:", 1))
	serve(2, "--store", store, "--source", strings.Replace(wrongURL, "sslmode=disable", "sslmode=never", 1))
	serve(2, "--store", store, "--source", wrongURL+"&password="+canaries["password"]+"&nonsense=%zz")
	serve(2, "--store", "nonsense://x", "--source", wrongURL)
	for i, text := range []string{
		"s3: {secret_access_key: " + canaries["S3 secret"] + ", secret_acces_key: x}\n",
		"s3: {secret_access_key: [" + canaries["S3 secret"] + "]}\n",
		"s3: {secret_access_key: {" + canaries["S3 secret"] + ": 1}}\n",
		"source: {url: \"" + wrongURL + "\n",
		"source: {url: [\"" + wrongURL + "\"]}\n",
		"source: " + wrongURL + "\n",
		"store: file:///x\ndata_dir: /y\nhttp: {tokens_file: " + filepath.Join(a.tarn.dir, "secret", "server.key") + "}\nsource: {url: host=h}\n",
		"store: file:///x\ndata_dir: /y\nhttp: {tls: {cert: " + filepath.Join(a.tarn.dir, "secret", "server.key") + ", key: " + filepath.Join(a.tarn.dir, "secret", "server.key") + "}}\nsource: {url: host=h}\n",
	} {
		path := filepath.Join(a.tarn.dir, "secret", fmt.Sprintf("wrong%d.yaml", i))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			a.t.Fatal(err)
		}
		a.run(2, "serve", "--config", path)
	}
}

// searchFiles looks through everything that tarn wrote: all under the test's folder but what holds its settings.
func (a *aviary) searchFiles(secrets map[string]string) {
	a.t.Helper()
	files := 0
	err := filepath.WalkDir(a.tarn.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if d != nil && d.Name() == "secret" {
				return filepath.SkipDir
			}
			return err
		}
		if path == a.tarn.config {
			return nil
		}
		b, err := os.ReadFile(path)
		if found := search(b, secrets); found != nil {
			a.t.Errorf("%s holds %v", path, found)
		}
		files++
		return err
	})
	if err != nil || files < 10 {
		a.t.Errorf("%d files looked through: %v", files, err)
	}
}
