// Package verify proves redo against the server: it redoes a folder of WAL on top of a stopped server's data directory
// and compares each page with the image the server logged of it (wal_consistency_checking), and the pages at the end with
// another data directory of the same server.
package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// Options say what to verify.
type Options struct {
	Base string // data directory of a stopped server, or a copy of one
	WAL  string // folder of WAL segments, from the base's last checkpoint on

	// Final, if not empty, is the data directory of the same server, stopped where the WAL ends: the pages redo arrives at
	// are compared with its.
	Final string

	// Progress, if not nil, is called now and then with the figures so far.
	Progress func(Report)
}

// Manager is the part of the figures that one resource manager has.
type Manager struct {
	Records    int64 `json:"records"`
	Images     int64 `json:"images"` // compared
	Mismatches int64 `json:"mismatches"`
}

// Mismatch is one page that redo made otherwise than the server.
type Mismatch struct {
	LSN    pg.LSN            `json:"lsn"` // start of the record after which they differ
	Record string            `json:"record"`
	Rel    pg.RelFileLocator `json:"-"`
	Name   string            `json:"relation"` // Rel as spc/db/rel
	Fork   string            `json:"fork"`
	Block  pg.BlockNumber    `json:"block"`
	Ranges []redo.Range      `json:"ranges"`
}

func (m Mismatch) String() string {
	return fmt.Sprintf("at %s (%s): relation %s fork %s block %d differs at bytes %v",
		m.LSN, m.Record, m.Name, m.Fork, m.Block, m.Ranges)
}

// mismatchesMax bounds the mismatches a Report lists; all are counted.
const mismatchesMax = 20

// Report is the outcome, in the shape of tarn wal verify --json.
type Report struct {
	Records        int64              `json:"records"`
	Bytes          int64              `json:"bytes"` // of WAL, from the base's redo point to the last record's end
	ImagesCompared int64              `json:"images_compared"`
	Mismatches     int64              `json:"mismatches"`
	LSNMismatches  int64              `json:"lsn_mismatches"` // pages with another LSN before a record than the server's had
	Skipped        int64              `json:"skipped"`        // images of pages whose redo or mask is not built
	ByRmgr         map[string]Manager `json:"by_rmgr"`
	RecordTypes    RecordTypes        `json:"record_types"`
	InvalidPages   int64              `json:"invalid_pages"` // pages changed that were not there, unexplained by a drop
	Start          pg.LSN             `json:"start"`
	End            pg.LSN             `json:"end"`
	First          []Mismatch         `json:"first_mismatches,omitempty"`
	Final          *Final             `json:"final,omitempty"` // with Options.Final
}

// RecordTypes says which record types there were, of those that the server's major version can write.
type RecordTypes struct {
	Major     pg.Major         `json:"major"`
	Seen      map[string]int64 `json:"seen"` // records, by "Heap/INSERT"
	NeverSeen []string         `json:"never_seen"`
}

// OK says that something was compared and all of it was equal.
func (r *Report) OK() bool {
	return r.ImagesCompared > 0 && r.Mismatches == 0 && r.LSNMismatches == 0 && r.InvalidPages == 0 && (r.Final == nil || r.Final.OK())
}

// Run redoes the WAL from the base's checkpoint on and compares every consistency image. The report holds whatever was
// reached also when there is an error; mismatches are no error.
func Run(ctx context.Context, o Options) (Report, error) {
	v, err := open(o.Base)
	if err != nil {
		return Report{}, err
	}
	defer v.pages.base.Close()
	if err := v.redoFolder(ctx, o.WAL, o.Progress); err != nil {
		return v.finish(), err
	}
	r := v.finish()
	if o.Final != "" {
		if r.Final, err = v.compareFinal(ctx, o.Final); err != nil {
			return r, err
		}
	}
	return r, nil
}

// compareFinal compares all that redo has with the data directory of the server, stopped where the WAL ends.
func (v *verifier) compareFinal(ctx context.Context, dataDir string) (*Final, error) {
	dir, err := openStopped(dataDir)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	c := comparer{dir: dir, major: dir.Major(), lookup: v.pages.lookup,
		atMost: func(f datadir.Fork, blk pg.BlockNumber) pg.Page { return v.pages.fork(f).atMost[blk] },
		ends:   v.ends,
		hints:  func(f datadir.Fork, blk pg.BlockNumber) []pg.LSN { return v.pages.fork(f).hints[blk] },
	}
	final, err := c.all(ctx)
	if err != nil {
		return nil, err
	}
	if err := v.pages.compareExtra(dir, &final); err != nil {
		return nil, err
	}
	return &final, v.beside.compare(dir, &final)
}

