// Package scrub is what a check of a store's objects against what names them finds.
package scrub

import (
	"cmp"
	"slices"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
)

// Kind says what is the matter with an object.
type Kind string

// The kinds. Lost and damaged objects are needed; nothing names an orphan.
const (
	Lost    Kind = "lost"
	Damaged Kind = "damaged"
	Orphan  Kind = "orphan"
)

// OrphanAge is the age from which an object that nothing names is an orphan: a younger one may be of a write under way.
const OrphanAge = time.Hour

// listedMax bounds the findings that are listed of each kind; all are counted.
const listedMax = 1000

// Finding is one object.
type Finding struct {
	Kind  Kind   `json:"kind"`
	Key   string `json:"key"`
	What  string `json:"what"`
	Bytes int64  `json:"bytes,omitempty"`
}

// Report adds up. Its methods are not for concurrent use.
type Report struct {
	Objects     int64     `json:"objects"` // looked at
	Bytes       int64     `json:"bytes"`   // of them
	Lost        int64     `json:"lost"`
	Damaged     int64     `json:"damaged"`
	Orphans     int64     `json:"orphans"`
	OrphanBytes int64     `json:"orphan_bytes"`
	Findings    []Finding `json:"findings"` // at most 1,000 of a kind
	Progress    func()    `json:"-"`        // called for each layer, segment and table that is read, if set
}

// OK says that everything that is needed is there.
func (r *Report) OK() bool { return r.Lost+r.Damaged == 0 }

// Saw counts an object.
func (r *Report) Saw(o objstore.ObjectInfo) {
	r.Objects++
	r.Bytes += o.Size
}

// Reading says that one more layer, segment or table is being read.
func (r *Report) Reading() {
	if r.Progress != nil {
		r.Progress()
	}
}

// Add notes a finding.
func (r *Report) Add(kind Kind, key, what string) { r.add(Finding{Kind: kind, Key: key, What: what}) }

// Unnamed notes an object that nothing names, if it is old enough.
func (r *Report) Unnamed(o objstore.ObjectInfo, now time.Time) {
	if now.Sub(o.ModTime) > OrphanAge {
		r.OrphanBytes += o.Size
		r.add(Finding{Kind: Orphan, Key: o.Key, What: "nothing names it", Bytes: o.Size})
	}
}

func (r *Report) add(f Finding) {
	n := &r.Orphans
	switch f.Kind {
	case Lost:
		n = &r.Lost
	case Damaged:
		n = &r.Damaged
	}
	if *n++; *n <= listedMax {
		r.Findings = append(r.Findings, f)
	}
}

// Sort puts the worst first.
func (r *Report) Sort() {
	rank := map[Kind]int{Lost: 0, Damaged: 1, Orphan: 2}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank[a.Kind], rank[b.Kind]), cmp.Compare(a.Key, b.Key))
	})
}
