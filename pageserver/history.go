package pageserver

import (
	"slices"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
)

// History says how much of a timeline's past is kept. A former state is kept as a point: an LSN at which the store has all of the
// timeline, from which the WAL leads to any LSN behind it. The zero History keeps none.
type History struct {
	Window   time.Duration // how far back in time; 0 keeps nothing
	BytesMax int64         // how far back in WAL, bytes; 0 is no limit
}

// pointGap bounds the WAL between two points, bytes, as flushes allow: what a read in between redoes at most, besides what one
// flush covers.
const pointGap = 512 << 20

// pointsPerWindow is how many points a window has at least, if it has that many flushes: the oldest one can be let go when the
// next is old enough.
const pointsPerWindow = 8

// keep says which of a timeline's points stay when the newest is at head; points are in order and do not include it.
//
// Invariant: of those that lie before the window, one stays, the last, so that every LSN of the window can be reached; and of those not
// behind a branch's LSN the last.
func (h History) keep(points []point, head point, branches []Branch) (kept []point) {
	for i, p := range points {
		next := nextPoint(points, i, head)
		if slices.ContainsFunc(branches, func(b Branch) bool { return p.LSN <= b.LSN && b.LSN < next.LSN }) {
			kept = append(kept, p)
			continue
		}
		if !h.reaches(next, head) {
			continue // the next one serves the window as well
		}
		if n := len(kept); n > 0 && next.LSN-kept[n-1].LSN <= pointGap && next.Made.Sub(kept[n-1].Made) <= h.Window/pointsPerWindow {
			continue // so do its neighbours
		}
		kept = append(kept, p)
	}
	return kept
}

// window is the LSN from which on every LSN can be read again: of the newest point that the window does not reach behind, if head is the
// newest.
func (h History) window(points []point, head point) pg.LSN {
	for i, p := range points {
		if h.reaches(nextPoint(points, i, head), head) {
			return p.LSN
		}
	}
	return head.LSN
}

// reaches says whether the window reaches behind a point, so that the one before it is needed.
func (h History) reaches(p, head point) bool {
	return h.Window > 0 && !p.Made.Before(head.Made.Add(-h.Window)) && (h.BytesMax <= 0 || int64(head.LSN-p.LSN) < h.BytesMax)
}

// nextPoint is the one after the i-th.
func nextPoint(points []point, i int, head point) point {
	if i+1 < len(points) {
		return points[i+1]
	}
	return head
}

// needs says whether the layer is part of one of the points.
func needs(points []point, l *layerObject) bool {
	return slices.ContainsFunc(points, func(p point) bool { return l.at(p.LSN) })
}

// leads says whether the layer is part of what delta layers lead over: pages of a database that was made by a copy of files, which no
// record names.
func (c *contents) leads(l *layerObject) bool {
	return l.copied && slices.ContainsFunc(c.deltas, func(d *layerObject) bool { return d.from < l.LSN && l.LSN <= d.LSN })
}

// at says whether the layer is part of the timeline at a point's LSN.
func (l *layerObject) at(lsn pg.LSN) bool { return l.since <= lsn && (l.until == 0 || lsn < l.until) }

// prune lets go of points that are not kept and of layers that were needed for them alone, and returns those objects' names. held are the
// branches, and the LSNs that are leased as if they were some.
func (c *contents) prune(h History, head point, held []Branch) (gone []string) {
	kept := h.keep(c.points, head, held)
	for _, p := range c.points {
		if !slices.Contains(kept, p) {
			gone = append(gone, p.State)
		}
	}
	from := h.window(c.points, head)
	for _, p := range slices.Backward(kept) {
		if h.Window > 0 && p.LSN <= from { // else those that stay are of branches, which say themselves what they need
			from = p.LSN // the point may have been thinned out
			break
		}
	}
	c.points = kept
	c.deltas = slices.DeleteFunc(slices.Clone(c.deltas), func(d *layerObject) bool {
		if d.LSN > from || onBranch(kept, held, d) {
			return false
		}
		gone = append(gone, d.Name)
		return true
	})
	c.retired = slices.DeleteFunc(slices.Clone(c.retired), func(l *layerObject) bool { // after the deltas
		if needs(kept, l) || c.leads(l) {
			return false
		}
		gone = append(gone, l.Name)
		return true
	})
	return gone
}

// onBranch says whether a delta layer leads from one of the points to a branch's LSN.
func onBranch(points []point, branches []Branch, d *layerObject) bool {
	return slices.ContainsFunc(branches, func(b Branch) bool {
		if d.from >= b.LSN {
			return false
		}
		i := len(points) - 1
		for i >= 0 && points[i].LSN > b.LSN {
			i--
		}
		return i >= 0 && d.LSN > points[i].LSN
	})
}

// retire takes layers out of the timeline at lsn, where others hold what they held, and returns the names of those that no point needs.
func (c *contents) retire(layers []*layerObject, lsn pg.LSN) (gone []string) {
	c.layers = slices.DeleteFunc(slices.Clone(c.layers), func(l *layerObject) bool { return slices.Contains(layers, l) })
	c.retired = slices.Clone(c.retired)
	for _, l := range layers {
		former := *l
		former.until = lsn
		if former.since < lsn && needs(c.points, &former) || c.leads(l) {
			c.retired = append(c.retired, &former)
		} else {
			gone = append(gone, l.Name)
		}
	}
	return gone
}

// noteHistory lets HistoryFrom and Branches see the index as it is now.
func (t *Timeline) noteHistory() {
	a := &t.flusher.authority
	p := a.index.point
	if len(a.points) > 0 {
		p = a.points[0]
	}
	t.oldest.Store(&p)
	branches := a.branches // which are never changed in place
	t.branches.Store(&branches)
}

// HistoryFrom is the oldest LSN that can be read again, and the time of the last commit before it, zero if that is not known. It may be
// called at any time.
func (t *Timeline) HistoryFrom() (pg.LSN, time.Time) {
	p := t.oldest.Load()
	return max(p.LSN, t.consistent), p.CommitTime
}

// WALFrom is where the WAL begins that a read of history, or the next Open, may need. It never goes back, but by Rewind. It may be
// called at any time.
func (t *Timeline) WALFrom() pg.LSN { return t.oldest.Load().LSN }
