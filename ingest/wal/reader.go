package wal

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
)

// Options say what a Reader reads.
type Options struct {
	Source Source

	// Start is where a record begins, or the start of a page: what is left of a record begun earlier is skipped then.
	Start pg.LSN

	Timeline    pg.TimelineID // the newest timeline allowed; 0 does not check
	History     pg.History    // which timeline each page must be of; zero asks the source, no ancestors do not check
	SystemID    uint64        // 0 does not check
	SegmentSize int64         // bytes; 0 asks the source, else Start's page must have a long header
	Major       pg.Major      // 0 takes it from the first page

	// EndAtInvalid is for a server's pg_wal folder, where zeros or an older segment's bytes follow the end of WAL: the
	// first thing that is not a valid record is the end (io.EOF), unless a later segment shows that WAL goes on. A server that was
	// stopped has the last word on that: after a recovery that ended early, segments from before the crash lie behind its WAL.
	// Bytes after that end are read afresh by the next call of Next, so that a folder being written to can be followed.
	EndAtInvalid bool

	// Sparse is for reading a record here and one there, by Seek: little is asked of the source at once, and little held. That a
	// segment is the cluster's is seen only where its first page is read.
	Sparse bool
}

// windowSize is how much of the WAL is held at once, bytes. A batch of records lies in one window, and redo in several goroutines
// wants long ones.
const windowSize = 1 << 20

// readSize is how much is asked of the source at once, bytes: what was just copied in is still in a core's second-level cache when it is
// checked and decoded. Less of it keeps workers of redo waiting for the next batch (benchmarks/README.md).
const readSize = 256 << 10

// batchBlocks is how many block references a record of a batch has room for before it gets more.
const batchBlocks = 4

// arenaKeep is the largest record buffer kept from one record to the next, bytes.
const arenaKeep = 4 << 20

// batchArena is how many bytes of records that span pages a batch holds at most; only its first record may be longer.
const batchArena = 768 << 10

// batchMemory is what the records of a batch lie in.
type batchMemory struct {
	batch     []Record
	buf, slab []byte
}

// errBatchFull ends a batch: to read on, the window would have to move under the records in it.
var errBatchFull = errors.New("the batch is full")

// phase is what the byte at Reader.pos belongs to.
type phase uint8

const (
	atRecord phase = iota // a record, or the page header before it
	inRecord              // the page header before the rest of the record in arena
	inSwitch              // the unused rest of a segment after the XLOG_SWITCH in arena
	skipping              // the rest of a record that began before Start
)

// Reader reads records in order (XLogReaderState). It is not safe for concurrent use.
//
// Invariant: base <= pageStart(pos); complete <= pos.
type Reader struct {
	opts Options

	window int    // size of buf
	read   int    // bytes asked of the source at once
	buf    []byte // window: WAL from base on, end bytes of it read
	base   pg.LSN // page-aligned
	end    int

	pos     pg.LSN // next byte to take
	phase   phase
	started bool // a record has been returned: prev is known
	stopped bool // and the last one was a shutdown checkpoint

	page    PageHeader // of the page at pageLSN
	pageLSN pg.LSN
	hasPage bool
	tli     pg.TimelineID // of the newest page so far

	complete    pg.LSN // end of the last record returned, Start before the first
	prev        pg.LSN // start of the last record returned
	recLSN      pg.LSN // start of the record in arena
	slab        []byte // where such records go
	arena       []byte // a record that spans pages, as far as it has been read
	total       int    // its length, bytes
	overwritten pg.LSN // start of a record that was cut off and overwritten, to be named by the next one

	rec      Record
	batch    []Record // of NextBatch
	batched  int      // records of the batch being made: the window stays as it is while there are any
	returned bool     // the batch has been returned
	former   batchMemory
	turned   bool  // the window may be written over: no record that still counts lies in it
	err      error // sticky

	skipCRC bool // planted fault of the tests
}

