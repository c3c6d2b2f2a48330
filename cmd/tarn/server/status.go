package server

import (
	"context"
	"errors"
	"fmt"
	"runtime/metrics"
	"slices"
	"strings"
	"time"

	"github.com/tarn-db/tarn/ingest"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/pageserver"
)

// view is what the pipeline shows of itself; it is replaced whole under Server.mu.
type view struct {
	state  admin.State
	err    string
	code   string    // of err; empty if there is none
	open   int       // transactions open at the last cut
	oldest time.Time // commit time of the first commit that is not published; zero if none
	last   time.Time // of the last publication
}

// fullPageWrites is what redo has last seen of the source's setting; replaced whole.
type fullPageWrites struct {
	on    bool
	since pg.LSN // of the record that switched it so, 0 if it has been so since the base backup
}

// noteFullPageWrites shows the setting as of the page store's barrier.
func (s *Server) noteFullPageWrites(tl *pageserver.Timeline) {
	now := tl.Cluster()
	s.mu.Lock()
	defer s.mu.Unlock()
	if next := (fullPageWrites{now.CheckPoint.FullPageWrites, now.FullPageWritesLSN}); s.fpw == nil || *s.fpw != next {
		s.fpw = &next
	}
}

// Status implements admin.Source.
func (s *Server) Status() admin.Status {
	s.mu.Lock()
	v, ing, fpw := s.view, s.ing, s.fpw
	st := admin.Status{State: v.state, Error: v.err, Code: v.code, Source: s.source, OpenTransactions: v.open, LastPublication: v.last}
	s.mu.Unlock()
	// The later positions are read first, so that none can be seen ahead of one before it.
	st.PublishedLSN = s.marks.At(admin.StagePublished)
	st.CutLSN = s.marks.At(admin.StageCut)
	st.RedoLSN = s.marks.At(admin.StageRedo)
	if ing != nil {
		is := ing.Status()
		if info := is.Source; info.SystemID != 0 {
			st.Source = admin.SourceInfo{Version: info.Version, SystemID: info.SystemID, Timeline: info.Timeline}
			s.mu.Lock()
			s.source = st.Source // shown on while nothing is attached
			s.mu.Unlock()
		}
		st.ArchivedLSN, st.CommitLSN = is.ArchivedLSN, is.CommitLSN
		st.ReceiveLSN, st.SourceLSN = max(is.ReceiveLSN, is.CommitLSN), is.ServerFlushLSN
		sourceState(&st, is)
	}
	st.Source.AtomicWrites = s.cfg.Source.AtomicWrites
	if fpw != nil {
		st.Source.FullPageWrites, st.Source.FullPageWritesLSN = &fpw.on, fpw.since
	}
	if tl := s.pages.Load(); tl != nil {
		st.History.LSN, st.History.Time = tl.HistoryFrom()
		st.History.Leases = tl.Leases()
	}
	if eng := s.engine(); eng != nil {
		st.Rewinds = eng.Rewinds()
	}
	st.Endpoints = s.endpoints
	st.SourceLSN = max(st.SourceLSN, st.ReceiveLSN)
	st.LagBytes = int64(st.SourceLSN - min(st.SourceLSN, max(st.PublishedLSN, s.lakeLSN())))
	if !v.oldest.IsZero() {
		st.LagMS = max(0, time.Since(v.oldest).Milliseconds())
	}
	st.Freshness = s.fresh.Quantiles(time.Now())
	st.Memory = admin.Memory{UsedBytes: heapBytes(), LimitBytes: int64(s.cfg.Memory)}
	st.Cache = s.cacheStatus()
	st.Tables, st.Upkeep = s.tables()
	return st
}

// sourceState adds to the pipeline's state what the receiver has to say. Without a connection nobody knows whether the
// lake is current.
func sourceState(st *admin.Status, is ingest.Status) {
	if is.LastError == nil || st.State != admin.StateStreaming && st.State != admin.StateCopying {
		return
	}
	switch is.State {
	case ingest.WALGap:
		st.State = admin.StateWALGap
	case ingest.Diverged:
		st.State = admin.StateDiverged
	case ingest.Failed:
		st.State = admin.StateStopped
	default:
		if st.State == admin.StateStreaming {
			st.State = admin.StateAttaching
		}
	}
	st.Error, st.Code = is.LastError.Error(), fault.CodeOf(is.LastError).String()
}

// heapBytes is the memory the process holds for its objects.
func heapBytes() int64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return int64(m[0].Value.Uint64() - m[1].Value.Uint64())
}

// engine is nil until the lake has been read.
func (s *Server) engine() *materialize.Engine {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.eng
}

// lakeLSN is where the lake is. After a start the published position is shown only once redo has passed it again; the lag
// in bytes must not be all the WAL of the cluster's life until then.
func (s *Server) lakeLSN() pg.LSN {
	eng := s.engine()
	if eng == nil {
		return 0
	}
	return eng.Published()
}

