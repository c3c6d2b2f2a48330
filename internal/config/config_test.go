package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const full = `store: file:///lake
data_dir: /var/lib/tarn
source: {url: "postgres://replicator:${PGPASS}@db/app?sslmode=verify-full", slot: tarn_a, synchronous: true}
catalog: {listen: 127.0.0.1:8181}
sql: {listen: 127.0.0.1:5433}
http: {listen: "[::1]:8080"}
publish: {interval: 250ms}
memory: 2GiB
tables:
  - match: "app.public.*"
    format_version: 2
    readers: [spark, trino, duckdb]
  - match: "app.private.*"
    exclude: true
`

func env(pairs ...string) func(string) (string, bool) {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

func load(t *testing.T, text string, environ func(string) (string, bool), flags map[string]string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tarn.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(Options{File: path, Env: environ, Flags: flags})
}

func TestLoad(t *testing.T) {
	c, err := load(t, full, env("PGPASS", "a#b: c"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Source{URL: "postgres://replicator:a#b: c@db/app?sslmode=verify-full", Slot: "tarn_a", Synchronous: true}); c.Source != want {
		t.Errorf("source %+v, want %+v", c.Source, want)
	}
	if c.Store != "file:///lake" || c.DataDir != "/var/lib/tarn" || c.HTTP.Listen != "[::1]:8080" || c.Publish.Interval != 250*time.Millisecond || c.Memory != 2<<30 {
		t.Errorf("got %+v", c)
	}
	if r := c.Tables.For("app", "public", "orders"); r.Exclude || !reflect.DeepEqual(r.Readers, []string{"spark", "trino", "duckdb"}) {
		t.Errorf("app.public.orders: %+v", r)
	}
	if !c.Tables.For("app", "private", "orders").Exclude || c.Tables.For("other", "private", "orders").Exclude {
		t.Error("exclude matches the wrong tables")
	}
}

// TestLayers: default < file < variable < flag, and each setting knows which it came from.
func TestLayers(t *testing.T) {
	text := "store: file:///a\ndata_dir: /a\nsource: {url: host=a}\n"
	c, err := load(t, text, env("TARN_STORE", "file:///b", "TARN_DATA_DIR", "/b", "TARN_SOURCE", ""), map[string]string{"store": "file:///c"})
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"store": "--store", "data_dir": "TARN_DATA_DIR", "source.url": "tarn.yaml:3", "memory": "default"} {
		if got := c.Origin(key); got != want {
			t.Errorf("%s comes from %s, want %s", key, got, want)
		}
	}
	if c.Store != "file:///c" || c.DataDir != "/b" || c.Source.URL != "host=a" {
		t.Errorf("got %+v", c)
	}
}

// TestGuardedListeners: with TLS and one kind of authentication any address will do.
func TestGuardedListeners(t *testing.T) {
	c, err := load(t, base+"http: {listen: \":8080\", tls: {cert: a.pem, key: /k, client_ca: ca}}\ncatalog: {listen: 0.0.0.0:8181, tls: {cert: a, key: b}, tokens_file: t}\npages: {listen: \":8282\", tls: {cert: a, key: b}, tokens_file: u}\n", env(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.Pages.Listen != ":8282" || !filepath.IsAbs(c.Pages.TLS.Key) || !filepath.IsAbs(c.Pages.TokensFile) {
		t.Errorf("%+v", c.Pages)
	}
	if !filepath.IsAbs(c.HTTP.TLS.Cert) || c.HTTP.TLS.Key != "/k" || !filepath.IsAbs(c.Catalog.TokensFile) || c.Origin("catalog.tokens_file") != "tarn.yaml:5" {
		t.Errorf("%+v %+v, from %s", c.HTTP, c.Catalog, c.Origin("catalog.tokens_file"))
	}
}

// base is a valid file that each bad case adds to.
const base = "store: file:///lake\ndata_dir: /d\nsource: {url: host=a}\n"

// bucket is base with a store that can have an STS, and tokens what it takes to hand out its credentials.
const (
	bucket = "store: s3://lake/p\ndata_dir: /d\nsource: {url: host=a}\n"
	tokens = "catalog: {tokens_file: /t}\n"
)

// TestVend: on only where it is asked for.
func TestVend(t *testing.T) {
	for text, want := range map[string]bool{"": false, "s3: {vend: off}\n": false, "s3: {vend: sts}\n": true,
		"s3: {vend: sts, endpoint: \"http://h:1\", sts_endpoint: \"https://sts.h\", role_arn: \"arn:aws-cn:iam::123456789012:role/a/b\", vend_duration: 15m}\n": true} {
		c, err := load(t, bucket+tokens+text, env(), nil)
		if err != nil || c.S3.Vend != want || want && c.S3.VendDuration < VendDurationMin {
			t.Errorf("%q: %+v, %v", text, c, err)
		}
	}
}

// TestBadSettings: each mistake is one line with where, what and a fix.
func TestBadSettings(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{base + "stroe: x\n", "tarn.yaml:4: unknown key stroe: did you mean store?"},
		{base + "http: {lisen: x}\n", "tarn.yaml:4: unknown key lisen in http: did you mean listen?"},
		{base + "zzzzzzzz: 1\n", "tarn.yaml:4: unknown key zzzzzzzz: known keys are store, s3, data_dir,"},
		{base + "tables:\n  - match: a.b.c\n    exlude: true\n", "tarn.yaml:6: unknown key exlude in tables: did you mean exclude?"},
		{base + "tables:\n  - exclude: true\n", "tarn.yaml:5: a rule of tables has no match"},
		{base + "tables:\n  - match: a.b\n", `tarn.yaml:5: match of a rule in tables is "a.b": write "database.schema.table"`},
		{base + "tables:\n  - {match: a.b.c, partition_by: [fortnight(x)]}\n", "fortnight is no transform"},
		{base + "tables:\n  - {match: a.b.c, partition_by: [bucket(x)]}\n", "write bucket(N, column)"},
		{base + "tables:\n  - {match: a.b.c, partition_by: ['bucket(0, x)']}\n", "write bucket with a number from 1 to 2147483647"},
		{base + "tables:\n  - {match: a.b.c, partition_by: [x y]}\n", "names no column"},
		{base + "tables:\n  - {match: a.b.c, partition_by: [day(x), hour(x)]}\n", "hour of column x is there beside day of it"},
		{base + "tables:\n  - {match: a.b.c, partition_by: x}\n", "partition_by is not a list"},
		{base + "tables:\n  - {match: a.b.c, target_file_size: 1000kB}\n", "write a size of at least 1MiB"},
		{base + "tables:\n  - {match: a.b.c, sort_by: [x]}\n", "sort_by is not supported yet"},
		{base + "tables:\n  - {match: a.b.c, format_version: 4}\n", `format_version of a rule in tables is "4": write 2 or 3`},
		{base + "tables:\n  - {match: a.b.c, readers: [sparc]}\n", "sparc is no known reader"},
		{base + "tables:\n  - {match: a.b.c, out_of_range: zero}\n", `out_of_range of a rule in tables is "zero": write null, clamp or error`},
		{base + "tables:\n  - {match: a.b.c, numeric: \"decimal(39,2)\"}\n", "write string or decimal(p,s), p from 1 to 38"},
		{base + "tables:\n  - {match: a.b.c, numeric: \"decimal(5,6)\"}\n", "s from 0 to p"},
		{base + "tables:\n  - {match: a.b.c, columns: [x]}\n", `columns of a rule in tables holds no mapping: write columns: {name: {type: "decimal(18,2)"}}`},
		{base + "tables:\n  - {match: a.b.c, columns: {x: string}}\n", "tarn.yaml:5: column x of a rule in tables holds no mapping"},
		{base + "tables:\n  - {match: a.b.c, columns: {x: {typ: string}}}\n", "unknown key typ in tables[].columns: did you mean type?"},
		{base + "tables:\n  - {match: a.b.c, columns: {x: {type: float}}}\n", `columns.x.type of a rule in tables is "float": write string or decimal(p,s)`},
		{base + "tables:\n  - {match: a.b.c, readers: spark}\n", "readers is not a list: write readers: [spark]"},
		{base + "tables:\n  - {match: a.b.c, history: 30d}\n", `history of a rule in tables is "30d": write true or false`},
		{base + "tables:\n  - {match: a.b.c, partitions: both}\n", `partitions of a rule in tables is "both": write root for one table`},
		{base + "tables:\n  - {match: a.b.c, write_mode: cow}\n", `write_mode of a rule in tables is "cow": write merge-on-read for`},
		{base + "tables:\n  - {match: a.b.c, parquet: true}\n", "tarn.yaml:5: parquet of the rule for a.b.c in tables is true: write write_mode: copy-on-write"},
		{base + "tables:\n  - {match: a.b.c, parquet: true, write_mode: copy-on-write, format_version: 3}\n", "format_version: 2 (or none) beside it"},
		{base + "tables:\n  - {match: a.b.c, version_hint: maybe}\n", `version_hint of a rule in tables is "maybe": write true or false`},
		{base + "tables: {match: x}\n", "tarn.yaml:4: tables holds no list"},
		{base + "publish: {databases: {app: {interval: 5s}}}\n", "publish.databases.app.interval is not supported yet"},
		{base + "history: {window: 7 days}\n", `tarn.yaml:4: history.window is "7 days": write a time such as 7d`},
		{base + "history: {window: -1h}\n", `history.window is "-1h": write a time such as 7d`},
		{base + "history: {window: -1d}\n", `history.window is "-1d": write a time such as 7d`},
		{base + "history: {max_wal: much}\n", `history.max_wal is "much": write a size`},
		{base + "publish: {interval: 5}\n", `tarn.yaml:4: publish.interval is "5": write a number with a unit`},
		{base + "publish: {interval: 1ns}\n", "publish.interval is 1ns: write between"},
		{base + "memory: lots\n", `memory is "lots": write a size such as`},
		{base + "memory: 1KiB\n", "memory is 1KiB: write at least 64MiB"},
		{base + "http: {listen: 0.0.0.0:8080}\n", "tarn.yaml:4: http.listen 0.0.0.0:8080 can be reached from other hosts"},
		{base + "pages: {listen: \":8282\"}\n", "pages.listen :8282 can be reached from other hosts without TLS and authentication: listen on 127.0.0.1:8282, or set pages.tls.cert, pages.tls.key and pages.tokens_file"},
		{base + "pages: {listen: \":8282\", tls: {cert: a, key: b}}\n", "pages.listen :8282 can be reached"},
		{base + "pages: {listen: 127.0.0.1:8181}\n", "catalog.listen and pages.listen share port 8181"},
		{base + "pages: {port: 8282}\n", "unknown key port in pages"},
		{base + "catalog: {listen: \":8181\"}\n", "catalog.listen :8181 can be reached from other hosts"},
		{base + "catalog: {listen: \":8181\", tls: {cert: a, key: b}}\n", "catalog.listen :8181 can be reached from other hosts without TLS and authentication: listen on 127.0.0.1:8181, or set catalog.tls.cert, catalog.tls.key and catalog.tokens_file"},
		{base + "catalog: {listen: \":8181\", tokens_file: t}\n", "catalog.listen :8181 can be reached"},
		{base + "sql: {listen: \":5433\"}\n", "sql.listen :5433 can be reached from other hosts without TLS and authentication: listen on 127.0.0.1:5433"},
		{base + "http: {tls: {cert: a}}\n", "tarn.yaml:4: http.tls.cert is set and http.tls.key is not: name the certificate's private key"},
		{base + "http: {tls: {key: a}}\n", "http.tls.key is set and http.tls.cert is not"},
		{base + "http: {tls: {client_ca: a}}\n", "http.tls.client_ca is set and http.tls.cert is not"},
		{base + "http: {tls: {ca: a}}\n", "unknown key ca in http.tls"},
		{base + "http: {tls: a}\n", "http.tls holds no mapping: write cert, key, client_ca as key: value"},
		{base + "sql: {tokens_file: a}\n", "unknown key tokens_file in sql"},
		{base + "sql: {listen: 127.0.0.1}\n", "write host:port"},
		{base + "sql: {listen: 127.0.0.1:8080}\n", "sql.listen and http.listen share port 8080"},
		{base + "s3: {vend: yes}\n", `tarn.yaml:4: s3.vend is "yes": write off, or sts`},
		{base + "s3: {vend: sts}\n", `tarn.yaml:4: s3.vend is sts and store is "file:///lake": name an s3:// store`},
		{bucket + "s3: {vend: sts}\n", "tarn.yaml:4: s3.vend is sts and catalog.tokens_file is not set: set catalog.tokens_file"},
		{bucket + "s3: {vend: off, role_arn: \"arn:aws:iam::1:role/x\"}\n", "tarn.yaml:4: s3.role_arn is set and s3.vend is off: set s3.vend to sts, or remove s3.role_arn"},
		{bucket + "s3: {sts_endpoint: \"http://h\"}\n", "s3.sts_endpoint is set and s3.vend is off"},
		{bucket + "s3: {vend_duration: 1h}\n", "s3.vend_duration is set and s3.vend is off"},
		{bucket + tokens + "s3: {vend: sts, sts_endpoint: \"h:9000\"}\n", `s3.sts_endpoint is "h:9000": write http://host:port or https://host`},
		{bucket + tokens + "s3: {vend: sts, sts_endpoint: \"https://u:hunter2@h\"}\n", `s3.sts_endpoint is "https://u:xxxxx@h": write`},
		{bucket + tokens + "s3: {vend: sts, role_arn: engines}\n", `s3.role_arn is "engines": write arn:aws:iam::ACCOUNT:role/NAME`},
		{bucket + tokens + "s3: {vend: sts, vend_duration: 1m}\n", "s3.vend_duration is 1m0s: write between 15m0s and 12h0m0s"},
		{bucket + tokens + "s3: {vend: sts, vend_duration: 13h}\n", "s3.vend_duration is 13h0m0s: write between"},
		{bucket + tokens + "s3: {vend: sts, vend_duration: 60}\n", "write a number with a unit"},
		{"store: ftp://x\ndata_dir: /d\n", `store is "ftp://x"`},
		{"store: file://x\ndata_dir: /d\n", "with three slashes"},
		{"store: file:///d\ndata_dir: /d\nsource: {url: host=a}\n", "data_dir and store are the same folder"},
		{"data_dir: /d\n", "store is not set: set store in tarn.yaml, --store or TARN_STORE"},
		{"store: file:///d\n", "data_dir is not set"},
		{"store: file:///d\ndata_dir: /e\n", "source.url is not set"},
		{"store: file:///d\ndata_dir: /e\nsource: {url: mysql}\n", `tarn.yaml:3: source.url is "mysql"`},
		{"store: file:///d\ndata_dir: /e\nsource: {url: \"mysql://u@h/db?a=b\"}\n", `tarn.yaml:3: source.url is "mysql://u@h/db?a=b": write postgres://`},
		{base + "source: {slot: Tarn-1}\n", "not YAML"}, // a key twice
		{"store: file:///d\ndata_dir: /e\nsource: {url: host=a, slot: Tarn-1}\n", `tarn.yaml:3: source.slot is "Tarn-1"`},
		{"store: file:///d\ndata_dir: /e\nsource: {url: host=a, synchronous: yes}\n", "write true or false"},
		{"store: file:///d\ndata_dir: /e\nsource: {url: \"host=${NOPE}\"}\n", "tarn.yaml:3: source.url: environment variable NOPE is not set"},
		{"store: file:///d\ndata_dir: /e\nsource: {url: host=a, admin_url: db}\n", "source.admin_url is \"db\": write postgres://user@host/db"},
		{"source: postgres://db\n", "tarn.yaml:1: source holds no mapping: write url, slot, synchronous, admin_url, atomic_writes as key: value"},
		{"store: [a]\n", "store is a list: write one value"},
		{"store:\n", "store has no single value"},
		{"just text\n", "the file holds no mapping"},
		{"store: \"a\n", "not YAML"},
		{"a: b\n---\nc: d\n", "unknown key a"},
	} {
		_, err := load(t, c.text, env(), nil)
		if err == nil {
			t.Errorf("accepted:\n%s", c.text)
			continue
		}
		if got := err.Error(); !strings.Contains(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("got  %s\nwant %s\nfor:\n%s", got, c.want, c.text)
		}
	}
}

func TestHTTPNeedsNothingElse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tarn.yaml")
	if err := os.WriteFile(path, []byte("source: {url: \"${UNSET}\"}\nhttp: {listen: 127.0.0.1:9999}\nmemory: lots\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := HTTP(Options{File: path, Env: env()}); got.Listen != "127.0.0.1:9999" || err != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestErrorsHidePasswords(t *testing.T) {
	for _, dsn := range []string{
		"postgres://u:hunter2@h/db", "postgresql://u:hunter2/x@h/db", "postgres://u@h/db?password=hunter2",
		"host=h password=hunter2 user=u", "host=h password='hunter2 \\'x' user=u", "host=h sslpassword = hunter2",
	} {
		got := Redact(dsn)
		if strings.Contains(got, "hunter2") || !strings.Contains(got, "h") {
			t.Errorf("Redact(%q) = %q", dsn, got)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern string
		name    [3]string
		want    bool
	}{
		{"app.public.*", [3]string{"app", "public", "orders"}, true},
		{"app.public.*", [3]string{"app", "publicX", "orders"}, false},
		{"*.*.*", [3]string{"a", "b", "c.d"}, true},
		{"app.public.ev*_20*", [3]string{"app", "public", "events_2024"}, true},
		{"app.public.ev*_20*", [3]string{"app", "public", "events_1999"}, false},
		{`app.public."a.*"`, [3]string{"app", "public", "a.*"}, true},
		{`app.public."a.*"`, [3]string{"app", "public", "a.b"}, false},
		{`app.public."a""b"`, [3]string{"app", "public", `a"b`}, true},
	} {
		p, err := ParsePattern(c.pattern)
		if err != nil {
			t.Fatalf("%s: %v", c.pattern, err)
		}
		if got := p.Matches(c.name[0], c.name[1], c.name[2]); got != c.want {
			t.Errorf("%s matches %v: %v, want %v", c.pattern, c.name, got, c.want)
		}
	}
	for _, bad := range []string{"", "a", "a.b", "a.b.c.d", "a..c", `a.b."c`, `a.b."c"d`, `a.b.""`, "a.b."} {
		if _, err := ParsePattern(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestSizes(t *testing.T) {
	for in, want := range map[string]Size{"0": 0, "512": 512, "64MiB": 64 << 20, "2GiB": 2 << 30, "1 TB": 1 << 40, "8kB": 8192} {
		if got, err := ParseSize(in); got != want || err != nil {
			t.Errorf("%q: %d, %v", in, got, err)
		}
	}
	for _, bad := range []string{"", "GiB", "-1", "1.5GiB", "1XB", "9999999999TiB", "GiB2"} {
		if n, err := ParseSize(bad); err == nil {
			t.Errorf("%q accepted as %d", bad, n)
		}
	}
	if s := Size(2 << 30).String(); s != "2GiB" {
		t.Error(s)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("a: &x [*x]\n? b\n: c"))
	f.Fuzz(func(t *testing.T, data []byte) {
		entries, err := parse("tarn.yaml", data)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n") {
				t.Fatalf("error of several lines: %q", err)
			}
			return
		}
		c := defaults()
		for _, e := range entries {
			if err := c.setEntry(e, env()); err != nil {
				return
			}
		}
	})
}
