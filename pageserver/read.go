package pageserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
)

// readAttempts is how often a read starts over because a layer was merged away under it.
const readAttempts = 5

// fork looks a fork up, reading its size when that is first needed. A fork that does not exist has size 0.
func (t *Timeline) fork(ctx context.Context, rel *relation, num pg.ForkNumber) (*fork, error) {
	if f := rel.forks[num].Load(); f != nil {
		return f, nil
	}
	t.loadMu.Lock()
	defer t.loadMu.Unlock()
	if f := rel.forks[num].Load(); f != nil {
		return f, nil
	}
	f := &fork{rel: rel, num: num}
	value, ok, err := t.lookup(ctx, rel.forkKey(num, key.SizeBlock), rel.created)
	if err != nil {
		return nil, fmt.Errorf("size of relation %s fork %s: %w", rel.loc, num, err)
	}
	if ok {
		if len(value) != 4 {
			return nil, &pg.CorruptError{Rel: rel.loc, Fork: num, What: fmt.Sprintf("size of %d bytes in a layer", len(value))}
		}
		f.exists, f.size = true, pg.BlockNumber(binary.LittleEndian.Uint32(value))
	}
	rel.forks[num].Store(f)
	return f, nil
}

// lookup reads the newest value of a key from layers at or above floor.
func (t *Timeline) lookup(ctx context.Context, k key.Key, floor pg.LSN) (value []byte, ok bool, err error) {
	for range readAttempts {
		value, _, ok, err = t.reader.get(ctx, t.layers.Load(), k, floor)
		if !errors.Is(err, errVanished) {
			break
		}
	}
	return value, ok, err
}

// loadPage copies a page that is not resident from layers. A block within the fork that no layer has is all zeros.
func (t *Timeline) loadPage(ctx context.Context, f *fork, blk pg.BlockNumber, page pg.Page) error {
	value, ok, err := t.lookup(ctx, f.key(blk), f.floor(blk))
	if err == nil && ok && len(value) != pg.BlockSize {
		err = &pg.CorruptError{What: fmt.Sprintf("page of %d bytes in a layer", len(value))}
	}
	if err != nil {
		return fmt.Errorf("read relation %s fork %s block %d: %w", f.rel.loc, f.num, blk, err)
	}
	if !ok {
		clear(page)
		return nil
	}
	copy(page, value)
	t.stats.loaded++
	return nil
}

// readBlock returns a block's page at a barrier without making it resident; nil if it holds nothing but zeros.
func (t *Timeline) readBlock(ctx context.Context, f *fork, blk pg.BlockNumber) (pg.Page, error) {
	if id := f.frame(blk); id != 0 {
		return t.arena.page(id), nil
	}
	value, ok, err := t.lookup(ctx, f.key(blk), f.floor(blk))
	if err == nil && ok && len(value) != pg.BlockSize {
		err = &pg.CorruptError{What: fmt.Sprintf("page of %d bytes in a layer", len(value))}
	}
	if err != nil {
		return nil, fmt.Errorf("read relation %s fork %s block %d: %w", f.rel.loc, f.num, blk, err)
	}
	if !ok {
		return nil, nil
	}
	return value, nil
}

// readable finds a fork to read; nil if its relation does not exist.
func (t *Timeline) readable(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber) (*fork, error) {
	if t.failed != nil {
		return nil, t.failed
	}
	if !t.reached() {
		return nil, fmt.Errorf("%w: at %s, consistent at %s", ErrNotConsistent, t.redoLSN, t.consistent)
	}
	rel := t.rels[loc]
	if rel == nil || num > pg.InitFork {
		return nil, nil
	}
	if rel.opaque {
		return nil, fmt.Errorf("relation %s: %w", loc, ErrOpaque)
	}
	return t.fork(ctx, rel, num)
}

// Page returns a block as it is at RedoLSN: valid, and not to be changed, until the next Apply. It is nil for a block that
// does not exist or was never initialised.
func (t *Timeline) Page(ctx context.Context, rel pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber) (pg.Page, error) {
	f, err := t.readable(ctx, rel, num)
	if err != nil || f == nil || blk >= f.size {
		return nil, err
	}
	page, err := t.readBlock(ctx, f, blk)
	if err != nil || page == nil || page.IsNew() {
		return nil, err
	}
	return page, nil
}

// NBlocks is a fork's length in blocks; ok is false if it does not exist. The primary's file may be longer by
// blocks that it has not initialised.
func (t *Timeline) NBlocks(ctx context.Context, rel pg.RelFileLocator, num pg.ForkNumber) (n pg.BlockNumber, ok bool, err error) {
	f, err := t.readable(ctx, rel, num)
	if err != nil || f == nil {
		return 0, false, err
	}
	return f.size, f.exists, nil
}

// RelationInfo is what the directory knows of a relation.
type RelationInfo struct {
	Created pg.LSN // tells it from a former relation of the same number
}

// Relation looks a relation up in the directory.
func (t *Timeline) Relation(rel pg.RelFileLocator) (RelationInfo, bool) {
	r := t.rels[rel]
	if r == nil {
		return RelationInfo{}, false
	}
	return RelationInfo{Created: r.created}, true
}

// Opaque says that a relation's pages are not known; reads of it return ErrOpaque.
func (t *Timeline) Opaque(rel pg.RelFileLocator) bool {
	r := t.rels[rel]
	return r != nil && r.opaque
}

// scanWindow is how many blocks a scan plans at a time.
const scanWindow = 256

