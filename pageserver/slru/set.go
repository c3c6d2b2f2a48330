package slru

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
)

// Run is pages [From, To) that exist. From begins a segment.
type Run struct{ From, To uint32 }

// Set is which pages of one SLRU exist: as in the server's files, a page exists when one after it in its segment does.
// The zero Set is empty. A copy shares nothing that changes.
//
// Invariant: runs are in order and apart; a run that another one follows at once ends within a segment.
type Set struct{ runs []Run }

// Runs lists the pages.
func (s *Set) Runs() []Run { return s.runs }

// Has says whether a page exists.
func (s *Set) Has(no uint32) bool {
	i := s.find(no)
	return i < len(s.runs) && s.runs[i].From <= no
}

// find is the first run that ends behind the page.
func (s *Set) find(no uint32) int {
	return sort.Search(len(s.runs), func(i int) bool { return s.runs[i].To > no })
}

// Add makes a page exist, and with it those before it in its segment. It returns the first one that did not.
func (s *Set) Add(no uint32) (from uint32) {
	if s.Has(no) {
		return no
	}
	from = no / SegmentPages * SegmentPages
	i := s.find(from)
	if i < len(s.runs) && s.runs[i].From <= from {
		from = s.runs[i].To
	}
	runs := append(slices.Clone(s.runs), Run{from / SegmentPages * SegmentPages, no + 1})
	slices.SortFunc(runs, func(a, b Run) int { return int(int64(a.From) - int64(b.From)) })
	s.runs = join(runs)
	return from
}

// join makes one run of those that overlap, or that touch where a segment ends.
func join(runs []Run) []Run {
	out := runs[:0]
	for _, r := range runs {
		if n := len(out); n > 0 && (r.From < out[n-1].To || r.From == out[n-1].To && r.From%SegmentPages == 0) {
			out[n-1].To = max(out[n-1].To, r.To)
			continue
		}
		out = append(out, r)
	}
	return out
}

// Cut removes the segments that a change says, and returns their pages.
func (s *Set) Cut(c *Change) (gone []Run) {
	var kept []Run
	for _, r := range s.runs {
		for from := r.From; from < r.To; from += SegmentPages {
			part := Run{from, min(r.To, from+SegmentPages)}
			if c.cuts(from / SegmentPages) {
				gone = append(gone, part)
			} else {
				kept = append(kept, part)
			}
		}
	}
	s.runs = join(kept)
	return gone
}

// cuts says whether the change removes the segment.
func (c *Change) cuts(segment uint32) bool {
	switch c.Op {
	case CutAll:
		return true
	case CutBefore:
		return c.Kind.removable(segment, c.Page)
	case CutSegments:
		if c.From <= c.To {
			return segment >= c.From && segment < c.To
		}
		return segment >= c.From || segment < c.To // over the last segment
	}
	return false
}

// MarshalJSON writes the runs as pairs.
func (s Set) MarshalJSON() ([]byte, error) {
	pairs := make([][2]uint32, len(s.runs))
	for i, r := range s.runs {
		pairs[i] = [2]uint32{r.From, r.To}
	}
	return json.Marshal(pairs)
}

// UnmarshalJSON is the inverse of MarshalJSON and refuses what breaks the invariant.
func (s *Set) UnmarshalJSON(b []byte) error {
	var pairs [][2]uint32
	if err := json.Unmarshal(b, &pairs); err != nil {
		return err
	}
	s.runs = make([]Run, len(pairs))
	for i, p := range pairs {
		s.runs[i] = Run{p[0], p[1]}
		if p[0] >= p[1] || p[0]%SegmentPages != 0 || i > 0 && p[0] < s.runs[i-1].To {
			return fmt.Errorf("pages %d to %d of an SLRU", p[0], p[1])
		}
	}
	return nil
}

// Sets is the pages of all SLRUs.
type Sets [Kinds]Set
