package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// recording is a stopped server's data directory and the WAL that the same server wrote from there on, until it was
// stopped again.
type recording struct {
	Base  string `json:"base"`  // data directory
	WAL   string `json:"wal"`   // folder of segments, from Base's last checkpoint on
	Start pg.LSN `json:"start"` // redo position of Base
	End   pg.LSN `json:"end"`   // end of the last record
	Rows  int    `json:"rows"`  // what the workload changed, in its own unit

	Spec spec `json:"spec"`
}

// spec is what a recording is made of. Another spec of the same name makes it anew.
type spec struct {
	Name     string   `json:"name"`
	Before   []string `json:"before"` // statements whose effect is in the base
	Workload []string `json:"workload"`
	Pgbench  []string `json:"pgbench"` // arguments; run as the workload, after -i with the first of them before
	Scale    int      `json:"scale"`
	Rows     int      `json:"rows"`

	Table   string `json:"table,omitempty"`    // the workload's own, of app.public
	RowsEnd int    `json:"rows_end,omitempty"` // that it has after the workload
}

// recordSettings let all WAL stay in pg_wal. A commit need not wait for the disk while recording: the WAL is the same.
var recordSettings = map[string]string{
	"wal_keep_size": "200GB", "max_wal_size": "200GB", "synchronous_commit": "off", "shared_buffers": "1GB", "autovacuum": "on",
	"checkpoint_timeout": "5min", "maintenance_work_mem": "256MB",
}

// record makes a recording, or returns the one there is.
func record(ctx context.Context, dir string, s spec) (*recording, error) {
	dir = filepath.Join(dir, s.Name)
	note := filepath.Join(dir, "recording.json")
	if text, err := os.ReadFile(note); err == nil {
		var r recording
		if json.Unmarshal(text, &r) == nil && r.Spec.equal(s) {
			return &r, nil
		}
	}
	say("recording %s", s.Name)
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	r := &recording{Base: filepath.Join(dir, "base"), WAL: filepath.Join(dir, "wal"), Rows: s.Rows, Spec: s}
	if err := r.make(ctx, dir); err != nil {
		return nil, fmt.Errorf("record %s: %w", s.Name, err)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	say("recorded %s: %d MiB of WAL", s.Name, (r.End-r.Start)>>20)
	return r, os.WriteFile(note, text, 0o644)
}

func (s spec) equal(o spec) bool {
	return s.Name == o.Name && s.Scale == o.Scale && s.Rows == o.Rows && s.Table == o.Table && s.RowsEnd == o.RowsEnd && slices.Equal(s.Before, o.Before) &&
		slices.Equal(s.Workload, o.Workload) && slices.Equal(s.Pgbench, o.Pgbench)
}

func (r *recording) make(ctx context.Context, dir string) (err error) {
	srv, err := pgtest.Start(ctx, pgtest.Options{Major: 15, Dir: filepath.Join(dir, "pg"), Settings: recordSettings, Databases: []string{"app"}})
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, srv.Remove())
		if err == nil {
			err = os.RemoveAll(filepath.Join(dir, "pg"))
		}
	}()
	if r.Spec.Scale > 0 {
		if err := pgbench(ctx, srv, "-i", "-q", "-s", fmt.Sprint(r.Spec.Scale)); err != nil {
			return err
		}
	}
	if err := srv.Exec(ctx, "app", r.Spec.Before...); err != nil {
		return err
	}
	if err := srv.Stop(pgtest.Fast); err != nil {
		return err
	}
	if err := copyTree(ctx, srv.DataDir(), r.Base); err != nil {
		return err
	}
	if r.Start, err = redoStart(r.Base); err != nil {
		return err
	}
	if err := srv.Restart(ctx); err != nil {
		return err
	}
	if err := srv.Exec(ctx, "app", r.Spec.Workload...); err != nil {
		return err
	}
	if len(r.Spec.Pgbench) > 0 {
		if err := pgbench(ctx, srv, r.Spec.Pgbench...); err != nil {
			return err
		}
	}
	if err := srv.Stop(pgtest.Fast); err != nil {
		return err
	}
	if r.End, err = redoStart(srv.DataDir()); err != nil {
		return err
	}
	if err := copyTree(ctx, filepath.Join(srv.DataDir(), "pg_wal"), r.WAL); err != nil {
		return err
	}
	return r.trim()
}

// trim removes segments from before the base. The base keeps the one with its checkpoint, which a server needs to start.
func (r *recording) trim() error {
	src, err := waldir.Open(r.WAL, waldir.Options{})
	if err != nil {
		return err
	}
	first := pg.WALFileName(1, r.Start.SegmentStart(src.SegmentSize()), src.SegmentSize())
	last := pg.WALFileName(1, r.End.SegmentStart(src.SegmentSize()), src.SegmentSize())
	if err := src.Close(); err != nil {
		return err
	}
	for dir, keep := range map[string]func(string) bool{
		r.WAL:                           func(name string) bool { return name >= first && name <= last },
		filepath.Join(r.Base, "pg_wal"): func(name string) bool { return name == first },
	} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || keep(d.Name()) {
				return err
			}
			return os.Remove(path)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// redoStart is the redo position of a stopped server: the start of its shutdown checkpoint.
func redoStart(dataDir string) (pg.LSN, error) {
	text, err := os.ReadFile(filepath.Join(dataDir, "global", "pg_control"))
	if err != nil {
		return 0, err
	}
	c, err := control.Parse(text)
	return c.CheckPoint.Redo, err
}

// pgbench is not in every build of the server; Debian has it beside the server.
func pgbench(ctx context.Context, srv *pgtest.Server, args ...string) error {
	_, err := command(ctx, pgbenchPath(srv), append([]string{"-h", "127.0.0.1", "-p", fmt.Sprint(srv.Port()), "-U", "postgres"}, append(args, "app")...)...)
	return err
}

func pgbenchPath(srv *pgtest.Server) string {
	for _, dir := range []string{srv.BinDir(), "/usr/lib/postgresql/15/bin", "/usr/bin"} {
		path := filepath.Join(dir, "pgbench")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return "pgbench"
}
