// Package basebackup writes a timeline, as it stands at a barrier, as the data directory of a server that was shut down there: the
// server of that major version starts on it without recovery. Pages are the timeline's, and what a server keeps beside
// them is made of what the WAL has said; a shutdown checkpoint that no server wrote ends the WAL (see walTail).
package basebackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

// Options say how a directory is written. The zero value is what pg_basebackup does.
type Options struct {
	// Tablespaces says where tablespaces go that are to be elsewhere than on the source: from the old location, or the
	// tablespace's OID in decimal, to an absolute path. Each must be of a tablespace there is. Only for a Directory.
	Tablespaces map[string]string

	// History is the text of the history file of the timeline's WAL timeline. Without one the file says that it is not known; a
	// first timeline has none.
	History string

	Time     time.Time               // of the shutdown that the directory tells of; default now
	Progress func(done, total int64) // called now and then with bytes written and to be written
}

// Report says what was written.
type Report struct {
	LSN        pg.LSN // of the pages: the timeline's RedoLSN
	CheckPoint pg.LSN // start of the shutdown checkpoint: LSN, or behind the page header there
	End        pg.LSN // behind it: where the server's own WAL begins
	// Previous is the start of the record before LSN, which the checkpoint refers to: 0 if it is not known. Then the server starts all
	// the same, and a reader that comes from before LSN refuses the checkpoint.
	Previous    pg.LSN
	Timeline    pg.TimelineID
	Files       int   // regular ones
	Bytes       int64 // in them
	Relations   int
	Unlogged    int // of the relations: they are empty
	Prepared    int // transactions that wait for COMMIT PREPARED
	Tablespaces []Tablespace
}

// Tablespace says where a tablespace went.
type Tablespace struct {
	OID      pg.OID
	Source   string // location on the source; empty if it was in place, or is not known
	Location string // empty: in place, a folder below pg_tblspc
}

// Write writes the timeline to the target. One goroutine at a time may use the timeline, as at any barrier. Nothing is written
// that cannot be whole: a relation whose pages are not known is pageserver.ErrOpaque before the first byte. pg_control comes
// last, when everything else is durable, so that no server starts on a part; after an error a directory is removed again.
func Write(ctx context.Context, t *pageserver.Timeline, target Target, o Options) (r Report, err error) {
	if o.Time.IsZero() {
		o.Time = time.Now()
	}
	b := backup{t: t, o: o, buf: make([]byte, bufferSize)}
	if err := b.plan(ctx, target); err != nil {
		return Report{}, fmt.Errorf("base backup at %s: %w", t.RedoLSN(), err)
	}
	if err := target.begin(b.report.Tablespaces); err != nil {
		return Report{}, fmt.Errorf("base backup: %w", err)
	}
	if err := b.write(ctx, target); err != nil {
		return Report{}, fmt.Errorf("base backup: %w", errors.Join(err, target.abort()))
	}
	return b.report, nil
}

// bufferSize is how much is written at once, bytes: whole pages.
const bufferSize = 64 * pg.BlockSize

// backup is one Write.
type backup struct {
	t      *pageserver.Timeline
	o      Options
	report Report
	items  []item // in the order they are written
	total  int64  // bytes in files
	done   int64  // of them, bytes written

	buf    []byte // what is filled of it waits to be written to out
	filled int
	out    io.Writer
}

// item is one folder, link or file of the directory. The zero value of all but name is a folder.
type item struct {
	name string // from the data directory, with slashes
	link string // where a link leads
	size int64  // bytes
	// write puts a file's content, size bytes, with put or skip.
	write func(ctx context.Context) error
}

func (b *backup) write(ctx context.Context, target Target) error {
	last := len(b.items) - 1 // pg_control
	for i := range b.items {
		if i == last {
			if err := target.sync(); err != nil {
				return err
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := b.item(ctx, target, &b.items[i]); err != nil {
			return fmt.Errorf("%s: %w", b.items[i].name, err)
		}
	}
	return target.finish()
}

func (b *backup) item(ctx context.Context, target Target, it *item) error {
	switch {
	case it.link != "":
		return target.link(it.name, it.link)
	case it.write == nil:
		return target.folder(it.name)
	}
	f, err := target.file(it.name, it.size)
	if err != nil {
		return err
	}
	b.out, b.filled = f, 0
	began := b.done
	if err = it.write(ctx); err == nil {
		err = b.flush()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if n := b.done - began; n != it.size {
		return fmt.Errorf("BUG: %d bytes written of %d", n, it.size)
	}
	return nil
}

// room is the part of the buffer that the next n bytes go into; they are written later.
func (b *backup) room(n int) ([]byte, error) {
	if b.filled+n > len(b.buf) {
		if err := b.flush(); err != nil {
			return nil, err
		}
	}
	b.filled += n
	return b.buf[b.filled-n : b.filled], nil
}

// put writes data.
func (b *backup) put(data []byte) error {
	for len(data) > 0 {
		part := data[:min(len(data), len(b.buf))]
		into, err := b.room(len(part))
		if err != nil {
			return err
		}
		copy(into, part)
		data = data[len(part):]
	}
	return nil
}

// zeros writes n zeros.
func (b *backup) zeros(ctx context.Context, n int64) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		part := min(n, int64(len(b.buf)))
		into, err := b.room(int(part))
		if err != nil {
			return err
		}
		clear(into)
		n -= part
	}
	return nil
}

// flush writes what waits.
func (b *backup) flush() error {
	n, err := b.out.Write(b.buf[:b.filled])
	b.filled = 0
	b.done += int64(n)
	if b.o.Progress != nil && n > 0 {
		b.o.Progress(b.done, b.total)
	}
	return err
}
