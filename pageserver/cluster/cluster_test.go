package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// build lays fields out, little-endian.
func build(fields ...any) (b []byte) {
	for _, f := range fields {
		switch v := f.(type) {
		case string:
			b = append(b, v...)
		default:
			b, _ = binary.Append(b, binary.LittleEndian, v)
		}
	}
	return b
}

func record(major pg.Major, rmid wal.RMID, info uint8, fields ...any) *wal.Record {
	return &wal.Record{Major: major, LSN: 0x1000, End: 0x1080, RMID: rmid, Info: info, Main: build(fields...)}
}

// world is a state with the pages of its SLRUs.
type world struct {
	State
	sets  slru.Sets
	pages map[[2]uint32][]byte
}

func newWorld() *world {
	c := control.Control{CheckPoint: xlrec.CheckPoint{NextXID: 1000, NextMulti: 1, OldestXID: 700, OldestMulti: 1, WALLevel: -1}, WALLevel: 1}
	return &world{State: New(&c), pages: map[[2]uint32][]byte{}}
}

func (w *world) follow(rec *wal.Record) error {
	next := w.State
	changes, err := next.Follow(rec, &w.sets, nil)
	if err != nil {
		return err
	}
	for i := range changes {
		c := &changes[i]
		if c.CutsSegments() {
			for _, r := range w.sets[c.Kind].Cut(c) {
				for no := r.From; no < r.To; no++ {
					delete(w.pages, [2]uint32{uint32(c.Kind), no})
				}
			}
			continue
		}
		w.sets[c.Kind].Add(c.Page)
		c.Apply(w.page(c.Kind, c.Page))
	}
	w.State = next
	return nil
}

func (w *world) page(k slru.Kind, no uint32) []byte {
	at := [2]uint32{uint32(k), no}
	if w.pages[at] == nil {
		w.pages[at] = make([]byte, pg.BlockSize)
	}
	return w.pages[at]
}

func (w *world) must(t *testing.T, recs ...*wal.Record) {
	t.Helper()
	for _, rec := range recs {
		if err := w.follow(rec); err != nil {
			t.Fatalf("record %#02x of manager %d: %v", rec.Info, rec.RMID, err)
		}
	}
}

func TestNoteXID(t *testing.T) {
	for _, c := range []struct {
		next pg.FullXID
		seen pg.XID
		want pg.FullXID
	}{
		{1000, 999, 1000}, {1000, 1000, 1001}, {1000, 0, 1000}, {1000, 2, 1000}, {1000, 5000, 5001}, {0xFFFFFFFF, 0xFFFFFFFF, 1<<32 | 3},
		{0xFFFFFFF0, 5, 1<<32 | 6}, {1<<32 | 6, 0xFFFFFFF0, 1<<32 | 6}, {2<<32 | 100, 2, 2<<32 | 100}, {3, 1<<31 + 4, 3},
		{0x80000000, 0, 0x80000000},
	} {
		s := State{CheckPoint: xlrec.CheckPoint{NextXID: c.next}}
		if s.NoteXID(c.seen); s.CheckPoint.NextXID != c.want {
			t.Errorf("next %#x after %d is %#x, want %#x", c.next, c.seen, s.CheckPoint.NextXID, c.want)
		}
	}
}

func commitRecord(xid pg.XID, origin uint16, xinfo uint32, parts ...any) *wal.Record {
	r := record(pg.PG17, wal.RMXact, xlrec.XactCommit|xlrec.XactHasInfo, append([]any{uint64(5000), xinfo}, parts...)...)
	r.XID, r.Origin = xid, origin
	return r
}

