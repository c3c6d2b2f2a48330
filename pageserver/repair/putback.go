package repair

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

// Pages are a timeline's pages as of an LSN from Plan.Redo to Plan.End; *pageserver.Timeline is one.
type Pages interface {
	// Page returns a block, not to be changed; nil for one that does not exist or was never initialised.
	Page(ctx context.Context, rel pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber) (pg.Page, error)
}

// Options of PutBack.
type Options struct {
	Checksums bool        // the cluster has data checksums
	DryRun    bool        // read and count, and write nothing
	Progress  func(int64) // called with the number of blocks done since the last call; nil for never
}

// Report counts blocks.
type Report struct {
	Relations int64 `json:"relations"` // with blocks put back
	PutBack   int64 `json:"put_back"`  // that did not hold what the page store has; in a dry run, that would be
	Same      int64 `json:"same"`      // that held it already
	Torn      int64 `json:"torn"`      // of both and the next, with a wrong checksum before; 0 without data checksums
	FSM       int64 `json:"fsm"`       // of a free space map, made empty because their checksum was wrong
	Absent    int64 `json:"absent"`    // that the server's files do not have: truncated, dropped, or not there yet
}

// PutBack writes the plan's blocks as pages has them into the data directory, and syncs each file it has written. A block that pages does
// not have becomes zeros: to recovery that is a block that is not there, which the record that dropped or cut off
// its relation explains (log_invalid_page). A second call changes nothing. The server must not run.
func (p *Plan) PutBack(ctx context.Context, d *datadir.Dir, pages Pages, o Options) (Report, error) {
	w := writer{dir: d, pages: pages, opts: o}
	for _, f := range p.order() {
		if err := w.fork(ctx, f, p.forks[f]); err != nil {
			return w.report, errors.Join(fmt.Errorf("relation %s fork %s: %w", f.Rel, f.Fork, err), w.closeFile())
		}
	}
	return w.report, w.closeFile()
}

// writer is the state of one PutBack.
type writer struct {
	dir    *datadir.Dir
	pages  Pages
	opts   Options
	report Report

	file    *os.File // the segment being worked on
	path    string
	written bool // something was written to file, and is not synced
	changed bool // a block of this relation was put back
	rel     pg.RelFileLocator
	was     [pg.BlockSize]byte
	is      [pg.BlockSize]byte
}

func (w *writer) fork(ctx context.Context, f datadir.Fork, t *touched) error {
	if f.Rel != w.rel {
		w.rel, w.changed = f.Rel, false
	}
	n, err := w.dir.Blocks(f)
	if err != nil {
		return err
	}
	for it := t.read.Iterator(); it.HasNext(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		blk := pg.BlockNumber(it.Next())
		if blk >= n {
			w.report.Absent++
		} else if err := w.block(ctx, f, blk); err != nil {
			return fmt.Errorf("block %d: %w", blk, err)
		}
		if w.opts.Progress != nil {
			w.opts.Progress(1)
		}
	}
	return nil
}

// block puts one block back.
func (w *writer) block(ctx context.Context, f datadir.Fork, blk pg.BlockNumber) error {
	was, is := pg.Page(w.was[:]), pg.Page(w.is[:])
	if ok, err := w.dir.ReadPage(f, blk, was); err != nil || !ok {
		return err
	}
	torn := w.opts.Checksums && !was.IsNew() && was.Checksum() != was.ChecksumAs(blk)
	if torn {
		w.report.Torn++
	}
	if f.Fork == pg.FSMFork {
		if !torn {
			return nil
		}
		w.report.FSM++
		clear(is)
		return w.write(f, blk, is)
	}
	page, err := w.pages.Page(ctx, f.Rel, f.Fork, blk)
	if err != nil {
		return err
	}
	if page == nil {
		clear(is)
	} else {
		copy(is, page)
		if w.opts.Checksums {
			is.SetChecksum(is.ChecksumAs(blk))
		}
	}
	if w.was == w.is {
		w.report.Same++
		return nil
	}
	w.report.PutBack++
	if !w.changed {
		w.changed = true
		w.report.Relations++
	}
	return w.write(f, blk, is)
}

func (w *writer) write(f datadir.Fork, blk pg.BlockNumber, page pg.Page) error {
	if w.opts.DryRun {
		return nil
	}
	path, err := w.dir.SegmentPath(f, blk)
	if err != nil {
		return err
	}
	if path != w.path {
		if err := w.closeFile(); err != nil {
			return err
		}
		if w.file, err = os.OpenFile(path, os.O_RDWR, 0); err != nil {
			return err
		}
		w.path = path
	}
	w.written = true
	_, err = w.file.WriteAt(page, int64(blk%pg.SegmentBlocks)*pg.BlockSize)
	return err
}

// closeFile makes what was written to the segment durable.
func (w *writer) closeFile() (err error) {
	if w.file == nil {
		return nil
	}
	if w.written {
		err = w.file.Sync()
	}
	err = errors.Join(err, w.file.Close())
	w.file, w.path, w.written = nil, "", false
	return err
}
