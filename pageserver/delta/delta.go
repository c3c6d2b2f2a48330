// Package delta notes what changed each key of a timeline between two flushes, and where in the WAL, so that any of the LSNs in between can
// be read again. It is pure: a Log takes the changes as redo makes them and writes them as a delta layer, a Chain gives back those of one key.
//
// The WAL is in the store once, in its archive. A delta layer does not repeat it: of a page it holds where the records begin that
// change it. Only what no record says by itself is there as bytes: sizes, directory entries, changes of transaction logs; and
// images of pages that change so often that a read would have to redo too many records.
//
// A delta layer is in the format of package layer. Its values are chains, by the keys they are about, and then the images by number
// (key.OfImage). All numbers of a chain are unsigned varints; LSNs are in units of 8 bytes, as differences from the one before:
//
//	chain     segments
//	segment   LSN of its first entry, from the segment before, of the first one from the layer's start   length in bytes of the rest   entries
//	entry     LSN from the entry before, of the first one from the segment's, times 4, and the entry's kind; then
//	          kind 2: number of the image   kind 3: length of the value, times 2, 1 more if nothing before is needed; its bytes
//
// The kinds: 0 a record that begins there changes the page, 1 a record that begins there makes the page from nothing or from an image,
// 2 an image of the page, 3 a value. Images and values are of the LSN where the record ends.
//
// Invariant: a segment but the first begins with an entry that needs nothing before it, so that a reader passes over those it can do without.
package delta

import (
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// Kind is what an Entry is. The numbers are part of the format.
type Kind uint8

// The kinds.
const (
	Redo     Kind = 0 // the record that begins at LSN changes the page
	RedoInit Kind = 1 // and needs nothing of what it was
	Image    Kind = 2 // the page as it was at LSN
	Value    Kind = 3 // what was so from LSN on
)

// Entry is one change of a key.
type Entry struct {
	LSN   pg.LSN
	Kind  Kind
	Alone bool   // nothing before it is needed
	Image uint32 // number of the image in its layer
	Bytes []byte // of a value
}

// lsnUnit is what all LSNs are multiples of: records begin and end at 8 bytes (MAXALIGN).
const lsnUnit = 8

// segmentEntries is how many entries a segment has before another one is begun, where one can be.
const segmentEntries = 32

// chainWriter encodes a chain.
type chainWriter struct {
	out     []byte // finished segments
	segment []byte // entries of the one under way
	first   pg.LSN // of its first entry
	from    pg.LSN // what first is relative to
	last    pg.LSN
	n       int // its entries
}

func (w *chainWriter) reset(from pg.LSN) {
	*w = chainWriter{out: w.out[:0], segment: w.segment[:0], from: from}
}

func (w *chainWriter) add(e Entry) {
	if e.Alone && w.n >= segmentEntries {
		w.end()
	}
	if w.n == 0 {
		w.first, w.last = e.LSN, e.LSN
	}
	w.segment = binary.AppendUvarint(w.segment, uint64(e.LSN-w.last)/lsnUnit<<2|uint64(e.Kind))
	switch e.Kind {
	case Image:
		w.segment = binary.AppendUvarint(w.segment, uint64(e.Image))
	case Value:
		n := uint64(len(e.Bytes)) << 1
		if e.Alone {
			n |= 1
		}
		w.segment = append(binary.AppendUvarint(w.segment, n), e.Bytes...)
	}
	w.last = e.LSN
	w.n++
}

func (w *chainWriter) end() {
	if w.n == 0 {
		return
	}
	w.out = binary.AppendUvarint(w.out, uint64(w.first-w.from)/lsnUnit)
	w.out = binary.AppendUvarint(w.out, uint64(len(w.segment)))
	w.out = append(w.out, w.segment...)
	w.from, w.segment, w.n = w.first, w.segment[:0], 0
}

// Tail appends to dst the entries of a chain that say what its key was at an LSN, the oldest first: from the last one that needs nothing
// before it, or from the chain's beginning. A record that begins before the LSN is among them; whether it ends there only the record says,
// and it can be but the last. from is where the layer begins.
func Tail(chain []byte, from, at pg.LSN, dst []Entry) ([]Entry, error) {
	return read(chain, from, at, false, dst)
}

// All appends all entries of a chain.
func All(chain []byte, from pg.LSN, dst []Entry) ([]Entry, error) {
	return read(chain, from, 1<<63, true, dst)
}

func read(chain []byte, from, at pg.LSN, all bool, dst []Entry) ([]Entry, error) {
	start := len(dst)
	for len(chain) > 0 {
		first, n := binary.Uvarint(chain)
		if n <= 0 || first > 1<<60 {
			return dst, corruptf("segment has no LSN")
		}
		length, m := binary.Uvarint(chain[n:])
		if m <= 0 || length == 0 || length > uint64(len(chain)-n-m) {
			return dst, corruptf("segment of %d bytes", length)
		}
		from += pg.LSN(first) * lsnUnit
		if from > at {
			break
		}
		segment := chain[n+m : n+m+int(length)]
		chain = chain[n+m+int(length):]
		if next, n := binary.Uvarint(chain); !all && n > 0 && from+pg.LSN(next)*lsnUnit < at {
			continue // the next one begins with what needs nothing of this one
		}
		var err error
		if dst, err = readSegment(segment, from, at, all, dst, start); err != nil {
			return dst, err
		}
	}
	return dst, nil
}

// readSegment reads a segment's entries. What was found before, dst[start:], goes when an entry does not need it, unless all are wanted.
func readSegment(segment []byte, lsn, at pg.LSN, all bool, dst []Entry, start int) ([]Entry, error) {
	for len(segment) > 0 {
		head, n := binary.Uvarint(segment)
		if n <= 0 || head > 1<<60 {
			return dst, corruptf("entry has no LSN")
		}
		segment = segment[n:]
		lsn += pg.LSN(head>>2) * lsnUnit
		e := Entry{LSN: lsn, Kind: Kind(head & 3)}
		switch e.Kind {
		case RedoInit:
			e.Alone = true
		case Image:
			number, n := binary.Uvarint(segment)
			if n <= 0 || number > 1<<32-1 {
				return dst, corruptf("image has no number")
			}
			e.Alone, e.Image, segment = true, uint32(number), segment[n:]
		case Value:
			length, n := binary.Uvarint(segment)
			if n <= 0 || length>>1 > uint64(len(segment)-n) {
				return dst, corruptf("value of %d bytes", length>>1)
			}
			e.Alone, segment = length&1 != 0, segment[n:]
			e.Bytes, segment = segment[:length>>1:length>>1], segment[length>>1:]
		}
		if lsn > at || lsn == at && e.Kind < Image {
			break
		}
		if e.Alone && !all {
			dst = dst[:start]
		}
		dst = append(dst, e)
	}
	return dst, nil
}

func corruptf(format string, args ...any) error {
	return &pg.CorruptError{What: "delta layer: " + fmt.Sprintf(format, args...)}
}