// TestCommitTimes: commits have times while that is on, over pages, of the origin's clock if they come from one; switched off
// nothing is left, switched on again it begins with the next transaction.
func TestCommitTimes(t *testing.T) {
	w := newWorld()
	params := func(on uint8) *wal.Record {
		return record(pg.PG17, wal.RMXLog, xlrec.XLogParameterChange, uint32(90), uint32(8), uint32(10), uint32(3), uint32(64), uint32(2), uint8(1), on, uint16(0))
	}
	w.must(t, commitRecord(1000, 0, 0))
	if len(w.sets[slru.CommitTs].Runs()) != 0 {
		t.Error("times are kept before that is on")
	}
	w.must(t, params(1))
	want := xlrec.ParameterChange{MaxConnections: 90, MaxWorkerProcesses: 8, MaxWALSenders: 10, MaxPreparedXacts: 3, MaxLocksPerXact: 64,
		WALLevel: xlrec.WALLevelLogical, WALLogHints: true, TrackCommitTimestamp: true}
	if w.Settings != want || !w.CommitTs || w.CheckPoint.OldestCommitTsXID != 1001 || w.CheckPoint.NewestCommitTsXID != 1001 || !w.sets[slru.CommitTs].Has(1) {
		t.Errorf("%+v, %v", w.State, w.sets)
	}
	w.must(t, params(1), // again: nothing happens
		commitRecord(1100, 0, xlrec.XInfoHasSubxacts, uint32(3), uint32(1101), uint32(1637), uint32(1638)),
		commitRecord(1102, 7, xlrec.XInfoHasOrigin, uint64(0x900), uint64(4000)))
	for xid, want := range map[pg.XID][2]int64{1100: {5000, 0}, 1101: {5000, 0}, 1637: {5000, 0}, 1638: {5000, 0}, 1102: {4000, 7}, 1103: {}} {
		at, origin := slru.TimeOf(w.page(slru.CommitTs, slru.CommitTs.Page(uint32(xid))), xid)
		if int64(at) != want[0] || int64(origin) != want[1] {
			t.Errorf("transaction %d committed at %d from %d, want %v", xid, at, origin, want)
		}
		if got := slru.StatusOf(w.page(slru.CLOG, 0), xid); (got == slru.CLOGCommitted) != (want[0] != 0) {
			t.Errorf("transaction %d has status %d", xid, got)
		}
	}
	if w.CheckPoint.NewestCommitTsXID != 1638 || w.CheckPoint.NextXID != 1639 || !slices.Equal(w.Origins, []Origin{{7, 0x900}}) {
		t.Errorf("%+v", w.State)
	}
	w.must(t, record(pg.PG17, wal.RMCommitTs, xlrec.CommitTsTruncate, uint64(0), uint32(1200)))
	if w.CheckPoint.OldestCommitTsXID != 1200 {
		t.Errorf("oldest time of %d", w.CheckPoint.OldestCommitTsXID)
	}
	w.must(t, params(0), commitRecord(1700, 0, 0))
	if w.CommitTs || len(w.sets[slru.CommitTs].Runs()) != 0 || w.CheckPoint.OldestCommitTsXID != 0 || w.CheckPoint.NewestCommitTsXID != 0 {
		t.Errorf("switched off: %+v, %v", w.State, w.sets)
	}
	w.must(t, params(1))
	if w.CheckPoint.OldestCommitTsXID != 1701 || fmt.Sprint(w.sets[slru.CommitTs].Runs()) != "[{0 3}]" {
		t.Errorf("switched on again: %+v, %v", w.State, w.sets)
	}
	if at, _ := slru.TimeOf(w.page(slru.CommitTs, 1), 1100); at != 0 {
		t.Error("a time of before it was switched off is there")
	}
}

