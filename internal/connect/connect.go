// Package connect writes what one pastes to read a table of the lake with an engine, or to wait from psql for what one has
// written. A snippet runs as it is: names are quoted as the engine wants them, versions are those tarn is tested with, and
// the store is described as far as the engine does not hear of it from the catalog. No secret is ever in it: keys of an S3
// store come from the AWS variables of whoever runs it, or from a catalog that vends them, and the catalog's token from
// TokenVariable.
package connect

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/tarn-db/tarn/internal/fault"
)

// The versions the snippets are for.
const (
	DuckDBVersion       = "1.5.5"
	PyIcebergVersion    = "0.12.0"
	PolarsVersion       = "2.1.0"
	SparkVersion        = "4.1.4"
	SparkIcebergVersion = "1.12.0"
	TrinoVersion        = "483"
)

// Table is a table of the lake, unquoted.
type Table struct{ Namespace, Name string }

// Target is what to connect to.
type Target struct {
	CatalogURL string            // http://host:port
	Token      bool              // the catalog asks for a bearer token
	Vends      bool              // the catalog hands out credentials for the files of an S3 store: no keys are needed
	CA         string            // PEM file of the CA that signed the catalog's certificate, an absolute path; empty if the system knows it
	Warehouse  string            // database or database@LSN
	Table      Table             // one to show
	Store      map[string]string // what engines must know of the store (objstore.EngineProperties); nil for a folder
	HTTP       string            // host:port of http.listen, for psql
	Source     string            // libpq string of the source without user and password, for psql
}

var engines = []struct {
	name  string
	write func(Target) string
}{
	{"duckdb", duckdb}, {"pyiceberg", pyiceberg}, {"polars", polars}, {"spark", spark}, {"trino", trino}, {"psql", psql},
}

// Engines lists what Snippet knows.
func Engines() []string {
	names := make([]string, len(engines))
	for i, e := range engines {
		names[i] = e.name
	}
	return names
}

// Snippet is what to paste for an engine.
func Snippet(engine string, t Target) (string, error) {
	for _, e := range engines {
		if e.name == engine {
			return strings.TrimLeft(e.write(t), "\n"), nil
		}
	}
	return "", fault.Errorf(fault.Usage, "%q is no engine with a snippet: write one of %s", engine, strings.Join(Engines(), ", "))
}

func (t Target) s3() bool { return t.Store != nil }

// keyless is a line that says why there are no keys of the store where they would otherwise be.
func (t Target) keyless(comment string) string {
	if !t.s3() || !t.Vends {
		return ""
	}
	return comment + " No keys of the store are needed: the catalog hands out credentials for each table.\n"
}

// endpoint is the S3 endpoint in the parts DuckDB wants; empty for Amazon's own.
func (t Target) endpoint() (host string, tls bool) {
	u, err := url.Parse(t.Store["s3.endpoint"])
	if err != nil {
		return "", true
	}
	return u.Host, u.Scheme != "http"
}

// region is where the bucket is; services other than Amazon's take the default's name.
func (t Target) region() string {
	if r := t.Store["s3.region"]; r != "" {
		return r
	}
	return "us-east-1"
}

