package materialize

import (
	"context"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

func (s *server) Major() pg.Major { return 16 }

func (s *server) RelMap(db pg.OID) map[pg.OID]pg.OID {
	if db == 0 {
		return map[pg.OID]pg.OID{1262: 1262}
	}
	return map[pg.OID]pg.OID{1259: 1259, 1249: 1249, 1247: 1247, 1255: 1255}
}

func (s *server) Committed(x pg.XID) (bool, error) { return s.fate[x] == 'c', nil }

func (s *server) MultiXactUpdater(pg.MultiXactID) (pg.XID, bool, error) { return 0, false, nil }

func (s *server) NBlocks(_ context.Context, rel pg.RelFileLocator, _ pg.ForkNumber) (pg.BlockNumber, bool, error) {
	f := s.files[rel]
	if f == nil {
		return 0, false, nil
	}
	return pg.BlockNumber(len(f.pages)), true, nil
}

func (s *server) Page(_ context.Context, rel pg.RelFileLocator, _ pg.ForkNumber, blk pg.BlockNumber) (pg.Page, error) {
	f := s.files[rel]
	if f == nil || int(blk) >= len(f.pages) {
		return nil, nil
	}
	return f.pages[blk], nil
}

func (s *server) Scan(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error {
	for b := from; b < to; b++ {
		if p, _ := s.Page(ctx, rel, fork, b); p != nil {
			if err := fn(b, p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *server) RelationCreated(rel pg.RelFileLocator) (pg.LSN, bool) {
	f := s.files[rel]
	if f == nil {
		return 0, false
	}
	return f.created, true
}

func (s *server) TakeDirty() map[pg.RelFileLocator]*roaring.Bitmap {
	if s.taken != nil {
		s.ReturnDirty()
	}
	s.taken, s.dirty = s.dirty, map[pg.RelFileLocator]*roaring.Bitmap{}
	return s.taken
}

func (s *server) Published() {
	s.taken = nil
	for x, c := range s.commits {
		if c.LSN <= s.lsn { // nothing happens during a cut
			delete(s.commits, x)
		}
	}
}

func (s *server) NoteChanges(bool, []pg.RelFileLocator) {}

func (s *server) CommitOf(x pg.XID) (pageserver.Commit, bool) {
	c, ok := s.commits[x]
	return c, ok
}

func (s *server) Deleters(rel pg.RelFileLocator, tid pg.TID) (xids []pg.XID) {
	for _, d := range s.deleters {
		if d.rel == rel && d.tid == tid && s.fate[d.xid] != 'a' {
			xids = append(xids, d.xid)
		}
	}
	return xids
}

func (s *server) ReturnDirty() {
	for loc, blocks := range s.taken {
		if s.files[loc] != nil {
			s.dirtyOf(loc).Or(blocks)
		}
	}
	s.taken = nil
}