// TestCheckpoints: a shutdown checkpoint is believed, an online one is as of its beginning.
func TestCheckpoints(t *testing.T) {
	w := newWorld()
	w.must(t, record(pg.PG18, wal.RMXLog, xlrec.XLogNextOID, uint32(24576)),
		record(pg.PG18, wal.RMXLog, xlrec.XLogFPWChange, uint8(1)),
		record(pg.PG18, wal.RMStandby, xlrec.StandbyRunningXacts, uint32(0), uint32(0), uint32(0), uint32(2000), uint32(1990), uint32(1999)))
	if c := w.CheckPoint; c.NextOID != 24576 || !c.FullPageWrites || c.NextXID != 2000 || c.OldestActiveXID != 1990 {
		t.Errorf("%+v", c)
	}
	w.must(t, record(pg.PG18, wal.RMMultiXact, xlrec.MultiXactCreateID, uint32(9), uint32(50), uint32(1), uint32(2005), uint32(1)))
	c := xlrec.CheckPoint{Redo: 0x900, TimelineID: 3, WALLevel: xlrec.WALLevelReplica, NextXID: 1500, NextOID: 20000, NextMulti: 4, NextMultiOffset: 60,
		OldestXID: 800, OldestXIDDB: 5, OldestMulti: 3, OldestMultiDB: 5, Time: 77, OldestCommitTsXID: 9, NewestCommitTsXID: 10, OldestActiveXID: 1400}
	w.must(t, record(pg.PG18, wal.RMXLog, xlrec.XLogCheckpointOnline, string(xlrec.AppendCheckPoint(nil, pg.PG18, c))))
	want := c
	want.NextXID, want.NextOID, want.FullPageWrites, want.NextMulti, want.OldestActiveXID = 2006, 24576, true, 10, 1990
	want.OldestCommitTsXID, want.NewestCommitTsXID = 0, 0
	if w.CheckPoint != want || w.Timeline != 3 {
		t.Errorf("\n%+v, want\n%+v", w.CheckPoint, want)
	}
	c.OldestXID, c.OldestMulti = 750, 2 // older than what has been seen
	w.must(t, record(pg.PG18, wal.RMXLog, xlrec.XLogCheckpointOnline, string(xlrec.AppendCheckPoint(nil, pg.PG18, c))))
	if w.CheckPoint != want {
		t.Errorf("\n%+v, want\n%+v", w.CheckPoint, want)
	}
	w.must(t, record(pg.PG18, wal.RMXLog, xlrec.XLogCheckpointShutdown, string(xlrec.AppendCheckPoint(nil, pg.PG18, c))))
	want = c
	want.OldestMulti, want.OldestCommitTsXID, want.NewestCommitTsXID = 3, 0, 0 // MultiXactAdvanceOldest
	if w.CheckPoint != want {
		t.Errorf("\n%+v, want\n%+v", w.CheckPoint, want)
	}
	w.must(t, record(pg.PG18, wal.RMXLog, xlrec.XLogEndOfRecovery, uint64(5), uint32(4), uint32(3), uint32(2), uint32(0)))
	if w.Timeline != 4 || w.Settings.WALLevel != xlrec.WALLevelLogical {
		t.Errorf("%+v", w.State)
	}
	// A truncation of the commit log moves its own limit at once; the checkpoint's oldest comes with a checkpoint.
	w.must(t, record(pg.PG18, wal.RMClog, xlrec.ClogTruncate, uint64(0), uint32(1100), uint32(5)))
	if w.OldestCLOGXID != 1100 || w.CheckPoint.OldestXID != 750 {
		t.Errorf("%+v", w.State)
	}
}

// TestWALMinimal: each record that says so ends it.
func TestWALMinimal(t *testing.T) {
	c := xlrec.CheckPoint{WALLevel: xlrec.WALLevelMinimal}
	for name, rec := range map[string]*wal.Record{
		"checkpoint":      record(pg.PG17, wal.RMXLog, xlrec.XLogCheckpointShutdown, string(xlrec.AppendCheckPoint(nil, pg.PG17, c))),
		"parameters":      record(pg.PG15, wal.RMXLog, xlrec.XLogParameterChange, make([]byte, 28)),
		"end of recovery": record(pg.PG17, wal.RMXLog, xlrec.XLogEndOfRecovery, make([]byte, 24)),
		"checkpoint redo": record(pg.PG17, wal.RMXLog, xlrec.XLogCheckpointRedo, uint32(0)),
	} {
		if err := newWorld().follow(rec); !errors.Is(err, ErrWALMinimal) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOrigins(t *testing.T) {
	w := newWorld()
	set := func(id uint16, lsn uint64, force uint8) *wal.Record {
		return record(pg.PG15, wal.RMReplOrigin, xlrec.ReplOriginSet, lsn, id, force, [5]byte{})
	}
	w.must(t, set(5, 100, 0), set(2, 50, 0), set(5, 90, 0), set(9, 1, 0), set(0xFFFF, 1, 0))
	if want := []Origin{{2, 50}, {5, 100}, {9, 1}}; !slices.Equal(w.Origins, want) {
		t.Errorf("%v, want %v", w.Origins, want)
	}
	before := w.State
	w.must(t, set(5, 90, 1), record(pg.PG15, wal.RMReplOrigin, xlrec.ReplOriginDrop, uint16(2)), record(pg.PG15, wal.RMReplOrigin, xlrec.ReplOriginDrop, uint16(3)))
	if want := []Origin{{5, 90}, {9, 1}}; !slices.Equal(w.Origins, want) {
		t.Errorf("%v, want %v", w.Origins, want)
	}
	if want := []Origin{{2, 50}, {5, 100}, {9, 1}}; !slices.Equal(before.Origins, want) {
		t.Errorf("a copy made before has changed: %v", before.Origins)
	}
	file := AppendOrigins(nil, w.Origins)
	if got, err := ParseOrigins(file); err != nil || !slices.Equal(got, w.Origins) || len(file) != 4+2*16+4 {
		t.Errorf("%x: %v, %v", file, got, err)
	}
	for i := range file {
		file[i] ^= 4
		if _, err := ParseOrigins(file); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("byte %d flipped: %v", i, err)
		}
		file[i] ^= 4
	}
	if err := newWorld().follow(commitRecord(1000, 0, xlrec.XInfoHasOrigin, uint64(1), uint64(2))); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("progress of no origin: %v", err)
	}
}