func quoteSQL(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func literalSQL(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func quoteSpark(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// quoteShell makes one word of a POSIX shell.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// quotePython makes a Python string. Every rune outside printable ASCII is escaped.
func quotePython(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r >= ' ' && r < 0x7f:
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	return b.String() + `"`
}

func duckdb(t Target) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- DuckDB %s: tarn connect duckdb | duckdb\n%sINSTALL httpfs; LOAD httpfs;\nINSTALL iceberg; LOAD iceberg;\n", DuckDBVersion, t.keyless("--"))
	if t.s3() && !t.Vends {
		fmt.Fprintf(&b, "CREATE SECRET (TYPE s3, KEY_ID getenv('AWS_ACCESS_KEY_ID'), SECRET getenv('AWS_SECRET_ACCESS_KEY'), SESSION_TOKEN getenv('AWS_SESSION_TOKEN'), REGION %s", literalSQL(t.region()))
		if host, tls := t.endpoint(); host != "" {
			style := "vhost"
			if t.Store["s3.path-style-access"] == "true" {
				style = "path"
			}
			fmt.Fprintf(&b, ", ENDPOINT %s, URL_STYLE '%s', USE_SSL %v", literalSQL(host), style, tls)
		}
		b.WriteString(");\n")
	}
	before, option := t.duckdbGuard()
	fmt.Fprintf(&b, "%sATTACH %s AS lake (TYPE iceberg, ENDPOINT %s, %s);\nSELECT count(*) FROM lake.%s.%s;\n",
		before, literalSQL(t.Warehouse), literalSQL(t.CatalogURL), option, quoteSQL(t.Table.Namespace), quoteSQL(t.Table.Name))
	return b.String()
}

// loadCatalog opens the catalog with PyIceberg, which hears of the store from it and finds keys in the AWS variables.
func loadCatalog(t Target) string {
	before, arguments := t.pythonGuard()
	return before + fmt.Sprintf("catalog = load_catalog(\"tarn\", type=\"rest\", uri=%s, warehouse=%s%s)\ntable = catalog.load_table((%s, %s))\n",
		quotePython(t.CatalogURL), quotePython(t.Warehouse), arguments, quotePython(t.Table.Namespace), quotePython(t.Table.Name))
}

func pyiceberg(t Target) string {
	imports := ""
	if t.guarded() {
		imports = "import os\n\n"
	}
	return "# pip install 'pyiceberg[pyarrow]==" + PyIcebergVersion + "'\n" + t.keyless("#") + imports + "from pyiceberg.catalog import load_catalog\n\n" + loadCatalog(t) +
		"print(table.scan().count())\nprint(table.scan(limit=10).to_arrow())\n"
}

func polars(t Target) string {
	var b strings.Builder
	b.WriteString("# pip install polars==" + PolarsVersion + " 'pyiceberg[pyarrow]==" + PyIcebergVersion + "'\n" + t.keyless("#"))
	if t.s3() && !t.Vends || t.guarded() {
		b.WriteString("import os\n\n")
	}
	b.WriteString("import polars as pl\nfrom pyiceberg.catalog import load_catalog\n\n" + loadCatalog(t))
	if !t.s3() {
		return b.String() + "print(pl.scan_iceberg(table).select(pl.len()).collect().item())\n"
	}
	b.WriteString("storage = {\n    \"aws_region\": " + quotePython(t.region()) + ",\n")
	if endpoint := t.Store["s3.endpoint"]; endpoint != "" {
		fmt.Fprintf(&b, "    \"aws_endpoint_url\": %s,\n    \"aws_allow_http\": \"%v\",\n", quotePython(endpoint), strings.HasPrefix(endpoint, "http://"))
	}
	fmt.Fprintf(&b, "    \"aws_virtual_hosted_style_request\": \"%v\",\n}\n", t.Store["s3.path-style-access"] != "true")
	if !t.Vends { // what the catalog vends gives way to keys that are named here
		b.WriteString("for name in (\"AWS_ACCESS_KEY_ID\", \"AWS_SECRET_ACCESS_KEY\", \"AWS_SESSION_TOKEN\"):\n    if name in os.environ:\n        storage[name.lower()] = os.environ[name]\n")
	}
	b.WriteString("print(pl.scan_iceberg(table, storage_options=storage).select(pl.len()).collect().item())\n")
	return b.String()
}

func spark(t Target) string {
	packages := "org.apache.iceberg:iceberg-spark-runtime-" + sparkLine() + "_2.13:" + SparkIcebergVersion
	conf := [][2]string{
		{"spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions"},
		{"spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog"},
		{"spark.sql.catalog.lake.type", "rest"},
		{"spark.sql.catalog.lake.uri", t.CatalogURL},
		{"spark.sql.catalog.lake.warehouse", t.Warehouse},
		{"spark.sql.catalog.lake.cache-enabled", "false"}, // or a table is as it was up to 30 s ago
	}
	if t.s3() {
		packages += ",org.apache.iceberg:iceberg-aws-bundle:" + SparkIcebergVersion
		conf = append(conf, [2]string{"spark.sql.catalog.lake.io-impl", "org.apache.iceberg.aws.s3.S3FileIO"})
		for _, k := range []string{"s3.endpoint", "s3.path-style-access"} {
			if v := t.Store[k]; v != "" {
				conf = append(conf, [2]string{"spark.sql.catalog.lake." + k, v})
			}
		}
		conf = append(conf, [2]string{"spark.sql.catalog.lake.client.region", t.region()})
		if t.Vends {
			conf = append(conf, [2]string{"spark.sql.catalog.lake.header.X-Iceberg-Access-Delegation", "vended-credentials"})
		}
	}
	before, trust := t.sparkTrust()
	if trust != "" {
		conf = append(conf, [2]string{"spark.driver.extraJavaOptions", trust})
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# pip install pyspark==%s, and a JDK from 17 to 21; spark-sql and spark-submit take the same as --conf\n", SparkVersion)
	b.WriteString(t.keyless("#") + before)
	if t.Token && trust == "" {
		b.WriteString("import os\n\n")
	}
	b.WriteString("from pyspark.sql import SparkSession\n\nspark = (\n    SparkSession.builder.master(\"local[*]\")\n")
	for _, c := range append([][2]string{{"spark.jars.packages", packages}}, conf...) {
		fmt.Fprintf(&b, "    .config(%s, %s)\n", quotePython(c[0]), quotePython(c[1]))
	}
	if t.Token {
		fmt.Fprintf(&b, "    .config(\"spark.sql.catalog.lake.token\", os.environ[%q])\n", TokenVariable)
	}
	fmt.Fprintf(&b, "    .getOrCreate()\n)\nspark.sql(%s).show()\n", quotePython("SELECT count(*) FROM lake."+quoteSpark(t.Table.Namespace)+"."+quoteSpark(t.Table.Name)))
	return b.String()
}

// sparkLine is the minor line that Iceberg's runtime is named by.
func sparkLine() string { return SparkVersion[:strings.LastIndexByte(SparkVersion, '.')] }

func trino(t Target) string {
	properties := []string{
		"connector.name=iceberg", "iceberg.catalog.type=rest",
		"iceberg.rest-catalog.uri=" + t.CatalogURL, "iceberg.rest-catalog.warehouse=" + escapeProperty(t.Warehouse),
		// Postgres has names with capitals, and schemas with a dot, which Trino takes for nested ones.
		"iceberg.rest-catalog.case-insensitive-name-matching=true", "iceberg.rest-catalog.nested-namespace-enabled=true",
	}
	if !t.s3() {
		properties = append(properties, "fs.hadoop.enabled=true")
	} else {
		properties = append(properties, "fs.native-s3.enabled=true", "s3.region="+t.region())
		if e := t.Store["s3.endpoint"]; e != "" {
			properties = append(properties, "s3.endpoint="+e)
		}
		if p := t.Store["s3.path-style-access"]; p != "" {
			properties = append(properties, "s3.path-style-access="+p)
		}
		if t.Vends {
			properties = append(properties, "iceberg.rest-catalog.vended-credentials-enabled=true")
		} else {
			properties = append(properties, "s3.aws-access-key=${ENV:AWS_ACCESS_KEY_ID}", "s3.aws-secret-key=${ENV:AWS_SECRET_ACCESS_KEY}")
		}
	}
	if t.Token {
		properties = append(properties, "iceberg.rest-catalog.security=OAUTH2", "iceberg.rest-catalog.oauth2.token=${ENV:"+TokenVariable+"}")
	}
	return "# Trino " + TrinoVersion + ": in the server's folder, then restart it\n" + t.keyless("#") + t.trinoTrust() + "cat >etc/catalog/lake.properties <<'END'\n" + strings.Join(properties, "\n") + "\nEND\n" +
		"trino --execute " + quoteShell("SELECT count(*) FROM lake."+quoteSQL(t.Table.Namespace)+"."+quoteSQL(t.Table.Name)) + "\n"
}

// escapeProperty writes a value of a Java properties file.
func escapeProperty(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r < ' ' || r > '~':
			for _, u := range utf16.Encode([]rune{r}) {
				fmt.Fprintf(&b, `\u%04x`, u)
			}
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func psql(t Target) string {
	source := quoteShell(t.Source)
	database, _, _ := strings.Cut(t.Warehouse, "@")
	if !slices.ContainsFunc(strings.Fields(t.Source), func(f string) bool { return strings.HasPrefix(f, "dbname=") }) {
		source = quoteShell(strings.TrimSpace(t.Source + " dbname=" + quoteKeyword(database)))
	}
	return "# The source itself; user and password as libpq finds them (PGUSER, PGPASSWORD, ~/.pgpass)\n" +
		"psql " + source + " -c " + quoteShell("SELECT count(*) FROM "+quoteSQL(t.Table.Namespace)+"."+quoteSQL(t.Table.Name)) + "\n" +
		"# Read your writes: returns once the lake has every commit up to now\n" +
		"tarn wait --http " + t.HTTP + " --lsn \"$(psql " + source + " -Atc 'select pg_current_wal_flush_lsn()')\"\n"
}

// quoteKeyword writes a value of a libpq keyword string.
func quoteKeyword(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
