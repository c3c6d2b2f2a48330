package materialize

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Each publication that changes a table leaves a small file in its history. Many of them are written again as one, in a publication of
// its own at the same LSN: engines that read what was added from one snapshot to another pass over snapshots that only replace files,
// and would stop at one that does both.

// small says whether a file is one of those that are written again once there are many.
func (f *historyFile) small() bool { return f.rows < smallFileRows && f.bytes < fileBytesMin/4 }

// compactHistories writes the small files of histories that have many again. A failure leaves what the cut has published.
func (c *cut) compactHistories(ctx context.Context) error {
	if !c.res.Published {
		return nil
	}
	c.uploads = c.e.newUploads(ctx)
	p := lake.Publication{LSN: c.at.LSN, Timeline: c.at.Timeline, SystemID: c.at.SystemID, CommitTime: c.at.CommitTime, State: c.state, Durable: c.uploads.wait}
	var merged []*historyMerge
	g, gctx := errgroup.WithContext(c.uploads.ctx)
	for _, t := range c.e.tables {
		m := t.history.merge()
		if m == nil {
			continue
		}
		merged = append(merged, m)
		g.Go(func() error {
			select {
			case c.e.slots <- struct{}{}:
			case <-gctx.Done():
				return gctx.Err()
			}
			defer func() { <-c.e.slots }()
			if err := m.run(gctx, c); err != nil {
				return fmt.Errorf("%w: table %s: %w", ErrRetry, m.h.name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil || len(merged) == 0 {
		return c.uploads.cause(err)
	}
	for _, m := range merged {
		p.Tables = append(p.Tables, m.change)
	}
	if err := c.e.opts.Publisher.Publish(ctx, p); err != nil {
		return err
	}
	for _, m := range merged {
		m.h.files = append(m.kept, m.file)
	}
	return nil
}

// historyMerge writes small files of a history as one.
type historyMerge struct {
	h           *history
	small, kept []historyFile
	file        historyFile
	change      lake.TableChange
}

// merge is what there is to write again; nil if nothing is.
//
// Invariant: what comes of it is not small, or one of few that are.
func (h *history) merge() *historyMerge {
	if h == nil || h.damaged {
		return nil
	}
	m := &historyMerge{h: h}
	for _, f := range h.files {
		if f.small() {
			m.small = append(m.small, f)
		} else {
			m.kept = append(m.kept, f)
		}
	}
	if len(m.small) < smallFilesMax {
		return nil
	}
	return m
}

func (m *historyMerge) run(ctx context.Context, c *cut) error {
	var buf chunks
	size := c.e.fileBytes
	out, err := datafile.NewWriter(datafile.Options{Schema: m.h.schema, TargetBytes: size, RowGroupBytes: size / 2, BatchBytes: size / 2}, &buf)
	if err != nil {
		return err
	}
	m.change = lake.TableChange{ID: m.h.id, Name: m.h.name, UUID: m.h.uuid, Schema: m.h.schema, SameRows: true, State: historyState()}
	for _, f := range m.small {
		r, err := c.e.openRows(ctx, f.key, f.bytes)
		if err != nil {
			return err
		}
		positions := make([]uint32, f.rows)
		for i := range positions {
			positions[i] = uint32(i)
		}
		if err := r.Copy(positions, out.Columns(), 0, func(int) error { return out.EndRow() }); err != nil {
			return fmt.Errorf("%s: %w", f.key, err)
		}
		m.change.RemoveData = append(m.change.RemoveData, f.key)
	}
	slices.Sort(m.change.RemoveData)
	file, err := out.Close()
	if err != nil {
		return err
	}
	file.Key = objectKey(m.h.id, c.at.LSN, "", "changes", ".parquet")
	m.file = historyFile{key: file.Key, rows: file.Rows, bytes: file.Bytes}
	m.change.AddData = []lake.File{file}
	return c.uploads.put(ctx, file.Key, buf.take())
}

// openRows opens a data file of the lake.
func (e *Engine) openRows(ctx context.Context, key string, size int64) (*datafile.Reader, error) {
	var src io.ReaderAt = &objectReader{ctx, e.opts.Store, key}
	if size <= wholeBytes {
		b, _, err := e.opts.Store.Get(ctx, key)
		if err != nil {
			return nil, &storeErr{err}
		}
		src, size = bytes.NewReader(b), int64(len(b))
	}
	r, err := datafile.OpenReader(src, size)
	return r, pageError(err)
}

// wholeBytes is how large an object may be to be read with one request.
const wholeBytes = 4 << 20

// objectReader reads an object by ranges.
type objectReader struct {
	ctx   context.Context
	store objstore.Store
	key   string
}

// ReadAt implements io.ReaderAt.
func (o *objectReader) ReadAt(p []byte, off int64) (int, error) {
	b, err := o.store.GetRange(o.ctx, o.key, off, int64(len(p)))
	if err != nil {
		return 0, &storeErr{err}
	}
	if n := copy(p, b); n < len(p) {
		return n, io.EOF
	}
	return len(p), nil
}
