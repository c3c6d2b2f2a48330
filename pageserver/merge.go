package pageserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// mergeLayersMax is how many levels of layers a read may have to look through before they are merged.
const mergeLayersMax = 8

// directory is what a merge must know of the relations at a durable LSN: pages that no one can reach any more must not
// come back because the merged layer has a higher LSN.
//
// Invariant: lsn is durable, so that redo never starts below it, and no layer above it is merged: that one may hold pages
// of relations that are not in here.
type directory struct {
	lsn   pg.LSN
	rels  map[pg.RelFileLocator]directoryEntry
	slrus slru.Sets
}

// directory copies the relation directory, at a barrier.
func (t *Timeline) directory() directory {
	d := directory{t.redoLSN, make(map[pg.RelFileLocator]directoryEntry, len(t.rels)), t.slruSets}
	for loc, rel := range t.rels {
		d.rels[loc] = rel.entry()
	}
	return d
}

// keeps says whether a value of a layer at lsn can still be reached.
func (d *directory) keeps(k key.Key, lsn pg.LSN) bool {
	switch k.Kind() {
	case key.Block:
	case key.SLRU:
		return k.Rel().Spc >= slru.Kinds || d.slrus[k.Rel().Spc].Has(uint32(k.Block()))
	default:
		return true
	}
	e, ok := d.rels[k.Rel()]
	if !ok || e.opaque || lsn < e.created {
		return false
	}
	return k.Block() == key.SizeBlock || lsn >= floorOf(e.cuts[k.Fork()], k.Block())
}

// level is layers of one LSN: a flush's one, or all those of a base backup.
type level struct {
	layers []*layerObject
	size   int64
}

// levelsOf sorts the layers that are not above lsn into levels, the newest first.
func levelsOf(layers []*layerObject, lsn pg.LSN) (levels []level) {
	for _, l := range *newLayerSet(layers) {
		if l.LSN > lsn {
			continue
		}
		if n := len(levels); n > 0 && levels[n-1].layers[0].LSN == l.LSN {
			levels[n-1].layers = append(levels[n-1].layers, l)
			levels[n-1].size += l.Size
			continue
		}
		levels = append(levels, level{[]*layerObject{l}, l.Size})
	}
	return levels
}

// chooseMerge picks neighbouring levels to merge into one, newest first, or none. It is size-tiered: from the newest on,
// as long as the next level is not much bigger than all before it together, so that each page is rewritten about as
// often as the logarithm of the store's size. When there are too many levels for that, the newest ones go regardless.
func chooseMerge(levels []level, limit int) []level {
	if len(levels) <= limit {
		return nil
	}
	n, size := 1, levels[0].size
	for n < len(levels) && levels[n].size <= 2*size {
		size += levels[n].size
		n++
	}
	return levels[:max(n, len(levels)-limit+1)]
}

// mergeLayers merges layers until there are few enough. alive is the directory as of the durable index.
func (t *Timeline) mergeLayers(ctx context.Context, alive directory) error {
	f := &t.flusher
	for {
		f.mu.Lock()
		levels := levelsOf(f.authority.layers, alive.lsn)
		chosen := chooseMerge(levels, mergeLayersMax)
		f.mu.Unlock()
		if chosen == nil {
			return nil
		}
		var in []*layerObject
		for _, l := range chosen {
			in = append(in, l.layers...)
		}
		merged, err := t.mergeInto(ctx, in, alive, len(chosen) == len(levels))
		if err != nil {
			return fmt.Errorf("merge %d layers: %w", len(in), err)
		}
		if err := t.replaceLayers(ctx, in, merged, alive.lsn); err != nil {
			return err
		}
		t.stats.merges.Add(1)
	}
}

// replaceLayers puts merged, nil if nothing was left, in the place of in. It lacks what no relation of the directory at alive has, so
// points before that keep what it was made of.
func (t *Timeline) replaceLayers(ctx context.Context, in []*layerObject, merged *layerObject, alive pg.LSN) error {
	f := &t.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.authority.contents
	gone := c.retire(in, alive)
	if merged != nil {
		merged.since = alive
		c.layers = append(c.layers, merged)
	}
	if err := f.authority.replace(ctx, f.authority.index, c); err != nil {
		return err
	}
	t.publishLayers(nil)
	f.remove(gone)
	return nil
}

// errNothingLeft: no value of the layers being merged can be reached any more.
var errNothingLeft = errors.New("nothing is left")

