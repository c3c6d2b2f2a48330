package pageserver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/delta"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// ErrNotInDeltas: what leads to an LSN was not noted; only a replay of WAL leads there (OpenPast).
var ErrNotInDeltas = fault.New(fault.BeforeHistory, "no delta layers lead to that LSN")

// ErrNotFlushed: the LSN lies behind the last flush.
var ErrNotFlushed = fault.New(fault.BeyondWAL, "the LSN has not been flushed")

// Snapshot is a timeline as it was behind the last record that ends at or below an LSN. A page is the newest image of it up to there and the
// records since, which delta layers name. It is safe for concurrent use, beside the timeline too. What it reads stays for removeGrace
// after it was made; then layers may be missed, with an error.
type Snapshot struct {
	lsn        pg.LSN
	consistent pg.LSN
	reader     *reader
	wal        *walReader
	layers     *layerSet      // images of LSNs up to lsn, the newest first
	deltas     []*layerObject // the newest first
	next       *layerObject   // the delta layer that begins at lsn; nil: none does

	mu   sync.Mutex
	rels map[pg.RelFileLocator]*pastRelation
}

// pastRelation is what a relation was at the snapshot's LSN.
type pastRelation struct {
	directoryEntry
	exists bool

	mu    sync.Mutex
	forks [pg.InitFork + 1]*pastFork // nil: not looked up yet
}

type pastFork struct {
	size   pg.BlockNumber
	exists bool
}

// Snapshot reads the timeline as it was at an LSN within history: ErrBeforeHistory before that, ErrNotFlushed behind ResumeLSN. It may be
// called at any time.
func (t *Timeline) Snapshot(lsn pg.LSN) (*Snapshot, error) {
	f := &t.flusher
	f.mu.Lock()
	c, head := f.authority.contents, f.authority.index.LSN
	f.mu.Unlock()
	if oldest, _ := t.HistoryFrom(); lsn < oldest {
		return nil, fmt.Errorf("%w: %s was asked for, the oldest LSN is %s", ErrBeforeHistory, lsn, oldest)
	}
	if lsn > head {
		return nil, fmt.Errorf("%w: %s was asked for, %s is", ErrNotFlushed, lsn, head)
	}
	if t.wal == nil {
		return nil, fmt.Errorf("%w: there is no WAL to read", ErrNotInDeltas)
	}
	return newSnapshot(lsn, head, t.consistent, t.reader, t.wal, &c)
}

// OpenSnapshot reads a branch as it was at an LSN from the store alone: nothing is written, and a process may go on with the timeline
// meanwhile.
func OpenSnapshot(ctx context.Context, o Options, lsn pg.LSN) (*Snapshot, error) {
	if o.Store == nil || o.WAL == nil {
		return nil, errors.New("a snapshot needs an object store and WAL")
	}
	name := o.Branch
	o.Branch, o.History = MainBranch, History{}
	if err := o.check(); err != nil {
		return nil, err
	}
	a := authority{store: o.Store, object: o.prefix() + indexName}
	if err := a.load(ctx); err != nil {
		return nil, err
	}
	to := Target{LSN: lsn}
	if name != "" && name != MainBranch {
		var err error
		if to, err = a.onBranch(name, to); err != nil {
			return nil, err
		}
	}
	switch p, err := a.pointBefore(to); {
	case err != nil:
		return nil, err
	case to.LSN == 0 || to.LSN > a.index.LSN:
		return nil, fmt.Errorf("%w: %s was asked for, %s is", ErrNotFlushed, to, a.index.LSN)
	default:
		state, err := readState(ctx, o.Store, o.prefix(), p)
		if err == nil && to.LSN < state.Consistent {
			err = fmt.Errorf("%w: at %s the base backup is not consistent, it is from %s on", ErrBeforeHistory, to.LSN, state.Consistent)
		}
		if err != nil {
			return nil, err
		}
		r := &reader{store: o.Store, prefix: o.prefix(), cache: newCache(o.MemoryBytes / 4)}
		w := newWALReader(o.WAL, r.cache, func() pg.Major { return a.index.Major }, func() pg.LSN { return a.index.LSN })
		return newSnapshot(to.LSN, a.index.LSN, state.Consistent, r, w, &a.contents)
	}
}

