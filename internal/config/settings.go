package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// setting is one key with a single value. The YAML key, the variable and the flag share its parser.
type setting struct {
	key  string // as in tarn.yaml, sections joined by dots
	env  string // variable that overrides the file; empty for none
	flag string // flag that overrides both; empty for none
	help string // one line for `tarn serve --help`
	set  func(*Config, string) error
}

var settings = []setting{
	{"store", "TARN_STORE", "store", "object store: file:///dir or s3://bucket/prefix", func(c *Config, v string) error { c.Store = v; return nil }},
	{"s3.endpoint", "", "", "", func(c *Config, v string) error { c.S3.Endpoint = v; return nil }},
	{"s3.region", "", "", "", func(c *Config, v string) error { c.S3.Region = v; return nil }},
	{"s3.path_style", "", "", "", func(c *Config, v string) error { c.S3.PathStyle = new(bool); return setBool(c.S3.PathStyle, v) }},
	{"s3.profile", "", "", "", func(c *Config, v string) error { c.S3.Profile = v; return nil }},
	{"s3.access_key_id", "", "", "", func(c *Config, v string) error { c.S3.AccessKeyID = v; return nil }},
	{"s3.secret_access_key", "", "", "", func(c *Config, v string) error { c.S3.SecretAccessKey = v; return nil }},
	{"s3.session_token", "", "", "", func(c *Config, v string) error { c.S3.SessionToken = v; return nil }},
	{"s3.ca_bundle", "", "", "", func(c *Config, v string) error { c.S3.CABundle = v; return nil }},
	{"s3.vend", "", "", "", func(c *Config, v string) error { return setVend(&c.S3, v) }},
	{"s3.sts_endpoint", "", "", "", func(c *Config, v string) error { c.S3.STSEndpoint = v; return nil }},
	{"s3.role_arn", "", "", "", func(c *Config, v string) error { c.S3.RoleARN = v; return nil }},
	{"s3.vend_duration", "", "", "", func(c *Config, v string) error { return setDuration(&c.S3.VendDuration, v) }},
	{"data_dir", "TARN_DATA_DIR", "data-dir", "folder for the WAL log and caches", func(c *Config, v string) error { c.DataDir = v; return nil }},
	{"source.url", "TARN_SOURCE", "source", "Postgres to attach to, as URI or key=value", func(c *Config, v string) error { c.Source.URL = v; return nil }},
	{"source.slot", "TARN_SLOT", "", "", func(c *Config, v string) error { c.Source.Slot = v; return nil }},
	{"source.synchronous", "", "", "", func(c *Config, v string) error { return setBool(&c.Source.Synchronous, v) }},
	{"source.admin_url", "TARN_SOURCE_ADMIN", "", "", func(c *Config, v string) error { c.Source.AdminURL = v; return nil }},
	{"source.atomic_writes", "", "", "", func(c *Config, v string) error { return setBool(&c.Source.AtomicWrites, v) }},
	{"catalog.listen", "TARN_CATALOG_LISTEN", "catalog-listen", "Iceberg REST catalog address (default " + DefaultCatalogListen + ")", func(c *Config, v string) error { c.Catalog.Listen = v; return nil }},
	{"catalog.tls.cert", "", "", "", func(c *Config, v string) error { c.Catalog.TLS.Cert = v; return nil }},
	{"catalog.tls.key", "", "", "", func(c *Config, v string) error { c.Catalog.TLS.Key = v; return nil }},
	{"catalog.tls.client_ca", "", "", "", func(c *Config, v string) error { c.Catalog.TLS.ClientCA = v; return nil }},
	{"catalog.tokens_file", "", "", "", func(c *Config, v string) error { c.Catalog.TokensFile = v; return nil }},
	{"sql.listen", "TARN_SQL_LISTEN", "sql-listen", "SQL address (default " + DefaultSQLListen + ")", func(c *Config, v string) error { c.SQL.Listen = v; return nil }},
	{"http.listen", "TARN_HTTP_LISTEN", "http-listen", "metrics, health and admin address (default " + DefaultHTTPListen + ")", func(c *Config, v string) error { c.HTTP.Listen = v; return nil }},
	{"http.tls.cert", "", "", "", func(c *Config, v string) error { c.HTTP.TLS.Cert = v; return nil }},
	{"http.tls.key", "", "", "", func(c *Config, v string) error { c.HTTP.TLS.Key = v; return nil }},
	{"http.tls.client_ca", "", "", "", func(c *Config, v string) error { c.HTTP.TLS.ClientCA = v; return nil }},
	{"http.tokens_file", "", "", "", func(c *Config, v string) error { c.HTTP.TokensFile = v; return nil }},
	{"pages.listen", "TARN_PAGES_LISTEN", "pages-listen", "page service address (default off)", func(c *Config, v string) error { c.Pages.Listen = v; return nil }},
	{"pages.tls.cert", "", "", "", func(c *Config, v string) error { c.Pages.TLS.Cert = v; return nil }},
	{"pages.tls.key", "", "", "", func(c *Config, v string) error { c.Pages.TLS.Key = v; return nil }},
	{"pages.tls.client_ca", "", "", "", func(c *Config, v string) error { c.Pages.TLS.ClientCA = v; return nil }},
	{"pages.tokens_file", "", "", "", func(c *Config, v string) error { c.Pages.TokensFile = v; return nil }},
	{"publish.interval", "TARN_PUBLISH_INTERVAL", "", "", func(c *Config, v string) error { return setDuration(&c.Publish.Interval, v) }},
	{"history.window", "TARN_HISTORY_WINDOW", "", "", func(c *Config, v string) error { return setDays(&c.History.Window, v) }},
	{"history.max_wal", "", "", "", func(c *Config, v string) (err error) { c.History.MaxWAL, err = ParseSize(v); return err }},
	{"cache.dir", "", "", "", func(c *Config, v string) error { c.Cache.Dir = v; return nil }},
	{"cache.bytes", "", "", "", func(c *Config, v string) (err error) { c.Cache.Bytes, err = ParseSize(v); return err }},
	{"memory", "TARN_MEMORY", "", "", func(c *Config, v string) (err error) { c.Memory, err = ParseSize(v); return err }},
}

