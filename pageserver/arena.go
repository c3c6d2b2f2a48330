package pageserver

import (
	"github.com/tarn-db/tarn/internal/pg"
)

// frameID numbers a resident page; 0 is none.
type frameID uint32

const (
	slabFrames = 128 // frames per slab: 1 MiB
	framesMin  = 1024
)

// What a frame is in the midst of.
const (
	frameDirty    = 1 << iota // changed since the last flush began
	frameFlushing             // the flush under way reads it, unless it has passed flushPos
	frameUsed                 // touched since the clock's hand last came by
	framePinned               // of the record being applied
)

// frame is what is known of a resident page.
//
// Invariant: fork is nil exactly for free frames and for orphans, which are no one's but the flush's.
type frame struct {
	fork     *fork
	blk      pg.BlockNumber
	flushPos uint32 // position in the flush under way
	lastXID  pg.XID // transaction whose block list has this block
	gen      uint32 // generation of the lake's dirty set that has this block
	noted    uint32 // number in Timeline.deltas, 0: not changed since the last flush began
	chain    uint16 // records since the last image of the page, or since it was made from nothing
	state    uint8
}

// arena holds the resident pages. Only the goroutine that applies records changes it; readers at a barrier and the
// flush read page bytes.
//
// Invariant: len(frames)-1 <= limit, but for records that touch more pages than can be evicted at once.
type arena struct {
	slabs  [][]byte // slabFrames pages each, made on demand; the slice itself never grows
	frames []frame  // frames[0] is not used
	free   []frameID
	limit  int // frames
	hand   int
	dirty  int // frames that are frameDirty
	busy   int // frames that are frameFlushing
}

func newArena(bytes int64) *arena {
	limit := max(framesMin, int(bytes/pg.BlockSize))
	// Twice the slabs: room is for what can be foreseen.
	return &arena{slabs: make([][]byte, 2*limit/slabFrames+1), frames: make([]frame, 1, slabFrames), limit: limit}
}

func (a *arena) page(id frameID) pg.Page {
	at := int(id%slabFrames) * pg.BlockSize
	return pg.Page(a.slabs[id/slabFrames][at : at+pg.BlockSize : at+pg.BlockSize])
}

// alloc returns a frame of undefined content for a block, evicting one if it must. It is pinned and in the fork's table.
func (a *arena) alloc(f *fork, blk pg.BlockNumber) frameID {
	id := a.take()
	a.frames[id] = frame{fork: f, blk: blk, state: frameUsed | framePinned}
	f.setFrame(blk, id)
	return id
}

func (a *arena) take() frameID {
	if n := len(a.free); n > 0 {
		id := a.free[n-1]
		a.free = a.free[:n-1]
		return id
	}
	if len(a.frames) > a.limit {
		if id := a.evict(); id != 0 {
			return id
		}
	}
	id := frameID(len(a.frames))
	if int(id/slabFrames) >= len(a.slabs) {
		panic("BUG: the page arena has grown to twice its limit")
	}
	if a.slabs[id/slabFrames] == nil {
		a.slabs[id/slabFrames] = make([]byte, slabFrames*pg.BlockSize)
	}
	a.frames = append(a.frames, frame{})
	return id
}

// evict finds a clean frame by the clock: one not used since the hand came by.
func (a *arena) evict() frameID {
	for range 2 * len(a.frames) {
		if a.hand++; a.hand >= len(a.frames) {
			a.hand = 1
		}
		fr := &a.frames[a.hand]
		if fr.fork == nil || fr.state&(frameDirty|frameFlushing|framePinned) != 0 {
			continue
		}
		if fr.state&frameUsed != 0 {
			fr.state &^= frameUsed
			continue
		}
		fr.fork.setFrame(fr.blk, 0)
		fr.fork = nil
		return frameID(a.hand)
	}
	return 0
}

// available is how many pages can be brought in before a flush must end.
func (a *arena) available() int { return a.limit - a.dirty - a.busy }

// unlink takes a block's page away. A page the flush still reads becomes its orphan.
func (a *arena) unlink(id frameID) {
	fr := &a.frames[id]
	fr.fork.setFrame(fr.blk, 0)
	if fr.state&frameDirty != 0 {
		a.dirty--
	}
	fr.fork = nil
	fr.state &= frameFlushing
	if fr.state == 0 {
		a.free = append(a.free, id)
	}
}

// residentBytes is the memory pages take.
func (a *arena) residentBytes() int64 { return int64(len(a.frames)-1-len(a.free)) * pg.BlockSize }