// verifier is one run.
type verifier struct {
	pages   *pageSet
	beside  *beside
	env     redo.Env
	control control.Control
	met     bool // the base's checkpoint record has been read
	stopped bool // the last record is a shutdown checkpoint
	report  Report
	byRmgr  [256]Manager
	byType  [256][16]int64
	major   pg.Major
	ends    []pg.LSN // of all records
	scratch redo.Scratch
	changes []redo.VMChange

	// fault is a planted fault of the tests: it is shown each page a record changed, before and after, and may alter it.
	fault  func(before, after pg.Page, rec *wal.Record, blk *wal.BlockRef)
	before [pg.BlockSize]byte
}

func open(base string) (*verifier, error) {
	dir, err := datadir.Open(base)
	if err != nil {
		return nil, err
	}
	c, err := dir.Control()
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	b, err := newBeside(dir, &c)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	v := &verifier{pages: newPageSet(dir), beside: b, control: c}
	v.env.HintsLogged = c.HintsLogged()
	v.report.Start = c.CheckPoint.Redo
	return v, nil
}

// progressEvery is how many records lie between two calls of Options.Progress.
const progressEvery = 1 << 17

// redoFolder reads the folder's WAL to its end.
func (v *verifier) redoFolder(ctx context.Context, folder string, progress func(Report)) error {
	source, err := waldir.Open(folder, waldir.Options{SegmentSize: v.control.WALSegmentSize})
	if err != nil {
		return err
	}
	defer source.Close()
	if err := v.fits(source, folder); err != nil {
		return err
	}
	if err := v.redo(ctx, wal.Options{
		Source: source, Start: v.control.CheckPoint.Redo, SystemID: v.control.SystemID, SegmentSize: v.control.WALSegmentSize,
		Major: v.pages.base.Major(), EndAtInvalid: true,
	}, progress); err != nil {
		return fmt.Errorf("WAL of %s: %w", folder, err)
	}
	if err := v.ended(source); err != nil {
		return fmt.Errorf("WAL of %s: %w", folder, err)
	}
	return nil
}

// redo reads WAL to its end and redoes it.
func (v *verifier) redo(ctx context.Context, o wal.Options, progress func(Report)) error {
	reader, err := wal.NewReader(o)
	if err != nil {
		return err
	}
	for again := false; ; {
		if v.report.Records%progressEvery == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(v.finish())
			}
		}
		rec, err := reader.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrNoMoreYet) {
			// A server that is running may have written on since.
			if _, more := wal.GoesOn(o.Source, v.report.End, o.SegmentSize); more && !again {
				again = true
				continue
			}
			return nil
		}
		if err != nil {
			return err
		}
		again = false
		if err := v.record(rec); err != nil {
			return err
		}
	}
}

// record redoes one record and compares its images.
func (v *verifier) record(rec *wal.Record) error {
	v.report.Records++
	v.report.End = rec.End
	v.ends = append(v.ends, rec.End)
	v.byRmgr[rec.RMID].Records++
	v.byType[rec.RMID][rec.Info>>4]++
	v.major = rec.Major
	v.stopped = rec.RMID == wal.RMXLog && rec.Op() == xlrec.XLogCheckpointShutdown
	if err := v.meetsBase(rec); err != nil {
		return err
	}
	if err := v.pages.apply(rec); err != nil {
		return err
	}
	if err := v.beside.apply(rec); err != nil {
		return err
	}
	if err := v.parameters(rec); err != nil {
		return err
	}
	for i := range rec.Blocks {
		if err := v.block(rec, &rec.Blocks[i]); err != nil {
			return err
		}
	}
	v.changes = redo.ImplicitVM(rec, v.changes[:0])
	for _, c := range v.changes {
		f := datadir.Fork{Rel: c.Rel, Fork: pg.VMFork}
		st, blk := v.pages.fork(f), redo.VMBlock(c.HeapBlock)
		page, err := v.pages.page(f, st, blk)
		if err != nil {
			return err
		}
		redo.ApplyVM(page, c, rec.End)
		if most := st.atMost[blk]; most != nil {
			redo.ApplyVM(most, c, rec.End)
		}
	}
	return nil
}

