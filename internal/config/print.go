package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/objstore"
)

// Value is a setting as it is in effect.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // *** in place of a secret; empty if it is not set
	Origin string `json:"origin"` // file:line, a variable's or flag's name, environment, default, or not set
}

// defaultTexts are the values that settings have when nobody writes them, in a setting's own notation.
//
// Invariant: setting them gives defaults(); a test holds that for each key.
var defaultTexts = map[string]string{
	"source.slot": DefaultSlot, "source.synchronous": "false",
	"s3.vend": "off", "s3.vend_duration": objstore.DefaultVendDuration.String(),
	"catalog.listen": DefaultCatalogListen, "sql.listen": DefaultSQLListen, "http.listen": DefaultHTTPListen,
	"publish.interval": DefaultPublishInterval.String(), "history.window": "24h", "history.max_wal": Size(DefaultHistoryMaxWAL).String(), "memory": Size(DefaultMemory).String(),
}

// Read applies the layers without asking whether the whole makes sense, for printing. Its errors are *Error.
func Read(o Options) (*Config, error) { return read(o, func(string) bool { return true }) }

// Check says what Load would refuse.
func (c *Config) Check(o Options) error { return c.validate(o.env()) }

// Only reads some keys alone, so that a verb needs neither the source's password nor a valid rest.
func Only(o Options, keys ...string) (*Config, error) {
	return read(o, func(key string) bool { return slices.Contains(keys, key) })
}

// Values lists every setting in the file's order, then the rules of tables, then the variables of the environment that
// libpq and the AWS SDK read where settings are silent. There is no secret among them.
func (c *Config) Values(o Options) []Value {
	var out []Value
	for _, s := range settings {
		text, ok := c.texts[s.key]
		if !ok {
			text = defaultTexts[s.key]
		}
		origin := c.Origin(s.key)
		if text == "" {
			origin = "not set"
		}
		out = append(out, Value{s.key, hide(s.key, text), origin})
	}
	for _, e := range c.rules {
		key := "tables[" + strconv.Itoa(e.table) + "]." + e.key
		text := e.values[0]
		if e.list {
			text = "[" + strings.Join(e.values, ", ") + "]"
		}
		out = append(out, Value{key, text, e.where})
	}
	for _, name := range ambient(strings.HasPrefix(c.Store, "s3:")) {
		if v, ok := o.env()(name); ok && v != "" {
			out = append(out, Value{name, hide(name, v), "environment"})
		}
	}
	return out
}

// ambient names the variables that fill in what settings leave open.
func ambient(s3 bool) []string {
	names := []string{
		"PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGSERVICEFILE", "PGSSLMODE",
		"PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY", "PGSSLPASSWORD", "PGAPPNAME", "PGCONNECT_TIMEOUT", "PGTARGETSESSIONATTRS", "PGCHANNELBINDING", "PGREQUIREAUTH",
	}
	if s3 {
		names = append(names, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID",
			"AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONFIG_FILE",
			"AWS_SHARED_CREDENTIALS_FILE", "AWS_REQUEST_CHECKSUM_CALCULATION")
	}
	return append(names, "GOMEMLIMIT", "TARN_HTTP")
}

// secretKey finds the settings and variables that are secret by their name alone.
var secretKey = regexp.MustCompile(`(?i)(password|secret|token)s?($|[._]|_access_key)`)

// hide puts *** in place of a secret.
func hide(key, text string) string {
	switch {
	case text == "":
		return ""
	case strings.HasSuffix(strings.ToLower(key), "_file"):
		return text // the name of a file with a secret is none
	case secretKey.MatchString(key):
		return "***"
	case strings.Contains(text, "://") || strings.Contains(text, "="):
		return strings.ReplaceAll(Redact(text), "xxxxx", "***")
	}
	return text
}

var reference = regexp.MustCompile(`(?:^|[^$])\$\{([^}]*)\}`)

// references names the variables a value of the file takes in, for its origin.
func references(raw string) string {
	var names []string
	for _, m := range reference.FindAllStringSubmatch(raw, -1) {
		names = append(names, m[1])
	}
	if len(names) == 0 {
		return ""
	}
	return " with " + strings.Join(names, ", ")
}
