package verify

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestGinPagesFromBefore94 gives servers posting tree leaves as PostgreSQL before 9.4 left them: arrays of item pointers. The first
// record of such a page makes it one of today's, here without an image of it (full_page_writes off).
func TestGinPagesFromBefore94(t *testing.T) {
	if !pgtest.Long() && os.Getenv("TARN_PGRELEASE") == "" {
		t.Skip("TARN_LONG=1 or TARN_PGRELEASE=18.6 runs servers")
	}
	for _, from := range sources() {
		from.checksums = false // pages are changed behind the server's back
		t.Run(from.release, func(t *testing.T) { testOldGinPages(t, from) })
	}
}

func testOldGinPages(t *testing.T, from source) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "tarngin")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	opts := from.options()
	opts.Dir, opts.Settings = dir, map[string]string{
		"wal_consistency_checking": "gin", "wal_keep_size": "60GB", "fsync": "off", "autovacuum": "off", "full_page_writes": "off",
	}
	srv, err := pgtest.Start(ctx, opts)
	if errors.Is(err, pgtest.ErrNoBinaries) {
		pgtest.Missing(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = srv.Remove() }()
	do := func(statements ...string) {
		t.Helper()
		if err := srv.Exec(ctx, "postgres", statements...); err != nil {
			t.Fatal(err)
		}
	}
	// Items eight pages apart take three bytes in a list of today: a tree grows from few enough of them for an old page.
	do("create table old (n int)", "insert into old select generate_series(0, 1800000)")
	names := map[string]int{"inserted": 0, "vacuumed": 1, "emptied": 2}
	for name, rest := range names {
		do("create index " + name + " on old using gin ((array[1])) with (fastupdate = off) where n % 1808 = " + string(rune('0'+rest)))
	}
	files := map[string]string{}
	for name := range names {
		if files[name], err = srv.QueryText(ctx, "postgres", "select pg_relation_filepath('"+name+"')"); err != nil {
			t.Fatal(err)
		}
	}
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	for name, file := range files {
		if n := ageLeaves(t, filepath.Join(srv.DataDir(), file), name == "emptied"); n != 1 {
			t.Fatalf("%s: %d leaves", name, n)
		}
	}
	base := filepath.Join(dir, "base")
	if err := os.CopyFS(base, os.DirFS(srv.DataDir())); err != nil {
		t.Fatal(err)
	}
	if err := srv.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	do("insert into old values (1808), (1810)", "delete from old where n % 1808 = 1 and n < 500000", "vacuum old", "insert into old values (1808), (1809), (1810)")
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	v, err := open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer v.pages.base.Close()
	converted := map[string]int{}
	v.fault = func(before, after pg.Page, rec *wal.Record, blk *wal.BlockRef) {
		if rec.RMID == wal.RMGin && ginKind(before, 0, ginrec.PageCompressed) && ginKind(after, ginrec.PageCompressed, ginrec.PageCompressed) && !blk.ApplyImage {
			converted[rec.TypeName()]++
		}
	}
	err = v.redoFolder(ctx, filepath.Join(srv.DataDir(), "pg_wal"), nil)
	r := v.finish()
	t.Logf("%d images, %d mismatches; converted by %v", r.ImagesCompared, r.Mismatches, converted)
	if err != nil || !r.OK() || converted["INSERT"] != 2 || converted["VACUUM_DATA_LEAF_PAGE"] != 1 {
		t.Errorf("%+v %v", r, err)
	}
}

// ageLeaves brings the leaves of an index's posting trees into the form of old, with their items or without, and counts them.
func ageLeaves(t *testing.T, path string, emptied bool) (n int) {
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for at := 0; at < len(file); at += pg.BlockSize {
		p := pg.Page(file[at : at+pg.BlockSize])
		if !ginKind(p, ginrec.PageData|ginrec.PageLeaf, ginrec.PageData|ginrec.PageLeaf) {
			continue
		}
		items := leafItems(t, p)
		if emptied {
			items = nil
		}
		clear(p[ginrec.PostingAt:ginrec.Special])
		for i, item := range items {
			b := p[ginrec.PostingAt+i*pg.TIDSize:]
			binary.LittleEndian.PutUint16(b, uint16(item>>27))
			binary.LittleEndian.PutUint16(b[2:], uint16(item>>11))
			binary.LittleEndian.PutUint16(b[4:], uint16(item&0x7FF))
		}
		o, _ := ginrec.PageOpaque(p)
		o.SetFlags(o.Flags() &^ ginrec.PageCompressed)
		o.SetCount(len(items))
		p.SetLower(pg.PageHeaderSize)
		n++
	}
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return n
}

func leafItems(t *testing.T, p pg.Page) (items []ginrec.Item) {
	for lists := p[ginrec.PostingAt:p.Lower()]; len(lists) > 0; {
		size := ginrec.SegmentSize(lists)
		d, item := ginrec.Decode(lists[:size])
		for ok := true; ok; {
			var err error
			items = append(items, item)
			if item, ok, err = d.Next(); err != nil {
				t.Fatal(err)
			}
		}
		lists = lists[size:]
	}
	if len(items)*pg.TIDSize > ginrec.PostingSizeMax {
		t.Fatalf("%d items are too many for a page of old", len(items))
	}
	return items
}
