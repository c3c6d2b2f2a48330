package redo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// ErrNoMask says that pages of this resource manager cannot be compared yet: what may differ on them is not known here.
var ErrNoMask = errors.New("no mask for this resource manager's pages")

// Range is a run of bytes on a page.
type Range struct {
	Offset int `json:"offset"` // bytes from the page's start
	Length int `json:"length"` // bytes
}

func (r Range) String() string { return fmt.Sprintf("%d+%d", r.Offset, r.Length) }

// Scratch is Check's working memory, kept by the caller between calls. The ranges it returns lie in it.
type Scratch struct {
	ours, theirs [pg.BlockSize]byte
	diffs        []Range

	ImageLSN pg.LSN // of the image that Check compared with last, which the masks hide
}

// rangesMax bounds the ranges reported for one page.
const rangesMax = 32

// HasCheck says that the server left its own image of the block after the record, to compare with and not to apply
// (wal_consistency_checking).
func HasCheck(blk *wal.BlockRef) bool { return blk.HasImage && !blk.ApplyImage }

// Check compares page, as Apply left it, with the image of blk the server took after the record (checkXLogConsistency).
// It returns the byte ranges that differ after masking, up to 32; page is left as it is. The error is ErrNoMask, or a
// *pg.CorruptError when the image cannot be read.
//
// As in Postgres, a page past the record is not compared: equal is true.
func Check(page pg.Page, rec *wal.Record, blk *wal.BlockRef, s *Scratch) (equal bool, diffs []Range, err error) {
	if !HasCheck(blk) {
		panic("BUG: redo.Check on a block reference without an image to compare")
	}
	mask := maskOf(rec.RMID)
	if mask == nil {
		return false, nil, ErrNoMask
	}
	if page.LSN() > rec.End {
		return true, nil, nil
	}
	theirs := pg.Page(s.theirs[:])
	if err := blk.RestoreImage(theirs); err != nil {
		return false, nil, corrupt(rec, blk, err.Error())
	}
	s.ImageLSN = theirs.LSN()
	if blk.Fork == pg.VMFork && (rec.RMID == wal.RMHeap || rec.RMID == wal.RMHeap2) {
		equal, diffs = compareVM(page, theirs, s)
		return equal, diffs, nil
	}
	equal, diffs = compare(page, theirs, blk.Block, mask, s)
	return equal, diffs, nil
}

// maskOf is a resource manager's mask, nil if it has none: its records come without images to compare.
func maskOf(rmid wal.RMID) func(pg.Page, pg.BlockNumber) bool {
	if int(rmid) < len(managers) {
		return managers[rmid].mask
	}
	return nil
}

// Compare compares two pages of one block of a relation that belongs to a resource manager, after masking; neither is changed.
// The error is ErrNoMask.
func Compare(rmid wal.RMID, ours, theirs pg.Page, blk pg.BlockNumber, s *Scratch) (equal bool, diffs []Range, err error) {
	mask := maskOf(rmid)
	if mask == nil {
		return false, nil, ErrNoMask
	}
	copy(s.theirs[:], theirs)
	equal, diffs = compare(ours, s.theirs[:], blk, mask, s)
	return equal, diffs, nil
}

// CompareHeap is Compare for heap pages.
func CompareHeap(ours, theirs pg.Page, blk pg.BlockNumber, s *Scratch) (equal bool, diffs []Range) {
	equal, diffs, _ = Compare(wal.RMHeap, ours, theirs, blk, s)
	return equal, diffs
}

// compare masks a copy of ours and theirs itself. A page that was never initialised equals only another such.
func compare(page, theirs pg.Page, blk pg.BlockNumber, mask func(pg.Page, pg.BlockNumber) bool, s *Scratch) (bool, []Range) {
	ours := pg.Page(s.ours[:])
	copy(ours, page)
	if ours.IsNew() && theirs.IsNew() {
		return true, nil
	}
	okOurs, okTheirs := mask(ours, blk), mask(theirs, blk)
	s.diffs = appendDiffs(s.diffs[:0], ours, theirs)
	return okOurs && okTheirs && len(s.diffs) == 0, s.diffs
}

// compareVM looks for bits the server's map page has and ours lacks. heap_mask hides a map page altogether. This is as
// far as it can be compared: servers before 17.11 and 18.6 clear a bit before they insert the record that says so, so the
// image may lack bits that are cleared by a record still to come; bits are set only together with their record.
func compareVM(page, theirs pg.Page, s *Scratch) (bool, []Range) {
	s.diffs = s.diffs[:0]
	for i := pg.PageHeaderSize; i < pg.BlockSize && len(s.diffs) < rangesMax; i++ {
		if theirs[i]&^page[i] != 0 {
			s.diffs = append(s.diffs, Range{Offset: i, Length: 1})
		}
	}
	return len(s.diffs) == 0, s.diffs
}

// appendDiffs lists the runs of differing bytes, joining runs less than 8 bytes apart.
func appendDiffs(dst []Range, a, b []byte) []Range {
	if bytes.Equal(a, b) { // nearly always
		return dst
	}
	for i := 0; i < len(a) && len(dst) < rangesMax; {
		if i%8 == 0 {
			x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:])
			if x == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(x) / 8
		}
		if a[i] == b[i] {
			i++
			continue
		}
		if n := len(dst); n > 0 && i-(dst[n-1].Offset+dst[n-1].Length) < 8 {
			dst[n-1].Length = i + 1 - dst[n-1].Offset
		} else {
			dst = append(dst, Range{Offset: i, Length: 1})
		}
		i++
	}
	return dst
}
