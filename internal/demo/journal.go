package demo

import (
	"maps"
	"slices"
	"sync"
)

// Journal is what the clients know about the transactions they sent. It is safe for concurrent use.
//
// Invariant: an id is in at most one of the sets.
type Journal struct {
	mu      sync.Mutex
	acked   map[int64]struct{} // COMMIT was acknowledged: must be there, once
	failed  map[int64]struct{} // rolled back or refused: must not be there
	unknown map[int64]struct{} // the connection broke after COMMIT was sent: either, but the same everywhere
}

// NewJournal makes an empty journal.
func NewJournal() *Journal {
	return &Journal{acked: map[int64]struct{}{}, failed: map[int64]struct{}{}, unknown: map[int64]struct{}{}}
}

type outcome uint8

const (
	acked outcome = iota
	failed
	unknown
)

func (j *Journal) record(id int64, o outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	[...]map[int64]struct{}{acked: j.acked, failed: j.failed, unknown: j.unknown}[o][id] = struct{}{}
}

// Counts are the sizes of the three sets.
func (j *Journal) Counts() (acked, failed, unknown int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.acked), len(j.failed), len(j.unknown)
}

// Verdict is what a table of transaction ids shows, held against the journal. All three lists must be empty.
type Verdict struct {
	Lost    []int64 // acknowledged, not there
	Ghosts  []int64 // there, though they failed or nobody sent them
	Doubled []int64 // there more than once
}

// OK is true when nothing was lost, invented or doubled.
func (v Verdict) OK() bool { return len(v.Lost)+len(v.Ghosts)+len(v.Doubled) == 0 }

// Check holds the ids found in a table against the journal; ids <= 0 are not transactions.
func (j *Journal) Check(ids []int64) Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	var v Verdict
	seen := map[int64]int{}
	for _, id := range ids {
		if id <= 0 {
			continue
		}
		seen[id]++
		if seen[id] == 2 {
			v.Doubled = append(v.Doubled, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(seen)) {
		_, isAcked := j.acked[id]
		_, isUnknown := j.unknown[id]
		if !isAcked && !isUnknown {
			v.Ghosts = append(v.Ghosts, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(j.acked)) {
		if seen[id] == 0 {
			v.Lost = append(v.Lost, id)
		}
	}
	return v
}
