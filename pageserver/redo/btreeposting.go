package redo

import (
	"errors"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/btreerec"
)

var (
	errPostingList = errors.New("the tuple has no heap TIDs, or its posting list does not lie in it")
	errPostingAt   = errors.New("the posting list cannot be split there")
	errInterval    = errors.New("an interval to merge does not lie behind the one before, or not on the page")
)

// heapTID is an ItemPointerData as it lies in a tuple.
type heapTID [pg.TIDSize]byte

// swapPosting puts the TID of a new tuple into a posting list of the same key, as the TID with that index from 0, and returns the
// list's last, which has no room there any more (_bt_swap_posting).
func swapPosting(posting, newItem btreerec.Tuple, at int) (last heapTID, err error) {
	_, tids, ok := posting.Heap()
	if !ok || !posting.IsPosting() {
		return last, errPostingList
	}
	at *= pg.TIDSize
	if at <= 0 || at >= len(tids) {
		return last, errPostingAt
	}
	end := len(tids) - pg.TIDSize
	copy(last[:], tids[end:])
	copy(tids[at+pg.TIDSize:], tids[at:end])
	copy(tids[at:], newItem[:pg.TIDSize])
	return last, nil
}

// postingBuilder makes a tuple out of a key and heap TIDs: one with a posting list if they are several
// (_bt_form_posting).
type postingBuilder struct {
	tuple     [btreerec.TupleSizeMax]byte
	key, used int // bytes: of the key with the header, and with the TIDs behind it
}

func (b *postingBuilder) start(key []byte) error {
	if len(key) > len(b.tuple) {
		return errNoRoom
	}
	b.key = copy(b.tuple[:], key)
	b.used = b.key
	return nil
}

func (b *postingBuilder) add(tids []byte) error {
	if len(tids) > len(b.tuple)-b.used {
		return errNoRoom
	}
	b.used += copy(b.tuple[b.used:], tids)
	return nil
}

// finish returns the tuple. At least one TID has been added, and the key is MAXALIGNed; what is padding is zero, as a builder
// makes one tuple only.
func (b *postingBuilder) finish() btreerec.Tuple {
	n := (b.used - b.key) / pg.TIDSize
	if n == 1 {
		t := btreerec.Tuple(b.tuple[:b.key])
		t.SetPlain(b.tuple[b.key:])
		return t
	}
	t := btreerec.Tuple(b.tuple[:pg.MaxAlign(b.used)]) // TupleSizeMax is MAXALIGNed
	t.SetPosting(n, b.key)
	return t
}

// btreeDedup is btree_xlog_dedup: neighbours with equal keys become one tuple with a posting list. The page is laid out anew.
func btreeDedup(page pg.Page, rec *wal.Record, blk *wal.BlockRef) error {
	intervals, err := btreerec.DecodeDedup(rec.Main, blk.Data)
	if err != nil {
		return err
	}
	var held [pg.BlockSize]byte
	old := pg.Page(held[:])
	copy(old, page)
	emptyPage(page)
	o := btreerec.OpaqueOf(page)
	o.SetFlags(o.Flags() &^ btreerec.FlagHasGarbage)

	off, first := pg.OffsetNumber(1), o.FirstDataKey()
	for i := range intervals.Len() {
		in := intervals.At(i)
		if in.Base < max(off, first) || in.N < 2 || int(in.Base)+in.N > old.NumItems()+1 {
			return errInterval
		}
		if err := copyItems(page, old, off, in.Base); err != nil {
			return err
		}
		off = in.Base + pg.OffsetNumber(in.N)
		if err := mergeItems(page, old, in.Base, off); err != nil {
			return err
		}
	}
	return copyItems(page, old, off, pg.OffsetNumber(old.NumItems()+1))
}

// copyItems appends the items of another page from one line pointer up to another, which is left out.
func copyItems(page, from pg.Page, first, end pg.OffsetNumber) error {
	for off := first; off < end; off++ {
		t, err := item(from, off)
		if err != nil {
			return err
		}
		if err := appendItem(page, t); err != nil {
			return err
		}
	}
	return nil
}

// mergeItems appends one tuple with the first one's key and all their TIDs (_bt_dedup_finish_pending).
func mergeItems(page, from pg.Page, first, end pg.OffsetNumber) error {
	var b postingBuilder
	for off := first; off < end; off++ {
		t, err := indexTuple(from, off)
		if err != nil {
			return err
		}
		key, tids, ok := t.Heap()
		if !ok {
			return errPostingList
		}
		if off == first {
			if err := b.start(key); err != nil {
				return err
			}
		}
		if err := b.add(tids); err != nil {
			return err
		}
	}
	return appendItem(page, b.finish())
}
