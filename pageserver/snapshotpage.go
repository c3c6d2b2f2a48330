package pageserver

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/delta"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// chain is what makes a page what it was: an image of it, or nothing, and the changes since, the oldest first.
type chain struct {
	s     *Snapshot
	ctx   context.Context
	k     key.Key
	floor pg.LSN // what is older is not this page's
	image []byte // nil: it was made from nothing
	at    pg.LSN // of image
	found []pastEntry
	tail  []delta.Entry
	vm    []redo.VMChange
	wal   *recordReader // nil: not needed so far
}

// pastEntry is an entry and where it was found.
type pastEntry struct {
	delta.Entry
	d *layerObject
}

var chains = sync.Pool{New: func() any { return &chain{} }}

// done gives the chain back.
func (w *chain) done() {
	if w.wal != nil {
		w.s.wal.put(w.wal)
	}
	*w = chain{found: w.found[:0], tail: w.tail[:0], vm: w.vm[:0]}
	chains.Put(w)
}

// chainOf finds what makes a page what it was. It must be given back.
func (s *Snapshot) chainOf(ctx context.Context, k key.Key, floor pg.LSN) (*chain, error) {
	w := chains.Get().(*chain)
	w.s, w.ctx, w.k, w.floor = s, ctx, k, floor
	if err := w.find(s.lsn); err != nil {
		w.done()
		return nil, err
	}
	return w, nil
}

// blockChain is chainOf for a block; nil if it did not exist.
func (s *Snapshot) blockChain(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber) (*chain, error) {
	r, f, err := s.fork(ctx, loc, num)
	if err != nil || blk >= f.size {
		return nil, err
	}
	return s.chainOf(ctx, key.OfBlock(loc, num, blk), max(r.created, floorOf(r.cuts[num], blk)))
}

// find looks for it up to an LSN that is not above the snapshot's.
func (w *chain) find(upTo pg.LSN) error {
	s := w.s
	image, at, ok, err := s.reader.get(w.ctx, s.layers, w.k, w.floor)
	if err != nil {
		return err
	}
	if ok && len(image) != pg.BlockSize {
		return &pg.CorruptError{What: fmt.Sprintf("page of %d bytes in a layer", len(image))}
	}
	w.image, w.at, w.found = image, at, w.found[:0]
	for _, d := range s.deltas {
		if d.LSN <= max(w.at, w.floor) {
			break
		}
		if w.tail, err = s.tail(w.ctx, d, w.k, upTo, w.tail[:0]); err != nil {
			return err
		}
		whole, err := w.add(d)
		if err != nil || whole {
			return err
		}
	}
	slices.Reverse(w.found)
	if n := len(w.found); n > 0 && w.found[n-1].Kind == delta.RedoInit {
		return w.checkLast()
	}
	return nil
}

// add takes a layer's entries over, the newest first. whole says that nothing older is needed, and that they have been put in order.
func (w *chain) add(d *layerObject) (whole bool, err error) {
	for _, e := range slices.Backward(w.tail) {
		if e.LSN < w.at {
			break // the image has it
		}
		if e.LSN < w.floor {
			if e.Kind < delta.Image { // a record that ends at the floor is of this page: redo tells. Those before it are not
				w.found = append(w.found, pastEntry{e, d})
			}
			break
		}
		w.found = append(w.found, pastEntry{e, d})
		if e.Alone {
			w.image = nil
			slices.Reverse(w.found)
			if n := len(w.found); w.found[n-1].Kind == delta.RedoInit {
				return true, w.checkLast()
			}
			return true, nil
		}
	}
	return false, nil
}

// checkLast looks for the chain once more without its last entry, a record that would make it what it is, if that record ends behind the
// snapshot's LSN.
func (w *chain) checkLast() error {
	last := w.found[len(w.found)-1].LSN
	rec, err := w.record(last)
	if err != nil || rec.End <= w.s.lsn {
		return err
	}
	return w.find(last)
}

