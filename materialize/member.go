package materialize

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/maypok86/otter/v2"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tidset"
)

// liveFile is a data file of the lake and which of its rows are still live. It is derived from published objects alone:
// the TID set beside the data file and the position deletes.
//
// The TID set itself is kept in a bounded cache (sets) and read again from the store when needed.
type liveFile struct {
	key     string
	rows    int64
	bytes   int64
	lo, hi  pg.BlockNumber  // first and last block rows came from
	blocks  int             // how many blocks rows came from
	deleted *roaring.Bitmap // positions
	spread  bool            // held by block in its membership
	lineage *lake.Lineage   // of its rows; nil if the table has no row ids
	vector  string          // key of the object that has its deletion vector; "" if none has

	partition lake.Partition
}

func (f *liveFile) live() int64 { return f.rows - int64(f.deleted.GetCardinality()) }

// member is a row of the lake: where it is and the raw xmin it was published with.
type member struct {
	off  pg.OffsetNumber
	xmin pg.XID
	file *liveFile
	pos  uint32
}

// membership says which rows of one relation file are in the lake.
//
// Files whose blocks are nearly contiguous are kept as intervals, the scattered ones of updates by block, so that a
// lookup costs what it finds and not how many files there are. That takes memory for each block of a scattered file:
// past setCache.spreadMax they are kept as intervals too, and a lookup asks each that spans the block.
type membership struct {
	sets      *setCache
	files     map[*liveFile]bool
	intervals []interval // by lo
	scattered map[pg.BlockNumber][]*liveFile
}

// interval covers blocks [lo, hi]; maxHi is the greatest hi up to and including this one.
type interval struct {
	lo, hi, maxHi pg.BlockNumber
	file          *liveFile
}

func newMembership(sets *setCache) *membership {
	return &membership{sets: sets, files: map[*liveFile]bool{}, scattered: map[pg.BlockNumber][]*liveFile{}}
}

func (f *liveFile) dense() bool { return int64(f.hi)-int64(f.lo)+1 <= 2*int64(f.blocks) }

func (m *membership) add(ctx context.Context, f *liveFile) error {
	if m.files[f] || f.rows == 0 {
		return nil
	}
	if !f.dense() && m.sets.spread.Load()+int64(f.blocks) <= m.sets.spreadMax {
		set, err := m.sets.get(ctx, f.key)
		if err != nil {
			return err
		}
		f.spread = true
		m.sets.spread.Add(int64(f.blocks))
		set.EachBlock(func(b pg.BlockNumber) bool {
			m.scattered[b] = append(m.scattered[b], f)
			return true
		})
		m.files[f] = true
		return nil
	}
	m.files[f] = true
	i, _ := slices.BinarySearchFunc(m.intervals, f.lo, func(iv interval, b pg.BlockNumber) int { return cmp.Compare(iv.lo, b) })
	m.intervals = slices.Insert(m.intervals, i, interval{lo: f.lo, hi: f.hi, file: f})
	m.fixMax(i)
	return nil
}

func (m *membership) remove(ctx context.Context, f *liveFile) error {
	if !m.files[f] {
		return nil
	}
	if !f.spread {
		delete(m.files, f)
		i := slices.IndexFunc(m.intervals, func(iv interval) bool { return iv.file == f })
		m.intervals = slices.Delete(m.intervals, i, i+1)
		m.fixMax(i)
		return nil
	}
	set, err := m.sets.get(ctx, f.key)
	if err != nil {
		return err
	}
	delete(m.files, f)
	m.forget(f)
	set.EachBlock(func(b pg.BlockNumber) bool {
		l := slices.DeleteFunc(m.scattered[b], func(g *liveFile) bool { return g == f })
		if len(l) == 0 {
			delete(m.scattered, b)
		} else {
			m.scattered[b] = l
		}
		return true
	})
	return nil
}

// forget gives back what f takes of the memory for scattered files.
func (m *membership) forget(f *liveFile) {
	if f.spread {
		f.spread = false
		m.sets.spread.Add(-int64(f.blocks))
	}
}

// drop forgets every file: the membership is not used any more.
func (m *membership) drop() {
	for f := range m.files {
		m.forget(f)
	}
	m.files, m.intervals, m.scattered = nil, nil, nil
}

func (m *membership) fixMax(from int) {
	for i := from; i < len(m.intervals); i++ {
		m.intervals[i].maxHi = m.intervals[i].hi
		if i > 0 {
			m.intervals[i].maxHi = max(m.intervals[i].maxHi, m.intervals[i-1].maxHi)
		}
	}
}

// block appends the live rows of block b to dst in offset order.
func (m *membership) block(ctx context.Context, b pg.BlockNumber, dst []member) ([]member, error) {
	start := len(dst)
	for _, f := range m.scattered[b] {
		var err error
		if dst, err = m.take(ctx, f, b, dst); err != nil {
			return dst, err
		}
	}
	i, _ := slices.BinarySearchFunc(m.intervals, b, func(iv interval, b pg.BlockNumber) int {
		if iv.lo <= b {
			return -1
		}
		return 1
	})
	for i--; i >= 0 && m.intervals[i].maxHi >= b; i-- {
		if m.intervals[i].hi >= b {
			var err error
			if dst, err = m.take(ctx, m.intervals[i].file, b, dst); err != nil {
				return dst, err
			}
		}
	}
	if len(dst)-start > 1 {
		slices.SortFunc(dst[start:], func(x, y member) int { return cmp.Compare(x.off, y.off) })
	}
	return dst, nil
}

func (m *membership) take(ctx context.Context, f *liveFile, b pg.BlockNumber, dst []member) ([]member, error) {
	set, err := m.sets.get(ctx, f.key)
	if err != nil {
		return dst, err
	}
	set.Block(b, func(off pg.OffsetNumber, pos uint32, xmin pg.XID) bool {
		if !f.deleted.Contains(pos) {
			dst = append(dst, member{off: off, xmin: xmin, file: f, pos: pos})
		}
		return true
	})
	return dst, nil
}

// setCache holds TID sets up to a number of bytes. They are immutable objects, so whatever leaves can be read again.
type setCache struct {
	store     objstore.Store
	cache     *otter.Cache[string, *tidset.Set]
	spread    atomic.Int64 // blocks of scattered files that memberships hold by block
	spreadMax int64
}

// spreadBytes is about what one block of a scattered file costs in membership.scattered: its share of a map slot, and a
// slice of one pointer.
const spreadBytes = 64

// newSetCache bounds the TID sets held, and as many bytes again for where scattered files lie.
func newSetCache(store objstore.Store, bytes int64) (*setCache, error) {
	c, err := otter.New(&otter.Options[string, *tidset.Set]{
		MaximumWeight: uint64(bytes),
		Weigher:       func(_ string, s *tidset.Set) uint32 { return uint32(min(s.MemBytes(), math.MaxUint32)) },
	})
	return &setCache{store: store, cache: c, spreadMax: bytes / spreadBytes}, err
}

// tidsKey is where the TID set of a data file lies.
func tidsKey(dataKey string) string { return dataKey + ".tids" }

func (c *setCache) get(ctx context.Context, dataKey string) (*tidset.Set, error) {
	if s, ok := c.cache.GetIfPresent(dataKey); ok {
		return s, nil
	}
	b, _, err := c.store.Get(ctx, tidsKey(dataKey))
	if err != nil {
		return nil, fmt.Errorf("TID set of %s: %w", dataKey, err)
	}
	s, err := tidset.Decode(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", tidsKey(dataKey), err)
	}
	c.cache.Set(dataKey, s)
	return s, nil
}
