package tidset

import (
	"encoding/binary"
	"math"
)

// A file that a compaction wrote has rows that keep the row ids and sequence numbers which they had in other files (Iceberg spec,
// "Row Lineage"). They are columns of the data file; the set has them too, so that the next compaction need not read Parquet.

// LineageRun is neighbours in a file whose row ids ascend by one.
type LineageRun struct {
	Start, Rows uint32 // positions
	Own         bool   // false: what the file's manifest entry says holds for them
	RowID       int64  // of the first; >= 0
	Sequence    int64  // last updated sequence number of all; >= 0
}

// end is the row id after the run's last.
func (r *LineageRun) end() int64 { return r.RowID + int64(r.Rows) }

// Keep says that the row added last keeps a row id and the sequence number of its last update. Neither is negative.
func (b *Builder) Keep(rowID, sequence int64) { b.lineage.add(b.set.rows-1, rowID, sequence) }

// lineageWriter encodes runs as rows come.
//
// Invariant: last begins where what is encoded ends.
type lineageWriter struct {
	last     LineageRun
	out      []byte
	nextID   int64 // the id after the last run that had some
	sequence int64 // of that run
	any      bool
}

func (w *lineageWriter) add(pos uint32, rowID, sequence int64) {
	w.any = true
	l := &w.last
	if l.Own && pos == l.Start+l.Rows && rowID == l.end() && sequence == l.Sequence {
		l.Rows++
		return
	}
	w.flush()
	if gap := pos - w.last.Start; gap > 0 {
		w.last.Rows = gap
		w.flush()
	}
	w.last = LineageRun{Start: pos, Rows: 1, Own: true, RowID: rowID, Sequence: sequence}
}

// flush encodes the last run, and begins an empty one after it.
func (w *lineageWriter) flush() {
	l := w.last
	if l.Rows == 0 {
		return
	}
	head := uint64(l.Rows) << 1
	if l.Own {
		w.out = binary.AppendUvarint(w.out, head|1)
		w.out = binary.AppendVarint(w.out, l.RowID-w.nextID)
		w.out = binary.AppendVarint(w.out, l.Sequence-w.sequence)
		w.nextID, w.sequence = l.end(), l.Sequence
	} else {
		w.out = binary.AppendUvarint(w.out, head)
	}
	w.last = LineageRun{Start: l.Start + l.Rows}
}

// finish gives the runs of a file of so many rows, nil if no row has a row id of its own.
func (w *lineageWriter) finish(rows uint32) []byte {
	if !w.any {
		return nil
	}
	w.flush()
	if left := rows - w.last.Start; left > 0 {
		w.last.Rows = left
		w.flush()
	}
	return w.out
}

// Lineage lists the runs of all rows in order; nil if no row has a row id of its own.
func (s *Set) Lineage() []LineageRun {
	var runs []LineageRun
	if err := s.eachLineage(s.lineage, func(r LineageRun) { runs = append(runs, r) }); err != nil {
		panic("BUG: lineage that was decoded before does not decode: " + err.Error())
	}
	return runs
}

// decodeLineage takes b, the end of a file, if it makes sense.
func (s *Set) decodeLineage(b []byte) error {
	if len(b) < 5 || crcOf(b[:len(b)-4]) != binary.LittleEndian.Uint32(b[len(b)-4:]) {
		return corrupt("checksum of the lineage differs")
	}
	b = b[:len(b)-4]
	if err := s.eachLineage(b, func(LineageRun) {}); err != nil {
		return err
	}
	s.lineage = append([]byte(nil), b...)
	return nil
}

// eachLineage reads runs, which must come to the set's rows.
func (s *Set) eachLineage(b []byte, yield func(LineageRun)) error {
	if b == nil {
		return nil
	}
	var at uint32
	var nextID, sequence int64
	number := func(base int64) int64 {
		d, n := binary.Varint(b)
		if n <= 0 || base < 0 || d > math.MaxInt64-base {
			return -1
		}
		b = b[n:]
		return base + d
	}
	for len(b) > 0 {
		head, n := binary.Uvarint(b)
		if n <= 0 || head>>1 == 0 || head>>1 > uint64(s.rows-at) {
			return corrupt("lineage: a run of %d rows at %d of %d", head>>1, at, s.rows)
		}
		b = b[n:]
		r := LineageRun{Start: at, Rows: uint32(head >> 1), Own: head&1 == 1}
		if r.Own {
			r.RowID = number(nextID)
			r.Sequence = number(sequence)
			if r.RowID < 0 || r.Sequence < 0 || r.RowID > math.MaxInt64-int64(r.Rows) {
				return corrupt("lineage: the run at %d has row id %d and sequence number %d", at, r.RowID, r.Sequence)
			}
			nextID, sequence = r.end(), r.Sequence
		}
		yield(r)
		at += r.Rows
	}
	if at != s.rows {
		return corrupt("lineage of %d rows, the file has %d", at, s.rows)
	}
	return nil
}
