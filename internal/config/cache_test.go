package config

import (
	"strings"
	"testing"
)

// TestCache: there is a cache where the store is not on this machine, unless the settings say otherwise.
func TestCache(t *testing.T) {
	s3 := strings.Replace(base, "file:///lake", "s3://bucket", 1)
	if s3 == base {
		t.Fatal("the base has another store")
	}
	for _, c := range []struct {
		text string
		want Cache
		bad  string
	}{
		{base, Cache{"/d/cache", 0}, ""},
		{s3, Cache{"/d/cache", 1 << 30}, ""},
		{base + "cache: {bytes: 2GiB}\n", Cache{"/d/cache", 2 << 30}, ""},
		{s3 + "cache: {bytes: 0, dir: /nvme}\n", Cache{"/nvme", 0}, ""},
		{s3 + "cache: {bytes: 63MiB}\n", Cache{}, "cache.bytes is 63MiB: write at least 64MiB, or 0 for no cache"},
		{s3 + "cache: {bytes: some}\n", Cache{}, `cache.bytes is "some"`},
		{s3 + "cache: {size: 1GiB}\n", Cache{}, "unknown key size in cache"},
	} {
		got, err := load(t, c.text, env(), nil)
		switch {
		case c.bad != "":
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%q: %v, want %q", c.text, err, c.bad)
			}
		case err != nil:
			t.Errorf("%q: %v", c.text, err)
		case got.Cache != c.want:
			t.Errorf("%q: %+v, want %+v", c.text, got.Cache, c.want)
		}
	}
}

// TestCachePrinted: what the settings leave open is printed as it is in effect.
func TestCachePrinted(t *testing.T) {
	o := Options{Env: env("TARN_STORE", "s3://b", "TARN_DATA_DIR", "/d", "TARN_SOURCE", "postgres://h/db")}
	c, err := Load(o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Value{}
	for _, v := range c.Values(o) {
		got[v.Key] = v
	}
	if v := got["cache.bytes"]; v.Value != "1GiB" || v.Origin != "default" {
		t.Errorf("%+v", v)
	}
	if v := got["cache.dir"]; v.Value != "/d/cache" || v.Origin != "default" {
		t.Errorf("%+v", v)
	}
}

// TestCacheOf: a verb finds the server's cache by the file alone.
func TestCacheOf(t *testing.T) {
	for _, c := range []struct {
		vars []string
		want Cache
	}{
		{[]string{"TARN_STORE", "s3://b", "TARN_DATA_DIR", "/d"}, Cache{"/d/cache", 1 << 30}},
		{[]string{"TARN_STORE", "s3://b"}, Cache{}},
		{[]string{"TARN_STORE", "file:///lake", "TARN_DATA_DIR", "/d"}, Cache{"/d/cache", 0}},
	} {
		if got, err := CacheOf(Options{Env: env(c.vars...)}); err != nil || got != c.want {
			t.Errorf("%q: %+v, %v, want %+v", c.vars, got, err, c.want)
		}
	}
}
