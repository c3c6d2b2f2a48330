package pageserver

import (
	"encoding/binary"
	"slices"
	"sort"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

// relation is a relation of the directory, or one of the SLRUs, which are kept as if they were relations.
type relation struct {
	loc     pg.RelFileLocator
	kind    key.Kind // Block or SLRU
	created pg.LSN   // layers below it hold a former relation's pages
	opaque  bool     // a record whose redo is not built changed it
	gone    bool     // dropped; only lists of the past still point here
	queued  bool     // in Timeline.changedRels
	dirty   *RelDirty
	cuts    *[pg.InitFork + 1][]cut               // nil: never truncated
	forks   [pg.InitFork + 1]atomic.Pointer[fork] // nil: not looked up yet
}

// forkKey is the key of a fork's block, or of its size with key.SizeBlock.
func (r *relation) forkKey(num pg.ForkNumber, blk pg.BlockNumber) key.Key {
	return key.Make(r.kind, r.loc, num, blk)
}

const chunkBlocks = 256

// chunk is the frames of neighbouring blocks.
type chunk struct {
	used int
	ids  [chunkBlocks]frameID
}

// cut is a truncation: in layers below lsn, blocks from blk on are not this fork's any more. A fork's cuts rise in both
// fields.
type cut struct {
	lsn pg.LSN
	blk pg.BlockNumber
}

// fork is one fork of a relation.
//
// Invariant: a block with a frame is below size, or pinned by the record that makes it.
type fork struct {
	rel    *relation
	num    pg.ForkNumber
	exists bool
	queued bool           // in Timeline.changedSizes
	size   pg.BlockNumber // blocks
	chunks []*chunk
}

func (f *fork) key(blk pg.BlockNumber) key.Key { return f.rel.forkKey(f.num, blk) }

func (f *fork) frame(blk pg.BlockNumber) frameID {
	i := int(blk / chunkBlocks)
	if i >= len(f.chunks) || f.chunks[i] == nil {
		return 0
	}
	return f.chunks[i].ids[blk%chunkBlocks]
}

func (f *fork) setFrame(blk pg.BlockNumber, id frameID) {
	i := int(blk / chunkBlocks)
	if i >= len(f.chunks) {
		f.chunks = slices.Grow(f.chunks, i+1-len(f.chunks))[:i+1]
	}
	c := f.chunks[i]
	if c == nil {
		c = &chunk{}
		f.chunks[i] = c
	}
	switch old := c.ids[blk%chunkBlocks]; {
	case old == 0 && id != 0:
		c.used++
	case old != 0 && id == 0:
		c.used--
	}
	c.ids[blk%chunkBlocks] = id
	if c.used == 0 {
		f.chunks[i] = nil
	}
}

// frames calls fn for each resident block from blk on. fn may take the frame away.
func (f *fork) frames(from pg.BlockNumber, fn func(pg.BlockNumber, frameID)) {
	for i := int(from / chunkBlocks); i < len(f.chunks); i++ {
		c := f.chunks[i]
		if c == nil {
			continue
		}
		for j, id := range c.ids {
			if blk := pg.BlockNumber(i*chunkBlocks + j); id != 0 && blk >= from {
				fn(blk, id)
			}
		}
	}
}

// floor is the LSN from which on layers hold pages of this fork's block.
func (f *fork) floor(blk pg.BlockNumber) pg.LSN {
	if f.rel.cuts == nil {
		return f.rel.created
	}
	return max(f.rel.created, floorOf(f.rel.cuts[f.num], blk))
}

func floorOf(cuts []cut, blk pg.BlockNumber) pg.LSN {
	n := sort.Search(len(cuts), func(i int) bool { return cuts[i].blk > blk })
	if n == 0 {
		return 0
	}
	return cuts[n-1].lsn
}

// cutAt records a truncation. Older ones that cut more are covered by it.
func (f *fork) cutAt(lsn pg.LSN, blk pg.BlockNumber) {
	if f.rel.cuts == nil {
		f.rel.cuts = new([pg.InitFork + 1][]cut)
	}
	cuts := f.rel.cuts[f.num]
	n := sort.Search(len(cuts), func(i int) bool { return cuts[i].blk >= blk })
	f.rel.cuts[f.num] = append(cuts[:n:n], cut{lsn, blk}) // a copy: a compaction may read the old one
}

// directoryEntry is a relation's value in the store:
//
//	0 created uint64   8 flags uint8: 1 opaque
//	then for each of the four forks: cuts uint16, per cut: LSN uint64, block uint32
//
// An empty value says that the relation was dropped. A fork exists if it has a size, a value of its own.
type directoryEntry struct {
	created pg.LSN
	opaque  bool
	cuts    [pg.InitFork + 1][]cut
}

func (d *directoryEntry) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(d.created))
	flags := byte(0)
	if d.opaque {
		flags = 1
	}
	b = append(b, flags)
	for _, cuts := range d.cuts {
		// More cuts than can be written would be a relation truncated 65,536 times, each time at a greater length.
		cuts = cuts[max(0, len(cuts)-0xFFFF):]
		b = binary.LittleEndian.AppendUint16(b, uint16(len(cuts)))
		for _, c := range cuts {
			b = binary.LittleEndian.AppendUint64(b, uint64(c.lsn))
			b = binary.LittleEndian.AppendUint32(b, uint32(c.blk))
		}
	}
	return b
}