// NewReader checks the options; nothing is read yet.
func NewReader(o Options) (*Reader, error) {
	if o.Source == nil {
		return nil, errors.New("WAL reader needs a source")
	}
	if o.Start == 0 {
		return nil, errors.New("WAL reader needs a start LSN")
	}
	if s, ok := o.Source.(segmentSizer); ok && o.SegmentSize == 0 {
		o.SegmentSize = s.SegmentSize()
	}
	if s, ok := o.Source.(historian); ok && o.History.Timeline == 0 {
		o.History = s.History()
	}
	if o.SegmentSize != 0 && !pg.ValidWALSegmentSize(o.SegmentSize) {
		return nil, fmt.Errorf("WAL segment size %d is not a power of two from 1 MiB to 1 GiB", o.SegmentSize)
	}
	if o.Major != 0 && o.Major.WALMagic() == 0 {
		return nil, fmt.Errorf("PostgreSQL %d is not read", o.Major)
	}
	r := &Reader{
		opts: o, window: windowSize, read: readSize,
		base: pageStart(o.Start),
		pos:  o.Start, complete: o.Start,
		rec: Record{Blocks: make([]BlockRef, 0, maxBlockID+1)},
	}
	if o.Sparse {
		r.window, r.read = sparseWindow, sparseRead
	}
	return r, nil
}

// Next returns the next record, which is valid until the call after it. Otherwise it returns
//   - the source's ErrNoMoreYet, io.EOF or I/O error: the reader's state is kept and Next may be called again;
//   - a *pg.CorruptError, *SystemIDError or *TimelineError: the WAL cannot be read on, and every later call says so.
func (r *Reader) Next() (*Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.turned = true
	if err := r.next(&r.rec); err != nil {
		return nil, r.fail(err)
	}
	return &r.rec, nil
}

// NextBatch returns up to n of the next records, at least one, as many as lie in what has been read of the source already. They
// are valid until the call of NextBatch after the next one, so that they can be worked on while others are read, or until a call of
// Next. Position speaks of the last of them. Errors are those of Next, and come when there is no record before them; a call
// that fails does not count.
func (r *Reader) NextBatch(n int) ([]Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.returned {
		r.turnBatch()
	}
	for len(r.batch) < n {
		r.batch = append(r.batch, Record{Blocks: make([]BlockRef, 0, batchBlocks)})
	}
	for r.batched < n {
		err := r.next(&r.batch[r.batched])
		if err == nil {
			r.batched++
			continue
		}
		if r.batched == 0 {
			return nil, r.fail(err)
		}
		if r.phase != atRecord || r.err != nil {
			_ = r.fail(err) // the next call says so
		}
		break // nothing of the record has been taken: it is read again, with a window that may move
	}
	n, r.batched, r.returned = r.batched, 0, true
	return r.batch[:n], nil
}

// turnBatch leaves the batch returned last alone: what the one before it lies in is used again.
func (r *Reader) turnBatch() {
	r.keepSlab()
	r.batch, r.former.batch = r.former.batch, r.batch
	r.slab, r.former.slab = r.former.slab, r.slab
	if r.slab == nil {
		r.slab = make([]byte, 0, batchArena)
	}
	if r.phase == inRecord || r.phase == inSwitch {
		r.arena = append(r.slab[:0], r.arena...) // the beginning of the next record
	} else {
		r.arena = r.slab[:0]
	}
	r.turned, r.returned = false, false
}

// next reads one record into rec.
func (r *Reader) next(rec *Record) error {
	raw, lsn, err := r.nextRaw()
	if err != nil {
		return err
	}
	if err := rec.decode(raw); err != nil { // its checksum was right: this is no end of WAL
		r.err = corruptf(lsn, "%s/%s record: %v", rec.RMID, RecordName(r.page.Major, rec.RMID, rec.Info), err)
		return r.err
	}
	rec.Major, rec.LSN, rec.End = r.page.Major, lsn, r.pos
	if r.err = r.checkOverwrite(rec); r.err != nil {
		return r.err
	}
	r.prev, r.complete, r.started = lsn, r.pos, true
	r.stopped = rec.RMID == RMXLog && rec.Op() == 0x00
	r.phase = atRecord
	return nil
}

// fail decides whether an error ends the reading.
func (r *Reader) fail(err error) error {
	var tli *TimelineError
	var sys *SystemIDError
	switch {
	case r.err != nil:
	case errors.As(err, &tli), errors.As(err, &sys):
	case errors.Is(err, pg.ErrCorrupt):
		if !r.opts.EndAtInvalid {
			break
		}
		if c, ok := r.opts.Source.(continuer); ok && !r.atStop() && c.HasValidSegmentAfter(r.pos) {
			break
		}
		r.rewind()
		return io.EOF
	default:
		return err
	}
	r.err = err
	return err
}