func TestTablespaces(t *testing.T) {
	w := newWorld()
	w.HasTablespace(16400, "")
	w.must(t, record(pg.PG15, wal.RMTblspc, xlrec.TblspcCreate, uint32(16500), "/some/where\x00"),
		record(pg.PG15, wal.RMTblspc, xlrec.TblspcCreate, uint32(16300), "\x00"), record(pg.PG15, wal.RMTblspc, xlrec.TblspcDrop, uint32(16400)))
	if want := []Tablespace{{16300, ""}, {16500, "/some/where"}}; !slices.Equal(w.Tablespaces, want) {
		t.Errorf("%v, want %v", w.Tablespaces, want)
	}
}

func TestTwoPhaseFiles(t *testing.T) {
	file := AppendTwoPhase(nil, []byte("state"))
	if state, err := ParseTwoPhase(file); err != nil || string(state) != "state" {
		t.Errorf("%q, %v", state, err)
	}
	file[2] ^= 1
	for _, bad := range [][]byte{file, nil, file[:3]} {
		if _, err := ParseTwoPhase(bad); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%x: %v", bad, err)
		}
	}
	s := State{CheckPoint: xlrec.CheckPoint{NextXID: 5<<32 | 100}}
	for xid, want := range map[pg.XID]string{99: "0000000500000063", 0xFFFFFFF0: "00000004FFFFFFF0"} {
		if got := xlrec.TwoPhaseName(pg.PG17, xid, s.CheckPoint.NextXID); got != want {
			t.Errorf("file of %d is %s, want %s", xid, got, want)
		}
		if got := xlrec.TwoPhaseName(pg.PG16, xid, s.CheckPoint.NextXID); got != want[8:] {
			t.Errorf("file of %d is %s, want %s", xid, got, want[8:])
		}
	}
}

