package verify

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// fault is one way for the redo of some record types to be wrong. alter makes it so on a page the record has changed and says
// whether it could.
type fault struct {
	name  string
	types []string // by wal.RecordName
	alter func(before, after pg.Page, blk *wal.BlockRef) bool
}

// TestFaults plants each manager's own faults into the redo of each record type they can befall: the server's images must
// show it.
func TestFaults(t *testing.T) {
	eachFixture(t, func(t *testing.T, r recorded) {
		o, total := r.read(t), 0
		for _, name := range r.types(r.major) {
			for _, f := range r.faults {
				if !slices.Contains(f.types, name) {
					continue
				}
				planted, found := r.plant(o, name, f)
				total++
				if planted == 0 {
					t.Errorf("%s, %s: nowhere to plant it", name, f.name)
				} else if found == 0 {
					t.Errorf("%s, %s: planted %d times, never found", name, f.name, planted)
				}
			}
		}
		t.Logf("%d faults planted", total)
	})
}

// plant redoes the fixture with the fault and returns at how many records it was planted and how many of these then
// differed from their images. What it does to later records does not count.
func (r recorded) plant(o wal.Options, name string, f fault) (planted, found int) {
	v, at := r.verifier(), map[pg.LSN]bool{}
	v.fault = func(before, after pg.Page, rec *wal.Record, blk *wal.BlockRef) {
		if r.has(rec) && rec.TypeName() == name && redo.HasCheck(blk) && f.alter(before, after, blk) {
			at[rec.LSN] = true
		}
	}
	// An error is what a later record may well meet on a page that is wrong.
	_ = v.redo(context.Background(), o, nil)
	for _, m := range v.report.First {
		if at[m.LSN] {
			found++
		}
	}
	return len(at), found
}

// The faults that every record type gets, on each block it names, are those that need no knowledge of it.
const (
	undone   = "undone"   // the page as before, with the record's LSN
	putBack  = "put back" // one run of bytes that the record changed as before
	offByOne = "off by 1" // one byte of such a run is one more
)

// tally counts how often one kind of fault was planted and seen.
type tally struct{ planted, seen int }

// surveyPerType bounds the records of a type, and surveyRuns the runs of a record, that faults are planted in.
const (
	surveyPerType = 60
	surveyRuns    = 100
)

// TestFaultsOfEveryRecord plants the faults that need no knowledge of the record: each must be seen at least once in each block of
// each record type. What the manager's mask hides is listed.
func TestFaultsOfEveryRecord(t *testing.T) {
	eachFixture(t, func(t *testing.T, r recorded) {
		s := survey{recorded: r, records: map[string]int{}, unchanged: map[string]int{}, tallies: map[string]*tally{}}
		v := r.verifier()
		v.fault = func(before, after pg.Page, rec *wal.Record, blk *wal.BlockRef) {
			if r.has(rec) && redo.HasCheck(blk) {
				s.plant(before, after, rec, blk)
			}
		}
		if err := v.redo(context.Background(), r.read(t), nil); err != nil {
			t.Fatal(err)
		}
		s.report(t)
	})
}

// survey is the planting of such faults in one fixture.
type survey struct {
	recorded
	records   map[string]int    // by "TYPE BLOCKID"
	unchanged map[string]int    // of these, those that changed nothing but the LSN
	tallies   map[string]*tally // by "TYPE BLOCKID KIND", and further by the part of the page
	scratch   redo.Scratch
	page      [pg.BlockSize]byte
}

func (s *survey) plant(before, after pg.Page, rec *wal.Record, blk *wal.BlockRef) {
	place := placeName(rec, blk)
	if s.records[place] == surveyPerType {
		return
	}
	s.records[place]++
	runs := changedRuns(before, after)
	if len(runs) == 0 {
		s.unchanged[place]++
		return
	}
	page := pg.Page(s.page[:])
	try := func(kind, part string) {
		equal, _, err := redo.Check(page, rec, blk, &s.scratch)
		seen := err == nil && !equal
		for _, name := range []string{place + " " + kind, place + " " + kind + ", " + part} {
			c := s.tallies[name]
			if c == nil {
				c = &tally{}
				s.tallies[name] = c
			}
			c.planted++
			if seen {
				c.seen++
			}
		}
	}
	copy(page, before)
	page.SetLSN(after.LSN())
	try(undone, "whole")
	for _, r := range runs[:min(len(runs), surveyRuns)] {
		part := partOf(after, r.Offset)
		copy(page, after)
		copy(page[r.Offset:r.Offset+r.Length], before[r.Offset:])
		try(putBack, part)
		for _, at := range slices.Compact([]int{r.Offset, r.Offset + r.Length/2, r.Offset + r.Length - 1}) {
			copy(page, after)
			page[at]++
			try(offByOne, part)
		}
	}
}

// changedRuns lists the runs of bytes that differ, but for LSN and checksum.
func changedRuns(before, after pg.Page) (runs []redo.Range) {
	for i := 10; i < pg.BlockSize; {
		if before[i] == after[i] {
			i++
			continue
		}
		from := i
		for i < pg.BlockSize && before[i] != after[i] {
			i++
		}
		runs = append(runs, redo.Range{Offset: from, Length: i - from})
	}
	return runs
}

// partOf names the part of a page a byte belongs to.
func partOf(p pg.Page, at int) string {
	switch {
	case at < 12:
		return "flags"
	case at < 18:
		return "pointers"
	case at < 20:
		return "size and version"
	case at < pg.PageHeaderSize:
		return "prune XID"
	case at < int(p.Lower()):
		return "line pointers"
	case at < int(p.Upper()):
		return "free space"
	case at < int(p.Special()):
		return "items"
	}
	return "special area"
}

// report holds each block of each record type to having had every kind of fault seen, but for what the fixture explains.
func (s *survey) report(t *testing.T) {
	total, seen := 0, 0
	for _, place := range slices.Sorted(maps.Keys(s.records)) {
		for _, kind := range []string{undone, putBack, offByOne} {
			name := place + " " + kind
			c := s.tallies[name]
			if c == nil {
				c = &tally{}
			}
			total, seen = total+c.planted, seen+c.seen
			if c.seen == 0 && s.unseen[name] == "" && s.unseen[place] == "" {
				t.Errorf("%s: planted %d times, never seen (%d records, %d of them changed nothing)", name, c.planted, s.records[place], s.unchanged[place])
			}
		}
	}
	t.Logf("%d blocks of record types, %d faults planted, %d seen", len(s.records), total, seen)
	var hidden []string
	for name, c := range s.tallies {
		if c.seen == 0 && strings.Contains(name, ", ") {
			hidden = append(hidden, fmt.Sprintf("%s (%d)", name, c.planted))
		}
	}
	slices.Sort(hidden)
	t.Logf("never seen there: %s", strings.Join(hidden, "; "))
}

// TestChangedRuns: LSN and checksum are no change.
func TestChangedRuns(t *testing.T) {
	a, b := pg.Page(make([]byte, pg.BlockSize)), pg.Page(make([]byte, pg.BlockSize))
	b.SetLSN(1 << 40)
	b.SetChecksum(7)
	copy(b[100:], "abc")
	b[pg.BlockSize-1] = 1
	want := []redo.Range{{Offset: 100, Length: 3}, {Offset: pg.BlockSize - 1, Length: 1}}
	if got := changedRuns(a, b); !slices.Equal(got, want) || bytes.Equal(a, b) {
		t.Errorf("%v", got)
	}
}
