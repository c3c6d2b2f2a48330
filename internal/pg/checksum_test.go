package pg_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestChecksumAs: the pages a server has written have the checksums it gave them, and not those of another block.
func TestChecksumAs(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	srv := pgtest.NewTestServer(t, pgtest.Options{Major: 15, InitdbArgs: []string{"--data-checksums"}})
	path, err := srv.QueryText(context.Background(), "postgres", "select pg_relation_filepath('pg_proc')")
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Stop(pgtest.Fast); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(srv.DataDir(), path))
	if err != nil || len(b) < 50*pg.BlockSize {
		t.Fatal(len(b), err)
	}
	for at := 0; at < len(b); at += pg.BlockSize {
		p, blk := pg.Page(b[at:at+pg.BlockSize]), pg.BlockNumber(at/pg.BlockSize)
		if p.ChecksumAs(blk) != p.Checksum() || p.ChecksumAs(blk+1) == p.Checksum() {
			t.Fatalf("block %d: %#04x, the server's %#04x", blk, p.ChecksumAs(blk), p.Checksum())
		}
	}
}

func BenchmarkChecksumAs(b *testing.B) {
	p := make(pg.Page, pg.BlockSize)
	b.SetBytes(pg.BlockSize)
	for b.Loop() {
		p.ChecksumAs(3)
	}
}
