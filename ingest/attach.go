package ingest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/ingest/raftlog"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/pg"
)

// open brings log and archive to one position and makes sure of the slot.
//
//	log    archive   what happened before
//	empty  empty     nothing: first attach, at the slot's restart_lsn
//	WAL    base      the usual restart
//	WAL    empty     a crash in first attach, or an emptied store: the archive begins where the log does
//	empty  base      the data folder was lost: go on from the store
func (s *Service) open(ctx context.Context) error {
	known, err := s.openStored(ctx)
	if err != nil {
		return err
	}
	info, err := receive.Preflight(ctx, s.opt.Source)
	var ae *receive.AttachError
	if errors.As(err, &ae) && known.SystemID != 0 && (ae.Temporary() || ae.Code == receive.CodeStandby) { // about to be promoted, perhaps
		s.setState(Reconnecting, err)
		return s.settle(ctx, known, receive.Slot{})
	}
	if err != nil {
		return err
	}
	if known.SystemID != 0 {
		if err := receive.CheckSystemID(info, known.SystemID); err != nil {
			return err
		}
		if err := s.refuseFormer(info); err != nil { // no slot is made there
			s.setState(Refused, err) // Run tries again: an address may lead to the new primary yet
			return s.settle(ctx, known, receive.Slot{})
		}
	}
	s.info = info
	slot, _, err := receive.EnsureSlot(ctx, s.opt.Source, s.opt.Slot)
	if errors.As(err, &ae) && (ae.Temporary() || ae.Code == receive.CodeSlotLost) && known.SystemID != 0 {
		s.setState(Refused, err) // Run finds it again and says what it means
		err = nil
	}
	if err != nil {
		return err
	}
	if err := s.settle(ctx, known, slot); err != nil {
		return err
	}
	return s.follow(ctx)
}

// openStored opens log and archive, and says which cluster they hold; zero if neither holds any.
func (s *Service) openStored(ctx context.Context) (raftlog.Cluster, error) {
	var err error
	if s.log, err = raftlog.Open(raftlog.Options{Dir: s.opt.DataDir}); err != nil {
		return raftlog.Cluster{}, err
	}
	known := s.log.Cluster()
	s.archive, err = archive.Open(ctx, s.opt.Store, s.log, known.SystemID, func() { wake(s.ackWake) })
	if err != nil && !errors.Is(err, archive.ErrNoBase) {
		return raftlog.Cluster{}, err
	}
	if b := s.archive.Base(); known.SystemID == 0 && b.SystemID != 0 {
		known = raftlog.Cluster{SystemID: b.SystemID, SegmentSize: b.SegmentSize}
	}
	return known, nil
}

// settle does what the table at open says.
func (s *Service) settle(ctx context.Context, known raftlog.Cluster, slot receive.Slot) error {
	start, end := s.log.Bounds()
	base, archived := s.archive.Base(), s.archive.ArchivedLSN()
	switch {
	case start == 0 && base.SystemID == 0:
		return s.begin(ctx, slot)
	case base.SystemID == 0:
		if start.SegmentStart(known.SegmentSize) != start {
			return &pg.CorruptError{LSN: start, What: "the log begins amid a segment"}
		}
		return s.beginArchive(ctx, known, s.log.Timeline(), start)
	case start == 0, archived > end, base.Timeline != s.log.Timeline():
		// Lost, or put back from an older copy, or left behind in a switch of timelines: the store is ahead of it.
		s.opt.Logger.Info("data folder is empty or behind: going on from the store", "archived_lsn", archived.String())
		return s.restore(ctx, known, base, archived)
	case start > archived:
		return fmt.Errorf("the store's WAL ends at %s and the data folder's begins at %s: %w; tarn resync --all starts over", archived, start, raftlog.ErrGap)
	}
	return nil
}

// begin is the first attach: WAL from the start of the segment the slot holds.
func (s *Service) begin(ctx context.Context, slot receive.Slot) error {
	c := raftlog.Cluster{SystemID: s.info.SystemID, SegmentSize: s.info.SegmentSize}
	base := slot.RestartLSN.SegmentStart(c.SegmentSize)
	if err := s.log.Reset(ctx, c, s.info.Timeline, base); err != nil {
		return err
	}
	return s.beginArchive(ctx, c, s.info.Timeline, base)
}

// beginArchive begins the archive where the log does.
func (s *Service) beginArchive(ctx context.Context, c raftlog.Cluster, tli pg.TimelineID, at pg.LSN) error {
	history, err := receive.TimelineHistory(ctx, s.opt.Source, tli)
	if err != nil {
		return err
	}
	return s.archive.Begin(ctx, archive.Base{SystemID: c.SystemID, Timeline: tli, SegmentSize: c.SegmentSize, LSN: at}, history)
}

// restore begins the log where the archive ends, with the archived part of the segment under way, so that the segment
// can be sealed from the log.
func (s *Service) restore(ctx context.Context, c raftlog.Cluster, base archive.Base, archived pg.LSN) error {
	from := archived.SegmentStart(c.SegmentSize)
	if err := s.log.Reset(ctx, c, base.Timeline, from); err != nil {
		return err
	}
	r := s.archive.NewReader(ctx)
	buf := make([]byte, 256<<10)
	for at := from; at < archived; {
		n, err := r.ReadAt(at, buf[:min(pg.LSN(len(buf)), archived-at)])
		if err != nil {
			return err
		}
		if err := s.log.Append(at, buf[:n]); err != nil {
			return err
		}
		at += pg.LSN(n)
	}
	if err := s.log.Flush(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return s.log.Wait(ctx, archived)
}

// Resync starts over after a gap, a divergence or a promotion: a new slot, and a log and archive that begin at it. Pages
// and rows have to be copied anew. No service may have the data folder open.
func Resync(ctx context.Context, opt Options) error {
	if err := opt.setDefaults(); err != nil {
		return err
	}
	s := newService(opt)
	err := s.resync(ctx)
	return errors.Join(err, s.Close())
}

func (s *Service) resync(ctx context.Context) error {
	known, err := s.openStored(ctx)
	if err != nil {
		return err
	}
	if s.info, err = receive.Preflight(ctx, s.opt.Source); err != nil {
		return err
	}
	if known.SystemID != 0 {
		if err := receive.CheckSystemID(s.info, known.SystemID); err != nil {
			return err
		}
	}
	if err := receive.DropSlot(ctx, s.opt.Source, s.opt.Slot); err != nil {
		return err
	}
	slot, _, err := receive.EnsureSlot(ctx, s.opt.Source, s.opt.Slot)
	if err != nil {
		return err
	}
	return s.begin(ctx, slot)
}
