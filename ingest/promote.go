package ingest

import (
	"context"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// PromotedError ends Run: the source went over to a timeline that continues the one here, and all WAL there is before the
// fork is committed. Opening the service again follows it; nothing may be reading its WAL meanwhile, for what was received
// behind the fork is forgotten then.
type PromotedError struct {
	From, To pg.TimelineID
	Fork     pg.LSN // first byte of To that is not of From
}

func (e *PromotedError) Error() string {
	return fmt.Sprintf("the source was promoted: timeline %d ended at %s and %d began", e.From, e.Fork, e.To)
}

// ForkError ends Run: the source was promoted below what is durable downstream. It can be followed once Options.Durable says that
// nothing behind Fork is any more.
type ForkError struct {
	From, To pg.TimelineID
	Fork     pg.LSN
	Durable  pg.LSN // what Options.Durable said
}

func (e *ForkError) Error() string {
	return fmt.Sprintf("the source was promoted to timeline %d, which forked from timeline %d at %s, before %s, to where tables or pages are published", e.To, e.From, e.Fork, e.Durable)
}

// FaultCode implements fault.Coded.
func (e *ForkError) FaultCode() fault.Code { return fault.Diverged }

// errNotDescended: the server's timeline does not come from the one here.
var errNotDescended = errors.New("does not continue the WAL here")

// covers says that nothing before an LSN is lost by a fork. What is published may reach over the header of a page that holds
// no record yet; the fork is at the end of a record.
func covers(fork, durable pg.LSN) bool {
	return durable <= fork || fork%wal.PageSize == 0 && durable-fork <= wal.LongPageHeaderSize
}

// sourceHistory asks the server how its timeline came about and holds that against the WAL here.
func (s *Service) sourceHistory(ctx context.Context, info receive.Info) (pg.History, error) {
	text, err := receive.TimelineHistory(ctx, s.opt.Source, info.Timeline)
	if err != nil {
		return pg.History{}, err
	}
	h, err := pg.ParseHistory(info.Timeline, string(text))
	if err != nil {
		return pg.History{}, err
	}
	if here := s.archive.History(); !h.Continues(here) {
		return pg.History{}, fmt.Errorf("timeline %d of the source %w, timeline %d to %s", h.Timeline, errNotDescended, here.Timeline, s.log.CommitLSN())
	}
	return h, nil
}

// checkTimeline says whether the stream can go on from a server: nil; *PromotedError once the service has to be opened again;
// what wraps errNotDescended or is a *ForkError if its history is not the one here; *receive.AttachError.
func (s *Service) checkTimeline(ctx context.Context, info receive.Info) error {
	here := s.log.Timeline()
	if info.Timeline == 1 {
		return nil
	}
	h, err := s.sourceHistory(ctx, info)
	var ae *receive.AttachError
	if info.Timeline == here && errors.As(err, &ae) && ae.Code == receive.CodeHistory {
		s.opt.Logger.Warn("whether the source's timeline is the one followed so far is not known", "error", err)
		return nil
	}
	if err != nil || info.Timeline == here {
		return err
	}
	next, fork, _ := h.Next(here)
	if durable := s.opt.Durable(); !covers(fork, durable) {
		return &ForkError{From: here, To: next, Fork: fork, Durable: durable}
	}
	if s.log.CommitLSN() < fork {
		return nil // the server has the rest of the timeline here, and says when it ends
	}
	return &PromotedError{From: here, To: next, Fork: fork}
}

// refuseFormer is receive.CheckTimeline against the WAL here.
func (s *Service) refuseFormer(info receive.Info) error {
	_, since, _ := s.archive.History().Next(info.Timeline)
	return receive.CheckTimeline(info, s.log.Timeline(), since)
}

// Fork is where the source is known to have left the timeline here, zero while it has not: nothing behind it may become
// durable downstream.
func (s *Service) Fork() pg.LSN { return pg.LSN(s.fork.Load()) }

// Forked says that Open found the source promoted below what is durable downstream; nil if it did not. Run would end with it.
func (s *Service) Forked() *ForkError { return s.forked }

// History is how the timeline of the WAL here came about.
func (s *Service) History() pg.History { return s.archive.History() }

// follow goes over to the source's timeline, one promotion after the other, as far as WAL here reaches: in between, and if
// the fork lies too low, Run finds out again and says so.
//
// The steps, each durable before the next, so that a start after a crash goes on from any:
//
//  1. All that is committed goes into the store under the former timeline: what lies behind the fork is not read again, but
//     it was acknowledged to somebody and is kept.
//  2. The archive goes over, in one object (archive.Switch). From here on the fork is the end of what is archived.
//  3. The log begins anew on the new timeline, with the segment of the fork and its part before the fork. A start that finds
//     the log on another timeline than the archive does this step again (settle).
func (s *Service) follow(ctx context.Context) error {
	for s.info.Timeline > s.log.Timeline() {
		err := s.checkTimeline(ctx, s.info)
		var promoted *PromotedError
		if !errors.As(err, &promoted) {
			errors.As(err, &s.forked)
			return nil
		}
		if err := s.goOver(ctx, promoted); err != nil {
			return fmt.Errorf("following the source to timeline %d: %w", promoted.To, err)
		}
	}
	return nil
}

func (s *Service) goOver(ctx context.Context, p *PromotedError) error {
	text, err := receive.TimelineHistory(ctx, s.opt.Source, p.To)
	if err != nil {
		return err
	}
	end, cluster := s.log.CommitLSN(), s.log.Cluster()
	if err := s.archive.ArchiveTo(ctx, end); err != nil {
		return err
	}
	if err := s.point("archived"); err != nil {
		return err
	}
	if err := s.archive.Switch(ctx, p.To, text); err != nil {
		return err
	}
	if err := s.point("switched"); err != nil {
		return err
	}
	if err := s.restore(ctx, cluster, s.archive.Base(), s.archive.ArchivedLSN()); err != nil {
		return err
	}
	s.opt.Logger.Info("the source was promoted: following it", "from_timeline", p.From, "to_timeline", p.To, "fork", p.Fork.String(),
		"received_bytes_dropped", uint64(end-p.Fork))
	return nil
}

// point is where tests break off.
func (s *Service) point(name string) error {
	if s.opt.failpoint == nil {
		return nil
	}
	return s.opt.failpoint(name)
}
