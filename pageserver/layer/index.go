package layer

import (
	"encoding/binary"
	"hash/crc32"
	"slices"
	"sort"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

// Run is a range of blocks that have values, one after the other.
type Run struct {
	First, Count uint32
}

// Group says where a group lies and which keys it holds.
//
// Invariant: First <= Last; without Keys they differ in their block only and Runs is rising, not touching.
type Group struct {
	First, Last key.Key
	Runs        []Run // blocks, unless Keys
	Keys        bool  // the keys are in the group
	Raw         bool  // not compressed
	Fast        bool  // compressed with S2
	Count       int   // values
	Offset      int64 // bytes from the layer's start
	Length      int   // bytes as stored
	RawLength   int   // bytes of content
	CRC         uint32
}

// Index is where each key of a layer is.
type Index struct {
	LSN    pg.LSN
	Groups []Group // in key order
	Bytes  int64   // memory held, about
}

// ParseIndex reads the stored index that f describes.
func (f *Footer) ParseIndex(stored []byte) (*Index, error) {
	if len(stored) != f.IndexLength || crc32.Checksum(stored, castagnoli) != f.indexCRC {
		return nil, corruptf("index: incorrect checksum")
	}
	raw, err := decompress(stored, f.indexRaw, false, nil)
	if err != nil {
		return nil, err
	}
	x := &Index{LSN: f.LSN}
	d := indexReader{rest: raw}
	for len(d.rest) > 0 && !d.bad {
		g := d.group()
		if d.bad || g.Offset < HeaderSize || g.Offset+int64(g.Length) > f.IndexOffset || g.RawLength > rawMax ||
			g.Raw && g.Length != g.RawLength || g.First.Compare(g.Last) > 0 {
			return nil, corruptf("index entry %d", len(x.Groups))
		}
		if n := len(x.Groups); n > 0 && x.Groups[n-1].Last.Compare(g.First) >= 0 {
			return nil, corruptf("index entry %d is out of order", n)
		}
		x.Groups = append(x.Groups, g)
		x.Bytes += 128 + 8*int64(len(g.Runs))
	}
	if d.bad || len(x.Groups) != f.Groups {
		return nil, corruptf("index has %d entries, want %d", len(x.Groups), f.Groups)
	}
	return x, nil
}

// indexReader walks the raw index. The first value that is not there makes it bad.
type indexReader struct {
	rest []byte
	bad  bool
}

func (d *indexReader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.rest)
	if n <= 0 || v > limit {
		d.bad, d.rest = true, nil
		return 0
	}
	d.rest = d.rest[n:]
	return v
}

func (d *indexReader) bytes(n int) []byte {
	if len(d.rest) < n {
		d.bad, d.rest = true, nil
		return make([]byte, n)
	}
	b := d.rest[:n]
	d.rest = d.rest[n:]
	return b
}

func (d *indexReader) group() (g Group) {
	flags := d.bytes(1)[0]
	g.Keys, g.Raw, g.Fast = flags&flagKeys != 0, flags&flagRaw != 0, flags&flagFast != 0
	var err error
	if g.First, err = key.Decode(d.bytes(key.Size)); err != nil || flags > flagKeys|flagRaw|flagFast || g.Raw && g.Fast {
		d.bad = true
	}
	if g.Keys {
		if g.Last, err = key.Decode(d.bytes(key.Size)); err != nil {
			d.bad = true
		}
		g.Count = int(d.uvarint(rawMax / 4))
	} else {
		d.runs(&g)
	}
	g.Offset = int64(d.uvarint(1 << 62))
	g.Length, g.RawLength = int(d.uvarint(rawMax)), int(d.uvarint(rawMax))
	g.CRC = le.Uint32(d.bytes(4))
	if g.Count == 0 || g.RawLength < 4*g.Count {
		d.bad = true
	}
	return g
}

func (d *indexReader) runs(g *Group) {
	n := int(d.uvarint(uint64(len(d.rest))))
	g.Runs = make([]Run, 0, n)
	next := uint64(g.First.Block())
	for i := range n {
		gap, count := d.uvarint(1<<32), d.uvarint(1<<28)
		next += gap
		if count == 0 || next+count > 1<<32 || i == 0 && gap != 0 || i > 0 && gap == 0 {
			d.bad, d.rest = true, nil
			return
		}
		g.Runs = append(g.Runs, Run{uint32(next), uint32(count)})
		next += count
		g.Count += int(count)
	}
	if n == 0 {
		d.bad = true
		return
	}
	g.Last = g.First.WithBlock(pg.BlockNumber(next - 1))
}

