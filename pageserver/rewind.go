package pageserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
)

// Rewound is what a timeline was taken back to.
type Rewound struct {
	LSN      pg.LSN   // of the newest point that is kept: WAL is resumed from here
	Branches []Branch // dropped: they named LSNs of what is no more
}

// Rewind takes a timeline in the store back to its newest point that is not behind an LSN: from there on the source has another
// history. Points, delta layers and branches behind it are forgotten. The timeline must not be open in this process. When it returns
// nil the step is durable; it is one conditional put, so a crash leaves the timeline as it was or wholly taken back. ErrBeforeHistory
// says that no such point is kept, or none at which the base backup was consistent by that LSN.
//
// What the index does not name any more is removed as what dead processes left is.
func Rewind(ctx context.Context, o Options, to pg.LSN) (Rewound, error) {
	if err := o.check(); err != nil {
		return Rewound{}, err
	}
	a := authority{store: o.Store, object: o.prefix() + indexName}
	r, err := a.takeBack(ctx, to)
	if err != nil {
		return r, fmt.Errorf("take timeline %s back to %s: %w", o.Branch, to, err)
	}
	return r, nil
}

func (a *authority) takeBack(ctx context.Context, to pg.LSN) (r Rewound, err error) {
	if err := a.load(ctx); err != nil {
		return r, err
	}
	p, err := a.pointBefore(Target{LSN: to})
	if err != nil {
		return r, err
	}
	s, err := readState(ctx, a.store, a.object[:len(a.object)-len(indexName)], p)
	if err != nil {
		return r, err
	}
	if s.Consistent > to {
		return r, fmt.Errorf("%w: the base backup is consistent from %s on", ErrBeforeHistory, s.Consistent)
	}
	c, dropped := a.contents.back(p, to)
	r = Rewound{LSN: p.LSN, Branches: dropped}
	if p.LSN == a.index.LSN && len(dropped) == 0 {
		return r, nil
	}
	next := a.index
	next.point = p
	return r, a.replace(ctx, next, c)
}

// back is the contents as of a point, with the history before it, and the branches that lie behind an LSN.
//
// Invariant: delta layers and branches that stay lead along, or lie in, WAL that both histories share.
func (c *contents) back(p point, to pg.LSN) (back contents, dropped []Branch) {
	for _, q := range c.points {
		if q.LSN < p.LSN {
			back.points = append(back.points, q)
		}
	}
	for _, d := range c.deltas {
		if d.LSN <= p.LSN {
			back.deltas = append(back.deltas, d)
		}
	}
	for _, l := range slices.Concat(c.layers, c.retired) {
		if l.at(p.LSN) {
			now := *l
			now.until = 0
			back.layers = append(back.layers, &now)
		} else if needs(back.points, l) || back.leads(l) {
			back.retired = append(back.retired, l)
		}
	}
	for _, b := range c.branches {
		if b.LSN > to {
			dropped = append(dropped, b)
			continue
		}
		if from, ok := findBranch(c.branches, b.Parent); ok && from.LSN > to {
			b.Parent = MainBranch // which has the same history there
		}
		back.branches = append(back.branches, b)
	}
	return back, dropped
}

// MarkDirty adds blocks to those that the next TakeDirty hands out, at a barrier. Those of relations that are not here, or are
// others of the same number, are passed over.
func (t *Timeline) MarkDirty(set DirtySet) {
	for loc, d := range set {
		if rel := t.rels[loc]; rel != nil && rel.created == d.Created && !rel.opaque {
			into := t.dirtyOf(rel)
			into.Blocks.Or(d.Blocks)
			into.Truncated = into.Truncated || d.Truncated
		}
	}
}