// TestEveryTypeIsLookedAt: each record type is taken at its exact length and refused at any other, and types that do not
// exist are refused.
func TestEveryTypeIsLookedAt(t *testing.T) {
	c := string(xlrec.AppendCheckPoint(nil, pg.PG17, xlrec.CheckPoint{WALLevel: 1, NextXID: 1000}))
	types := map[string]*wal.Record{
		"shutdown checkpoint":  record(pg.PG17, wal.RMXLog, xlrec.XLogCheckpointShutdown, c),
		"online checkpoint":    record(pg.PG17, wal.RMXLog, xlrec.XLogCheckpointOnline, c),
		"next oid":             record(pg.PG17, wal.RMXLog, xlrec.XLogNextOID, uint32(5)),
		"switch":               record(pg.PG17, wal.RMXLog, xlrec.XLogSwitch),
		"backup end":           record(pg.PG17, wal.RMXLog, xlrec.XLogBackupEnd, uint64(5)),
		"parameters":           record(pg.PG17, wal.RMXLog, xlrec.XLogParameterChange, uint32(1), uint32(1), uint32(1), uint32(1), uint32(1), uint32(1), uint32(0)),
		"restore point":        record(pg.PG17, wal.RMXLog, xlrec.XLogRestorePoint, uint64(5), "name"+strings.Repeat("\x00", 60)),
		"full page writes":     record(pg.PG17, wal.RMXLog, xlrec.XLogFPWChange, uint8(1)),
		"end of recovery":      record(pg.PG17, wal.RMXLog, xlrec.XLogEndOfRecovery, uint64(5), uint32(2), uint32(1), uint32(1), uint32(0)),
		"hint image":           record(pg.PG17, wal.RMXLog, xlrec.XLogFPIForHint),
		"image":                record(pg.PG17, wal.RMXLog, xlrec.XLogFPI),
		"overwrite contrecord": record(pg.PG17, wal.RMXLog, xlrec.XLogOverwriteContrecord, uint64(5), uint64(5)),
		"checkpoint redo":      record(pg.PG17, wal.RMXLog, xlrec.XLogCheckpointRedo, uint32(1)),
		"clog zero":            record(pg.PG17, wal.RMClog, xlrec.ClogZeroPage, uint64(5)),
		"clog truncate":        record(pg.PG17, wal.RMClog, xlrec.ClogTruncate, uint64(0), uint32(800), uint32(5)),
		"commit_ts zero":       record(pg.PG17, wal.RMCommitTs, xlrec.CommitTsZeroPage, uint64(5)),
		"commit_ts truncate":   record(pg.PG17, wal.RMCommitTs, xlrec.CommitTsTruncate, uint64(5), uint32(800)),
		"offsets zero":         record(pg.PG17, wal.RMMultiXact, xlrec.MultiXactZeroOffPage, uint64(5)),
		"members zero":         record(pg.PG17, wal.RMMultiXact, xlrec.MultiXactZeroMemPage, uint64(5)),
		"multixact":            record(pg.PG17, wal.RMMultiXact, xlrec.MultiXactCreateID, uint32(5), uint32(5), uint32(1), uint32(900), uint32(1)),
		"multixact truncate":   record(pg.PG17, wal.RMMultiXact, xlrec.MultiXactTruncateID, uint32(5), uint32(1), uint32(2), uint32(1), uint32(2)),
		"lock":                 record(pg.PG17, wal.RMStandby, xlrec.StandbyLock, uint32(1), uint32(900), uint32(5), uint32(7)),
		"running":              record(pg.PG17, wal.RMStandby, xlrec.StandbyRunningXacts, uint32(0), uint32(0), uint32(0), uint32(900), uint32(900), uint32(899)),
		"invalidations":        record(pg.PG17, wal.RMStandby, xlrec.StandbyInvalidations, uint32(5), uint32(5), uint32(0), uint32(0)),
		"tablespace":           record(pg.PG17, wal.RMTblspc, xlrec.TblspcCreate, uint32(5), "x\x00"),
		"tablespace dropped":   record(pg.PG17, wal.RMTblspc, xlrec.TblspcDrop, uint32(5)),
		"origin":               record(pg.PG17, wal.RMReplOrigin, xlrec.ReplOriginSet, uint64(5), uint16(5), uint8(0), [5]byte{}),
		"origin dropped":       record(pg.PG17, wal.RMReplOrigin, xlrec.ReplOriginDrop, uint16(5)),
		"message":              record(pg.PG17, wal.RMLogicalMsg, 0, uint32(5), uint32(1), uint64(2), uint64(3), "p\x00abc"),
		"assignment":           record(pg.PG17, wal.RMXact, xlrec.XactAssignment, uint32(900), uint32(1), uint32(901)),
		"transaction's invals": record(pg.PG17, wal.RMXact, xlrec.XactInvalidations, uint32(0)),
	}
	for name, rec := range types {
		if rec.Op() == xlrec.XLogFPI || rec.Op() == xlrec.XLogFPIForHint {
			if rec.RMID == wal.RMXLog && Follows(rec) {
				t.Errorf("%s costs a look each", name)
			}
		} else if !Follows(rec) {
			t.Errorf("%s is not followed", name)
		}
		if err := newWorld().follow(rec); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		whole := rec.Main
		for _, main := range [][]byte{append(slices.Clone(whole), 0), whole[:max(0, len(whole)-1)]} {
			if rec.Main = main; len(main) == len(whole) {
				continue
			}
			if err := newWorld().follow(rec); !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("%s of %d bytes instead of %d: %v", name, len(main), len(whole), err)
			}
		}
	}
	if err := newWorld().follow(record(pg.PG15, wal.RMXLog, xlrec.XLogNoop, "anything")); err != nil {
		t.Error(err)
	}
	for _, rec := range []*wal.Record{
		record(pg.PG18, wal.RMXLog, 0xC0), record(pg.PG18, wal.RMXLog, 0xF0), record(pg.PG16, wal.RMXLog, xlrec.XLogCheckpointRedo, uint32(1)),
		record(pg.PG18, wal.RMXact, 0x70), record(pg.PG18, wal.RMClog, 0x20), record(pg.PG18, wal.RMMultiXact, 0x40), record(pg.PG18, wal.RMCommitTs, 0x20),
		record(pg.PG18, wal.RMStandby, 0x30), record(pg.PG18, wal.RMTblspc, 0x20), record(pg.PG18, wal.RMReplOrigin, 0x20), record(pg.PG18, wal.RMLogicalMsg, 0x10),
		record(pg.PG18, wal.RMClog, xlrec.ClogZeroPage, uint64(131072)), record(pg.PG18, wal.RMClog, xlrec.ClogTruncate, uint64(131072), uint32(800), uint32(5)),
		record(pg.PG18, wal.RMCommitTs, xlrec.CommitTsZeroPage, uint64(1<<40)), record(pg.PG18, wal.RMMultiXact, xlrec.MultiXactZeroMemPage, uint64(2625286)),
		commitRecord(0, 0, 0), commitRecord(1000, 0, xlrec.XInfoHasSubxacts, uint32(1), uint32(2)),
		record(pg.PG18, wal.RMMultiXact, xlrec.MultiXactCreateID, uint32(5), uint32(0), uint32(1), uint32(900), uint32(1)),
		record(pg.PG18, wal.RMMultiXact, xlrec.MultiXactCreateID, uint32(5), uint32(1), uint32(0)),
	} {
		if err := newWorld().follow(rec); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("record %#02x of manager %d: %v", rec.Info, rec.RMID, err)
		}
	}
}