func (w *chain) record(lsn pg.LSN) (rec *wal.Record, err error) {
	if w.wal == nil {
		if w.wal, err = w.s.wal.reader(w.ctx); err != nil {
			return nil, err
		}
	}
	return w.wal.record(lsn)
}

// base copies what the chain begins with into dst.
func (w *chain) base(dst []byte) {
	if w.image == nil {
		clear(dst)
	}
	copy(dst, w.image)
}

// Page copies a block as it was into dst, pg.BlockSize bytes; ok is false, and dst undefined, if it did not exist. A block that was never
// initialised is all zeros.
func (s *Snapshot) Page(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber, dst []byte) (ok bool, err error) {
	w, err := s.blockChain(ctx, loc, num, blk)
	if w == nil && err == nil {
		return false, nil
	}
	if err == nil {
		err = w.redo(dst)
		w.done()
	}
	if err != nil {
		return false, fmt.Errorf("read relation %s fork %s block %d at %s: %w", loc, num, blk, s.lsn, err)
	}
	return true, nil
}

// Chain is how many records a read of a block redoes.
func (s *Snapshot) Chain(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber) (records int, err error) {
	w, err := s.blockChain(ctx, loc, num, blk)
	if w == nil || err != nil {
		return 0, err
	}
	defer w.done()
	for i := range w.found {
		if w.found[i].Kind < delta.Image {
			records++
		}
	}
	return records, nil
}

// redo makes the page from the chain.
func (w *chain) redo(dst []byte) error {
	w.base(dst)
	for i := range w.found {
		e := &w.found[i]
		switch e.Kind {
		case delta.Image:
			page, ok, err := w.s.reader.valueIn(w.ctx, e.d, key.OfImage(e.Image))
			if err != nil {
				return err
			}
			if !ok || len(page) != pg.BlockSize {
				return &pg.CorruptError{What: fmt.Sprintf("layer %s has no image %d", e.d.Name, e.Image)}
			}
			copy(dst, page)
		case delta.Value:
			return &pg.CorruptError{What: fmt.Sprintf("layer %s has a value for a page", e.d.Name)}
		default:
			if err := w.redoRecord(dst, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// redoRecord redoes what the record of an entry does to the page.
func (w *chain) redoRecord(page pg.Page, e *pastEntry) error {
	rec, err := w.record(e.LSN)
	if err != nil {
		return err
	}
	if rec.End > w.s.lsn || rec.End < w.floor {
		return nil
	}
	settings, err := w.s.settings(w.ctx, e.d, e.LSN)
	if err != nil {
		return err
	}
	loc, num, blk := w.k.Rel(), w.k.Fork(), w.k.Block()
	for i := range rec.Blocks {
		b := &rec.Blocks[i]
		if b.Block != blk || b.Fork != num || b.Rel != loc {
			continue
		}
		result, err := redo.Apply(page, rec, b, settings.env())
		if err != nil {
			return err
		}
		if result == redo.NotRedone || result == redo.Missing && rec.LSN >= w.s.consistent {
			return &pg.CorruptError{LSN: rec.LSN, Rel: loc, Fork: num, Block: blk, What: "the record cannot be redone on what the page was: " + result.String()}
		}
	}
	if num != pg.VMFork || rec.RMID != wal.RMHeap && rec.RMID != wal.RMHeap2 {
		return nil
	}
	w.vm = redo.ImplicitVM(rec, w.vm[:0])
	for _, c := range w.vm {
		if c.Rel == loc && redo.VMBlock(c.HeapBlock) == blk {
			redo.ApplyVM(page, c, rec.End)
		}
	}
	return nil
}

// Scan calls fn for each block from from up to, not including, to that existed, in order. A page is valid, and not to be changed, until fn
// returns.
func (s *Snapshot) Scan(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error {
	_, f, err := s.fork(ctx, loc, num)
	if err != nil {
		return err
	}
	page := make([]byte, pg.BlockSize)
	for blk := from; blk < min(to, f.size); blk++ {
		if _, err := s.Page(ctx, loc, num, blk, page); err != nil {
			return err
		}
		if err := fn(blk, page); err != nil {
			return err
		}
	}
	return nil
}
