package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
	"golang.org/x/sync/errgroup"
)

// beginAttempts bounds the race of several writers for the next epoch.
const beginAttempts = 100

// Begin fences every older writer, reads what is published, and returns it. It may be called again after an error.
func (c *Catalog) Begin(ctx context.Context) (lake.Head, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.writer = nil
	w, err := c.takeEpoch(ctx)
	if err != nil {
		return lake.Head{}, fmt.Errorf("begin writing the lake: %w", err)
	}
	head, err := c.load(ctx, w)
	if err != nil {
		return lake.Head{}, fmt.Errorf("read the published lake: %w", err)
	}
	c.writer = w
	c.startMaintenance()
	c.pointAll()
	return head, nil
}

// takeEpoch writes an epoch entry at the end of the log.
func (c *Catalog) takeEpoch(ctx context.Context) (*writer, error) {
	for range beginAttempts {
		if err := c.refresh(ctx); err != nil {
			return nil, err
		}
		c.mu.RLock()
		e := journal.Entry{
			Seq: c.state.seq + 1, Epoch: c.state.epoch + 1, Nonce: uuid.New(), Kind: journal.KindEpoch, Time: c.opts.Now(),
		}
		c.mu.RUnlock()
		err := c.log.Append(ctx, &e)
		var taken *journal.TakenError
		var passed *journal.PassedError
		switch {
		case errors.As(err, &taken):
			continue
		case errors.As(err, &passed):
			if err := c.reload(ctx); err != nil {
				return nil, err
			}
			continue
		case err != nil:
			return nil, err
		}
		c.mu.Lock()
		err = c.state.apply(&e)
		c.mu.Unlock()
		if err != nil {
			return nil, err
		}
		return c.newWriter(ctx, &e)
	}
	return nil, fmt.Errorf("other writers took %d epochs in a row", beginAttempts)
}

// newWriter reads back what a writer needs of the log: the entries since the newest checkpoint.
func (c *Catalog) newWriter(ctx context.Context, e *journal.Entry) (*writer, error) {
	at, err := c.log.EntryTime(ctx, e.Seq)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, lake.ErrFenced // a later writer's checkpoint has taken it in
	}
	if err != nil {
		return nil, err
	}
	cp, entries, err := c.log.Load(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(entries); n == 0 || entries[n-1].Nonce != e.Nonce {
		return nil, lake.ErrFenced
	}
	return &writer{
		epoch: e.Epoch, begun: c.opts.Now(), epochAt: at, tables: map[lake.TableID]*table.Table{},
		entries: entries, segments: cp.Segments,
	}, nil
}

// load reads all live tables and the materializer's states.
func (c *Catalog) load(ctx context.Context, w *writer) (lake.Head, error) {
	c.mu.RLock()
	s := c.state
	head := lake.Head{LSN: s.head().LSN, Timeline: s.timeline, SystemID: s.systemID}
	blob := s.blob
	var recs []journal.Table
	for _, t := range s.names {
		recs = append(recs, t.rec)
	}
	c.mu.RUnlock()
	slices.SortFunc(recs, func(a, b journal.Table) int { return compareIDs(a.ID(), b.ID()) })
	var err error
	if head.State, err = c.readBlob(ctx, blob); damaged(err) {
		c.opts.Logger.Error("the state of the lake is lost; its tables are not", "error", err)
		head.State, err = nil, nil
	}
	if err != nil {
		return head, err
	}
	tables, heads, err := c.loadTables(ctx, recs)
	if err != nil {
		return lake.Head{}, err
	}
	head.Tables = heads
	for _, t := range tables {
		w.tables[t.ID()] = t
		c.upkeep.measure(t, table.Effort{})
	}
	return head, nil
}

// loadTables reads tables as of their records, side by side. One whose objects or state are damaged is salvaged, and says so.
func (c *Catalog) loadTables(ctx context.Context, recs []journal.Table) ([]*table.Table, []lake.TableHead, error) {
	tables, heads := make([]*table.Table, len(recs)), make([]lake.TableHead, len(recs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opts.Workers)
	for i := range recs {
		g.Go(func() error {
			rec := &recs[i]
			t, err := table.Load(ctx, c.opts.Store, rec.ID(), rec.Metadata)
			lost := err
			if damaged(err) {
				t, err = table.Salvage(ctx, c.opts.Store, rec.ID(), rec.Metadata, rec.UUID)
			}
			if err != nil {
				return fmt.Errorf("table %s: %w", rec.TableName(), err)
			}
			state, err := c.readBlob(ctx, rec.State)
			if damaged(err) {
				lost, err = errors.Join(lost, err), nil
			}
			if err != nil {
				return fmt.Errorf("table %s: %w", rec.TableName(), err)
			}
			tables[i] = t
			layout, lastPartitionID := t.Layout()
			heads[i] = lake.TableHead{
				ID: rec.ID(), Name: rec.TableName(), UUID: t.UUID(), Schema: t.Schema(), LSN: rec.LSN,
				Format: t.Format(), Specs: t.Specs(), Layout: layout, LastPartitionID: lastPartitionID, Data: t.Data(), Deletes: t.Deletes(), Vectors: t.Vectors(), State: state, Damaged: lost,
			}
			return nil
		})
	}
	return tables, heads, g.Wait()
}

// damaged says whether objects of one table are to blame, not the way to them: the others go on without it.
func damaged(err error) bool {
	return errors.Is(err, journal.ErrCorrupt) || errors.Is(err, objstore.ErrNotFound)
}

func (c *Catalog) readBlob(ctx context.Context, b *journal.Blob) ([]byte, error) {
	if b == nil {
		return nil, nil
	}
	data := b.Inline
	if b.Key != "" {
		var err error
		if data, _, err = c.opts.Store.Get(ctx, b.Key); err != nil {
			return nil, err
		}
	}
	return data, b.Check(data)
}

// put writes an object whose name is ours alone: putting it twice is harmless.
func (c *Catalog) put(ctx context.Context, key string, data []byte) error {
	for attempt := 0; ; attempt++ {
		_, err := c.opts.Store.Put(ctx, key, data)
		if err == nil || attempt == len(c.opts.Retries) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(c.opts.Retries[attempt]):
		}
	}
}