// Setting describes one key of tarn.yaml that has a single value.
type Setting struct {
	Key  string // sections joined by dots
	Env  string // variable that overrides it, if there is one
	Flag string // flag of `tarn serve` that overrides both, if there is one
	Help string // the flag's
}

// Settings lists the keys in the order of the file.
func Settings() []Setting {
	out := make([]Setting, len(settings))
	for i, s := range settings {
		out[i] = Setting{Key: s.key, Env: s.env, Flag: s.flag, Help: s.help}
	}
	return out
}

// sections are the keys that hold a mapping, with their members.
var sections = map[string][]string{
	"":                   {"store", "s3", "data_dir", "source", "catalog", "sql", "http", "pages", "publish", "history", "tables", "cache", "memory"},
	"s3":                 {"endpoint", "region", "path_style", "profile", "access_key_id", "secret_access_key", "session_token", "ca_bundle", "vend", "sts_endpoint", "role_arn", "vend_duration"},
	"source":             {"url", "slot", "synchronous", "admin_url", "atomic_writes"},
	"catalog":            {"listen", "tls", "tokens_file"},
	"catalog.tls":        {"cert", "key", "client_ca"},
	"sql":                {"listen"},
	"http":               {"listen", "tls", "tokens_file"},
	"http.tls":           {"cert", "key", "client_ca"},
	"pages":              {"listen", "tls", "tokens_file"},
	"pages.tls":          {"cert", "key", "client_ca"},
	"publish":            {"interval", "databases"},
	"history":            {"window", "max_wal"},
	"cache":              {"dir", "bytes"},
	"publish.databases.": {"interval"}, // one member per database
	"tables[]":           {"match", "exclude", "format_version", "readers", "partition_by", "sort_by", "target_file_size", "out_of_range", "numeric", "columns", "version_hint", "partitions", "write_mode", "parquet", "history"},
	"tables[].columns.":  {"type"}, // one member per column
}

func (c *Config) set(s setting, value, where string) error {
	if err := s.set(c, value); err != nil {
		return &Error{Where: where, What: fmt.Sprintf("%s is %q", s.key, Redact(value)), Fix: err.Error()}
	}
	c.origins[s.key], c.texts[s.key] = where, value
	return nil
}

// setEntry takes one value of the file.
func (c *Config) setEntry(e entry, env func(string) (string, bool)) error {
	for i, v := range e.values {
		var err error
		if e.values[i], err = interpolate(v, env); err != nil {
			return &Error{Where: e.where, What: e.key, Fix: err.Error()}
		}
		e.where += references(v)
	}
	if e.table >= 0 {
		c.rules = append(c.rules, e)
		return c.setRule(e)
	}
	if db, ok := strings.CutPrefix(e.key, "publish.databases."); ok {
		var d time.Duration
		if err := setDuration(&d, e.value()); err != nil {
			return &Error{Where: e.where, What: fmt.Sprintf("%s is %q", e.key, e.value()), Fix: err.Error()}
		}
		if c.Publish.Databases == nil {
			c.Publish.Databases = map[string]time.Duration{}
		}
		c.Publish.Databases[strings.TrimSuffix(db, ".interval")] = d
		c.origins["publish.databases"] = e.where
		return nil
	}
	for _, s := range settings {
		if s.key == e.key {
			return c.set(s, e.value(), e.where)
		}
	}
	panic("BUG: config: key " + e.key + " is in a section but is no setting")
}

func setBool(dst *bool, v string) error {
	switch v {
	case "true":
		*dst = true
	case "false":
		*dst = false
	default:
		return fmt.Errorf("write true or false")
	}
	return nil
}

func setDuration(dst *time.Duration, v string) error {
	d, err := time.ParseDuration(v)
	if err != nil {
		return fmt.Errorf("write a number with a unit, such as 500ms, 1s or 2m")
	}
	*dst = d
	return nil
}

// setDays takes days besides Go's units.
func setDays(dst *time.Duration, v string) error {
	if days, ok := strings.CutSuffix(v, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fmt.Errorf("write a time such as 7d, 24h or 30m, or 0 for none")
		}
		*dst = time.Duration(n) * 24 * time.Hour
		return nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return fmt.Errorf("write a time such as 7d, 24h or 30m, or 0 for none")
	}
	*dst = d
	return nil
}

// Size is a number of bytes.
type Size int64

// ParseSize reads bytes with an optional unit: B, KiB, MiB, GiB, TiB, or Postgres's kB, MB, GB, TB, which are the same
// powers of 1024.
func ParseSize(v string) (Size, error) {
	digits := strings.TrimRight(v, "kKMGTiB ")
	shift := map[string]uint{"": 0, "B": 0, "KiB": 10, "kB": 10, "MiB": 20, "MB": 20, "GiB": 30, "GB": 30, "TiB": 40, "TB": 40}
	by, ok := shift[strings.TrimSpace(v[len(digits):])]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !ok || n < 0 || n > (1<<62)>>by {
		return 0, fmt.Errorf("write a size such as 512MiB or 2GiB")
	}
	return Size(n << by), nil
}

func (s Size) String() string {
	for _, u := range []struct {
		shift uint
		name  string
	}{{40, "TiB"}, {30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if s != 0 && s%(1<<u.shift) == 0 {
			return strconv.FormatInt(int64(s>>u.shift), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10) + "B"
}
