package hashrec

import "github.com/tarn-db/tarn/internal/pg"

// MovePageContents is xl_hash_move_page_contents: tuples went from an overflow page to one before it. Block 0 is the bucket's first
// page, not changed, and there only if it is not the one written; 1 the page written, with MovedTuples' bytes; 2 the page they were
// on, with their line pointer numbers there.
//
//	0 ntups uint16   2 is_prim_bucket_same_wrt bool
type MovePageContents struct {
	Tuples         int
	PrimaryWritten bool // the page written is the bucket's first
}

// DecodeMovePageContents reads an OpMovePageContents record's main data.
func DecodeMovePageContents(main []byte) (r MovePageContents, err error) {
	c := pg.NewCursor("xl_hash_move_page_contents", main)
	r = MovePageContents{Tuples: int(c.U16()), PrimaryWritten: c.Bool()}
	return r, c.Done()
}

// SqueezePage is xl_hash_squeeze_page: an overflow page's last tuples went to a page before it, and it was freed. Block 0 is
// the bucket's first page, not changed, and there only if it is not the one written; 1 the page written, with MovedTuples' bytes, from 17 on
// left out where nothing is written to it; 2 the page freed; 3 the page before it, if not the one written; 4, if there, the page after it;
// 5 the bitmap page, with the bit to clear; 6, if there, the metapage, with its new first free bit.
//
//	0 prevblkno uint32   4 nextblkno uint32   8 ntups uint16   10 is_prim_bucket_same_wrt bool   11 is_prev_bucket_same_wrt bool
type SqueezePage struct {
	Prev, Next     pg.BlockNumber // the freed page's neighbours in the bucket
	Tuples         int
	PrimaryWritten bool // the page written is the bucket's first
	PrevWritten    bool // the page written is the one before that freed

	// WriteStamped: redo sets the LSN of the page written though nothing on it changes. 17 (861f86beea) ended that.
	WriteStamped bool
}

// DecodeSqueezePage reads an OpSqueezePage record's main data.
func DecodeSqueezePage(major pg.Major, main []byte) (r SqueezePage, err error) {
	c := pg.NewCursor("xl_hash_squeeze_page", main)
	r = SqueezePage{
		Prev: pg.BlockNumber(c.U32()), Next: pg.BlockNumber(c.U32()), Tuples: int(c.U16()),
		PrimaryWritten: c.Bool(), PrevWritten: c.Bool(),
	}
	r.WriteStamped = major < pg.PG17 || r.Tuples > 0 || r.PrevWritten
	return r, c.Done()
}

// MovedTuples is index tuples to be put on a page, in this order, each at its line pointer.
//
//	a line pointer number uint16 each, then the tuples, each padded to 8 bytes
type MovedTuples struct {
	offsets pg.Offsets
	tuples  []byte
}

// DecodeMovedTuples reads a block's data of n tuples.
func DecodeMovedTuples(data []byte, n int) (m MovedTuples, err error) {
	if len(data) < 2*n {
		return m, pg.Corruptf("%d bytes of data for %d tuples", len(data), n)
	}
	return MovedTuples{offsets: pg.Offsets(data[:2*n]), tuples: data[2*n:]}, nil
}

// More says whether a tuple is left, or bytes that are none.
func (m *MovedTuples) More() bool { return len(m.offsets) > 0 || len(m.tuples) > 0 }

// Next takes the next tuple, with its padding, as it is stored.
func (m *MovedTuples) Next() (off pg.OffsetNumber, tuple []byte, err error) {
	if len(m.offsets) == 0 {
		return 0, nil, pg.Corruptf("no line pointer numbers and %d bytes of tuples are left", len(m.tuples))
	}
	size, err := pg.IndexTupleSize(m.tuples)
	if err != nil {
		return 0, nil, err
	}
	if size = pg.MaxAlign(size); size > len(m.tuples) {
		return 0, nil, pg.BadLength("an index tuple", len(m.tuples), size)
	}
	off, tuple = m.offsets.At(0), m.tuples[:size:size]
	m.offsets, m.tuples = m.offsets[2:], m.tuples[size:]
	return off, tuple, nil
}
