package pageserver

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/heaprec"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// Commit is a transaction that has committed.
type Commit struct {
	XID  pg.FullXID // of the top-level transaction
	LSN  pg.LSN     // end of its commit record
	Time time.Time  // as the primary's clock had it; microseconds
}

// Bounds of what is noted between two publications. Past them transactions are not known any more, and a table of changes says so.
const (
	commitsMax  = 1 << 21 // transactions and subtransactions, some 50 bytes each
	deletersMax = 1 << 22 // deleted rows, some 20 bytes each
)

// changes are what a table of changes needs to know and pages may have lost: which transactions committed, and who deleted rows that
// have been pruned since. It is kept from one publication to the next, and with each flush.
//
// Invariant: what happened since the last publication known to have succeeded is in it, up to the bounds; older things may be.
type changes struct {
	on       bool // somebody asks: see NoteChanges
	commits  map[pg.XID]Commit
	rels     map[pg.RelFileLocator]map[pg.BlockNumber][]deleter // by relation that is watched
	deleters int                                                // in rels
	taken    pg.LSN                                             // where the dirty set was taken last
}

// deleter is a transaction, or subtransaction, that deleted a row or put another in its place.
type deleter struct {
	off pg.OffsetNumber
	xid pg.XID
}

// NoteChanges has commits, and who deletes rows of these relations, noted from now on; without any relation nothing is. It is
// called at a barrier.
func (t *Timeline) NoteChanges(on bool, watched []pg.RelFileLocator) {
	c := &t.changes
	former := c.rels
	if c.on = on; !on {
		c.commits, c.rels, c.deleters = nil, nil, 0
		return
	}
	if c.commits == nil {
		c.commits = map[pg.XID]Commit{}
	}
	c.rels, c.deleters = map[pg.RelFileLocator]map[pg.BlockNumber][]deleter{}, 0
	for _, rel := range watched {
		blocks := former[rel]
		if blocks == nil {
			blocks = map[pg.BlockNumber][]deleter{}
		}
		c.rels[rel] = blocks
		for _, l := range blocks {
			c.deleters += len(l)
		}
	}
}

// CommitOf says when a transaction or subtransaction committed, if that was after the last publication and noted.
func (t *Timeline) CommitOf(xid pg.XID) (Commit, bool) {
	c, ok := t.changes.commits[xid]
	return c, ok
}

// Deleters are the transactions that deleted what lay at a TID of a watched relation, in their order, since the last publication or
// before it if they had not ended then. Some may have aborted.
func (t *Timeline) Deleters(rel pg.RelFileLocator, tid pg.TID) (xids []pg.XID) {
	for _, d := range t.changes.rels[rel][tid.Block] {
		if d.off == tid.Offset {
			xids = append(xids, d.xid)
		}
	}
	return xids
}

// noteCommit notes a transaction's end, and its subtransactions'. xid is the top-level one.
func (t *Timeline) noteCommit(xid pg.XID, subs xlrec.XIDs) {
	c := &t.changes
	if !c.on || xid == 0 || len(c.commits)+subs.Len() >= commitsMax {
		return
	}
	commit := Commit{XID: t.fullXID(xid), LSN: t.commitLSN, Time: t.commitTime}
	c.commits[xid] = commit
	for i := range subs.Len() {
		c.commits[subs.At(i)] = commit
	}
}

// fullXID gives an id that has been assigned its epoch: the next one is within 2^31 of it.
func (t *Timeline) fullXID(xid pg.XID) pg.FullXID {
	next := t.live.CheckPoint.NextXID
	return pg.FullXID(int64(next) + int64(int32(xid-pg.XID(next))))
}

// noteDeleter notes whom a record has delete a row, which it says whether or not an image comes with it. A record that does not decode
// is for redo to refuse.
func (t *Timeline) noteDeleter(rec *wal.Record) {
	c := &t.changes
	if len(c.rels) == 0 || rec.RMID != wal.RMHeap || len(rec.Blocks) == 0 || c.deleters >= deletersMax {
		return
	}
	ref, d := &rec.Blocks[0], deleter{xid: rec.XID}
	switch rec.Info & heaprec.OpMask {
	case heaprec.OpDelete:
		r, err := heaprec.DecodeDelete(rec.Main)
		if err != nil {
			return
		}
		d.off = r.Offset
	case heaprec.OpUpdate, heaprec.OpHotUpdate:
		r, err := heaprec.DecodeUpdate(rec.Main)
		if err != nil {
			return
		}
		d.off = r.OldOffset
		if len(rec.Blocks) > 1 && rec.Blocks[1].ID == 1 {
			ref = &rec.Blocks[1]
		}
	default:
		return
	}
	blocks := c.rels[ref.Rel]
	if blocks == nil || ref.Fork != pg.MainFork {
		return
	}
	blocks[ref.Block] = append(blocks[ref.Block], d)
	c.deleters++
}

