package wal

import (
	"errors"
	"hash/crc32"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// FuzzReader reads damaged pages, also with checksums off so that the decoder sees the damage.
func FuzzReader(f *testing.F) {
	for _, m := range majors {
		w := fixture(f, m)
		for _, at := range []int{0, 40 * PageSize, walfixture.SegmentSize - 2*PageSize} {
			f.Add(w.Bytes[at:at+3*PageSize], uint64(w.Start)+uint64(at), false)
			f.Add(w.Bytes[at:at+3*PageSize], uint64(w.Start)+uint64(at), true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, start uint64, skipCRC bool) {
		if len(b) > 1<<20 || start == 0 || start > 1<<60 {
			return
		}
		src := &walfixture.WAL{Start: pg.LSN(start), Bytes: b, SegmentLen: walfixture.SegmentSize}
		r, err := NewReader(Options{Source: src, Start: pg.LSN(start)})
		if err != nil {
			return
		}
		r.skipCRC = skipCRC
		r.buf = make([]byte, 8*PageSize)
		page := make(pg.Page, pg.BlockSize)
		last := pg.LSN(0)
		for {
			rec, err := r.Next()
			p := r.Position()
			if p.Complete < last || p.Complete > max(src.End(), pg.LSN(start)) {
				t.Fatalf("position %+v after %s, the stream ends at %s", p, last, src.End())
			}
			if err != nil {
				return
			}
			if rec.End <= rec.LSN || rec.LSN < last {
				t.Fatalf("record from %s to %s after %s", rec.LSN, rec.End, last)
			}
			last = rec.End
			digestOf(rec)
			for i := range rec.Blocks {
				if rec.Blocks[i].HasImage {
					rec.Blocks[i].RestoreImage(page)
				}
			}
		}
	})
}

// FuzzDecode takes a record apart, whatever its checksum.
func FuzzDecode(f *testing.F) {
	for _, m := range majors {
		w := fixture(f, m)
		r := newReader(f, Options{Source: w, Start: w.Start})
		for n := 0; ; n++ {
			rec, err := r.Next()
			if err != nil {
				break
			}
			at := int(rec.LSN - w.Start)
			if n%97 == 0 && at%PageSize+int(rec.TotLen) <= PageSize {
				f.Add(w.Bytes[at : at+int(rec.TotLen)])
			}
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < recordHeaderSize {
			return
		}
		var rec Record
		if err := rec.decode(raw); err != nil {
			return
		}
		n := len(rec.Main)
		for i := range rec.Blocks {
			n += len(rec.Blocks[i].Image) + len(rec.Blocks[i].Data)
		}
		if n+recordHeaderSize > len(raw) || len(rec.Blocks) > maxBlockID+1 {
			t.Fatalf("%d blocks and %d bytes of data from a record of %d", len(rec.Blocks), n, len(raw))
		}
	})
}

// FuzzRestoreImage decompresses damaged images; none may write outside the page or take more than a page.
func FuzzRestoreImage(f *testing.F) {
	w := fixture(f, pg.PG15)
	r := newReader(f, Options{Source: w, Start: w.Start})
	for n := 0; ; {
		rec, err := r.Next()
		if err != nil {
			break
		}
		for i := range rec.Blocks {
			if b := &rec.Blocks[i]; b.HasImage && b.ImageInfo&imageCompressed != 0 && n < 40 {
				f.Add(b.Image, b.ImageInfo, b.HoleOffset, b.HoleLength)
				n++
			}
		}
	}
	f.Fuzz(func(t *testing.T, image []byte, info uint8, off, length uint16) {
		guard := make([]byte, pg.BlockSize+16)
		b := BlockRef{HasImage: true, Image: image, ImageInfo: info, HoleOffset: off, HoleLength: length}
		before := crc32.ChecksumIEEE(image)
		err := b.RestoreImage(guard[:pg.BlockSize:pg.BlockSize])
		if err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Fatal(err)
		}
		if crc32.ChecksumIEEE(image) != before || crc32.ChecksumIEEE(guard[pg.BlockSize:]) != crc32.ChecksumIEEE(make([]byte, 16)) {
			t.Fatal("wrote outside the page")
		}
	})
}