func decodeDirectoryEntry(k key.Key, b []byte) (d directoryEntry, err error) {
	bad := &pg.CorruptError{Rel: k.Rel(), What: "relation directory entry"}
	if len(b) < 9 || b[8] > 1 {
		return d, bad
	}
	d.created, d.opaque = pg.LSN(binary.LittleEndian.Uint64(b)), b[8] == 1
	b = b[9:]
	for i := range d.cuts {
		if len(b) < 2 {
			return d, bad
		}
		n := int(binary.LittleEndian.Uint16(b))
		if b = b[2:]; len(b) < 12*n {
			return d, bad
		}
		for range n {
			d.cuts[i] = append(d.cuts[i], cut{pg.LSN(binary.LittleEndian.Uint64(b)), pg.BlockNumber(binary.LittleEndian.Uint32(b[8:]))})
			b = b[12:]
		}
	}
	if len(b) != 0 {
		return d, bad
	}
	return d, nil
}

// entry is what the directory says of r.
func (r *relation) entry() directoryEntry {
	d := directoryEntry{created: r.created, opaque: r.opaque}
	if r.cuts != nil {
		d.cuts = *r.cuts
	}
	return d
}

// RelDirty is what may have changed of one relation's rows.
type RelDirty struct {
	Created   pg.LSN          // of the relation: tells it from a former one of the same number
	Blocks    *roaring.Bitmap // of the main fork; blocks cut off are among them
	Truncated bool            // the relation was cut short
}

// DirtySet is what may have changed of a timeline's rows between two calls of TakeDirty.
type DirtySet map[pg.RelFileLocator]*RelDirty

// makeRelation enters a relation into the directory.
func (t *Timeline) makeRelation(loc pg.RelFileLocator, created pg.LSN) *relation {
	rel := &relation{loc: loc, kind: 0, created: created}
	t.rels[loc] = rel
	return rel
}

// relationChanged notes what the record being applied makes of the directory entry.
func (t *Timeline) relationChanged(rel *relation) {
	t.queueRelation(rel)
	if t.deltas != nil {
		entry := rel.entry()
		t.noteValue(key.OfRelation(rel.loc), entry.encode())
	}
}

// queueRelation has the directory entry written by the next flush.
func (t *Timeline) queueRelation(rel *relation) {
	if !rel.queued {
		rel.queued = true
		t.changedRels = append(t.changedRels, rel)
	}
}

// resized notes what size the record being applied makes the fork; from now on the fork exists.
func (t *Timeline) resized(f *fork) {
	f.exists = true
	t.queueSize(f)
	if t.deltas != nil {
		t.scratch = binary.LittleEndian.AppendUint32(t.scratch[:0], uint32(f.size))
		t.noteValue(f.key(key.SizeBlock), t.scratch)
	}
}

// queueSize has the fork's size written by the next flush.
func (t *Timeline) queueSize(f *fork) {
	if !f.queued {
		f.queued = true
		t.changedSizes = append(t.changedSizes, f)
	}
}

// makeOpaque gives a relation up: nothing of it is kept, and reads are refused.
func (t *Timeline) makeOpaque(rel *relation) {
	rel.opaque = true
	t.stats.opaque++
	t.dropFrames(rel)
	t.relationChanged(rel)
	t.forgetInvalid(rel.loc)
	if rel.dirty != nil {
		rel.dirty = nil
		delete(t.dirty, rel.loc)
	}
}

func (t *Timeline) dropFrames(rel *relation) {
	for i := range rel.forks {
		if f := rel.forks[i].Load(); f != nil {
			f.frames(0, func(_ pg.BlockNumber, id frameID) { t.arena.unlink(id) })
		}
	}
}
