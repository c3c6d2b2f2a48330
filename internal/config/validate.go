package config

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
)

// Limits of the values.
const (
	MemoryMin          Size = 64 << 20
	TargetFileMin      Size = 1 << 20
	PublishIntervalMin      = 20 * time.Millisecond
	PublishIntervalMax      = time.Hour
)

// slotName is what Postgres allows (ReplicationSlotValidateName).
var slotName = regexp.MustCompile(`^[a-z0-9_]{1,63}$`)

// validate checks what a value's own parser could not: ranges, what must be set, and how settings go together.
func (c *Config) validate(env func(string) (string, bool)) error {
	for _, check := range []func() error{
		c.checkStore, c.checkDataDir,
		func() error { return c.checkSource(env) },
		c.checkAdminURL,
		c.checkListeners, c.checkVend, c.checkPublish, c.checkRules, c.checkCache, c.checkMemory,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// bad makes the error of a setting whose value was written somewhere.
func (c *Config) bad(key, what, fix string) error {
	e := &Error{What: what, Fix: fix}
	if strings.HasSuffix(what, " is not set") {
		e.Code = fault.SettingMissing
	}
	if w, ok := c.origins[key]; ok {
		e.Where = w
	}
	return e
}

func (c *Config) checkStore() error {
	const fix = "write file:///dir or s3://bucket/prefix"
	scheme, rest, ok := strings.Cut(c.Store, "://")
	switch {
	case c.Store == "":
		return c.bad("store", "store is not set", "set store in tarn.yaml, --store or TARN_STORE, such as file:///var/lib/tarn-lake")
	case ok && scheme == "file" && !strings.HasPrefix(rest, "/"):
		return c.bad("store", fmt.Sprintf("store %q names no absolute folder", c.Store), "write file:///dir with three slashes")
	case ok && scheme == "file":
		return nil
	case ok && scheme == "s3" && rest != "" && rest[0] != '/':
		return nil
	}
	return c.bad("store", fmt.Sprintf("store is %q", c.Store), fix)
}

func (c *Config) checkDataDir() error {
	if c.DataDir == "" {
		return c.bad("data_dir", "data_dir is not set", "set data_dir in tarn.yaml, --data-dir or TARN_DATA_DIR, such as /var/lib/tarn")
	}
	abs, err := filepath.Abs(c.DataDir)
	if err != nil {
		return c.bad("data_dir", fmt.Sprintf("data_dir %q has no absolute path (%v)", c.DataDir, err), "write one that starts with /")
	}
	c.DataDir, c.texts["data_dir"] = abs, abs
	if dir, ok := strings.CutPrefix(c.Store, "file://"); ok && filepath.Clean(dir) == abs {
		return c.bad("data_dir", fmt.Sprintf("data_dir and store are the same folder %s", abs), "give each its own")
	}
	return nil
}

func (c *Config) checkSource(env func(string) (string, bool)) error {
	if c.Source.URL == "" {
		for _, v := range []string{"PGHOST", "PGHOSTADDR", "PGSERVICE"} {
			if s, ok := env(v); ok && s != "" {
				return c.checkSlot()
			}
		}
		return c.bad("source.url", "source.url is not set", "set source.url in tarn.yaml, --source or TARN_SOURCE, such as postgres://replicator@db/app")
	}
	if !connectionString(c.Source.URL) {
		return c.bad("source.url", fmt.Sprintf("source.url is %q", Redact(c.Source.URL)), "write postgres://user@host/db, or host=... user=... dbname=...")
	}
	return c.checkSlot()
}

func (c *Config) checkAdminURL() error {
	if u := c.Source.AdminURL; u != "" && !connectionString(u) {
		return c.bad("source.admin_url", fmt.Sprintf("source.admin_url is %q", Redact(u)), "write postgres://user@host/db, or host=... user=... dbname=...")
	}
	return nil
}

// connectionString says whether text has the form of a libpq URI or key=value string.
func connectionString(text string) bool {
	if strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://") {
		return true
	}
	scheme, _, uri := strings.Cut(text, "://")
	return strings.Contains(text, "=") && (!uri || strings.Contains(scheme, "="))
}

func (c *Config) checkSlot() error {
	if !slotName.MatchString(c.Source.Slot) {
		return c.bad("source.slot", fmt.Sprintf("source.slot is %q", c.Source.Slot), "use lower case letters, digits and underscores, at most 63")
	}
	return nil
}

func (c *Config) checkPublish() error {
	if d := c.Publish.Interval; d < PublishIntervalMin || d > PublishIntervalMax {
		return c.bad("publish.interval", fmt.Sprintf("publish.interval is %s", d), fmt.Sprintf("write between %s and %s", PublishIntervalMin, PublishIntervalMax))
	}
	// One publication moves all databases of the cluster to one LSN, so there is one clock.
	for db := range c.Publish.Databases {
		return c.bad("publish.databases", fmt.Sprintf("publish.databases.%s.interval is not supported yet", db), "remove publish.databases and set publish.interval for all")
	}
	return nil
}

func (c *Config) checkRules() error {
	for _, r := range c.Tables {
		if r.Match.text == "" {
			return &Error{Where: r.where, What: "a rule of tables has no match", Fix: `add match: "database.schema.table"`}
		}
		if r.Parquet && (!r.CopyOnWrite || r.FormatVersion == 3) {
			return &Error{Where: r.where, What: fmt.Sprintf("parquet of the rule for %s in tables is true", r.Match), Fix: "write write_mode: copy-on-write and format_version: 2 (or none) beside it, whose data files alone are the table; or remove it"}
		}
	}
	return nil
}

func (c *Config) checkMemory() error {
	if c.Memory < MemoryMin {
		return c.bad("memory", fmt.Sprintf("memory is %s", c.Memory), fmt.Sprintf("write at least %s", MemoryMin))
	}
	return nil
}
