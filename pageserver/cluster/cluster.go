// Package cluster follows from the WAL what a cluster keeps beside the pages of its relations: the counters of the next
// checkpoint, the settings in pg_control, the SLRUs, replication origins, tablespaces. It is pure: records in, a state and
// a list of changes to SLRU pages out.
package cluster

import (
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// ErrWALMinimal: the primary has written WAL that does not hold every change.
var ErrWALMinimal = fault.New(fault.WALMinimal, "the primary ran with wal_level=minimal: its WAL has a gap. Set wal_level=replica and take a new base backup with resync")

// State is what redo knows of a cluster apart from pages. A copy shares nothing that changes.
type State struct {
	// CheckPoint is the last checkpoint with its counters as they are now: what a checkpoint written here would say. Redo,
	// Time and WALLevel are those of the last one written.
	CheckPoint xlrec.CheckPoint `json:"checkpoint"`
	// Settings are the primary's as pg_control has them (XLOG_PARAMETER_CHANGE).
	Settings xlrec.ParameterChange `json:"settings"`
	Timeline pg.TimelineID         `json:"wal_timeline"`
	// FullPageWritesLSN is the start of the record that made CheckPoint.FullPageWrites what it is, 0 if it has been so since the
	// base backup.
	FullPageWritesLSN pg.LSN `json:"full_page_writes_lsn,omitzero"`

	// OldestCLOGXID is the oldest transaction of which the commit log knows (TransamVariables->oldestClogXid). It is moved
	// by a truncation at once, CheckPoint.OldestXID by the next checkpoint.
	OldestCLOGXID pg.XID `json:"oldest_clog_xid"`
	// CommitTs says that commit times are kept (commitTsActive).
	CommitTs bool `json:"commit_ts"`

	// OffsetsZeroed is the multixact offsets page last made by a record, and OffsetsAhead one that was made ahead of its
	// record, which old minor releases wrote later; -1 if there is none (last_initialized_offsets_page and
	// pre_initialized_offsets_page in multixact.c).
	OffsetsZeroed int64 `json:"offsets_page_zeroed"`
	OffsetsAhead  int64 `json:"offsets_page_ahead"`

	Origins     []Origin     `json:"origins,omitempty"`     // in order of ID
	Tablespaces []Tablespace `json:"tablespaces,omitempty"` // in order of OID
}

// Origin is how far a replication origin has come (ReplicationStateOnDisk).
type Origin struct {
	ID        uint16 `json:"id"`
	RemoteLSN pg.LSN `json:"remote_lsn"` // in the origin's own WAL
}

// Tablespace is one that is not built in.
type Tablespace struct {
	OID  pg.OID `json:"oid"`
	Path string `json:"path,omitempty"` // on the server; empty: in place, or of a base backup that did not say
}

// New is the state of a data directory whose WAL is redone from its pg_control's checkpoint on (StartupXLOG).
func New(c *control.Control) State {
	s := State{
		CheckPoint: c.CheckPoint, Timeline: c.CheckPoint.TimelineID, OldestCLOGXID: c.CheckPoint.OldestXID,
		OffsetsZeroed: -1, OffsetsAhead: -1,
		Settings: xlrec.ParameterChange{
			MaxConnections: c.MaxConnections, MaxWorkerProcesses: c.MaxWorkerProcesses, MaxWALSenders: c.MaxWALSenders,
			MaxPreparedXacts: c.MaxPreparedXacts, MaxLocksPerXact: c.MaxLocksPerXact, WALLevel: c.WALLevel,
			WALLogHints: c.WALLogHints, TrackCommitTimestamp: c.TrackCommitTimestamp,
		},
	}
	return s
}

// Follows says whether Follow has anything to do for a record besides NoteXID.
func Follows(rec *wal.Record) bool {
	switch rec.RMID {
	case wal.RMXLog:
		return rec.Op() != xlrec.XLogFPI && rec.Op() != xlrec.XLogFPIForHint
	case wal.RMXact, wal.RMClog, wal.RMMultiXact, wal.RMCommitTs, wal.RMStandby, wal.RMTblspc, wal.RMReplOrigin, wal.RMLogicalMsg:
		return true
	}
	return false
}

// Follow brings s over a record of any resource manager and appends what the record does to SLRUs, whose pages are those of
// sets. After an error s is undefined: follow on a copy. The error is ErrWALMinimal or a *pg.CorruptError whose LSN is the
// caller's to fill in.
func (s *State) Follow(rec *wal.Record, sets *slru.Sets, changes []slru.Change) ([]slru.Change, error) {
	s.NoteXID(rec.XID)
	switch rec.RMID {
	case wal.RMXLog:
		return s.xlog(rec, sets, changes)
	case wal.RMXact:
		return s.xact(rec, changes)
	case wal.RMClog:
		return s.clog(rec, changes)
	case wal.RMMultiXact:
		return s.multiXact(rec, sets, changes)
	case wal.RMCommitTs:
		return s.commitTs(rec, changes)
	case wal.RMStandby:
		return changes, s.standby(rec)
	case wal.RMTblspc:
		return changes, s.tablespace(rec)
	case wal.RMReplOrigin:
		return changes, s.origin(rec)
	case wal.RMLogicalMsg:
		return changes, logicalMessage(rec)
	}
	return changes, nil
}

func unknown(rec *wal.Record, name string) error {
	return &pg.CorruptError{What: fmt.Sprintf("unknown %s record %#02x", name, rec.Info)}
}

// NoteXID keeps the next transaction id above every one seen, and its epoch (AdvanceNextFullTransactionIdPastXid).
func (s *State) NoteXID(xid pg.XID) {
	next := pg.XID(s.CheckPoint.NextXID)
	if xid < pg.FirstNormalXID || xid.Precedes(next) {
		return
	}
	epoch := s.CheckPoint.NextXID >> 32
	after := max(xid+1, pg.FirstNormalXID) // TransactionIdAdvance
	if after < next {
		epoch++
	}
	s.CheckPoint.NextXID = epoch<<32 | pg.FullXID(after)
}

// tablespace is tblspc_redo.
func (s *State) tablespace(rec *wal.Record) error {
	switch rec.Op() {
	case xlrec.TblspcCreate:
		r, err := xlrec.DecodeTblspcCreate(rec.Main)
		if err != nil {
			return err
		}
		s.setTablespace(Tablespace{OID: r.Spc, Path: string(r.Path)})
	case xlrec.TblspcDrop:
		oid, err := xlrec.DecodeTblspcDrop(rec.Main)
		if err != nil {
			return err
		}
		if i, ok := s.findTablespace(oid); ok {
			s.Tablespaces = slices.Delete(slices.Clone(s.Tablespaces), i, i+1)
		}
	default:
		return unknown(rec, "tablespace")
	}
	return nil
}

func (s *State) findTablespace(oid pg.OID) (int, bool) {
	return slices.BinarySearchFunc(s.Tablespaces, oid, func(t Tablespace, oid pg.OID) int { return int(int64(t.OID) - int64(oid)) })
}

func (s *State) setTablespace(t Tablespace) {
	i, ok := s.findTablespace(t.OID)
	s.Tablespaces = slices.Clone(s.Tablespaces)
	if ok {
		s.Tablespaces[i] = t
		return
	}
	s.Tablespaces = slices.Insert(s.Tablespaces, i, t)
}

// HasTablespace notes a tablespace that a base backup has, and where it is if the backup says so.
func (s *State) HasTablespace(oid pg.OID, path string) {
	if _, ok := s.findTablespace(oid); !ok {
		s.setTablespace(Tablespace{OID: oid, Path: path})
	}
}

// logicalMessage is logicalmsg_redo: such a record is for logical decoding alone.
func logicalMessage(rec *wal.Record) error {
	if rec.Op() != xlrec.LogicalMessageOp {
		return unknown(rec, "logical message")
	}
	_, err := xlrec.DecodeLogicalMessage(rec.Main)
	return err
}
