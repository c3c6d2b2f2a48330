// Package config reads tarn's settings: defaults, then tarn.yaml, then TARN_* variables, then flags. Each later layer
// wins, every setting remembers where its value came from, and a bad one is a single line that says what is wrong,
// where it was written and how to put it right.
package config

import (
	"os"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
)

// Config is every setting, validated. It does not change after Load.
type Config struct {
	Store   string             // file:///dir or s3://bucket/prefix
	S3      objstore.S3Options // how an s3:// store is reached; empty fields are left to the AWS variables and files
	DataDir string             // absolute path of the folder for the WAL log and caches
	Source  Source
	Catalog Listener // Iceberg REST catalog
	SQL     Listener // analytics endpoint on the Postgres wire; without TLS and tokens
	HTTP    Listener // metrics, health and the admin API
	Pages   Listener // page service; off without an address
	Publish Publish
	History History
	Tables  Rules
	Memory  Size // bytes of pages and buffers the server may hold
	Cache   Cache

	origins map[string]string // setting key -> where its value was written
	texts   map[string]string // setting key -> its value as it was written
	rules   []entry           // of tables, as they were written
}

// Source is the Postgres that tarn is attached to.
type Source struct {
	URL         string // URI or key=value string; empty leaves all to libpq's PG* variables
	Slot        string // physical replication slot, made by tarn
	Synchronous bool   // acknowledge what the quorum has committed rather than what the store has archived

	// AdminURL is for `tarn fpw` alone: a connection that may ALTER SYSTEM and reload; the server does not use it.
	AdminURL string
	// AtomicWrites says that the source's storage writes 8 KiB whole or not at all, so that a page is never torn.
	AtomicWrites bool
}

// Listener is one TCP endpoint.
type Listener struct {
	Listen     string // host:port; port 0 takes a free one. On loopback, or behind TLS and authentication
	TLS        TLS
	TokensFile string // absolute path of a file of bearer tokens; empty asks for none
}

// TLS names a listener's PEM files by absolute path; they are read again when they change.
type TLS struct {
	Cert     string // with its intermediates; empty for no TLS
	Key      string
	ClientCA string // whose certificates clients must show; empty asks for none
}

// Publish says how often changes become visible in the lake.
type Publish struct {
	Interval  time.Duration            // while there is change
	Databases map[string]time.Duration // by database name
}

// History says how far back pages can be read, for point-in-time recovery.
type History struct {
	Window time.Duration // 0 keeps nothing
	MaxWAL Size          // of WAL, even if the window is longer; 0 is no limit
}

// The defaults of settings that have one.
const (
	DefaultSlot            = "tarn"
	DefaultCatalogListen   = "127.0.0.1:8181"
	DefaultSQLListen       = "127.0.0.1:5433"
	DefaultHTTPListen      = "127.0.0.1:8080"
	DefaultPublishInterval = time.Second
	DefaultHistoryWindow   = 24 * time.Hour
	DefaultHistoryMaxWAL   = 16 << 30
	DefaultMemory          = 1 << 30
)

// Options says where to look for settings.
type Options struct {
	File  string                      // path of tarn.yaml; empty for none
	Env   func(string) (string, bool) // os.LookupEnv if nil
	Flags map[string]string           // setting key (such as "http.listen") -> value of the flags that were given
}

// Load reads and validates all layers. Every error it returns is an *Error.
func Load(o Options) (*Config, error) {
	c, err := read(o, func(string) bool { return true })
	if err != nil {
		return nil, err
	}
	if err := c.validate(o.env()); err != nil {
		return nil, err
	}
	return c, nil
}

// HTTP reads the section http alone, so that a client verb needs neither the source's password nor a valid rest.
func HTTP(o Options) (Listener, error) {
	c, err := read(o, func(key string) bool { return strings.HasPrefix(key, "http.") })
	if err != nil {
		return Listener{}, err
	}
	err = c.checkListener("http", &c.HTTP)
	return c.HTTP, err
}

func (o Options) env() func(string) (string, bool) {
	if o.Env != nil {
		return o.Env
	}
	return os.LookupEnv
}

func defaults() *Config {
	return &Config{
		S3:      objstore.S3Options{VendDuration: objstore.DefaultVendDuration},
		Source:  Source{Slot: DefaultSlot},
		Catalog: Listener{Listen: DefaultCatalogListen},
		SQL:     Listener{Listen: DefaultSQLListen},
		HTTP:    Listener{Listen: DefaultHTTPListen},
		Publish: Publish{Interval: DefaultPublishInterval},
		History: History{Window: DefaultHistoryWindow, MaxWAL: DefaultHistoryMaxWAL},
		Memory:  DefaultMemory,
		origins: map[string]string{},
		texts:   map[string]string{},
	}
}

// read applies the layers in order, taking only the wanted keys' values.
func read(o Options, want func(key string) bool) (*Config, error) {
	c, env := defaults(), o.env()
	if o.File != "" {
		entries, err := readFile(o.File)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !want(e.key) {
				continue
			}
			if err := c.setEntry(e, env); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range settings {
		if !want(s.key) || s.env == "" {
			continue
		}
		if v, ok := env(s.env); ok && v != "" {
			if err := c.set(s, v, s.env); err != nil {
				return nil, err
			}
		}
	}
	for _, s := range settings {
		if v, ok := o.Flags[s.key]; ok && want(s.key) {
			if err := c.set(s, v, "--"+s.flag); err != nil {
				return nil, err
			}
		}
	}
	return c, nil
}

// Origin says where a setting's value was written: file:line, a variable's or flag's name, or "default".
func (c *Config) Origin(key string) string {
	if o, ok := c.origins[key]; ok {
		return o
	}
	return "default"
}

// Error is a setting that cannot be used. It prints as one line.
type Error struct {
	Where string     // file:line, variable or flag; empty when nothing was written anywhere
	What  string     // the setting and what is wrong with it
	Fix   string     // what to do
	Code  fault.Code // what kind of trouble; 0 is fault.Setting
}

// FaultCode implements fault.Coded.
func (e *Error) FaultCode() fault.Code {
	if e.Code == 0 {
		return fault.Setting
	}
	return e.Code
}

func (e *Error) Error() string {
	s := e.What
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	if e.Fix != "" {
		s += ": " + e.Fix
	}
	return oneLine(s)
}
