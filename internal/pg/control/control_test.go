package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestFilesOfEachMajor reads the files of real servers, with settings that differ from the defaults.
func TestFilesOfEachMajor(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for _, m := range []pg.Major{pg.PG15, pg.PG16, pg.PG17, pg.PG18} {
		t.Run(fmt.Sprint(int(m)), func(t *testing.T) {
			srv := pgtest.NewTestServer(t, pgtest.Options{Major: int(m), InitdbArgs: []string{"--data-checksums"}, Settings: map[string]string{
				"wal_level": "logical", "wal_log_hints": "on", "max_connections": "37", "max_worker_processes": "11", "max_wal_senders": "9",
				"max_prepared_transactions": "6", "max_locks_per_transaction": "77", "track_commit_timestamp": "on",
			}})
			want, err := srv.QueryText(context.Background(), "postgres",
				`SELECT format('%s %s %s', (SELECT system_identifier FROM pg_control_system()), (SELECT pg_walfile_name(redo_lsn) FROM pg_control_checkpoint()), pg_relation_filenode('pg_class'))`)
			if err != nil {
				t.Fatal(err)
			}
			file, c := parse(t, srv)
			relmap := read(t, srv, "global/pg_filenode.map")
			maps, err := control.ParseRelMap(m, relmap)
			if err != nil {
				t.Fatal(err)
			}
			if c.State != control.InProduction || c.Major != m || !c.HintsLogged() || c.ChecksumVersion != 1 || c.WALLevel != xlrec.WALLevelLogical ||
				c.MaxConnections != 37 || c.MaxWorkerProcesses != 11 || c.MaxWALSenders != 9 || c.MaxPreparedXacts != 6 || c.MaxLocksPerXact != 77 ||
				!c.TrackCommitTimestamp || !c.WALLogHints || !c.CharSigned || c.WALSegmentSize != 16<<20 || c.CheckPoint.TimelineID != 1 {
				t.Errorf("%+v", c)
			}
			got := fmt.Sprintf("%d %s", c.SystemID, pg.WALFileName(1, c.CheckPoint.Redo, c.WALSegmentSize))
			if !strings.HasPrefix(want, got) || len(maps) < 10 {
				t.Errorf("%s, want the start of %s; %d mappings", got, want, len(maps))
			}
			flips(t, file[:296], func(b []byte) error { _, err := control.Parse(append(b, file[296:]...)); return err }, int(m))
			flips(t, relmap, func(b []byte) error { _, err := control.ParseRelMap(m, b); return err }, int(m))
			patched(t, file, c)
		})
	}
}

// patched changes what Patch may and expects it to be read back, and the same file when nothing changes.
func patched(t *testing.T, file []byte, c control.Control) {
	t.Helper()
	same := bytes.Clone(file)
	if err := control.Patch(same, c); err != nil || !bytes.Equal(same, file) {
		t.Errorf("a patch that changes nothing changes the file: %v", err)
	}
	c.State, c.CheckPointLSN, c.MaxConnections, c.CheckPoint.NextXID = control.ShutDown, 0x5000028, 200, 7<<32|12345
	if err := control.Patch(same, c); err != nil {
		t.Fatal(err)
	}
	if got, err := control.Parse(same); err != nil || got != c {
		t.Errorf("%v\ngot  %+v\nwant %+v", err, got, c)
	}
	c.SystemID++
	if err := control.Patch(same, c); err == nil {
		t.Error("another system's state was patched in")
	}
}

func read(t *testing.T, srv *pgtest.Server, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(srv.DataDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t *testing.T, srv *pgtest.Server) ([]byte, control.Control) {
	t.Helper()
	b := read(t, srv, "global/pg_control")
	c, err := control.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, c
}

// flips damages each byte in turn; only bytes after the checksum may go unnoticed.
func flips(t *testing.T, b []byte, parse func([]byte) error, major int) {
	t.Helper()
	unnoticed := 0
	for i := range b {
		damaged := bytes.Clone(b)
		damaged[i] ^= 0x10
		if parse(damaged) == nil {
			unnoticed++
		}
	}
	if unnoticed > 4 {
		t.Errorf("PostgreSQL %d: %d of %d damaged bytes went unnoticed", major, unnoticed, len(b))
	}
}

func TestParseRefusesOtherVersions(t *testing.T) {
	b := make([]byte, control.FileSize)
	b[8], b[9] = 0x09, 0x07 // 1801
	if _, err := control.Parse(b); err == nil || !strings.Contains(err.Error(), "pg_control version 1801") {
		t.Error(err)
	}
	if _, err := control.Parse(b[:100]); !errors.Is(err, pg.ErrCorrupt) {
		t.Error(err)
	}
}

func TestParseBackupLabel(t *testing.T) {
	l, err := control.ParseBackupLabel([]byte("START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\n" +
		"BACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-01-02 03:04:05 UTC\nLABEL: tarn: base\nSTART TIMELINE: 1\n"))
	want := control.BackupLabel{Start: 0x2000028, StartFile: "000000010000000000000002", CheckPoint: 0x2000060, Method: "streamed",
		From: "primary", StartTime: "2026-01-02 03:04:05 UTC", Label: "tarn: base", Timeline: 1}
	if l != want || err != nil {
		t.Errorf("%+v, %v", l, err)
	}
	for _, bad := range []string{"", "START WAL LOCATION: zzz\n", "CHECKPOINT LOCATION: 0/2000060\n"} {
		if _, err := control.ParseBackupLabel([]byte(bad)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
