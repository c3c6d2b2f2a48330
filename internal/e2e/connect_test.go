package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/connect"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/listen/testcert"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// oddTable has a name that breaks whoever does not quote.
const oddTable = `Or"der's`

// Each snippet that `tarn connect` prints is run as it is: on a folder and on an S3 server, for a plain name and an odd one,
// for the newest publication and for one by its LSN.
func TestConnect(t *testing.T) {
	r := newRig(t, 18, []string{
		`CREATE TABLE orders (id int)`, `INSERT INTO orders SELECT generate_series(1, 4711)`,
		`CREATE SCHEMA "Shop"`, `CREATE TABLE "Shop"."Or""der's" (id int)`, `INSERT INTO "Shop"."Or""der's" SELECT generate_series(1, 815)`,
	})
	r.tarn.startReady()
	lsn := r.publish()
	r.exec(`INSERT INTO orders SELECT generate_series(1, 289)`)
	r.publish()
	for i, c := range []struct{ table, warehouse, count string }{
		{"public.orders", "", "5000"}, {"Shop." + oddTable, "", "815"}, {"public.orders", database + "@" + lsn.String(), "4711"},
	} {
		for _, engine := range connect.Engines() {
			t.Run(engine+" "+c.table+" "+c.warehouse, func(t *testing.T) {
				switch {
				case engine == "psql" && c.warehouse != "":
					t.Skip("Postgres has the newest rows alone")
				case engine == "trino":
					t.Skip("what install-engines installs of Trino reads no folders: TestConnectS3 has it")
				case engine == "spark" && i != 1:
					t.Skip("it takes long to start; the odd name asks most of it")
				}
				runSnippet(t, r.tarn, engine, c.table, c.warehouse, c.count)
			})
		}
	}
}

// The same where the files are in a bucket, and the schema's name has a dot.
func TestConnectS3(t *testing.T) {
	r := newS3Rig(t, 15)
	r.exec(`CREATE SCHEMA "sh.op"`, `CREATE TABLE "sh.op"."Or""der's" (id int)`, `INSERT INTO "sh.op"."Or""der's" SELECT generate_series(1, 4711)`)
	r.publish()
	for _, engine := range connect.Engines() {
		t.Run(engine, func(t *testing.T) { runSnippet(t, r.tarn, engine, "sh.op."+oddTable, "", "4711") })
	}
}

