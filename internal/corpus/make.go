package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// corpus is WAL of one kind.
type corpus struct {
	name     string
	settings map[string]string // beside common
	initdb   []string
	need     func(o *options, major int) (missing string) // nil: every release can
	work     func(ctx context.Context, m *maker) error
}

// common are the settings of every server: it logs its own images, keeps all WAL and waits for no disk. Images of every
// record are 98 % of the WAL, so they are compressed with what every build has.
var common = map[string]string{
	"wal_consistency_checking": "all", "wal_compression": "pglz", "wal_keep_size": "100GB", "max_wal_size": "100GB", "fsync": "off",
	"synchronous_commit": "off", "checkpoint_timeout": "30min", "max_connections": "100", "max_prepared_transactions": "20",
	"allow_in_place_tablespaces": "on", "log_min_messages": "fatal", "log_min_error_statement": "panic",
}

// everybody lets the roles in that the tests create.
const everybody = "local all all trust\nhost all all 127.0.0.1/32 trust\nlocal replication all trust\nhost replication all 127.0.0.1/32 trust\n"

// maker is what a corpus's work has at hand.
type maker struct {
	*options
	srv     *pgtest.Server
	release string
	major   int
	scratch string // the server's account owns it
}

// server is how pgtest is asked for a release in a folder: 15 is not one of its releases but the distribution's.
func server(release, dir string) pgtest.Options {
	if release == "15" {
		return pgtest.Options{Dir: dir, Major: 15}
	}
	return pgtest.Options{Dir: dir, Release: release}
}

// makeLimit is the most time one corpus may take.
const makeLimit = time.Hour

// make returns the corpus's folder; one that is there is as good as new.
func (o *options) make(ctx context.Context, release string, c corpus) (dir string, err error) {
	dir = o.dir(release, c.name)
	if _, err := os.Stat(filepath.Join(dir, "final", "global", "pg_control")); err == nil {
		say("%s %s: is there", release, c.name)
		return dir, nil
	}
	say("%s %s: making", release, c.name)
	ctx, cancel := context.WithTimeout(ctx, makeLimit)
	defer cancel()
	scratch, err := os.MkdirTemp("", "tarncorpus") // a short path: a socket lives in it
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	opts := server(release, scratch)
	opts.HBA, opts.Settings, opts.InitdbArgs = everybody, maps.Clone(common), c.initdb
	maps.Copy(opts.Settings, c.settings)
	if o.plain {
		delete(opts.Settings, "wal_consistency_checking")
		delete(opts.Settings, "wal_compression")
	}
	srv, err := pgtest.Start(ctx, opts)
	if err != nil {
		return "", err
	}
	m := &maker{options: o, srv: srv, release: release, major: major(release), scratch: scratch}
	defer func() { err = errors.Join(err, m.srv.Remove()) }()
	if err := srv.Stop(pgtest.Fast); err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	if err := os.CopyFS(filepath.Join(dir, "base"), os.DirFS(srv.DataDir())); err != nil {
		return "", err
	}
	if err := srv.Restart(ctx); err != nil {
		return "", err
	}
	if err := c.work(ctx, m); err != nil {
		return "", err
	}
	// work may have put another server in the place of the first one.
	if err := m.srv.Stop(pgtest.Fast); err != nil {
		return "", err
	}
	if err := move(ctx, filepath.Join(m.srv.DataDir(), "pg_wal"), filepath.Join(dir, "wal")); err != nil {
		return "", err
	}
	return dir, move(ctx, m.srv.DataDir(), filepath.Join(dir, "final"))
}

// move is a rename that also works from one file system to another.
func move(ctx context.Context, from, to string) error {
	_, err := command(exec.CommandContext(ctx, "mv", "-T", from, to))
	return err
}

// command runs a program to its end and returns what it printed; an error carries the end of that.
func command(cmd *exec.Cmd) (string, error) {
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return text, fmt.Errorf("%s: %w: %s", filepath.Base(cmd.Path), err, text[max(0, len(text)-2000):])
	}
	return text, nil
}
