package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// corpus is what a run over a real server leaves: a data directory from before, the WAL since, and the one after.
type corpus struct {
	base, wal, final string
	release          string // empty: not one of pgtest.Releases
}

// corpusTime is how long the workload runs before the crash, and again after it. TARN_CORPUS_TIME lengthens it.
func corpusTime(t *testing.T) time.Duration {
	text := os.Getenv("TARN_CORPUS_TIME")
	if text == "" {
		return 5 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("TARN_CORPUS_TIME: %v", err)
	}
	return d
}

// corpusSettings make the server log its own images and keep all WAL. Background work comes often, so that its
// records are in short runs too.
var corpusSettings = map[string]string{
	"wal_consistency_checking": "all", "wal_keep_size": "60GB", "max_wal_size": "60GB",
	"fsync": "off", "synchronous_commit": "off", "max_prepared_transactions": "20", "checkpoint_timeout": "30s",
	"autovacuum_naptime": "1s", "autovacuum_vacuum_cost_delay": "0", "allow_in_place_tablespaces": "on",
	"deadlock_timeout": "50ms", "lock_timeout": "2s", "shared_buffers": "32MB",
}

// startCorpus starts a new server, with a copy of its data directory as the base.
func startCorpus(ctx context.Context, t *testing.T, from source, settings map[string]string) (*pgtest.Server, corpus) {
	t.Helper()
	dir, err := os.MkdirTemp("", "tarnverify") // a short path: a socket lives in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	opts := from.options()
	opts.Dir, opts.Settings = dir, settings
	srv, err := pgtest.Start(ctx, opts)
	if errors.Is(err, pgtest.ErrNoBinaries) {
		pgtest.Missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Remove() })
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	c := corpus{base: filepath.Join(dir, "base"), wal: filepath.Join(srv.DataDir(), "pg_wal"), final: srv.DataDir(), release: from.release}
	if err := os.CopyFS(c.base, os.DirFS(srv.DataDir())); err != nil {
		t.Fatal(err)
	}
	if err := srv.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	return srv, c
}

// makeCorpus runs the workload over a new server: half of it, kill -9 in the middle of everything, the other
// half, a clean stop.
//
// With images to check the server's recovery masks pages of zeros too, and refuses them (mask_unused_space): it then takes
// another try with another seed.
func makeCorpus(t *testing.T, from source, seed uint64, tries int) corpus {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	defer cancel()
	srv, c := startCorpus(ctx, t, from, corpusSettings)
	w := workload{t: t, srv: srv, seed: seed}
	w.prepare(ctx)
	w.run(ctx, corpusTime(t), srv.Kill9)
	err := srv.Restart(ctx)
	if err != nil && strings.Contains(err.Error(), "invalid page pd_lower 0 pd_upper 0 pd_special 0") && tries > 1 {
		t.Logf("the server's own recovery has stumbled over a block that is cut off later: %v", err)
		return makeCorpus(t, from, seed+1000, tries-1)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.seed++ // names made up at random must differ from those before the crash
	w.run(ctx, corpusTime(t), nil)
	w.finish(ctx)
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	return c
}

// source is a server to verify redo against.
type source struct {
	release   string // one of pgtest.Releases; distribution is the packaged 15, the only one here with lz4 and zstd
	segments  int    // MiB
	checksums bool
}

const distribution = "distribution"

// sources are the releases with segments of each size, with checksums and without: in a short run those whose records differ
// most, in a long one all. TARN_PGRELEASE names a single release.
func sources() (list []source) {
	for i, release := range append(pgtest.Releases(), distribution) {
		s := source{release: release, segments: []int{1, 64, 16}[i%3], checksums: i%2 == 1}
		only := os.Getenv("TARN_PGRELEASE")
		inShort := release == "15.1" || release == "17.11" || release == "18.6"
		if only == release || only == "" && (inShort || pgtest.Long()) {
			list = append(list, s)
		}
	}
	return list
}

// options are those of pgtest.
func (s source) options() pgtest.Options {
	o := pgtest.Options{Release: s.release, InitdbArgs: []string{fmt.Sprintf("--wal-segsize=%d", s.segments)}}
	if s.release == distribution {
		o.Release, o.Major = "", 15
	}
	switch {
	case s.checksums:
		o.InitdbArgs = append(o.InitdbArgs, "--data-checksums")
	case strings.HasPrefix(s.release, "18."):
		o.InitdbArgs = append(o.InitdbArgs, "--no-data-checksums")
	}
	return o
}

// majors are the versions to test.
func majors(t *testing.T) []int {
	found := pgtest.Majors()
	for _, major := range found {
		if _, err := pgtest.Bin(major); err != nil {
			pgtest.Missing(t, err)
		}
	}
	return found
}