// scanKeep is the longest scan whose groups go into the cache.
const scanKeep = 512

// source says where a block of a scan comes from.
type source struct {
	layer int32 // index into the scan's layers; -1 none, -2 a frame
	group int32
}

// Scan calls fn for each block from from up to, not including, to that exists and is initialised, in order. A page is
// valid, and not to be changed, until fn returns. Several goroutines may scan at one barrier.
func (t *Timeline) Scan(ctx context.Context, rel pg.RelFileLocator, num pg.ForkNumber, from, to pg.BlockNumber,
	fn func(pg.BlockNumber, pg.Page) error) error {
	f, err := t.readable(ctx, rel, num)
	if err != nil || f == nil {
		return err
	}
	return t.scanFork(ctx, f, from, to, fn)
}

func (t *Timeline) scanFork(ctx context.Context, f *fork, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error {
	to = min(to, f.size)
	if from >= to {
		return nil
	}
	s := scan{t: t, f: f, keep: to-from <= scanKeep}
	for from < to {
		if err := ctx.Err(); err != nil {
			return err
		}
		end := min(to, (from/scanWindow+1)*scanWindow)
		if err := s.window(ctx, from, end, fn); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// scan is one sequential read of a fork.
type scan struct {
	t       *Timeline
	f       *fork
	keep    bool
	layers  *layerSet
	indexes []*layer.Index // by layer, nil where the fork is not
	open    []openGroup    // by layer: the group decoded last
	plan    [scanWindow]source
}

type openGroup struct {
	group  int32
	values layer.Values
	buf    []byte
}

func (s *scan) window(ctx context.Context, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error {
	next := from
	for range readAttempts {
		err := s.prepare(ctx)
		if err == nil {
			s.planWindow(next, to)
			next, err = s.run(ctx, next, to, fn)
		}
		if !errors.Is(err, errVanished) {
			return err
		}
		s.layers = nil // start over with the layers there are now, after the blocks that fn has seen
	}
	return fmt.Errorf("scan of relation %s: %w", s.f.rel.loc, errVanished)
}

func (s *scan) prepare(ctx context.Context) error {
	if s.layers != nil {
		return nil
	}
	set := s.t.layers.Load()
	s.indexes = make([]*layer.Index, len(*set))
	s.open = make([]openGroup, len(*set))
	first, last := s.f.key(0), s.f.key(key.SizeBlock)
	for i, l := range *set {
		if l.LSN < s.f.rel.created || l.First.Compare(last) > 0 || l.Last.Compare(first) < 0 {
			continue
		}
		x, err := s.t.reader.index(ctx, l)
		if err != nil {
			return err
		}
		if at := x.Seek(first); at < len(x.Groups) && x.Groups[at].First.Compare(last) <= 0 {
			s.indexes[i] = x
		}
		s.open[i].group = -1
	}
	s.layers = set
	return nil
}

// planWindow finds each block's newest version.
func (s *scan) planWindow(from, to pg.BlockNumber) {
	left := int(to - from)
	base := from / scanWindow * scanWindow
	for blk := from; blk < to; blk++ {
		s.plan[blk-base] = source{layer: -1}
		if s.f.frame(blk) != 0 {
			s.plan[blk-base].layer = -2
			left--
		}
	}
	for i, x := range s.indexes {
		if x == nil || left == 0 {
			continue
		}
		lsn, last := (*s.layers)[i].LSN, s.f.key(to-1)
		for g := x.Seek(s.f.key(from)); g < len(x.Groups) && x.Groups[g].First.Compare(last) <= 0; g++ {
			for _, r := range x.Groups[g].Runs {
				// The size's key is a run of its own, above to.
				for blk := max(pg.BlockNumber(r.First), from); blk < to && uint32(blk)-r.First < r.Count; blk++ {
					if p := &s.plan[blk-base]; p.layer == -1 && lsn >= s.f.floor(blk) {
						*p = source{int32(i), int32(g)}
						left--
					}
				}
			}
		}
	}
}

// run hands out planned blocks and returns the first one it has not handed out.
func (s *scan) run(ctx context.Context, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) (pg.BlockNumber, error) {
	base := from / scanWindow * scanWindow
	for blk := from; blk < to; blk++ {
		var page pg.Page
		switch p := s.plan[blk-base]; p.layer {
		case -1:
			continue
		case -2:
			page = s.t.arena.page(s.f.frame(blk))
		default:
			var err error
			if page, err = s.fromLayer(ctx, p, blk); err != nil {
				return blk, err
			}
		}
		if page.IsNew() {
			continue
		}
		if err := fn(blk, page); err != nil {
			return blk, err
		}
	}
	return to, nil
}

func (s *scan) fromLayer(ctx context.Context, p source, blk pg.BlockNumber) (pg.Page, error) {
	o := &s.open[p.layer]
	if o.group != p.group {
		x := s.indexes[p.layer]
		if n := x.Groups[p.group].RawLength; cap(o.buf) < n && !s.keep {
			o.buf = make([]byte, n)
		}
		v, err := s.t.reader.group(ctx, (*s.layers)[p.layer], x, int(p.group), s.keep, o.buf)
		if err != nil {
			return nil, err
		}
		o.group, o.values = p.group, v
	}
	value, ok := o.values.Get(s.f.key(blk))
	if !ok || len(value) != pg.BlockSize {
		return nil, &pg.CorruptError{Rel: s.f.rel.loc, Fork: s.f.num, Block: blk, What: fmt.Sprintf("page of %d bytes in a layer", len(value))}
	}
	return value, nil
}