// The same where the catalog has a certificate of a CA of one's own and asks for a token.
func TestConnectGuarded(t *testing.T) {
	r := newS3Rig(t, 17)
	r.exec(`CREATE SCHEMA "Shop"`, `CREATE TABLE "Shop"."Or""der's" (id int)`, `INSERT INTO "Shop"."Or""der's" SELECT generate_series(1, 4711)`)
	r.publish()
	r.tarn.stop()
	dir := t.TempDir()
	ca, err := testcert.Make(dir, "ca", nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := testcert.Make(dir, "catalog", ca)
	if err != nil {
		t.Fatal(err)
	}
	const token = "0123456789abcdef-canary"
	tokens := filepath.Join(dir, "tokens")
	settings, err := os.ReadFile(r.tarn.config)
	if err != nil {
		t.Fatal(err)
	}
	guarded := strings.Replace(string(settings), "catalog: {", fmt.Sprintf("catalog: {tls: {cert: %q, key: %q}, tokens_file: %q, ", pair.Cert, pair.Key, tokens), 1)
	if err := errors.Join(os.WriteFile(tokens, []byte(token+"\n"), 0o600), os.WriteFile(r.tarn.config, []byte(guarded), 0o600)); err != nil {
		t.Fatal(err)
	}
	r.tarn.startReady()
	if out, code := r.tarn.run("connect", "spark", "--ca", tokens); code != 2 || !strings.Contains(out, "holds no PEM certificate") {
		t.Errorf("a CA that is none: %d %s", code, out)
	}
	r.tarn.env = append(r.tarn.env, connect.TokenVariable+"="+token)
	for _, engine := range connect.Engines() {
		if engine == "psql" {
			continue // it does not ask the catalog
		}
		t.Run(engine, func(t *testing.T) {
			runSnippet(t, r.tarn, engine, "Shop."+oddTable, "", "4711", "--ca", ca.Cert)
		})
	}
}

// publish waits until all that is committed is published, and gives the newest publication's LSN.
func (r *rig) publish() pg.LSN {
	r.t.Helper()
	flushed, err := demo.FlushLSN(r.t.Context(), r.pg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.tarn.waitPublished(flushed)
	list, err := r.tarn.client().Publications(r.t.Context())
	if err != nil || len(list) == 0 {
		r.t.Fatal(list, err)
	}
	return list[len(list)-1].LSN
}

// runSnippet prints a snippet and runs it; its output must have the count of rows in it.
func runSnippet(t *testing.T, tn *tarn, engine, table, warehouse, count string, more ...string) {
	t.Helper()
	args := append([]string{"connect", engine, "--table", table, "--warehouse", warehouse}, more...)
	snippet, code := tn.run(args...)
	if code != 0 {
		t.Fatalf("tarn %v: %s", args, snippet)
	}
	if strings.Contains(snippet, "canary") {
		t.Errorf("a secret in it:\n%s", snippet)
	}
	cmd := interpreter(t, engine)
	cmd.Dir = t.TempDir()
	if engine == "trino" {
		if err := os.MkdirAll(filepath.Join(cmd.Dir, "etc", "catalog"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = append(cmd.Env, tn.env...)
	cmd.Stdin = strings.NewReader(snippet)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	began := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s%s", err, snippet, out.String(), words.String())
	}
	t.Logf("%s in %s", engine, time.Since(began).Round(time.Millisecond))
	if fields := strings.FieldsFunc(out.String(), func(r rune) bool { return r < '0' || r > '9' }); !slices.Contains(fields, count) {
		t.Errorf("%s does not count %s rows:\n%s\n%s", engine, count, snippet, out.String())
	}
}

// interpreter is what the text of a snippet is pasted into.
func interpreter(t *testing.T, engine string) *exec.Cmd {
	t.Helper()
	env := os.Environ()
	switch engine {
	case "duckdb":
		python := python(t, lakecheck.DuckDB, "duckdb")
		cli := filepath.Join(filepath.Dir(python), "duckdb")
		if _, err := os.Stat(cli); err != nil {
			pgtest.Missing(t, "no duckdb beside ", python, ": run internal/tools/install-readers")
		}
		cmd := exec.CommandContext(t.Context(), cli)
		cmd.Env = append(env, "HOME="+duckdbHome(t, python))
		return cmd
	case "pyiceberg", "polars":
		cmd := exec.CommandContext(t.Context(), python(t, lakecheck.PyIceberg, "pyiceberg, "+strings.Replace(engine, "pyiceberg", "pyarrow", 1)), "-")
		cmd.Env = env
		return cmd
	case "psql":
		bin, err := binary()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath("psql"); err != nil {
			pgtest.Missing(t, err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-e")
		cmd.Env = append(env, "PATH="+filepath.Dir(bin)+":"+os.Getenv("PATH"), "PGUSER=postgres")
		return cmd
	}
	return jvmInterpreter(t, engine, env)
}

// python is one that can import some modules.
func python(t *testing.T, reader, modules string) string {
	t.Helper()
	path, err := lakecheck.FindPython(t.Context(), reader)
	if err != nil {
		pgtest.Missing(t, err)
	}
	if err := exec.CommandContext(t.Context(), path, "-c", "import "+modules).Run(); err != nil {
		pgtest.Missing(t, path, " cannot import ", modules, ": run internal/tools/install-readers")
	}
	return path
}

// duckdbHome is a home folder in which INSTALL finds the extensions that are in the Python environment, as it would find those
// it has fetched before.
func duckdbHome(t *testing.T, python string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), python, "-c",
		"import duckdb, sysconfig; print(duckdb.__version__, duckdb.sql('PRAGMA platform').fetchone()[0], sysconfig.get_path('purelib'))").Output()
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(out))
	home := t.TempDir()
	dir := filepath.Join(home, ".duckdb", "extensions", "v"+f[0], f[1])
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, e := range []string{"httpfs", "avro", "iceberg"} {
		name := e + ".duckdb_extension"
		if err := os.Symlink(filepath.Join(f[2], "duckdb_extension_"+e, "extensions", "v"+f[0], name), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return home
}
