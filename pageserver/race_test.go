package pageserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"sync"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

var testRel = pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 16384}

// heapPage is an initialised page whose content tells blk and version.
func heapPage(blk pg.BlockNumber, version int) pg.Page {
	p := make(pg.Page, pg.BlockSize)
	p.Init(0)
	text := fmt.Sprintf("block %d version %d ", blk, version)
	for at := 4000; at < 8000; at += len(text) {
		copy(p[at:8000], text)
	}
	p.SetUpper(4000)
	return p
}

// testControl is a pg_control of PostgreSQL 15 whose server was shut down at lsn.
func testControl(t testing.TB, lsn pg.LSN) []byte {
	t.Helper()
	b := make([]byte, control.FileSize)
	le := binary.LittleEndian
	le.PutUint64(b, 77)
	le.PutUint32(b[8:], 1300)
	le.PutUint32(b[12:], 202209061)
	le.PutUint32(b[16:], uint32(control.ShutDown))
	copy(b[40:], xlrec.AppendCheckPoint(nil, pg.PG15, xlrec.CheckPoint{Redo: lsn, TimelineID: 1, PrevTimelineID: 1, NextXID: 1000, NextMulti: 1, OldestXID: 700}))
	le.PutUint32(b[172:], uint32(xlrec.WALLevelReplica))
	le.PutUint32(b[204:], 8)
	le.PutUint64(b[208:], 0x4132D68700000000) // 1234567.0
	le.PutUint32(b[216:], 8192)
	le.PutUint32(b[220:], pg.SegmentBlocks)
	le.PutUint32(b[224:], 8192)
	le.PutUint32(b[228:], 16<<20)
	b[248] = 1
	le.PutUint32(b[288:], crcOf(b[:288]))
	return b
}

func crcOf(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// importPages makes a timeline of one relation with n blocks of version 0.
func importPages(t testing.TB, o Options, n int) *Timeline {
	t.Helper()
	ctx := context.Background()
	im, err := NewImport(ctx, o, ImportInfo{SystemID: 77})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	for blk := range n {
		file.Write(heapPage(pg.BlockNumber(blk), 0))
	}
	files := map[string][]byte{"base/5/16384": file.Bytes(), "global/pg_control": testControl(t, 0x1000000), "base/5/16384_fsm": make([]byte, 8192),
		"pg_xact/0000": make([]byte, 8192), "base/5/t3_99": make([]byte, 8192), "postgresql.conf": []byte("x")}
	for path, data := range files {
		if err := im.File(ctx, 0, path, int64(len(data)), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	tl, err := im.Finish(ctx, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	return tl
}

// fpi is a record that replaces pages by images.
func fpi(lsn pg.LSN, xid pg.XID, rel pg.RelFileLocator, version int, blocks ...pg.BlockNumber) *wal.Record {
	rec := &wal.Record{Major: pg.PG15, LSN: lsn, End: lsn + 0x100, RMID: wal.RMXLog, Info: xlrec.XLogFPI, XID: xid}
	for i, blk := range blocks {
		rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: uint8(i), Rel: rel, Block: blk, HasImage: true, ApplyImage: true, Image: heapPage(blk, version)})
	}
	return rec
}

// TestReadersDuringFlush reads at barriers from several goroutines while a flush and merges run, with memory for a part of
// the pages. Run it with -race.
func TestReadersDuringFlush(t *testing.T) {
	ctx := context.Background()
	const n = 6000 // blocks; memory holds 3072
	store := objstore.NewFaulty(objstore.NewMem())
	store.Inject(objstore.Fault{Op: objstore.OpPutStream, Skip: 4, Times: 3, Err: objstore.ErrInjected})
	tl := importPages(t, Options{Store: store, MemoryBytes: 32 << 20}, n)
	defer tl.Close()
	version := make([]int, n)
	lsn := tl.RedoLSN()
	var wait func() error
	for round := 1; round <= 40; round++ {
		for i := range 150 {
			blk := pg.BlockNumber((round*7919 + i*31) % n)
			if err := tl.Apply(ctx, fpi(lsn, 0, testRel, round, blk)); err != nil {
				t.Fatal(err)
			}
			version[blk] = round
			lsn = tl.RedoLSN()
		}
		if round%3 == 0 {
			wait = tl.StartFlush(ctx)
		}
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				check := func(blk pg.BlockNumber, page pg.Page) error {
					want := heapPage(blk, version[blk])
					if !bytes.Equal(page[100:], want[100:]) {
						return fmt.Errorf("round %d block %d is %q, want version %d", round, blk, page[4000:4040], version[blk])
					}
					return nil
				}
				from, to := pg.BlockNumber(g*n/4), pg.BlockNumber((g+1)*n/4)
				seen := 0
				err := tl.Scan(ctx, testRel, pg.MainFork, from, to, func(blk pg.BlockNumber, page pg.Page) error {
					seen++
					return check(blk, page)
				})
				if err != nil || seen != n/4 {
					t.Errorf("scan saw %d blocks: %v", seen, err)
				}
				for i := range 50 {
					blk := pg.BlockNumber((g*n/4 + i*37 + round) % n)
					page, err := tl.Page(ctx, testRel, pg.MainFork, blk)
					if err == nil {
						err = check(blk, page)
					}
					if err != nil {
						t.Error(err)
					}
				}
				if _, err := tl.Committed(800); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
	}
	_ = wait()
	tl.flusher.running.Wait()
	if s := tl.Stats(); s.Merges == 0 || s.ResidentBytes > 24<<20 {
		t.Errorf("%d merges, %d bytes resident", s.Merges, s.ResidentBytes)
	}
}
