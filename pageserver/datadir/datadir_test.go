package datadir

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// tree makes a data directory of version 15 with those files.
func tree(t *testing.T, files map[string][]byte) string {
	t.Helper()
	root := t.TempDir()
	files["PG_VERSION"] = []byte("15\n")
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func blocks(fill ...byte) (b []byte) {
	for _, f := range fill {
		b = append(b, bytes.Repeat([]byte{f}, pg.BlockSize)...)
	}
	return b
}

func TestForksAndPages(t *testing.T) {
	d, err := Open(tree(t, map[string][]byte{
		"global/1262": blocks(1), "global/pg_control": {1}, "global/pg_filenode.map": {1},
		"base/5/1259": append(blocks(2, 3), 4), "base/5/1259_vm": blocks(5), "base/5/1259_fsm": blocks(6),
		"base/5/1259.1": blocks(7), "base/5/t3_99": blocks(8), "base/5/PG_VERSION": {1}, "base/pgsql_tmp/1": {1},
		"base/5/700_init": blocks(9), "base/5/700": blocks(), "pg_tblspc/16500/PG_15_202209061/5/16600": blocks(10),
		"pg_tblspc/16500/PG_16_202307071/5/16600": blocks(11),
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	rel := func(spc, db, n pg.OID) pg.RelFileLocator { return pg.RelFileLocator{Spc: spc, DB: db, Rel: n} }
	forks, err := d.Forks()
	want := []Fork{
		{rel(1664, 0, 1262), pg.MainFork},
		{rel(1663, 5, 700), pg.MainFork}, {rel(1663, 5, 700), pg.InitFork},
		{rel(1663, 5, 1259), pg.MainFork}, {rel(1663, 5, 1259), pg.FSMFork}, {rel(1663, 5, 1259), pg.VMFork},
		{rel(16500, 5, 16600), pg.MainFork},
	}
	if err != nil || !slices.Equal(forks, want) {
		t.Errorf("%v, %v", forks, err)
	}
	page := make(pg.Page, pg.BlockSize)
	for _, c := range []struct {
		fork  Fork
		blk   pg.BlockNumber
		ok    bool
		first byte
		last  byte
	}{
		{want[0], 0, true, 1, 1}, {want[3], 1, true, 3, 3}, {want[3], 2, true, 4, 0}, {want[3], 3, false, 0, 0},
		{want[3], pg.SegmentBlocks, true, 7, 7}, {want[5], 0, true, 5, 5}, {want[6], 0, true, 10, 10},
		{Fork{rel(1663, 5, 4711), pg.MainFork}, 0, false, 0, 0}, {Fork{rel(999, 5, 4711), pg.MainFork}, 0, false, 0, 0},
	} {
		page[0], page[pg.BlockSize-1] = 99, 99
		ok, err := d.ReadPage(c.fork, c.blk, page)
		if err != nil || ok != c.ok || page[0] != c.first || page[pg.BlockSize-1] != c.last {
			t.Errorf("%v block %d: %v %v, bytes %d %d", c.fork, c.blk, ok, err, page[0], page[pg.BlockSize-1])
		}
	}
	if n, err := d.Blocks(want[3]); n != 3 || err != nil {
		t.Errorf("%d blocks, %v: a segment that is not full is the last", n, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a Postgres data directory") {
		t.Error(err)
	}
	root := tree(t, map[string][]byte{})
	for _, version := range []string{"14", "19", "x", ""} {
		if err := os.WriteFile(filepath.Join(root, "PG_VERSION"), []byte(version), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(root); err == nil {
			t.Errorf("version %q was taken", version)
		}
	}
}

func TestManyFilesStayBounded(t *testing.T) {
	files := map[string][]byte{}
	for i := range 3 * openFilesMax {
		files[filepath.Join("base/5", string(rune('1'+i%9))+strings.Repeat("0", 1+i/9%20))] = blocks(1)
	}
	d, err := Open(tree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	forks, err := d.Forks()
	if err != nil {
		t.Fatal(err)
	}
	page := make(pg.Page, pg.BlockSize)
	for _, f := range forks {
		if ok, err := d.ReadPage(f, 0, page); !ok || err != nil {
			t.Fatalf("%v: %v %v", f, ok, err)
		}
		if len(d.open) > openFilesMax {
			t.Fatalf("%d files open", len(d.open))
		}
	}
}