// tableNote says what is not as in Postgres: the error, or else the columns that are not there and the values that are null.
func tableNote(t materialize.TableStatus) string {
	if t.Error != "" {
		return t.Error
	}
	notes := slices.Clone(t.Notes)
	if len(t.LeftOut) > 0 {
		columns := make([]string, len(t.LeftOut))
		for i, c := range t.LeftOut {
			columns[i] = fmt.Sprintf("%s (%s)", c.Name, c.Reason)
		}
		notes = append(notes, "columns left out: "+strings.Join(columns, "; "))
	}
	if len(t.OutOfRange) > 0 {
		columns := make([]string, len(t.OutOfRange))
		for i, c := range t.OutOfRange {
			columns[i] = fmt.Sprintf("%s (%d)", c.Column, c.Values)
		}
		as := "null"
		if t.Clamped {
			as = "the nearest it holds"
		}
		notes = append(notes, "values out of Iceberg's range, written as "+as+": "+strings.Join(columns, "; "))
	}
	if t.NoHistory != "" {
		notes = append(notes, t.NoHistory)
	}
	return strings.Join(notes, "; ")
}

// sourceLook is how often a wait looks whether the source still gives WAL.
const sourceLook = 500 * time.Millisecond

// WaitFor implements admin.Source.
func (s *Server) WaitFor(ctx context.Context, stage admin.Stage, lsn pg.LSN) error {
	for {
		look, cancel := context.WithTimeout(ctx, sourceLook)
		err := s.await(look, stage, lsn)
		cancel()
		if ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err := s.sourceEnded(lsn); err != nil {
			return err
		}
	}
}

// await waits for a stage until ctx ends. WAL is committed without the redo loop having a part in it.
func (s *Server) await(ctx context.Context, stage admin.Stage, lsn pg.LSN) error {
	if ing := s.attachedTo(); stage == admin.StageCommit && ing != nil {
		return ing.WaitCommit(ctx, lsn)
	}
	return s.marks.Wait(ctx, stage, lsn)
}

// attachedTo is the source that WAL comes from now, nil if there is none.
func (s *Server) attachedTo() *ingest.Service {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ing
}

// sourceEnded says why WAL up to lsn will not come, nil if it may.
func (s *Server) sourceEnded(lsn pg.LSN) error {
	ing := s.attachedTo()
	if ing == nil {
		return nil
	}
	is := ing.Status()
	switch is.State {
	case ingest.WALGap, ingest.Diverged, ingest.Failed:
		if is.LastError != nil && is.CommitLSN < lsn {
			return fmt.Errorf("%s: %w", is.State, is.LastError)
		}
	}
	return nil
}

// Ready implements admin.Source.
func (s *Server) Ready() (bool, []string) {
	st := s.Status()
	s.mu.Lock()
	copied := s.copied
	s.mu.Unlock()
	switch {
	case st.State == admin.StateStreaming && copied:
		return true, nil
	case st.Error != "":
		return false, []string{string(st.State) + ": " + st.Error}
	}
	return false, []string{string(st.State)}
}

// Publications implements admin.Source.
func (s *Server) Publications() []admin.PublicationInfo {
	list := s.cat.View().Publications()
	out := make([]admin.PublicationInfo, len(list))
	for i, p := range list {
		out[i] = admin.PublicationInfo{Seq: p.Seq, LSN: p.LSN, CommitTime: p.CommitTime, PublishedAt: p.Time}
	}
	return out
}

// Resync implements admin.Source.
func (s *Server) Resync(ctx context.Context, table string, all bool) error {
	if all {
		if err := s.askResync(ctx); err != nil {
			return err
		}
		select {
		case s.resync <- struct{}{}:
		default: // one is asked for already
		}
		return nil
	}
	eng := s.engine()
	if eng == nil {
		return fault.New(fault.LakeNotRead, "the lake is still being read: try again in a moment")
	}
	if err := eng.Resync(table, false); err != nil {
		return fmt.Errorf("%w: %w", admin.ErrUnknownTable, err)
	}
	s.wake()
	return nil
}

func (s *Server) setState(st admin.State, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.state, s.view.err, s.view.code = st, "", ""
	if err != nil {
		s.view.err, s.view.code = err.Error(), fault.CodeOf(err).String()
	}
}

// setError shows what is going wrong without leaving the state.
func (s *Server) setError(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.err, s.view.code = err.Error(), fault.CodeOf(err).String()
}

// waiting shows since when a commit has not been published; zero if none is known.
func (s *Server) waiting(since time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.view.oldest = since
}

// published notes a cut that went well.
func (s *Server) published(at pg.LSN, res materialize.CutResult, commits []time.Time) {
	now := time.Now()
	for _, t := range commits {
		s.fresh.Observe(t, now)
	}
	s.mu.Lock()
	s.view.state, s.view.err, s.view.code, s.view.oldest, s.copied = admin.StateStreaming, "", "", time.Time{}, true
	if res.Published {
		s.view.last = now
	}
	s.mu.Unlock()
	if res.Published {
		s.log.Debug("published", "lsn", at, "tables", res.Tables, "rows_in", res.RowsIn, "rows_out", res.RowsOut, "blocks", res.Blocks, "diff", res.Diff, "commit", res.Commit)
	}
}