func newSnapshot(lsn, head, consistent pg.LSN, r *reader, w *walReader, c *contents) (*Snapshot, error) {
	s := &Snapshot{lsn: lsn, consistent: consistent, reader: r, wal: w, rels: map[pg.RelFileLocator]*pastRelation{}}
	var images []*layerObject
	for _, l := range slices.Concat(c.layers, c.retired) {
		if l.LSN <= lsn && l.since <= lsn {
			images = append(images, l)
		}
	}
	s.layers = newLayerSet(images)
	for _, d := range slices.Backward(c.deltas) {
		if d.from < lsn {
			s.deltas = append(s.deltas, d)
		} else if d.from == lsn {
			s.next = d
		}
	}
	return s, s.checkDeltas(c.points, head)
}

// checkDeltas sees to it that delta layers lead from a point to the LSN without a gap: there every page has an image, if an older one.
func (s *Snapshot) checkDeltas(points []point, head pg.LSN) error {
	from := s.lsn // where those begin that lead here
	for i, d := range s.deltas {
		if i == 0 && d.LSN < s.lsn || i > 0 && d.LSN != from {
			s.deltas = s.deltas[:i]
			break
		}
		from = d.from
	}
	if head == s.lsn || slices.ContainsFunc(points, func(p point) bool { return p.LSN >= from && p.LSN <= s.lsn }) {
		return nil
	}
	return fmt.Errorf("%w: %s was asked for, they begin at %s", ErrNotInDeltas, s.lsn, from)
}

// LSN is what the snapshot is of.
func (s *Snapshot) LSN() pg.LSN { return s.lsn }

// value is the newest value of a key that is not a page, not older than floor.
func (s *Snapshot) value(ctx context.Context, k key.Key, floor pg.LSN) (value []byte, ok bool, err error) {
	value, at, ok, err := s.reader.get(ctx, s.layers, k, floor)
	if err != nil {
		return nil, false, err
	}
	var tail []delta.Entry
	for _, d := range s.deltas {
		if ok && d.LSN <= at {
			break
		}
		if tail, err = s.tail(ctx, d, k, s.lsn, tail[:0]); err != nil {
			return nil, false, err
		}
		if n := len(tail); n > 0 && tail[n-1].LSN >= floor && (!ok || tail[n-1].LSN > at) {
			if tail[n-1].Kind != delta.Value {
				return nil, false, &pg.CorruptError{What: fmt.Sprintf("layer %s: %s has no value", d.Name, k)}
			}
			return tail[n-1].Bytes, true, nil
		}
	}
	return value, ok, nil
}

// tail appends what a delta layer says of a key up to an LSN.
func (s *Snapshot) tail(ctx context.Context, d *layerObject, k key.Key, at pg.LSN, dst []delta.Entry) ([]delta.Entry, error) {
	if d.First.Compare(k) > 0 || d.Last.Compare(k) < 0 {
		return dst, nil
	}
	chain, ok, err := s.reader.valueIn(ctx, d, k)
	if err != nil || !ok {
		return dst, err
	}
	if dst, err = delta.Tail(chain, d.from, at, dst); err != nil {
		return dst, fmt.Errorf("layer %s: %s: %w", d.Name, k, err)
	}
	return dst, nil
}