// settleChanges forgets what has been published: commits up to there, and deletions by transactions that have ended since.
func (t *Timeline) settleChanges() {
	c := &t.changes
	for xid, commit := range c.commits {
		if commit.LSN <= c.taken {
			delete(c.commits, xid)
		}
	}
	for _, blocks := range c.rels {
		for blk, l := range blocks {
			kept := l[:0]
			for _, d := range l {
				if _, later := c.commits[d.xid]; later || t.open[d.xid] != nil {
					kept = append(kept, d)
				}
			}
			c.deleters -= len(l) - len(kept)
			if len(kept) == 0 {
				delete(blocks, blk)
			} else {
				blocks[blk] = kept
			}
		}
	}
}

// savedChanges are changes as a timeline's state has them, little-endian.
type savedChanges struct {
	// Commits: 0 xid uint32   4 full top-level xid uint64   12 LSN uint64   20 microseconds since 1970 int64
	Commits []byte `json:"commits"`
	// Deleters: 0 tablespace, database, relation uint32 each   12 block uint32   16 offset uint16   18 xid uint32; in their order
	Deleters []byte `json:"deleters"`
}

const (
	savedCommitSize  = 28
	savedDeleterSize = 22
)

// save copies the changes for a flush; nil if nobody asks for them.
func (c *changes) save() *savedChanges {
	if !c.on {
		return nil
	}
	le := binary.LittleEndian
	s := &savedChanges{Commits: make([]byte, 0, savedCommitSize*len(c.commits)), Deleters: make([]byte, 0, savedDeleterSize*c.deleters)}
	for xid, commit := range c.commits {
		s.Commits = le.AppendUint64(le.AppendUint32(s.Commits, uint32(xid)), uint64(commit.XID))
		s.Commits = le.AppendUint64(le.AppendUint64(s.Commits, uint64(commit.LSN)), uint64(commit.Time.UnixMicro()))
	}
	for rel, blocks := range c.rels {
		for blk, l := range blocks {
			for _, d := range l {
				s.Deleters = le.AppendUint32(le.AppendUint32(le.AppendUint32(s.Deleters, uint32(rel.Spc)), uint32(rel.DB)), uint32(rel.Rel))
				s.Deleters = le.AppendUint32(le.AppendUint16(le.AppendUint32(s.Deleters, uint32(blk)), uint16(d.off)), uint32(d.xid))
			}
		}
	}
	return s
}

// load is the inverse of save.
func (c *changes) load(s *savedChanges) error {
	if s == nil {
		return nil
	}
	if len(s.Commits)%savedCommitSize != 0 || len(s.Deleters)%savedDeleterSize != 0 {
		return &pg.CorruptError{What: fmt.Sprintf("timeline state: %d bytes of commits and %d of deleters are no whole number", len(s.Commits), len(s.Deleters))}
	}
	le := binary.LittleEndian
	*c = changes{on: true, commits: map[pg.XID]Commit{}, rels: map[pg.RelFileLocator]map[pg.BlockNumber][]deleter{}}
	for b := s.Commits; len(b) > 0; b = b[savedCommitSize:] {
		c.commits[pg.XID(le.Uint32(b))] = Commit{XID: pg.FullXID(le.Uint64(b[4:])), LSN: pg.LSN(le.Uint64(b[12:])), Time: time.UnixMicro(int64(le.Uint64(b[20:]))).UTC()}
	}
	for b := s.Deleters; len(b) > 0; b = b[savedDeleterSize:] {
		rel := pg.RelFileLocator{Spc: pg.OID(le.Uint32(b)), DB: pg.OID(le.Uint32(b[4:])), Rel: pg.OID(le.Uint32(b[8:]))}
		if c.rels[rel] == nil {
			c.rels[rel] = map[pg.BlockNumber][]deleter{}
		}
		blk := pg.BlockNumber(le.Uint32(b[12:]))
		c.rels[rel][blk] = append(c.rels[rel][blk], deleter{off: pg.OffsetNumber(le.Uint16(b[16:])), xid: pg.XID(le.Uint32(b[18:]))})
		c.deleters++
	}
	return nil
}