// FuzzFollow: no record makes it panic, take pages that cannot be, or more changes than a constant times its length.
func FuzzFollow(f *testing.F) {
	f.Add(uint8(1), uint8(0x80), uint8(17), uint32(1000), commitRecord(1000, 0, xlrec.XInfoHasSubxacts, uint32(2), uint32(1101), uint32(1637)).Main)
	f.Add(uint8(6), uint8(0x20), uint8(15), uint32(0), build(uint32(2047), uint32(1<<32-3), uint32(2), uint32(900), uint32(1), uint32(901), uint32(5)))
	f.Add(uint8(6), uint8(0x30), uint8(15), uint32(0), build(uint32(5), uint32(1), uint32(131_073), uint32(1<<32-1), uint32(7)))
	f.Add(uint8(0), uint8(0x60), uint8(18), uint32(0), build(uint32(1), uint32(1), uint32(1), uint32(1), uint32(1), uint32(1), uint32(1<<8)))
	f.Fuzz(func(t *testing.T, rmid, info, major uint8, xid uint32, main []byte) {
		w := newWorld()
		w.CommitTs = xid%2 == 0
		rec := &wal.Record{Major: pg.PG15 + pg.Major(major%4), LSN: 1, End: 2, RMID: wal.RMID(rmid % 22), Info: info, XID: pg.XID(xid), Main: main}
		changes, err := w.State.Follow(rec, &w.sets, nil)
		if len(changes) > 8+len(main) {
			t.Errorf("%d changes of %d bytes", len(changes), len(main))
		}
		if err != nil {
			return
		}
		page := make([]byte, pg.BlockSize)
		for i := range changes {
			if c := &changes[i]; c.CutsSegments() {
				w.sets[c.Kind].Cut(c)
			} else if c.Apply(page); c.Page >= c.Kind.PagesMax() {
				t.Errorf("page %d of %s", c.Page, c.Kind)
			}
		}
	})
}
