package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// TestDefaultTexts: what is printed as a default is what the setting has.
func TestDefaultTexts(t *testing.T) {
	for _, s := range settings {
		c := defaults()
		if text, ok := defaultTexts[s.key]; ok {
			if err := s.set(c, text); err != nil {
				t.Errorf("%s: the default %q is refused: %v", s.key, text, err)
			}
		}
		if !reflect.DeepEqual(c, defaults()) {
			t.Errorf("%s: %q is printed and is not the default", s.key, defaultTexts[s.key])
		}
		// A setting that has a default must have its text: emptying it changes the defaults.
		if _, ok := defaultTexts[s.key]; !ok {
			if _ = s.set(c, ""); !reflect.DeepEqual(c, defaults()) && c.S3.PathStyle == nil {
				t.Errorf("%s has a default and defaultTexts does not say it", s.key)
			}
		}
	}
}

// TestValues: each setting is there once, in the file's order, with its origin, and without its secret.
func TestValues(t *testing.T) {
	text := "store: s3://b/p\ns3: {secret_access_key: \"${KEY}\", session_token: tok-canary, endpoint: \"http://h:1\"}\n" +
		"source: {url: \"postgres://r:${PW}@db/app\"}\ntables:\n  - match: \"a.b.*\"\n    readers: [spark, trino]\n    out_of_range: clamp\n    columns: {a.b: {type: \"decimal(18, 2)\"}}\n"
	path := filepath.Join(t.TempDir(), "tarn.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{File: path, Flags: map[string]string{"data_dir": "/d"},
		Env: env("KEY", "key-canary", "PW", "pw-canary", "PGPASSWORD", "pg-canary", "PGHOST", "h", "AWS_SECRET_ACCESS_KEY", "aws-canary", "AWS_REGION", "eu", "TARN_MEMORY", "2GiB")}
	c, err := Read(o)
	if err != nil {
		t.Fatal(err)
	}
	if r := c.Tables.For("a", "b", "t"); r.OutOfRange != "clamp" || r.Columns["a.b"] != (Numeric{18, 2}) {
		t.Errorf("rule %+v", r)
	}
	values := c.Values(o)
	byKey := map[string]Value{}
	for i, v := range values {
		if i < len(settings) && v.Key != settings[i].key {
			t.Errorf("setting %d is %s, want %s", i, v.Key, settings[i].key)
		}
		if strings.Contains(v.Value, "canary") {
			t.Errorf("%s shows its secret: %s", v.Key, v.Value)
		}
		byKey[v.Key] = v
	}
	for _, want := range []Value{
		{"store", "s3://b/p", "tarn.yaml:1"},
		{"s3.secret_access_key", "***", "tarn.yaml:2 with KEY"},
		{"s3.session_token", "***", "tarn.yaml:2"},
		{"s3.endpoint", "http://h:1", "tarn.yaml:2"},
		{"s3.region", "", "not set"},
		{"data_dir", "/d", "--data-dir"},
		{"source.url", "postgres://r:***@db/app", "tarn.yaml:3 with PW"},
		{"source.slot", "tarn", "default"},
		{"memory", "2GiB", "TARN_MEMORY"},
		{"publish.interval", "1s", "default"},
		{"tables[0].match", "a.b.*", "tarn.yaml:5"},
		{"tables[0].readers", "[spark, trino]", "tarn.yaml:6"},
		{"tables[0].out_of_range", "clamp", "tarn.yaml:7"},
		{"tables[0].columns.a.b.type", "decimal(18, 2)", "tarn.yaml:8"},
		{"PGHOST", "h", "environment"},
		{"PGPASSWORD", "***", "environment"},
		{"AWS_SECRET_ACCESS_KEY", "***", "environment"},
		{"AWS_REGION", "eu", "environment"},
	} {
		if got := byKey[want.Key]; got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}

// TestEverySettingIsInASection: a key that no section lists cannot be written.
func TestEverySettingIsInASection(t *testing.T) {
	for _, s := range settings {
		section, key := "", s.key
		if i := strings.LastIndexByte(s.key, '.'); i >= 0 {
			section, key = s.key[:i], s.key[i+1:]
		}
		found := false
		for _, k := range sections[section] {
			found = found || k == key
		}
		if !found {
			t.Errorf("%s is in no section", s.key)
		}
	}
}
