// Package waldump prints WAL records and their statistics in the shapes of pg_waldump.
package waldump

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// Stats says what is printed in place of records.
type Stats int

// The kinds of statistics.
const (
	NoStats  Stats = iota
	ByRMGR         // --stats
	ByRecord       // --stats=record
)

// Options say what to print.
type Options struct {
	WAL wal.Options // Start is ignored

	From pg.LSN // the first record at or after it is the first printed; 0 is the source's First, if it has one
	To   pg.LSN // records that reach beyond it are not printed; 0 reads to the end

	RMGRs []string // only these resource managers, by name; empty is all
	Stats Stats
	JSON  bool // one JSON object per line
	Limit int  // records to print; 0 is all
}

// Dump prints what Options ask for. The end of the source ends it without an error, as does its having no more for now.
func Dump(ctx context.Context, w io.Writer, o Options) error {
	var filter *[256]bool
	for _, name := range o.RMGRs {
		id, err := wal.ParseRMID(name)
		if err != nil {
			return err
		}
		if filter == nil {
			filter = new([256]bool)
		}
		filter[id] = true
	}
	if first, ok := o.WAL.Source.(interface{ First() pg.LSN }); ok && o.From == 0 {
		o.From = first.First()
	}
	// A record before From on the same page tells where From's record starts.
	o.WAL.Start = o.From &^ (wal.PageSize - 1)
	r, err := wal.NewReader(o.WAL)
	if err != nil {
		return err
	}
	out := bufio.NewWriterSize(w, 1<<16)
	p := printer{out: out, opts: o}
	if err := p.records(ctx, r, filter); err != nil {
		return errors.Join(err, out.Flush())
	}
	if o.Stats != NoStats {
		p.stats.print(out, r.Major(), o)
	}
	return out.Flush()
}

type printer struct {
	out   *bufio.Writer
	opts  Options
	stats stats
	line  []byte
}

func (p *printer) records(ctx context.Context, r *wal.Reader, filter *[256]bool) error {
	printed := 0
	for n := 0; ; n++ {
		if n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		rec, err := r.Next()
		if errors.Is(err, io.EOF) || errors.Is(err, wal.ErrNoMoreYet) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.opts.To != 0 && (rec.LSN >= p.opts.To || lastByte(rec) > p.opts.To) {
			return nil
		}
		if rec.LSN < p.opts.From || filter != nil && !filter[rec.RMID] {
			continue
		}
		if err := p.record(rec); err != nil {
			return err
		}
		if printed++; printed == p.opts.Limit {
			return nil
		}
	}
}

// lastByte is where the record's own bytes end, without padding; a switch is as long as its header.
func lastByte(rec *wal.Record) pg.LSN {
	if rec.RMID == wal.RMXLog && rec.Op() == 0x40 {
		return rec.LSN
	}
	return rec.End - pg.LSN(pg.MaxAlign(int(rec.TotLen))-int(rec.TotLen))
}

func (p *printer) record(rec *wal.Record) error {
	if p.opts.Stats != NoStats {
		p.stats.add(rec)
		return nil
	}
	if p.opts.JSON {
		p.line = appendJSON(p.line[:0], rec)
	} else {
		p.line = AppendLine(p.line[:0], rec)
	}
	_, err := p.out.Write(p.line)
	return err
}

// imageLen is the bytes of the record that are page images (XLogRecGetLen's fpi_len).
func imageLen(rec *wal.Record) (n uint32) {
	for i := range rec.Blocks {
		n += uint32(len(rec.Blocks[i].Image))
	}
	return n
}

// AppendLine appends the record's line, newline included (XLogDumpDisplayRecord): pg_waldump's but for the details
// after the type's name, of which only cheap ones are given.
func AppendLine(b []byte, rec *wal.Record) []byte {
	b = fmt.Appendf(b, "rmgr: %-11s len (rec/tot): %6d/%6d, tx: %10d, lsn: %s, prev %s, desc: %s ",
		rec.RMID, rec.TotLen-imageLen(rec), rec.TotLen, rec.XID, lsn08(rec.LSN), lsn08(rec.Prev),
		rec.TypeName())
	b = appendDesc(b, rec)
	for i := range rec.Blocks {
		blk := &rec.Blocks[i]
		b = fmt.Appendf(b, ", blkref #%d: rel %s", blk.ID, blk.Rel)
		if blk.Fork != pg.MainFork {
			b = fmt.Appendf(b, " fork %s", blk.Fork)
		}
		b = fmt.Appendf(b, " blk %d", blk.Block)
		if blk.HasImage && blk.ApplyImage {
			b = append(b, " FPW"...)
		} else if blk.HasImage {
			b = append(b, " FPW for WAL verification"...)
		}
	}
	return append(b, '\n')
}

// lsn08 is an LSN as pg_waldump's record lines have it.
func lsn08(l pg.LSN) string { return fmt.Sprintf("%X/%08X", uint32(l>>32), uint32(l)) }
