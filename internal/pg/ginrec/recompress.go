package ginrec

import "github.com/tarn-db/tarn/internal/pg"

// What an Action does to a posting list segment (GIN_SEGMENT_*).
const (
	SegmentDelete   = 1
	SegmentInsert   = 2 // Data is a segment that goes before this one
	SegmentReplace  = 3 // Data is the segment that takes its place
	SegmentAddItems = 4 // Data are item pointers the segment gets besides its own
)

// Action is one step of a Recompress (ginxlogSegmentAction).
type Action struct {
	Segment int // counts the segments the leaf had before the record, from 0
	Kind    uint8
	Data    []byte
}

// Recompress is ginxlogRecompressDataLeaf: how the segments of a posting tree's leaf change, in their order. It is what an
// Insert brings to a leaf, and the whole of VACUUM_DATA_LEAF_PAGE.
//
//	0 nactions uint16   2 actions: segno uint8, type uint8, then for INSERT and REPLACE a segment,
//	for ADDITEMS nitems uint16 and that many ItemPointerData
type Recompress struct{ rest []byte }

// DecodeRecompress reads block 0's data of an Insert on a posting tree's leaf, or of VACUUM_DATA_LEAF_PAGE.
func DecodeRecompress(data []byte) (Recompress, error) {
	if len(data) < 2 {
		return Recompress{}, pg.BadLength("ginxlogRecompressDataLeaf", len(data), 2)
	}
	r := Recompress{rest: data[2:]}
	left := r
	for range le.Uint16(data) {
		if err := left.check(); err != nil {
			return Recompress{}, err
		}
		left.Next()
	}
	if len(left.rest) != 0 {
		return Recompress{}, pg.BadLength("ginxlogRecompressDataLeaf", len(data), len(data)-len(left.rest))
	}
	return r, nil
}

// check refuses a next action that is cut or not known.
func (r *Recompress) check() error {
	if len(r.rest) < 2 {
		return pg.BadLength("ginxlogSegmentAction", len(r.rest), 2)
	}
	kind, data := r.rest[1], r.rest[2:]
	switch kind {
	case SegmentDelete:
		return nil
	case SegmentInsert, SegmentReplace:
		if SegmentSize(data) == 0 {
			return pg.BadLength("a segment", len(data), segmentHeaderSize)
		}
		return nil
	case SegmentAddItems:
		if len(data) < 2 || len(data) < 2+pg.TIDSize*int(le.Uint16(data)) {
			return pg.BadLength("the items to add", len(data), 2)
		}
		return nil
	}
	return badValue("ginxlogSegmentAction", "type", int(kind))
}

// Next hands out the next action; ok is false behind the last.
func (r *Recompress) Next() (a Action, ok bool) {
	if len(r.rest) == 0 {
		return a, false
	}
	a = Action{Segment: int(r.rest[0]), Kind: r.rest[1]}
	data := r.rest[2:]
	switch a.Kind {
	case SegmentInsert, SegmentReplace:
		n := SegmentSize(data)
		a.Data, data = data[:n], data[n:]
	case SegmentAddItems:
		n := 2 + pg.TIDSize*int(le.Uint16(data))
		a.Data, data = data[2:n], data[n:]
	}
	r.rest = data
	return a, true
}