func (g *Group) append(dst []byte) []byte {
	flags := byte(0)
	if g.Keys {
		flags |= flagKeys
	}
	if g.Raw {
		flags |= flagRaw
	}
	if g.Fast {
		flags |= flagFast
	}
	dst = append(append(dst, flags), g.First[:]...)
	if g.Keys {
		dst = binary.AppendUvarint(append(dst, g.Last[:]...), uint64(g.Count))
	} else {
		dst = binary.AppendUvarint(dst, uint64(len(g.Runs)))
		next := uint64(g.First.Block())
		for _, r := range g.Runs {
			dst = binary.AppendUvarint(dst, uint64(r.First)-next)
			dst = binary.AppendUvarint(dst, uint64(r.Count))
			next = uint64(r.First) + uint64(r.Count)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(g.Offset))
	dst = binary.AppendUvarint(dst, uint64(g.Length))
	dst = binary.AppendUvarint(dst, uint64(g.RawLength))
	return le.AppendUint32(dst, g.CRC)
}

// Seek returns the first group whose last key is not below k; len(Groups) if there is none.
func (x *Index) Seek(k key.Key) int {
	return sort.Search(len(x.Groups), func(i int) bool { return x.Groups[i].Last.Compare(k) >= 0 })
}

// Find returns the group that has k. For a group with Keys only reading it tells; then has is true all the same.
func (x *Index) Find(k key.Key) (group int, has bool) {
	i := x.Seek(k)
	if i == len(x.Groups) || x.Groups[i].First.Compare(k) > 0 {
		return 0, false
	}
	if g := &x.Groups[i]; !g.Keys && g.ordinal(uint32(k.Block())) < 0 {
		return 0, false
	}
	return i, true
}

// ordinal is the position of a block among the group's values, -1 if it has none.
func (g *Group) ordinal(blk uint32) int {
	n := 0
	for _, r := range g.Runs {
		if blk < r.First {
			return -1
		}
		if blk-r.First < r.Count {
			return n + int(blk-r.First)
		}
		n += int(r.Count)
	}
	return -1
}

// Values is the content of a group.
type Values struct {
	g   *Group
	raw []byte
}

// Decode checks and unpacks a group's stored bytes, into dst if it is long enough. The result aliases dst, or stored if
// the group is not compressed.
func (g *Group) Decode(stored, dst []byte) (Values, error) {
	if len(stored) != g.Length || crc32.Checksum(stored, castagnoli) != g.CRC {
		return Values{}, corruptf("group of %s at %d: incorrect checksum", g.First, g.Offset)
	}
	raw := stored
	if !g.Raw {
		var err error
		if raw, err = decompress(stored, g.RawLength, g.Fast, dst); err != nil {
			return Values{}, err
		}
	}
	v := Values{g, raw}
	total := uint64(v.start())
	for i := range g.Count {
		total += uint64(le.Uint32(raw[4*i:]))
	}
	if total != uint64(len(raw)) {
		return Values{}, corruptf("group of %s at %d: lengths add up to %d of %d bytes", g.First, g.Offset, total, len(raw))
	}
	return v, v.checkKeys()
}

// start is where the first value lies; Group.group has checked that the lengths fit, and this checks the keys.
func (v Values) start() int {
	n := 4 * v.g.Count
	if v.g.Keys {
		n += key.Size * v.g.Count
	}
	return n
}

func (v Values) checkKeys() error {
	if !v.g.Keys {
		return nil
	}
	for i := range v.g.Count {
		k, err := key.Decode(v.keyBytes(i))
		if err != nil || i > 0 && slices.Compare(v.keyBytes(i-1), k[:]) >= 0 || i == 0 && k != v.g.First || i == v.g.Count-1 && k != v.g.Last {
			return corruptf("group of %s at %d: key %d is out of order", v.g.First, v.g.Offset, i)
		}
	}
	return nil
}

func (v Values) keyBytes(i int) []byte {
	at := 4*v.g.Count + key.Size*i
	return v.raw[at : at+key.Size]
}

// Bytes is the memory the values hold.
func (v Values) Bytes() int { return len(v.raw) }

// Get returns the value of k; ok is false if the group has none. The slice must not be changed.
func (v Values) Get(k key.Key) (value []byte, ok bool) {
	n := -1
	if !v.g.Keys {
		if k.SameFork(v.g.First) {
			n = v.g.ordinal(uint32(k.Block()))
		}
	} else {
		at := sort.Search(v.g.Count, func(i int) bool { return slices.Compare(v.keyBytes(i), k[:]) >= 0 })
		if at < v.g.Count && key.Key(v.keyBytes(at)) == k {
			n = at
		}
	}
	if n < 0 {
		return nil, false
	}
	at := v.start()
	for i := range n {
		at += int(le.Uint32(v.raw[4*i:]))
	}
	size := int(le.Uint32(v.raw[4*n:]))
	return v.raw[at : at+size : at+size], true
}

// Each calls fn for each key and value in order, until fn returns an error.
func (v Values) Each(fn func(key.Key, []byte) error) error {
	at, run, inRun := v.start(), 0, uint32(0)
	for i := range v.g.Count {
		var k key.Key
		if v.g.Keys {
			k = key.Key(v.keyBytes(i))
		} else {
			if inRun == v.g.Runs[run].Count {
				run, inRun = run+1, 0
			}
			k = v.g.First.WithBlock(pg.BlockNumber(v.g.Runs[run].First + inRun))
			inRun++
		}
		size := int(le.Uint32(v.raw[4*i:]))
		if err := fn(k, v.raw[at:at+size:at+size]); err != nil {
			return err
		}
		at += size
	}
	return nil
}
