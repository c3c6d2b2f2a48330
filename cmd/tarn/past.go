package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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

// open replays WAL from the nearest point before the moment.
func (f *pastFlags) open(ctx context.Context) (p *past, err error) {
	to, err := parseTarget(f.at)
	if err != nil {
		return nil, err
	}
	store, url, err := f.store.open(ctx)
	if err != nil {
		return nil, err
	}
	closers := []func() error{store.Close}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(closers))
		}
	}()
	src, err := storeWAL(ctx, store, url, 0)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "tarn-past-")
	if err != nil {
		return nil, fault.Errorf(fault.DataDirUnusable, "a folder for what is redone cannot be made (%w): set TMPDIR to a folder that can be written", fault.Cause(err))
	}
	closers = append(closers, func() error { return os.RemoveAll(dir) })
	scratch, err := objstore.OpenDir(dir)
	if err != nil {
		return nil, err
	}
	tl, to, err := pageserver.OpenPast(ctx, pageserver.Options{Store: store, Branch: f.branch, Workers: pageserver.DefaultWorkers()}, to, scratch)
	if errors.Is(err, pageserver.ErrNoTimeline) {
		return nil, fault.Errorf(fault.BranchUnknown, "store %s has no pages of branch %s: name another --branch, or the store of a tarn that has been attached", url, f.branch)
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", url, err)
	}
	closers = append(closers, tl.Close)
	src.Start, src.Major = tl.ResumeLSN(), tl.Major()
	reader, err := wal.NewReader(src.Options)
	if err == nil {
		err = tl.Replay(ctx, reader, to)
	}
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", url, err)
	}
	return &past{tl, src.history, func() error { return closeAll(closers) }}, nil
}

// closeAll closes the last opened first.
func closeAll(closers []func() error) (err error) {
	for i := len(closers) - 1; i >= 0; i-- {
		err = errors.Join(err, closers[i]())
	}
	return err
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
