package redo

import (
	"errors"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
)

var (
	errGinPosting   = errors.New("there is no such posting item, or no room for one more")
	errPostingLists = errors.New("the page's posting lists are cut, or end outside their space")
	errSegment      = errors.New("the record changes a segment the page does not have, or one before the last changed")
)

// postingItems returns the space of a page above a posting tree's leaves and how many items are in it.
func postingItems(p pg.Page, o ginrec.Opaque) (items []byte, n int, err error) {
	if n = o.Count(); n > ginrec.PostingItemsMax || p.Upper() != ginrec.Special {
		return nil, 0, errGinPosting
	}
	return p[ginrec.PostingAt:ginrec.Special], n, nil
}

// setPostingItems stores how many posting items the page has, and that they end there.
func setPostingItems(p pg.Page, o ginrec.Opaque, n int) {
	o.SetCount(n)
	p.SetLower(uint16(ginrec.PostingAt + n*ginrec.PostingItemSize))
}

// insertPosting is ginRedoInsertData above the leaves: the new item goes before the one at its place, which leads to the right
// child from now on (GinDataPageAddPostingItem).
func insertPosting(p pg.Page, o ginrec.Opaque, data []byte, right pg.BlockNumber) error {
	r, err := ginrec.DecodeInsertPosting(data)
	if err != nil {
		return err
	}
	items, n, err := postingItems(p, o)
	if err != nil {
		return err
	}
	if r.Offset < 1 || int(r.Offset) > n || n == ginrec.PostingItemsMax {
		return errGinPosting
	}
	at, end := ginrec.PostingItemSize*(int(r.Offset)-1), ginrec.PostingItemSize*n
	ginrec.SetChild(items[at:], right)
	copy(items[at+ginrec.PostingItemSize:], items[at:end])
	copy(items[at:], r.Item)
	setPostingItems(p, o, n+1)
	return nil
}

// deletePosting is GinPageDeletePostingItem.
func deletePosting(p pg.Page, o ginrec.Opaque, off pg.OffsetNumber) error {
	if o.Flags()&ginrec.PageLeaf != 0 {
		return errGinKind
	}
	items, n, err := postingItems(p, o)
	if err != nil {
		return err
	}
	if off < 1 || int(off) > n {
		return errGinPosting
	}
	at, end := ginrec.PostingItemSize*(int(off)-1), ginrec.PostingItemSize*n
	copy(items[at:], items[at+ginrec.PostingItemSize:end])
	clear(items[end-ginrec.PostingItemSize : end])
	setPostingItems(p, o, n-1)
	return nil
}

// leaf is a posting tree's leaf while its segments are laid anew.
type leaf struct {
	page    pg.Page
	end     int    // of the segments in place, bytes from the page's start
	old     []byte // segments not reached yet, in a copy: what is laid may be longer than what it replaces
	segment int    // how many of the old ones have been reached
}

// take passes over the next old segment.
func (l *leaf) take() ([]byte, error) {
	if len(l.old) == 0 {
		return nil, errSegment
	}
	n := ginrec.SegmentSize(l.old)
	if n == 0 {
		return nil, errPostingLists
	}
	s := l.old[:n]
	l.old = l.old[n:]
	l.segment++
	return s, nil
}

// put lays segments.
func (l *leaf) put(segments []byte) error {
	if len(segments) > ginrec.Special-l.end {
		return errNoRoom
	}
	l.end += copy(l.page[l.end:], segments)
	return nil
}

// recompress is ginRedoRecompress: the segments of a leaf as the record's actions change them.
func recompress(p pg.Page, o ginrec.Opaque, data []byte) error {
	r, err := ginrec.DecodeRecompress(data)
	if err != nil {
		return err
	}
	if o.Flags()&ginrec.PageCompressed == 0 {
		if err := compressLeaf(p, o); err != nil {
			return err
		}
	}
	before := int(p.Lower())
	if before < ginrec.PostingAt || before > ginrec.Special || p.Upper() != ginrec.Special {
		return errPostingLists
	}
	var held [ginrec.PostingSizeMax]byte
	l := leaf{page: p, end: ginrec.PostingAt, old: held[:copy(held[:], p[ginrec.PostingAt:before])]}
	for a, ok := r.Next(); ok; a, ok = r.Next() {
		if err := l.act(a); err != nil {
			return err
		}
	}
	if err := l.put(l.old); err != nil {
		return err
	}
	if l.end < before {
		clear(p[l.end:before])
	}
	p.SetLower(uint16(l.end))
	return nil
}

// act keeps the segments before the action's and then does it.
func (l *leaf) act(a ginrec.Action) error {
	if a.Segment < l.segment {
		return errSegment
	}
	for l.segment < a.Segment {
		s, err := l.take()
		if err != nil {
			return err
		}
		if err := l.put(s); err != nil {
			return err
		}
	}
	if a.Kind == ginrec.SegmentInsert {
		return l.put(a.Data)
	}
	s, err := l.take()
	switch {
	case err != nil:
		return err
	case a.Kind == ginrec.SegmentReplace:
		return l.put(a.Data)
	case a.Kind == ginrec.SegmentAddItems:
		return l.merge(s, a.Data)
	}
	return nil // SegmentDelete
}

// merge lays a segment of the items of an old one and of added, an array of item pointers (ginMergeItemPointers and
// ginCompressPostingList). The writer takes this way only if no item is in both.
func (l *leaf) merge(old, added []byte) error {
	e := ginrec.Encode(l.page[l.end:ginrec.Special])
	d, item := ginrec.Decode(old)
	for more := true; more || len(added) > 0; {
		if len(added) > 0 && (!more || ginrec.ItemOf(added) < item) {
			if err := e.Add(ginrec.ItemOf(added)); err != nil {
				return err
			}
			added = added[pg.TIDSize:]
			continue
		}
		if err := e.Add(item); err != nil {
			return err
		}
		var err error
		if item, more, err = d.Next(); err != nil {
			return err
		}
	}
	n, err := e.Finish()
	l.end += n
	return err
}

// compressLeaf brings a leaf from before 9.4, an array of item pointers, into the form of later ones: one segment, or none.
func compressLeaf(p pg.Page, o ginrec.Opaque) error {
	size := pg.TIDSize * o.Count()
	if size > ginrec.PostingSizeMax {
		return errPostingLists
	}
	if size > 0 {
		var held [ginrec.PostingSizeMax]byte
		items := held[:copy(held[:size], p[ginrec.PostingAt:])]
		e := ginrec.Encode(p[ginrec.PostingAt:ginrec.Special])
		for ; len(items) > 0; items = items[pg.TIDSize:] {
			if err := e.Add(ginrec.ItemOf(items)); err != nil {
				return err
			}
		}
		var err error
		if size, err = e.Finish(); err != nil {
			return err
		}
	}
	p.SetLower(uint16(ginrec.PostingAt + size))
	o.SetFlags(o.Flags() | ginrec.PageCompressed)
	o.SetCount(0)
	return nil
}
