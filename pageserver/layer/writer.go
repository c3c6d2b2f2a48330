package layer

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

// Info describes a finished layer.
type Info struct {
	LSN         pg.LSN
	Size        int64 // bytes
	First, Last key.Key
	Values      uint64
	Groups      int
}

// Writer writes one layer as a stream. It holds one group and the index, nothing else. Keys rise within a sequence; Break
// begins another one, whose groups may lie anywhere between those of the others.
//
// Invariant: no two groups overlap; Close refuses to finish a layer where they do.
type Writer struct {
	w      io.Writer
	enc    *zstd.Encoder
	kind   Kind
	fast   bool
	lsn    pg.LSN
	offset int64
	groups []Group
	values uint64

	keys    []key.Key // of the group being filled
	lengths []byte
	body    []byte
	raw     []byte // scratch
	stored  []byte // scratch
	err     error  // sticky
}

// NewWriter begins a layer whose values are those at lsn, or lead there.
func NewWriter(w io.Writer, kind Kind, lsn pg.LSN) (*Writer, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false),
		zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(256<<10))
	if err != nil {
		return nil, fmt.Errorf("cannot start zstd: %w", err)
	}
	lw := &Writer{w: w, enc: enc, kind: kind, lsn: lsn}
	lw.write(appendHeader(nil, kind))
	return lw, lw.err
}

func (w *Writer) write(b []byte) {
	if w.err == nil {
		_, w.err = w.w.Write(b)
		w.offset += int64(len(b))
	}
}

// Add appends a value; k is above the key before it in this sequence.
func (w *Writer) Add(k key.Key, value []byte) error {
	if len(value) > ValueMax {
		return fmt.Errorf("value of %s has %d bytes, at most %d", k, len(value), ValueMax)
	}
	if n := len(w.keys); n > 0 {
		last := w.keys[n-1]
		if last.Compare(k) >= 0 {
			panic(fmt.Sprintf("BUG: layer key %s after %s", k, last))
		}
		if w.full(last, k) {
			w.flush()
		}
	}
	w.keys = append(w.keys, k)
	w.lengths = le.AppendUint32(w.lengths, uint32(len(value)))
	w.body = append(w.body, value...)
	return w.err
}

// full says that k begins a new group. Pages share one with pages of their fork only: then the index tells exactly
// which blocks are there.
func (w *Writer) full(last, k key.Key) bool {
	if w.pages(k) || w.pages(last) {
		// A fork's size goes with its last pages.
		return !k.SameFork(last) || len(w.keys) >= groupPages && k.Block() != key.SizeBlock
	}
	return len(w.body)+len(w.lengths)+key.Size*len(w.keys) >= groupRawTarget || k.Kind() != last.Kind()
}

// pages says that the key is one of many that differ in their block only, with pages for values.
func (w *Writer) pages(k key.Key) bool {
	if w.kind == Delta {
		return k.Kind() == key.Image
	}
	return k.Kind() == key.Block || k.Kind() == key.SLRU
}

// Break ends a sequence of rising keys.
func (w *Writer) Break() error {
	w.flush()
	return w.err
}

// flush writes the group being filled.
func (w *Writer) flush() {
	if len(w.keys) == 0 || w.err != nil {
		return
	}
	g := Group{First: w.keys[0], Last: w.keys[len(w.keys)-1], Count: len(w.keys)}
	w.raw = append(w.raw[:0], w.lengths...)
	if g.Keys = !w.pages(g.First); g.Keys {
		for i := range w.keys {
			w.raw = append(w.raw, w.keys[i][:]...)
		}
	} else {
		g.Runs = runsOf(w.keys)
	}
	w.raw = append(w.raw, w.body...)
	if g.Fast = w.fast; g.Fast {
		w.stored = s2.Encode(w.stored[:cap(w.stored)], w.raw)
	} else {
		w.stored = w.enc.EncodeAll(w.raw, w.stored[:0])
	}
	out := w.stored
	if g.Raw = len(out) > len(w.raw)-len(w.raw)/16; g.Raw {
		out, g.Fast = w.raw, false
	}
	g.RawLength = len(w.raw)
	g.CRC = crc32.Checksum(out, castagnoli)
	w.place(g, out)
	w.keys, w.lengths, w.body = w.keys[:0], w.lengths[:0], w.body[:0]
}

func (w *Writer) place(g Group, stored []byte) {
	g.Offset, g.Length = w.offset, len(stored)
	w.write(stored)
	w.groups = append(w.groups, g)
	w.values += uint64(g.Count)
}

// AddGroup appends a group of another layer as it is stored there. It ends the sequence before it.
func (w *Writer) AddGroup(g Group, stored []byte) error {
	w.flush()
	g.Runs = slices.Clone(g.Runs) // it outlives the index it comes from
	w.place(g, stored)
	return w.err
}

func runsOf(keys []key.Key) (runs []Run) {
	for _, k := range keys {
		blk := uint32(k.Block())
		if n := len(runs); n > 0 && runs[n-1].First+runs[n-1].Count == blk {
			runs[n-1].Count++
			continue
		}
		runs = append(runs, Run{blk, 1})
	}
	return runs
}

// SetFast has the groups to come compressed with S2, which takes a quarter of zstd's time, to write and to read, and up to twice its bytes.
func (w *Writer) SetFast(fast bool) { w.fast = fast }

// Empty says that nothing has been added yet.
func (w *Writer) Empty() bool { return len(w.groups) == 0 && len(w.keys) == 0 }

// SetLSN changes the layer's LSN, which may be known at the end only.
func (w *Writer) SetLSN(lsn pg.LSN) { w.lsn = lsn }

// Offset is how many bytes have been written so far.
func (w *Writer) Offset() int64 { return w.offset }

// Close writes the index and the footer. It does not close what it writes to.
func (w *Writer) Close() (Info, error) {
	w.flush()
	if w.err == nil && len(w.groups) == 0 {
		w.err = errors.New("BUG: a layer without values")
	}
	if w.err != nil {
		return Info{}, w.err
	}
	slices.SortFunc(w.groups, func(a, b Group) int { return a.First.Compare(b.First) })
	var raw []byte
	for i := range w.groups {
		if i > 0 && w.groups[i-1].Last.Compare(w.groups[i].First) >= 0 {
			return Info{}, corruptf("keys from %s overlap those up to %s", w.groups[i].First, w.groups[i-1].Last)
		}
		raw = w.groups[i].append(raw)
	}
	if len(raw) > rawMax {
		return Info{}, fmt.Errorf("layer index of %d bytes, at most %d", len(raw), rawMax)
	}
	stored := w.enc.EncodeAll(raw, nil)
	f := Footer{
		Kind: w.kind, LSN: w.lsn, Values: w.values, Groups: len(w.groups), IndexOffset: w.offset, IndexLength: len(stored),
		indexRaw: len(raw), indexCRC: crc32.Checksum(stored, castagnoli),
	}
	info := Info{LSN: w.lsn, First: w.groups[0].First, Last: w.groups[len(w.groups)-1].Last, Values: w.values, Groups: len(w.groups)}
	w.write(stored)
	w.write(f.append(nil))
	info.Size = w.offset
	return info, w.err
}