// mergeInto writes the layer that takes the place of in. lowest says that there is no older one: what comes there stays for long.
func (t *Timeline) mergeInto(ctx context.Context, in []*layerObject, alive directory, lowest bool) (*layerObject, error) {
	lsn := in[0].LSN // the newest
	merged, err := t.writeLayer(ctx, lsn, func(w *layer.Writer) error {
		m := merger{r: t.reader, w: w, alive: alive, lowest: lowest}
		for _, l := range in {
			if err := m.add(ctx, l); err != nil {
				return err
			}
		}
		if err := m.run(ctx); err != nil {
			return err
		}
		if w.Empty() {
			return errNothingLeft
		}
		return nil
	})
	return merged, ignoreNothing(err)
}

func ignoreNothing(err error) error {
	if errors.Is(err, errNothingLeft) {
		return nil
	}
	return err
}

// merger merges layers in key order, holding one group of each.
type merger struct {
	r      *reader
	w      *layer.Writer
	alive  directory
	lowest bool
	in     []*mergeInput // newest first: the first of those with the least key has its newest value
}

type mergeInput struct {
	l      *layerObject
	x      *layer.Index
	group  int // next to be read
	keys   []key.Key
	values [][]byte
}

func (m *merger) add(ctx context.Context, l *layerObject) error {
	// Not through the cache: a merge reads everything once.
	x, err := m.r.index(ctx, l)
	if err == nil {
		m.in = append(m.in, &mergeInput{l: l, x: x})
	}
	return err
}

// next is the input's least key not yet merged. ok is false at its end.
func (in *mergeInput) next() (k key.Key, ok bool) {
	if len(in.keys) > 0 {
		return in.keys[0], true
	}
	if in.group < len(in.x.Groups) {
		return in.x.Groups[in.group].First, true
	}
	return key.Key{}, false
}

func (in *mergeInput) read(ctx context.Context, r *reader) error {
	v, err := r.group(ctx, in.l, in.x, in.group, false, nil)
	if err != nil {
		return err
	}
	in.group++
	in.keys, in.values = in.keys[:0], in.values[:0]
	return v.Each(func(k key.Key, value []byte) error {
		in.keys, in.values = append(in.keys, k), append(in.values, value)
		return nil
	})
}

func (m *merger) run(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		first := m.least()
		if first == nil {
			return nil
		}
		if len(first.keys) == 0 {
			copied, err := m.copyGroup(ctx, first)
			if err != nil {
				return err
			}
			if copied {
				continue
			}
			if err := first.read(ctx, m.r); err != nil {
				return err
			}
		}
		k, value := first.keys[0], first.values[0]
		// An older input may hold the same key; reading its group may be needed to know.
		for _, in := range m.in {
			for in != first {
				other, ok := in.next()
				if !ok || other != k {
					break
				}
				if len(in.keys) == 0 {
					if err := in.read(ctx, m.r); err != nil {
						return err
					}
				}
				in.keys, in.values = in.keys[1:], in.values[1:]
			}
		}
		first.keys, first.values = first.keys[1:], first.values[1:]
		if m.alive.keeps(k, first.l.LSN) {
			if err := m.w.Add(k, value); err != nil {
				return err
			}
		}
	}
}

// least is the newest input with the least next key.
func (m *merger) least() (best *mergeInput) {
	var least key.Key
	for _, in := range m.in {
		if k, ok := in.next(); ok && (best == nil || k.Compare(least) < 0) {
			best, least = in, k
		}
	}
	return best
}

// copyGroup takes a group over as it is stored, if no other input has keys in its range and all of it is kept.
func (m *merger) copyGroup(ctx context.Context, in *mergeInput) (bool, error) {
	g := &in.x.Groups[in.group]
	for _, other := range m.in {
		if other == in {
			continue
		}
		if k, ok := other.next(); ok && k.Compare(g.Last) <= 0 {
			return false, nil
		}
	}
	if g.Fast && m.lowest { // compressed once more, and better
		return false, nil
	}
	if g.Keys || g.Count < 8 { // small groups are better joined with their neighbours
		return false, nil
	}
	for _, r := range g.Runs {
		for _, blk := range []uint32{r.First, r.First + r.Count - 1} {
			if !m.alive.keeps(g.First.WithBlock(pg.BlockNumber(blk)), in.l.LSN) {
				return false, nil
			}
		}
	}
	b, err := m.r.read(ctx, in.l, g.Offset, int64(g.Length))
	if err != nil {
		return false, err
	}
	in.group++
	return true, m.w.AddGroup(*g, b)
}
