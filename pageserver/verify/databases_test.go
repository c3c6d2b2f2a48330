package verify

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// TestWholeDatabases: a crash in the middle of DROP DATABASE leaves files of zeros, whose pages the checkpoint before the
// removal no longer wrote. They are not compared; those of a database that is whole are.
func TestWholeDatabases(t *testing.T) {
	for _, major := range majors(t) {
		t.Run(fmt.Sprintf("PostgreSQL%d", major), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "tarnverify")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			ctx := context.Background()
			srv, err := pgtest.Start(ctx, pgtest.Options{Major: major, Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = srv.Remove() })
			if err := srv.Exec(ctx, "postgres", "create database kept", "create database halfway", "create database gone", "drop database gone",
				"update pg_database set datconnlimit = 7 where datname = 'kept'",
				"begin; update pg_database set datconnlimit = -2 where datname = 'kept'; rollback",
				"update pg_database set datconnlimit = -2 where datname = 'halfway'"); err != nil {
				t.Fatal(err)
			}
			oids := map[string]string{}
			for _, name := range []string{"kept", "halfway", "template0"} {
				if oids[name], err = srv.QueryText(ctx, "postgres", "select oid::text from pg_database where datname = '"+name+"'"); err != nil {
					t.Fatal(err)
				}
			}
			if err := srv.Stop(pgtest.Fast); err != nil {
				t.Fatal(err)
			}
			checkWhole(t, srv.DataDir(), oids)
			checkLeftBehind(t, srv.DataDir(), oids["kept"])
			for _, name := range []string{"halfway", "kept"} {
				differ := differAfterZeroing(t, srv.DataDir(), oids[name])
				if (differ > 0) != (name == "kept") {
					t.Errorf("with a file of zeros in database %s %d pages differ", name, differ)
				}
			}
		})
	}
}

// checkLeftBehind puts a copy of a database in another tablespace, where it does not live: a move that a crash has cut off.
func checkLeftBehind(t *testing.T, data, oid string) {
	t.Helper()
	folders, _ := filepath.Glob(filepath.Join(data, "pg_tblspc", "*"))
	if len(folders) > 0 {
		t.Fatalf("tablespaces %v", folders)
	}
	spc := filepath.Join(data, "pg_tblspc", "99999")
	version, err := os.ReadFile(filepath.Join(data, "PG_VERSION"))
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(spc, "PG_"+strings.TrimSpace(string(version))+"_1", oid)
	if err := os.MkdirAll(filepath.Dir(folder), 0o700); err != nil {
		t.Fatal(err)
	}
	copyTree(t, filepath.Join(data, "base", oid), folder)
	defer os.RemoveAll(spc)
	nowhere := func(f datadir.Fork, _ pg.BlockNumber, dst pg.Page) (bool, error) {
		clear(dst)
		return f.Rel.Spc == 99999, nil
	}
	for _, left := range []bool{true, false} {
		final, err := ComparePages(context.Background(), data, nowhere, nil)
		if err != nil || final.Differ != 0 || (final.Orphans == 0) != left {
			t.Errorf("a folder left behind (%t): %d pages differ, %d orphans, %v", left, final.Differ, final.Orphans, err)
		}
		_ = os.Remove(filepath.Join(folder, "pg_filenode.map")) // now it holds what the database could have in that tablespace, but has not
	}
}

func checkWhole(t *testing.T, data string, oids map[string]string) {
	t.Helper()
	d, err := datadir.Open(data)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	whole, err := wholeDatabases(d)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range oids {
		oid, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		if whole.whole[pg.OID(oid)] == 0 != (name == "halfway") {
			t.Errorf("database %s is whole: %t", name, whole.whole[pg.OID(oid)] != 0)
		}
	}
	if len(whole.whole) != 4 { // template0, template1, postgres, kept
		t.Errorf("whole databases: %v", whole.whole)
	}
}

// differAfterZeroing overwrites the database's pg_type with zeros and compares with what was there.
func differAfterZeroing(t *testing.T, data, oid string) int64 {
	t.Helper()
	before := filepath.Join(t.TempDir(), "before")
	if err := os.CopyFS(before, os.DirFS(data)); err != nil {
		t.Fatal(err)
	}
	d, err := datadir.Open(before)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	path := filepath.Join(data, "base", oid, "1247")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, info.Size()), 0o600); err != nil {
		t.Fatal(err)
	}
	final, err := ComparePages(context.Background(), data, newPageSet(d).lookup, nil)
	if err != nil {
		t.Fatal(err)
	}
	return final.Differ
}
