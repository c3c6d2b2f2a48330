package redo

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
)

// FuzzFetch: whatever record and page they get, the hints stay within the page and leave it as it is.
func FuzzFetch(f *testing.F) {
	f.Add(uint8(wal.RMHeap), uint8(heaprec.OpLock), uint8(0), []byte{0, 0, 0, 0, 0xFF, 0xFF, 0, 0}, []byte{0xFF}, uint16(0))
	f.Add(uint8(wal.RMBtree), uint8(0), uint8(1), []byte{0, 0}, []byte{0xFF, 0xFF, 0xFF, 0xFF}, uint16(pg.PageHeaderSize-4))
	f.Add(uint8(wal.RMBtree), uint8(0), uint8(0), []byte{0xF9, 0x07}, []byte{0xFF, 0xFF, 0xFF, 0xFF}, uint16(pg.BlockSize-4))
	f.Add(uint8(wal.RMBtree), uint8(0), uint8(0), []byte{0, 0x08}, []byte(nil), uint16(0)) // just past the page
	f.Add(uint8(wal.RMHeap2), uint8(0), uint8(0), []byte(nil), []byte{63, 0}, uint16(14))
	f.Fuzz(func(t *testing.T, rmid, info, id uint8, main, scribble []byte, at uint16) {
		page := newPage()
		copy(page[at%pg.BlockSize:], scribble)
		before := [pg.BlockSize]byte(page)
		rec := &wal.Record{RMID: wal.RMID(rmid), Info: info, Main: main}
		blk := &wal.BlockRef{ID: id}
		FetchPointers(page, rec, blk)
		FetchTuples(page, rec, blk)
		if before != [pg.BlockSize]byte(page) {
			t.Fatal("the page was changed")
		}
	})
}

// BenchmarkFetch redoes locks of rows on random pages of 512 MiB, 16 pages at a time, with and without asking for all of them first.
func BenchmarkFetch(b *testing.B) {
	const pages, group = 65536, 16
	one := newPage()
	one.Init(0)
	for off := pg.OffsetNumber(1); off <= 200; off++ {
		if _, err := addItem(one, 32, off); err != nil {
			b.Fatal(err)
		}
	}
	memory := make([]byte, pages*pg.BlockSize)
	for at := 0; at < len(memory); at += pg.BlockSize {
		copy(memory[at:], one)
	}
	for _, ahead := range []bool{false, true} {
		b.Run(fmt.Sprintf("ahead=%v", ahead), func(b *testing.B) {
			r := rand.New(rand.NewPCG(1, 2))
			var list [group]pg.Page
			var recs [group]*wal.Record
			for i := range recs {
				recs[i] = record(wal.RMHeap, heaprec.OpLock, make([]byte, 8), nil)
			}
			var sum byte
			for b.Loop() {
				for i := range list {
					at := r.IntN(pages) * pg.BlockSize
					list[i] = memory[at : at+pg.BlockSize]
					binary.LittleEndian.PutUint16(recs[i].Main[4:], uint16(1+r.IntN(200)))
				}
				if ahead {
					for i, p := range list {
						sum += FetchPointers(p, recs[i], &recs[i].Blocks[0])
					}
					for i, p := range list {
						sum += FetchTuples(p, recs[i], &recs[i].Blocks[0])
					}
				}
				for i, p := range list {
					recs[i].End = p.LSN() + 8
					if _, err := Apply(p, recs[i], &recs[i].Blocks[0], Env{}); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/group, "ns/page")
			_ = sum
		})
	}
}
