// Package repair puts back, in the data directory of a primary that has crashed, the pages that a power loss may have torn while
// full_page_writes was off, so that the server's own recovery finds each of them whole.
//
// Recovery redoes the server's WAL from the last checkpoint's redo LSN to its end, and skips a record of a page whose LSN is not below the
// record's. So a page may be of any LSN between those two, each page of another one, as long as it is whole: that is how every crash
// leaves them. What was written before that checkpoint was synced by it, and what no record has touched since was not written
// again, or only as follows below. So the pages to put back are those that WAL since the redo LSN names, except
// where the first record that names one builds it from nothing or from an image: recovery does not look at what is there then.
//
// What else a server writes needs no repair, and gets none, as with full_page_writes on:
//   - hint bits, where they are not in the WAL, change no byte that a torn page could then contradict; where they are
//     (checksums, wal_log_hints) the first change since a checkpoint is a record, which names its page even without an image;
//   - a free space map is a hint, which recovery does not read; one whose checksum is wrong is made empty here, which Postgres would do
//     when it reads it (fsm_readbuf);
//   - the commit log and its like (SLRUs) have neither LSN nor checksum: redo sets their bits again, whatever they were;
//   - unlogged relations are made anew by recovery; pg_control fits in a sector; relation maps, two-phase and other small files
//     are replaced by renaming.
package repair

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// Plan is what WAL says of the pages that recovery will read.
type Plan struct {
	Redo    pg.LSN // where recovery begins
	End     pg.LSN // and ends: behind the last whole record of the server's own WAL
	Records int64
	Rebuilt int64 // blocks that recovery builds without reading them

	forks map[datadir.Fork]*touched
}

// touched is the blocks of one fork that records have named. A block is in at most one of the two: its first record decides.
type touched struct{ read, built *roaring.Bitmap }

// Scan reads the server's WAL from redoLSN to its end; r starts there and reads the server's own pg_wal (wal.Options.EndAtInvalid).
// The error is a *pg.CorruptError or what reading said.
func Scan(ctx context.Context, r *wal.Reader, redoLSN pg.LSN) (*Plan, error) {
	p := &Plan{Redo: redoLSN, End: redoLSN, forks: map[datadir.Fork]*touched{}}
	var vm []redo.VMChange
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		p.Records++
		p.End = rec.End
		for i := range rec.Blocks {
			b := &rec.Blocks[i]
			p.touch(datadir.Fork{Rel: b.Rel, Fork: b.Fork}, b.Block, b.WillInit || b.HasImage && b.ApplyImage)
		}
		vm = redo.ImplicitVM(rec, vm[:0])
		for _, c := range vm {
			p.touch(datadir.Fork{Rel: c.Rel, Fork: pg.VMFork}, redo.VMBlock(c.HeapBlock), false)
		}
	}
	for _, t := range p.forks {
		p.Rebuilt += int64(t.built.GetCardinality())
	}
	return p, nil
}

// touch notes a record that names a block, and whether it builds it without reading it.
func (p *Plan) touch(f datadir.Fork, blk pg.BlockNumber, builds bool) {
	t := p.forks[f]
	if t == nil {
		t = &touched{roaring.New(), roaring.New()}
		p.forks[f] = t
	}
	switch n := uint32(blk); {
	case t.read.Contains(n) || t.built.Contains(n):
	case builds:
		t.built.Add(n)
	default:
		t.read.Add(n)
	}
}

// Blocks is how many blocks recovery will read.
func (p *Plan) Blocks() (n int64) {
	for _, t := range p.forks {
		n += int64(t.read.GetCardinality())
	}
	return n
}

// order lists the forks with blocks to read, in the order of their keys in the page store.
func (p *Plan) order() (list []datadir.Fork) {
	for f, t := range p.forks {
		if !t.read.IsEmpty() {
			list = append(list, f)
		}
	}
	slices.SortFunc(list, func(a, b datadir.Fork) int {
		for _, d := range [][2]pg.OID{{a.Rel.Spc, b.Rel.Spc}, {a.Rel.DB, b.Rel.DB}, {a.Rel.Rel, b.Rel.Rel}, {pg.OID(a.Fork), pg.OID(b.Fork)}} {
			if d[0] != d[1] {
				return int(int64(d[0]) - int64(d[1]))
			}
		}
		return 0
	})
	return list
}

// String is for messages.
func (p *Plan) String() string { return fmt.Sprintf("WAL from %s to %s", p.Redo, p.End) }
