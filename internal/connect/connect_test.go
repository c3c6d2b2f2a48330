package connect

import (
	"os"
	"strings"
	"testing"
)

var s3 = map[string]string{"s3.endpoint": "http://10.0.0.9:7070", "s3.path-style-access": "true", "s3.region": "eu-north-1", "client.region": "eu-north-1"}

// TestSnippets: each names catalog, warehouse and table, quoted so that no name can end its own quotes.
func TestSnippets(t *testing.T) {
	target := Target{CatalogURL: "http://h:1", Warehouse: "app@0/1A2B3C4D", Table: Table{"My \"Schema\"", "it's `x`"}, HTTP: "h:2", Source: "host=h port=3"}
	for _, engine := range Engines() {
		s, err := Snippet(engine, target)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"http://h:1", "app@0/1A2B3C4D"}
		if engine == "psql" {
			want = []string{"host=h port=3", "dbname='\\''app'\\''", "tarn wait --http h:2"}
		}
		for _, w := range want {
			if !strings.Contains(s, w) {
				t.Errorf("%s does not say %q:\n%s", engine, w, s)
			}
		}
		if strings.Contains(s, "%!") || !strings.HasSuffix(s, "\n") || strings.Contains(s, "\t") {
			t.Errorf("%s: %q", engine, s)
		}
	}
	if _, err := Snippet("excel", target); err == nil || !strings.Contains(err.Error(), "duckdb, pyiceberg") {
		t.Error(err)
	}
}

// TestS3: what engines do not hear of the store from the catalog is in the snippet, and no key.
func TestS3(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "canary")
	want := map[string][]string{
		"duckdb": {"ENDPOINT '10.0.0.9:7070'", "URL_STYLE 'path'", "USE_SSL false", "REGION 'eu-north-1'", "getenv('AWS_SECRET_ACCESS_KEY')"},
		"polars": {`"aws_endpoint_url": "http://10.0.0.9:7070"`, `"aws_allow_http": "true"`, `"aws_virtual_hosted_style_request": "false"`},
		"spark":  {"S3FileIO", `s3.endpoint", "http://10.0.0.9:7070"`, `client.region", "eu-north-1"`, "iceberg-aws-bundle"},
		"trino":  {"fs.native-s3.enabled=true", "s3.path-style-access=true", "${ENV:AWS_SECRET_ACCESS_KEY}"},
	}
	for engine, words := range want {
		s, err := Snippet(engine, Target{CatalogURL: "http://h:1", Warehouse: "app", Table: Table{"public", "orders"}, Store: s3})
		if err != nil || strings.Contains(s, "canary") {
			t.Fatal(err, s)
		}
		for _, w := range words {
			if !strings.Contains(s, w) {
				t.Errorf("%s does not say %q:\n%s", engine, w, s)
			}
		}
	}
}

// TestVends: where the catalog hands out credentials no snippet speaks of keys, and each asks for them.
func TestVends(t *testing.T) {
	want := map[string]string{
		"duckdb": "ATTACH 'app'", "pyiceberg": "load_catalog", "polars": "storage_options=storage",
		"spark": `header.X-Iceberg-Access-Delegation", "vended-credentials"`, "trino": "vended-credentials-enabled=true",
	}
	for engine, word := range want {
		target := Target{CatalogURL: "http://h:1", Token: true, Vends: true, Warehouse: "app", Table: Table{"public", "orders"}, Store: s3}
		s, err := Snippet(engine, target)
		if err != nil || !strings.Contains(s, word) || !strings.Contains(s, "No keys of the store are needed") || strings.Contains(s, "AWS_") || strings.Contains(s, "KEY_ID") {
			t.Errorf("%s, %v:\n%s", engine, err, s)
		}
		target.Vends = false
		if s, _ = Snippet(engine, target); strings.Contains(s, "vended") || strings.Contains(s, "No keys") {
			t.Errorf("%s of a catalog that hands out none:\n%s", engine, s)
		}
	}
}

// TestGuarded: what a catalog with TLS and tokens takes is in each engine's snippet, and no token.
func TestGuarded(t *testing.T) {
	t.Setenv(TokenVariable, "canary")
	want := map[string][]string{
		"duckdb":    {"SET ca_cert_file = '/o''brien/ca.pem'", "TOKEN getenv('TARN_CATALOG_TOKEN')", "SECRET tarn"},
		"pyiceberg": {`token=os.environ["TARN_CATALOG_TOKEN"]`, `os.environ["REQUESTS_CA_BUNDLE"] = "/o'brien/ca.pem"`, "import os\n"},
		"polars":    {`token=os.environ["TARN_CATALOG_TOKEN"]`, `os.environ["REQUESTS_CA_BUNDLE"] = "/o'brien/ca.pem"`, "import os\n"},
		"spark":     {`lake.token", os.environ["TARN_CATALOG_TOKEN"]`, "trustStore=lake-trust.p12", `"-file", "/o'brien/ca.pem"`},
		"trino":     {"oauth2.token=${ENV:TARN_CATALOG_TOKEN}", `-file '/o'\''brien/ca.pem'`, ">>etc/jvm.config"},
	}
	for engine, words := range want {
		target := Target{CatalogURL: "https://h:1", Token: true, CA: "/o'brien/ca.pem", Warehouse: "app", Table: Table{"public", "orders"}}
		s, err := Snippet(engine, target)
		if err != nil || strings.Contains(s, "canary") {
			t.Fatal(err, s)
		}
		for _, w := range words {
			if !strings.Contains(s, w) {
				t.Errorf("%s does not say %q:\n%s", engine, w, s)
			}
		}
		target.Token, target.CA = false, ""
		if s, _ = Snippet(engine, target); strings.Contains(s, TokenVariable) || strings.Contains(s, "trust") || strings.Contains(s, "BUNDLE") {
			t.Errorf("%s of an open catalog:\n%s", engine, s)
		}
	}
}

// TestVersionsAreThoseTested: the snippets name what the readers are pinned to.
func TestVersionsAreThoseTested(t *testing.T) {
	b, err := os.ReadFile("../tools/requirements.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, pin := range []string{"duckdb==" + DuckDBVersion, "duckdb-cli==" + DuckDBVersion, "pyiceberg[pyarrow]==" + PyIcebergVersion, "polars==" + PolarsVersion} {
		if !strings.Contains(string(b), pin+"\n") {
			t.Errorf("internal/tools/requirements.txt does not pin %s", pin)
		}
	}
}
