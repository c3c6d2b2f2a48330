package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

// pastFlags are how verbs that look at pages as they were find the store and the moment.
type pastFlags struct {
	store      storeFlags
	branch, at string
}

func (f *pastFlags) register(cmd *cobra.Command) {
	f.store.register(cmd)
	cmd.Flags().StringVar(&f.branch, "branch", "main", "`BRANCH` to read")
	cmd.Flags().StringVar(&f.at, "at", "", "`LSN` or time, such as 0/1A2B3C4D or '2026-11-26 12:00:00+01' (default the newest that the store has)")
}

// past is a timeline as it was at a moment. It is read from the store, whether its server runs or not, and nothing is written there.
type past struct {
	*pageserver.Timeline
	history func(pg.TimelineID) string // text of a WAL timeline's history file
	close   func() error
}

// pastStore is the store that the flags name, open, and the moment they name.
type pastStore struct {
	objstore.Store
	url     string
	wal     *walSource
	to      pageserver.Target
	further func(point *pageserver.Timeline) pageserver.Target // from the point before to, replay leads there; nil: to to
	closers []func() error
}

// find opens the store. What it opens is closed by close.
func (f *pastFlags) find(ctx context.Context) (s *pastStore, err error) {
	to, err := parseTarget(f.at)
	if err != nil {
		return nil, err
	}
	store, url, err := f.store.openCached(ctx)
	if err != nil {
		return nil, err
	}
	s = &pastStore{Store: store, url: url, to: to, closers: []func() error{store.Close}}
	if s.wal, err = storeWAL(ctx, store, url, 0); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// close closes the last opened first.
func (s *pastStore) close() (err error) {
	for _, c := range slices.Backward(s.closers) {
		err = errors.Join(err, c())
	}
	return err
}

// unknown makes errors of the page store say which store it is.
func (f *pastFlags) unknown(s *pastStore, err error) error {
	if errors.Is(err, pageserver.ErrNoTimeline) {
		return fault.Errorf(fault.BranchUnknown, "store %s has no pages of branch %s: name another --branch, or the store of a tarn that has been attached", s.url, f.branch)
	}
	return fmt.Errorf("store %s: %w", s.url, err)
}

// snapshot is the moment by what delta layers say of it; nil if they say nothing: then replay leads there.
func (f *pastFlags) snapshot(ctx context.Context, s *pastStore) (*pageserver.Snapshot, error) {
	if !s.to.Time.IsZero() {
		return nil, nil
	}
	snap, err := pageserver.OpenSnapshot(ctx, pageserver.Options{Store: s.Store, Branch: f.branch, WAL: s.wal.archive}, s.to.LSN)
	switch {
	case errors.Is(err, pageserver.ErrNotInDeltas), errors.Is(err, pageserver.ErrNotFlushed):
		return nil, nil
	case err != nil:
		return nil, f.unknown(s, err)
	}
	return snap, nil
}

// open replays WAL from the nearest point before the moment.
func (f *pastFlags) open(ctx context.Context) (*past, error) {
	s, err := f.find(ctx)
	if err != nil {
		return nil, err
	}
	p, err := f.replay(ctx, s)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return p, nil
}

// replay is open of a store that has been found. The result's close closes it.
func (f *pastFlags) replay(ctx context.Context, s *pastStore) (*past, error) {
	dir, err := os.MkdirTemp("", "tarn-past-")
	if err != nil {
		return nil, fault.Errorf(fault.DataDirUnusable, "a folder for what is redone cannot be made (%w): set TMPDIR to a folder that can be written", fault.Cause(err))
	}
	s.closers = append(s.closers, func() error { return os.RemoveAll(dir) })
	scratch, err := objstore.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	tl, to, err := pageserver.OpenPast(ctx, pageserver.Options{Store: s.Store, Branch: f.branch, Workers: pageserver.DefaultWorkers()}, s.to, scratch)
	if err != nil {
		return nil, f.unknown(s, err)
	}
	s.closers = append(s.closers, tl.Close)
	if s.further != nil {
		to = s.further(tl)
	}
	s.wal.Start, s.wal.Major = tl.ResumeLSN(), tl.Major()
	reader, err := wal.NewReader(s.wal.Options)
	if err == nil {
		err = tl.Replay(ctx, reader, to)
	}
	if err != nil {
		return nil, f.unknown(s, err)
	}
	return &past{tl, s.wal.history, s.close}, nil
}

// timeLayouts are how a time may be written besides RFC 3339; without a zone it is local time.
var timeLayouts = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07", "2006-01-02 15:04:05.999999999-07", "2006-01-02 15:04:05.999999999", "2006-01-02 15:04", time.DateOnly}

// parseTarget reads what --at says; empty is the end of the WAL.
func parseTarget(text string) (to pageserver.Target, err error) {
	if text == "" {
		return to, nil
	}
	if strings.Contains(text, "/") {
		switch to.LSN, err = pg.ParseLSN(text); {
		case err != nil:
			return to, usagef("--at %v", err)
		case to.LSN == 0:
			return to, usagef("--at 0/0 is no LSN of a server: leave --at out for the newest")
		}
		return to, nil
	}
	for _, layout := range timeLayouts {
		if to.Time, err = time.ParseInLocation(layout, text, time.Local); err == nil {
			return to, nil
		}
	}
	return to, usagef("--at %q is neither an LSN nor a time: write one such as 0/1A2B3C4D, 2026-11-26T12:00:00Z or '2026-11-26 12:00:00+01'", text)
}
