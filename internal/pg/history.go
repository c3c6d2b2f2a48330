package pg

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Ancestor is a timeline that leads to a later one, and where it was left for its successor.
type Ancestor struct {
	Timeline TimelineID
	End      LSN // first byte that belongs to the successor
}

// History is the line of descent of a timeline (timeline.c), oldest ancestor first. The zero value is a history nobody
// knows; with a Timeline and no ancestors nothing is known of what came before it, or it is the first.
//
// Invariant: timelines rise, and ends do not fall: a timeline that forks off before its parent began leaves nothing of the
// parent, and so much less of those before.
type History struct {
	Timeline  TimelineID
	Ancestors []Ancestor
}

// HistoryFileName names a timeline's history file, as pg_wal does (TLHistoryFileName).
func HistoryFileName(tli TimelineID) string { return fmt.Sprintf("%08X.history", uint32(tli)) }

// ParseHistory reads the text of a timeline's .history file, one line "parent TLI, switch LSN, reason" for each ancestor
// (readTimeLineHistory). Errors are *CorruptError.
func ParseHistory(tli TimelineID, text string) (History, error) {
	h := History{Timeline: tli}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		corrupt := func(what string) (History, error) {
			return History{}, &CorruptError{What: fmt.Sprintf("timeline history %s: line %q %s", HistoryFileName(tli), strings.TrimSpace(line), what)}
		}
		if len(f) < 2 {
			return corrupt("has no switch point")
		}
		n, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return corrupt("does not begin with a timeline")
		}
		end, err := ParseLSN(f[1])
		if err != nil {
			return corrupt("has no LSN for a switch point")
		}
		a := Ancestor{Timeline: TimelineID(n), End: end}
		if k := len(h.Ancestors); a.Timeline >= tli || k > 0 && a.Timeline <= h.Ancestors[k-1].Timeline {
			return corrupt("is out of order")
		}
		h.Ancestors = append(h.Ancestors, a)
	}
	for i := len(h.Ancestors) - 2; i >= 0; i-- {
		h.Ancestors[i].End = min(h.Ancestors[i].End, h.Ancestors[i+1].End)
	}
	return h, nil
}

// At is the timeline that the byte at lsn belongs to (tliOfPointInHistory).
func (h History) At(lsn LSN) TimelineID {
	return h.newest(func(fork LSN) bool { return lsn >= fork })
}

// FileAt is the timeline under whose name the segment that holds lsn is written: a server that switches copies the part
// of the segment before the switch (XLogInitNewTimeline), so the file of the newest timeline in it is the whole one.
func (h History) FileAt(lsn LSN, segSize int64) TimelineID {
	end := lsn.SegmentStart(segSize) + LSN(segSize)
	return h.newest(func(fork LSN) bool { return end > fork })
}

func (h History) newest(begun func(fork LSN) bool) TimelineID {
	next := h.Timeline
	for _, a := range slices.Backward(h.Ancestors) {
		if begun(a.End) {
			return next
		}
		next = a.Timeline
	}
	return next
}

// Next is the timeline that followed tli and the first byte that belongs to it; ok is false if tli is no ancestor.
func (h History) Next(tli TimelineID) (next TimelineID, fork LSN, ok bool) {
	next = h.Timeline
	for _, a := range slices.Backward(h.Ancestors) {
		if a.Timeline == tli {
			return next, a.End, true
		}
		next = a.Timeline
	}
	return 0, 0, false
}

// Line lists the timeline and its ancestors, the newest first.
func (h History) Line() []TimelineID {
	line := []TimelineID{h.Timeline}
	for _, a := range slices.Backward(h.Ancestors) {
		line = append(line, a.Timeline)
	}
	return line
}

// Has says that tli is the timeline or one of its ancestors.
func (h History) Has(tli TimelineID) bool {
	_, _, ok := h.Next(tli)
	return ok || tli == h.Timeline
}

// Continues says that h goes on from old, or is it: the same ancestors, left at the same places. An old history whose
// ancestors nobody knows is taken at its timeline's word.
func (h History) Continues(old History) bool {
	if !h.Has(old.Timeline) {
		return false
	}
	for _, a := range old.Ancestors {
		if _, fork, ok := h.Next(a.Timeline); !ok || fork != a.End {
			return false
		}
	}
	return true
}