// relation is what the directory said of a relation.
func (s *Snapshot) relation(ctx context.Context, loc pg.RelFileLocator) (*pastRelation, error) {
	s.mu.Lock()
	r := s.rels[loc]
	s.mu.Unlock()
	if r != nil {
		return r, nil
	}
	k := key.OfRelation(loc)
	value, ok, err := s.value(ctx, k, 0)
	if err != nil {
		return nil, fmt.Errorf("relation %s: %w", loc, err)
	}
	r = &pastRelation{}
	if r.exists = ok && len(value) > 0; r.exists {
		if r.directoryEntry, err = decodeDirectoryEntry(k, value); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.rels[loc]; other != nil {
		return other, nil
	}
	s.rels[loc] = r
	return r, nil
}

// fork looks a fork up; one that does not exist has size 0.
func (s *Snapshot) fork(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber) (*pastRelation, *pastFork, error) {
	if num > pg.InitFork {
		return nil, nil, fmt.Errorf("fork %d: there is none of that number", num)
	}
	r, err := s.relation(ctx, loc)
	if err != nil {
		return nil, nil, err
	}
	if r.opaque {
		return nil, nil, fmt.Errorf("relation %s: %w", loc, ErrOpaque)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.forks[num]
	if f != nil {
		return r, f, nil
	}
	f = &pastFork{}
	if r.exists {
		value, ok, err := s.value(ctx, key.OfBlock(loc, num, key.SizeBlock), r.created)
		if err == nil && ok && len(value) != 4 {
			err = &pg.CorruptError{What: fmt.Sprintf("size of %d bytes in a layer", len(value))}
		}
		if err != nil {
			return nil, nil, fmt.Errorf("size of relation %s fork %s: %w", loc, num, err)
		}
		if ok {
			f.exists, f.size = true, pg.BlockNumber(binary.LittleEndian.Uint32(value))
		}
	}
	r.forks[num] = f
	return r, f, nil
}

// NBlocks is a fork's length in blocks; ok is false if it did not exist.
func (s *Snapshot) NBlocks(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber) (n pg.BlockNumber, ok bool, err error) {
	_, f, err := s.fork(ctx, loc, num)
	if err != nil {
		return 0, false, err
	}
	return f.size, f.exists, nil
}

// settingsGroup is the group number under which a delta layer's settings are cached.
const settingsGroup = -2

// pastSettings is the cluster's settings from an LSN on.
type pastSettings struct {
	from pg.LSN
	clusterSettings
}

// settings is what held at an LSN that the delta layer leads over.
func (s *Snapshot) settings(ctx context.Context, d *layerObject, at pg.LSN) (*clusterSettings, error) {
	list, err := s.allSettings(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("layer %s: settings: %w", d.Name, err)
	}
	for i := range slices.Backward(list) {
		if list[i].from <= at {
			return &list[i].clusterSettings, nil
		}
	}
	return nil, &pg.CorruptError{What: fmt.Sprintf("layer %s has no settings for %s", d.Name, at)}
}

func (s *Snapshot) allSettings(ctx context.Context, d *layerObject) ([]pastSettings, error) {
	ck := cacheKey{d.id, settingsGroup}
	if list, ok := s.reader.cache.get(ck); ok {
		return list.([]pastSettings), nil
	}
	chain, _, err := s.reader.valueIn(ctx, d, key.OfSettings())
	if err != nil {
		return nil, err
	}
	entries, err := delta.All(chain, d.from, nil)
	if err != nil {
		return nil, err
	}
	list, size := make([]pastSettings, len(entries)), 0
	for i, e := range entries {
		list[i].from = e.LSN
		if err := json.Unmarshal(e.Bytes, &list[i].clusterSettings); err != nil {
			return nil, &pg.CorruptError{What: err.Error()}
		}
		size += 64 + len(e.Bytes)
	}
	s.reader.cache.put(ck, list, int64(size))
	return list, nil
}

// slruSet is which pages of an SLRU existed; ErrNotInDeltas where no delta layer leads or begins.
func (s *Snapshot) slruSet(ctx context.Context, kind slru.Kind) (set slru.Set, err error) {
	d := s.next // begins with what holds where it begins
	if len(s.deltas) > 0 {
		d = s.deltas[0]
	}
	if d == nil {
		return set, fmt.Errorf("%w: which pages of %s exist at %s is not known", ErrNotInDeltas, kind, s.lsn)
	}
	settings, err := s.settings(ctx, d, s.lsn)
	if err != nil {
		return set, err
	}
	return settings.SLRUs[kind], nil
}

// SLRUPages lists which pages of an SLRU existed; ErrNotInDeltas where no delta layer leads or begins.
func (s *Snapshot) SLRUPages(ctx context.Context, kind slru.Kind) ([]slru.Run, error) {
	set, err := s.slruSet(ctx, kind)
	return set.Runs(), err
}

// SLRUPage copies a page of an SLRU into dst, pg.BlockSize bytes; ok is false if there was none.
func (s *Snapshot) SLRUPage(ctx context.Context, kind slru.Kind, no uint32, dst []byte) (ok bool, err error) {
	set, err := s.slruSet(ctx, kind)
	if err != nil || !set.Has(no) {
		return false, err
	}
	w, err := s.chainOf(ctx, key.OfSLRU(pg.OID(kind), pg.BlockNumber(no)), 0)
	if err != nil {
		return false, err
	}
	defer w.done()
	w.base(dst)
	for i := range w.found {
		e := &w.found[i]
		if e.Kind != delta.Value {
			return false, &pg.CorruptError{What: fmt.Sprintf("layer %s has no change for page %d of %s", e.d.Name, no, kind)}
		}
		c, err := slru.DecodeChange(kind, no, e.Bytes)
		if err != nil {
			return false, fmt.Errorf("layer %s: %w", e.d.Name, err)
		}
		c.Apply(dst)
	}
	return true, nil
}