// parameters follows whether hint bits are logged.
func (v *verifier) parameters(rec *wal.Record) error {
	if rec.RMID != wal.RMXLog || rec.Op() != xlrec.XLogParameterChange {
		return nil
	}
	r, err := xlrec.DecodeParameterChange(rec.Main)
	if err != nil {
		return &pg.CorruptError{LSN: rec.LSN, What: err.Error()}
	}
	v.env.HintsLogged = v.control.ChecksumVersion != 0 || r.WALLogHints
	return nil
}

// block redoes one block of a record and compares it.
func (v *verifier) block(rec *wal.Record, blk *wal.BlockRef) error {
	if blk.Fork == pg.FSMFork {
		return nil
	}
	f := datadir.Fork{Rel: blk.Rel, Fork: blk.Fork}
	st := v.pages.fork(f)
	check := redo.HasCheck(blk)
	if st.opaque {
		if check {
			v.report.Skipped++
		}
		return nil
	}
	page, err := v.pages.page(f, st, blk.Block)
	if err != nil {
		return err
	}
	before, hints := page.LSN(), st.hints[blk.Block]
	st.noteHint(before, rec, blk)
	if v.fault != nil {
		copy(v.before[:], page)
	}
	result, err := redo.Apply(page, rec, blk, v.env)
	if err != nil {
		return err
	}
	switch result {
	case redo.NotRedone:
		st.markOpaque()
		if check {
			v.report.Skipped++
		}
		return nil
	case redo.Missing:
		if st.missing == nil {
			st.missing = map[pg.BlockNumber]pg.LSN{}
		}
		st.missing[blk.Block] = rec.LSN
		return nil
	case redo.Changed:
		if v.fault != nil {
			v.fault(v.before[:], page, rec, blk)
		}
		if err := st.boundMap(page, rec, blk, v.env); err != nil {
			return err
		}
	}
	if !check {
		return nil
	}
	if most := st.atMost[blk.Block]; most != nil {
		page = most
	}
	compared, err := v.compare(page, rec, blk)
	if compared && result == redo.Changed && !blk.WillInit && blk.Fork == pg.MainFork {
		v.compareLSN(before, hints, rec, blk)
	}
	return err
}

// compare compares a page with the image of it. It returns false if the manager has no mask.
func (v *verifier) compare(page pg.Page, rec *wal.Record, blk *wal.BlockRef) (bool, error) {
	equal, diffs, err := redo.Check(page, rec, blk, &v.scratch)
	if errors.Is(err, redo.ErrNoMask) {
		v.report.Skipped++
		return false, nil
	}
	if err != nil {
		return false, err
	}
	v.byRmgr[rec.RMID].Images++
	v.report.ImagesCompared++
	if equal {
		return true, nil
	}
	v.byRmgr[rec.RMID].Mismatches++
	v.report.Mismatches++
	v.note(rec, blk, diffs)
	return true, nil
}

// note keeps one of the first mismatches.
func (v *verifier) note(rec *wal.Record, blk *wal.BlockRef, diffs []redo.Range) {
	if len(v.report.First) < mismatchesMax {
		v.report.First = append(v.report.First, Mismatch{
			LSN: rec.LSN, Record: rec.RMID.String() + "/" + rec.TypeName(),
			Rel: blk.Rel, Name: blk.Rel.String(), Fork: blk.Fork.String(), Block: blk.Block,
			Ranges: append([]redo.Range(nil), diffs...),
		})
	}
}

// finish adds up what is kept in pieces while the run goes on.
func (v *verifier) finish() Report {
	r := v.report
	r.Bytes = int64(r.End) - int64(r.Start)
	if r.Records == 0 {
		r.Bytes = 0
	}
	r.ByRmgr = map[string]Manager{}
	for i, m := range v.byRmgr {
		if m.Records > 0 {
			r.ByRmgr[wal.RMID(i).String()] = m
		}
	}
	r.RecordTypes = v.recordTypes()
	for _, st := range v.pages.forks {
		r.InvalidPages += int64(len(st.missing))
	}
	return r
}