// atStop says that nothing follows a shutdown checkpoint on its page, which is how a server leaves the end of WAL when it stops: the
// rest of a page is zeros until there is a record (AdvanceXLInsertBuffer).
func (r *Reader) atStop() bool {
	if !r.stopped || r.pos != r.complete || r.pos%PageSize == 0 {
		return false
	}
	rest, err := r.peek(r.pos, PageSize-int(r.pos%PageSize))
	return err == nil && !slices.ContainsFunc(rest, func(b byte) bool { return b != 0 })
}

// rewind forgets everything after the last record, so that bytes written since are read afresh.
func (r *Reader) rewind() {
	r.pos, r.phase, r.overwritten = r.complete, atRecord, 0
	r.base, r.end, r.hasPage = pageStart(r.pos), 0, false
	r.arena = r.arena[:0]
}

// Position says how far a reader has come.
type Position struct {
	// Complete is the end of the last record returned. Before the first it is where reading began, even while the rest
	// of a record from before that is skipped.
	Complete pg.LSN
	// Available is the end of the bytes read from the source. It means something only after Next has returned
	// ErrNoMoreYet or io.EOF: then it is the end of what the source holds.
	Available pg.LSN
	// Partial is the start of a record of which some bytes are there but not all, 0 if there is none. With none, each
	// change up to Available has been returned: Available may lie after Complete by a page header or padding.
	Partial pg.LSN
}

// Position returns the reader's position.
func (r *Reader) Position() Position {
	p := Position{Complete: r.complete, Available: max(r.base+pg.LSN(r.end), r.complete)}
	switch r.phase {
	case inRecord, inSwitch:
		p.Partial = r.recLSN
	case atRecord:
		if r.pos%PageSize != 0 && r.base+pg.LSN(r.end) > r.pos {
			p.Partial = r.pos
		}
	}
	return p
}

// Major is the version of the WAL read so far, 0 before the first page unless the options named it.
func (r *Reader) Major() pg.Major { return r.opts.Major }

// Timeline is the timeline of the page read last.
func (r *Reader) Timeline() pg.TimelineID { return r.tli }

// SegmentSize is the segment size in bytes, 0 if not known yet.
func (r *Reader) SegmentSize() int64 { return r.opts.SegmentSize }

// peek returns the n bytes at lsn, which lie on pos's page.
func (r *Reader) peek(lsn pg.LSN, n int) ([]byte, error) {
	for {
		at := int64(lsn - r.base)
		if at+int64(n) <= int64(r.end) {
			return r.buf[at : at+int64(n) : at+int64(n)], nil
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

// newArena begins a record that spans pages. The former ones of a batch stay where they are.
func (r *Reader) newArena() {
	if r.batched > 0 {
		r.arena = r.arena[len(r.arena):]
		return
	}
	r.resetArena()
}

// resetArena lets go of the record in the arena.
func (r *Reader) resetArena() {
	r.keepSlab()
	r.arena = r.slab[:0]
}

// keepSlab takes over what a long record has made.
func (r *Reader) keepSlab() {
	if n := cap(r.arena); n > cap(r.slab) && n <= arenaKeep {
		r.slab = r.arena
	}
}

// moveWindow makes the window begin at page. What records of the batch before lie in stays as it is.
func (r *Reader) moveWindow(page pg.LSN) {
	var keep []byte
	if page < r.base+pg.LSN(r.end) {
		keep = r.buf[page-r.base : r.end]
	}
	if !r.turned {
		r.turned = true
		r.buf, r.former.buf = r.former.buf, r.buf
		if r.buf == nil {
			r.buf = make([]byte, r.window)
		}
	}
	r.base, r.end = page, copy(r.buf, keep)
}

// fill reads more of the source into the window, which keeps pos's page.
func (r *Reader) fill() error {
	page := pageStart(r.pos)
	move := page >= r.base+pg.LSN(r.end) || r.end == len(r.buf)
	if move && r.batched > 0 {
		return errBatchFull
	}
	if r.buf == nil {
		r.buf = make([]byte, r.window)
	}
	if move {
		r.moveWindow(page)
	}
	dst := r.buf[r.end:min(r.end+r.read, len(r.buf))]
	n, err := r.opts.Source.Read(r.base+pg.LSN(r.end), dst)
	if n < 0 || n > len(dst) {
		panic(fmt.Sprintf("BUG: WAL source returned %d bytes into %d", n, len(dst)))
	}
	r.end += n
	switch {
	case n > 0:
		return nil // an error beside bytes comes again when the bytes are used up
	case err == nil:
		return ErrNoMoreYet
	}
	return err
}
