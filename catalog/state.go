package catalog

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// state is the catalog after the log's entries up to seq, and what it was at each publication of the grace time.
//
// Invariant: names holds exactly the live tables.
// Invariant: pubs ascend in seq and LSN; the last one is the head.
// Invariant: a table's versions ascend in seq; the first is the one that was in force at pubs[0] if the table existed then.
type state struct {
	seq, epoch uint64
	systemID   uint64
	timeline   pg.TimelineID
	blob       *journal.Blob
	tables     map[lake.TableID]*tableState
	names      map[lake.TableName]*tableState
	databases  map[string]map[lake.TableID]*tableState // by every name a table's database had in the retained history
	pubs       []Publication
}

type tableState struct {
	rec      journal.Table
	versions []version
}

// version is a table as readers saw it from one entry to the next.
type version struct {
	seq     uint64
	lsn     pg.LSN
	name    lake.TableName
	meta    journal.Metadata
	dropped bool
	state   *journal.Blob // the materializer's, in force; nil: not known
	same    bool          // state is that of the version before
}

func newState() *state {
	return &state{
		tables: map[lake.TableID]*tableState{}, names: map[lake.TableName]*tableState{},
		databases: map[string]map[lake.TableID]*tableState{},
	}
}

// restore builds the state from a checkpoint, the entries of its segments and those after it.
func restore(cp journal.Checkpoint, history, entries []journal.Entry) (*state, error) {
	s := newState()
	s.seq, s.epoch, s.systemID, s.timeline, s.blob = cp.Seq, cp.Epoch, cp.SystemID, cp.Timeline, cp.State
	for _, rec := range cp.Tables {
		s.tables[rec.ID()] = &tableState{rec: rec}
	}
	for i := range history {
		s.remember(&history[i])
	}
	if n := len(s.pubs); cp.HeadSeq != 0 && (n == 0 || s.pubs[n-1].Seq != cp.HeadSeq) {
		s.list(Publication{Seq: cp.HeadSeq, LSN: cp.LSN, CommitTime: cp.CommitTime, Time: cp.Time})
	}
	for id, t := range s.tables {
		if len(t.versions) == 0 {
			t.versions = []version{versionOf(&t.rec.Version, nil)}
		}
		for _, v := range t.versions {
			s.index(v.name.Database, id, t)
		}
		t.knowStates()
		if !t.rec.Dropped {
			s.names[t.rec.TableName()] = t
		}
	}
	for i := range entries {
		if err := s.apply(&entries[i]); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// remember adds an entry at or below the checkpoint to the history only.
func (s *state) remember(e *journal.Entry) {
	if e.Kind != journal.KindPublish {
		return
	}
	s.list(Publication{Seq: e.Seq, LSN: e.LSN, CommitTime: e.CommitTime, Time: e.Time})
	for i := range e.Tables {
		rec := &e.Tables[i]
		t := s.tables[rec.ID()]
		if t == nil {
			continue // dropped, and its files are gone
		}
		if len(t.versions) == 0 && rec.Prev != nil {
			t.versions = append(t.versions, versionOf(rec.Prev, nil))
		}
		v := versionOf(&rec.Version, rec.State)
		if v.same = e.TableStates && rec.State == nil; v.same && len(t.versions) > 0 {
			v.state = t.versions[len(t.versions)-1].state
		}
		t.versions = append(t.versions, v)
	}
}

func versionOf(v *journal.Version, state *journal.Blob) version {
	return version{seq: v.Seq, lsn: v.LSN, name: v.TableName(), meta: v.Metadata, dropped: v.Dropped, state: state}
}

// knowStates fills in what the checkpoint's record tells of the states of its versions.
func (t *tableState) knowStates() {
	last := len(t.versions) - 1
	if t.rec.Dropped {
		return
	}
	t.versions[last].state = t.rec.State
	for i := last; i > 0 && t.versions[i].same && t.versions[i-1].state == nil; i-- {
		t.versions[i-1].state = t.versions[i].state
	}
}

func (s *state) index(database string, id lake.TableID, t *tableState) {
	if s.databases[database] == nil {
		s.databases[database] = map[lake.TableID]*tableState{}
	}
	s.databases[database][id] = t
}

// list makes a publication the newest of those that an LSN names. One below others takes the lake back to a fork of the source's
// history (lake.Publication): LSNs behind it are the newer timeline's from now on, and name what was published on the older one no more.
func (s *state) list(p Publication) {
	if n := len(s.pubs); n > 0 && s.pubs[n-1].LSN > p.LSN {
		n = sort.Search(n, func(i int) bool { return s.pubs[i].LSN > p.LSN })
		s.pubs = slices.Clone(s.pubs[:n])
	}
	s.pubs = append(s.pubs, p)
}

// apply moves the state one entry on.
func (s *state) apply(e *journal.Entry) error {
	if e.Seq != s.seq+1 {
		return fmt.Errorf("%w: catalog log entry %d follows %d", journal.ErrCorrupt, e.Seq, s.seq)
	}
	switch e.Kind {
	case journal.KindEpoch:
		if e.Epoch <= s.epoch {
			return fmt.Errorf("%w: catalog log entry %d begins epoch %d after %d", journal.ErrCorrupt, e.Seq, e.Epoch, s.epoch)
		}
	case journal.KindPublish:
		if e.Epoch != s.epoch {
			return fmt.Errorf("%w: catalog log entry %d is of epoch %d, in force is %d", journal.ErrCorrupt, e.Seq, e.Epoch, s.epoch)
		}
		s.publish(e)
	default:
		return fmt.Errorf("%w: catalog log entry %d has kind %q", journal.ErrCorrupt, e.Seq, e.Kind)
	}
	s.seq, s.epoch = e.Seq, e.Epoch
	return nil
}

func (s *state) publish(e *journal.Entry) {
	s.systemID, s.timeline = e.SystemID, e.Timeline
	if e.State != nil {
		s.blob = e.State
	}
	s.list(Publication{Seq: e.Seq, LSN: e.LSN, CommitTime: e.CommitTime, Time: e.Time})
	// Old names first: a publication may swap two.
	for i := range e.Tables {
		if t := s.tables[e.Tables[i].ID()]; t != nil && s.names[t.rec.TableName()] == t {
			delete(s.names, t.rec.TableName())
		}
	}
	for i := range e.Tables {
		rec := e.Tables[i]
		id := rec.ID()
		t := s.tables[id]
		if t == nil {
			t = &tableState{}
			s.tables[id] = t
		}
		if rec.State == nil && !rec.Dropped {
			rec.State = t.rec.State
		}
		rec.Prev, t.rec = nil, rec
		t.versions = append(t.versions, versionOf(&rec.Version, rec.State))
		s.index(rec.Database, id, t)
		if !rec.Dropped {
			s.names[rec.TableName()] = t
		}
	}
}

// head is the newest publication; zero if there is none.
func (s *state) head() Publication {
	if len(s.pubs) == 0 {
		return Publication{}
	}
	return s.pubs[len(s.pubs)-1]
}

// trim forgets publications superseded before the cutoff. The head stays. With tables set, versions of tables that no
// retained publication shows go too, which costs a walk over all tables.
func (s *state) trim(cutoff time.Time, tables bool) {
	n := 0
	for n+1 < len(s.pubs) && s.pubs[n+1].Time.Before(cutoff) {
		n++
	}
	s.pubs = s.pubs[n:]
	if !tables || len(s.pubs) == 0 {
		return
	}
	s.pubs = slices.Clip(slices.Clone(s.pubs))
	floor := s.pubs[0].Seq
	for id, t := range s.tables {
		n := 0
		for n+1 < len(t.versions) && t.versions[n+1].seq <= floor {
			n++
		}
		for _, v := range t.versions[:n] {
			if !slices.ContainsFunc(t.versions[n:], func(w version) bool { return w.name.Database == v.name.Database }) {
				s.unindex(v.name.Database, id)
			}
		}
		t.versions = slices.Clip(slices.Clone(t.versions[n:]))
	}
}

func (s *state) unindex(database string, id lake.TableID) {
	delete(s.databases[database], id)
	if len(s.databases[database]) == 0 {
		delete(s.databases, database)
	}
}

// forget removes a dropped table whose files are gone.
func (s *state) forget(id lake.TableID) {
	t := s.tables[id]
	if t == nil || !t.rec.Dropped {
		return
	}
	for _, v := range t.versions {
		s.unindex(v.name.Database, id)
	}
	delete(s.tables, id)
}

// at is the version in force at entry seq; ok is false if there was none.
func (t *tableState) at(seq uint64) (version, bool) {
	n := sort.Search(len(t.versions), func(i int) bool { return t.versions[i].seq > seq })
	if n == 0 {
		return version{}, false
	}
	v := t.versions[n-1]
	return v, !v.dropped
}

// publicationAt is the last publication at or below lsn.
func (s *state) publicationAt(lsn pg.LSN) (Publication, error) {
	head := s.head()
	if lsn > head.LSN || head.Seq == 0 {
		return Publication{}, &AheadError{LSN: lsn, Published: head.LSN}
	}
	n := sort.Search(len(s.pubs), func(i int) bool { return s.pubs[i].LSN > lsn })
	if n == 0 {
		return Publication{}, &ExpiredError{LSN: lsn, Oldest: s.pubs[0].LSN}
	}
	return s.pubs[n-1], nil
}

// checkpoint is the state as an object; tables are in the order of their ids.
func (s *state) checkpoint() *journal.Checkpoint {
	head := s.head()
	cp := &journal.Checkpoint{
		Seq: s.seq, Epoch: s.epoch, Time: head.Time, HeadSeq: head.Seq, SystemID: s.systemID, Timeline: s.timeline,
		LSN: head.LSN, CommitTime: head.CommitTime, State: s.blob, Tables: make([]journal.Table, 0, len(s.tables)),
	}
	for _, t := range s.tables {
		cp.Tables = append(cp.Tables, t.rec)
	}
	slices.SortFunc(cp.Tables, func(a, b journal.Table) int { return compareIDs(a.ID(), b.ID()) })
	return cp
}
