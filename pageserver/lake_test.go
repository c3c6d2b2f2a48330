package pageserver

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
)

// lake is what a publication has seen of each block: which rows are visible on it.
type lake map[pg.RelFileLocator]lakeRel

type lakeRel struct {
	created pg.LSN
	blocks  map[pg.BlockNumber]string
}

// rowsOn lists the visible rows of a block: line pointers and raw xmins.
func rowsOn(tl *Timeline, rel pg.RelFileLocator, blk pg.BlockNumber) (string, error) {
	page, err := tl.Page(context.Background(), rel, pg.MainFork, blk)
	if err != nil || page == nil {
		return "", err
	}
	var b strings.Builder
	err = visibleRows(tl, page, func(off pg.OffsetNumber, tup pg.HeapTuple) {
		b.WriteString(strconv.Itoa(int(off)) + ":" + strconv.Itoa(int(tup.Xmin())) + " ")
	})
	return b.String(), err
}

// heaps lists the heap relations of a timeline: those with a readable first page that has no special space.
func heaps(tl *Timeline) (list []pg.RelFileLocator, err error) {
	for loc, rel := range tl.rels {
		if rel.opaque {
			continue
		}
		page, err := tl.Page(context.Background(), loc, pg.MainFork, 0)
		if err != nil {
			return nil, err
		}
		if page != nil && page.Special() == pg.BlockSize {
			list = append(list, loc)
		}
	}
	return list, nil
}

// publish brings the lake up to date by the dirty set alone, as a publication would.
func (l lake) publish(tl *Timeline, dirty DirtySet) error {
	for loc := range l {
		if info, ok := tl.Relation(loc); !ok || info.Created != l[loc].created {
			delete(l, loc)
		}
	}
	list, err := heaps(tl)
	if err != nil {
		return err
	}
	for _, loc := range list {
		info, _ := tl.Relation(loc)
		n, _, err := tl.NBlocks(context.Background(), loc, pg.MainFork)
		if err != nil {
			return err
		}
		look := func(blk pg.BlockNumber) error {
			h, err := rowsOn(tl, loc, blk)
			l[loc].blocks[blk] = h
			return err
		}
		if _, ok := l[loc]; !ok { // a relation it has not seen is copied whole
			l[loc] = lakeRel{info.Created, map[pg.BlockNumber]string{}}
			for blk := range n {
				if err := look(blk); err != nil {
					return err
				}
			}
			continue
		}
		if d := dirty[loc]; d != nil {
			for it := d.Blocks.Iterator(); it.HasNext(); {
				if err := look(pg.BlockNumber(it.Next())); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// check compares the lake with every block there is, and was.
func (l lake) check(tl *Timeline) error {
	for loc, r := range l {
		n, ok, err := tl.NBlocks(context.Background(), loc, pg.MainFork)
		if err != nil || !ok {
			return fmt.Errorf("%s: %v, %w", loc, ok, err)
		}
		for blk := range r.blocks {
			n = max(n, blk+1)
		}
		for blk := range n {
			h, err := rowsOn(tl, loc, blk)
			if err != nil {
				return err
			}
			if h != r.blocks[blk] {
				return fmt.Errorf("relation %s block %d of %d has changed and was not in the dirty set: created %s; lake %q, is %q", loc, blk, n, r.created, r.blocks[blk], h)
			}
		}
	}
	return nil
}
