package catalog

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/materialize/lake"
	"golang.org/x/sync/errgroup"
)

// ErrNotBegun: Publish was called before Begin, or after a publication of which it is not known whether it happened.
var ErrNotBegun = errors.New("the catalog is not open for writing: call Begin")

// Publish makes p the head in two rounds of puts: all new objects of all tables at once, beside what p.Durable waits for,
// then the log entry.
func (c *Catalog) Publish(ctx context.Context, p lake.Publication) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.writer == nil {
		return ErrNotBegun
	}
	pub, err := c.prepare(ctx, &p)
	if err == nil && p.Durable != nil {
		err = p.Durable()
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", p.LSN, err)
	}
	if err := c.log.Append(ctx, &pub.entry); err != nil {
		c.writer = nil
		var taken *journal.TakenError
		var passed *journal.PassedError
		if errors.As(err, &taken) || errors.As(err, &passed) {
			return fmt.Errorf("publish %s: %w: %w", p.LSN, lake.ErrFenced, err)
		}
		return fmt.Errorf("publish %s: %w", p.LSN, err)
	}
	c.adopt(pub)
	return nil
}

// publication is one whose objects are in the store and whose entry is not.
type publication struct {
	entry   journal.Entry
	changes []tableChange
}

// tableChange is one table's part; commit is nil if the table is dropped.
type tableChange struct {
	change *lake.TableChange
	table  *table.Table
	commit *table.Commit
	rec    journal.Table
}

// prepare checks p against the head, and puts every object it needs.
func (c *Catalog) prepare(ctx context.Context, p *lake.Publication) (*publication, error) {
	c.mu.RLock()
	s := c.state
	head := s.head()
	pub := &publication{entry: journal.Entry{
		Seq: s.seq + 1, Epoch: c.writer.epoch, Nonce: uuid.New(), Kind: journal.KindPublish, Time: laterThan(head.Time, c.opts.Now()),
		SystemID: p.SystemID, Timeline: p.Timeline, LSN: p.LSN, CommitTime: p.CommitTime.UTC(),
	}}
	err := s.admits(p)
	if s.epoch != c.writer.epoch {
		err = lake.ErrFenced // seen by Refresh
	}
	if err == nil {
		err = c.lookup(pub, p)
	}
	sameState := s.blob.Same(p.State)
	c.mu.RUnlock()
	if err != nil {
		return nil, err
	}
	st := table.Stamp{
		Nonce: pub.entry.Nonce, Time: pub.entry.Time, LSN: p.LSN, Timeline: p.Timeline, SystemID: p.SystemID, CommitTime: p.CommitTime,
		Engine: c.opts.EngineVersion, Grace: c.opts.Grace, SnapshotsMax: c.opts.SnapshotsMax,
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(c.opts.Workers)
	if !sameState {
		pub.entry.State = c.blob(g, ctx, pub.entry.Nonce, 0, p.State)
	}
	for i := range pub.changes {
		t := &pub.changes[i]
		if !t.change.Drop && !t.rec.State.Same(t.change.State) {
			t.rec.State = c.blob(g, ctx, pub.entry.Nonce, i+1, t.change.State)
		} else {
			t.rec.State = nil
		}
		g.Go(func() error {
			if err := c.prepareTable(ctx, t, st, pub.entry.Seq); err != nil {
				return fmt.Errorf("table %s: %w", t.change.Name, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for i := range pub.changes {
		pub.entry.Tables = append(pub.entry.Tables, pub.changes[i].rec)
	}
	return pub, nil
}

// laterThan keeps the times of publications strictly ascending in milliseconds, so that a time names one of them.
func laterThan(last, now time.Time) time.Time {
	if floor := last.Add(time.Millisecond); now.Before(floor) {
		now = floor
	}
	return now.UTC().Truncate(time.Millisecond)
}

// admits checks that p can follow the head.
func (s *state) admits(p *lake.Publication) error {
	head := s.head()
	switch {
	case p.LSN == 0:
		return errors.New("a publication needs an LSN")
	case p.LSN < head.LSN && p.Timeline <= s.timeline: // else the source was taken back to where its newer timeline forked off
		return fmt.Errorf("the lake is at %s already", head.LSN)
	case head.Seq != 0 && p.SystemID != s.systemID:
		return fmt.Errorf("the lake belongs to the cluster with system identifier %d, this one has %d", s.systemID, p.SystemID)
	case p.Timeline < s.timeline:
		return fmt.Errorf("the lake is on WAL timeline %d, this is %d", s.timeline, p.Timeline)
	}
	return nil
}

// lookup finds p's tables and checks that the names after it are unique.
func (c *Catalog) lookup(pub *publication, p *lake.Publication) error {
	ids := map[lake.TableID]bool{}
	names := map[lake.TableName]lake.TableID{}
	for i := range p.Tables {
		ch := &p.Tables[i]
		if ids[ch.ID] {
			return fmt.Errorf("table %s changes twice in one publication", ch.Name)
		}
		ids[ch.ID] = true
		t := tableChange{change: ch, table: c.writer.tables[ch.ID]}
		known := c.state.tables[ch.ID]
		switch {
		case ch.Create && ch.Drop:
			return fmt.Errorf("table %s is created and dropped at once", ch.Name)
		case ch.Create && known != nil:
			return fmt.Errorf("table %s is created twice", ch.Name)
		case !ch.Create && t.table == nil:
			return fmt.Errorf("table %s is not in the lake", ch.Name)
		case ch.UUID != "" && t.table != nil && ch.UUID != t.table.UUID():
			return fmt.Errorf("table %s has the uuid %s, the change says %s", ch.Name, t.table.UUID(), ch.UUID)
		}
		if known != nil {
			t.rec = known.rec
			prev := known.rec.Version
			t.rec.Prev = &prev
		}
		if other, ok := names[ch.Name]; ok && !ch.Drop {
			return fmt.Errorf("tables %v and %v are both named %s", other, ch.ID, ch.Name)
		}
		if !ch.Drop {
			names[ch.Name] = ch.ID
		}
		pub.changes = append(pub.changes, t)
	}
	for name, id := range names {
		if t := c.state.names[name]; t != nil && !ids[t.rec.ID()] {
			return fmt.Errorf("tables %v and %v are both named %s", t.rec.ID(), id, name)
		}
	}
	return nil
}

// blob describes state bytes and puts them if they are many.
func (c *Catalog) blob(g *errgroup.Group, ctx context.Context, nonce uuid.UUID, n int, data []byte) *journal.Blob {
	b := journal.NewBlob(data, journal.StatePrefix+nonce.String()+"-"+strconv.Itoa(n))
	if b.Key != "" {
		g.Go(func() error { return c.put(ctx, b.Key, data) })
	}
	return b
}

// prepareTable encodes and puts one table's objects, and fills its record.
func (c *Catalog) prepareTable(ctx context.Context, t *tableChange, st table.Stamp, seq uint64) error {
	ch := t.change
	t.rec.DB, t.rec.Rel, t.rec.Incarnation = ch.ID.DB, ch.ID.Rel, ch.ID.Incarnation
	t.rec.Seq, t.rec.LSN = seq, st.LSN
	if ch.Drop {
		t.rec.Dropped, t.rec.DroppedAt = true, st.Time
		t.rec.Rows, t.rec.Bytes, t.rec.DataFiles, t.rec.DeleteFiles = 0, 0, 0, 0
		return nil
	}
	t.rec.Database, t.rec.Namespace, t.rec.Name = ch.Name.Database, ch.Name.Namespace, ch.Name.Name
	var err error
	if t.table == nil {
		if t.table, err = table.New(c.opts.Store, ch.ID, ch.UUID); err != nil {
			return err
		}
	}
	if t.commit, err = t.table.Prepare(ctx, ch, st); err != nil {
		return err
	}
	if err := c.putAll(ctx, t.commit.Objects); err != nil {
		return err
	}
	if !t.commit.Changed {
		return nil
	}
	n := t.commit.Totals()
	t.rec.UUID, t.rec.Metadata = t.table.UUID(), t.commit.Name()
	t.rec.Rows, t.rec.Bytes = n.LiveRows(), n.DataBytes+n.DeleteFileBytes
	t.rec.DataFiles, t.rec.DeleteFiles = n.DataFiles, n.DeleteFiles
	return nil
}

// putAll puts objects at once: none of them is reachable before the log entry, so their order does not matter.
func (c *Catalog) putAll(ctx context.Context, objects []table.Object) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(4, c.opts.Workers/4))
	for _, o := range objects {
		g.Go(func() error { return c.put(ctx, o.Key, o.Data) })
	}
	return g.Wait()
}

// adopt makes a durable publication the head in memory.
func (c *Catalog) adopt(pub *publication) {
	w := c.writer
	var dead []string
	var later []*laterKeys
	c.mu.Lock()
	if pub.entry.State != nil && c.state.blob != nil && c.state.blob.Key != "" {
		dead = append(dead, c.state.blob.Key)
	}
	for i := range pub.changes {
		t := &pub.changes[i]
		if known := c.state.tables[t.change.ID]; known != nil && known.rec.State != nil && known.rec.State.Key != "" && (t.rec.State != nil || t.change.Drop) {
			dead = append(dead, known.rec.State.Key)
		}
	}
	if err := c.state.apply(&pub.entry); err != nil {
		panic("BUG: our own catalog entry does not apply: " + err.Error())
	}
	c.state.trim(c.opts.Now().Add(-c.opts.Grace), false)
	c.reached = 0 // what was said of the former head
	c.mu.Unlock()
	for i := range pub.changes {
		t := &pub.changes[i]
		if t.commit == nil {
			delete(w.tables, t.change.ID)
			c.upkeep.forget(t.change.ID)
			continue
		}
		listed := t.table.Property(lake.ParquetProperty) == "true"
		g := t.commit.Adopt()
		if listed && t.table.Property(lake.ParquetProperty) != "true" {
			c.unlist(t.change.ID)
		}
		if t.change.Assigned != nil {
			t.commit.EachAssigned(t.change.Assigned)
		}
		dead = append(dead, g.Keys...)
		if g.Later != nil {
			later = append(later, &laterKeys{read: g.Later})
		}
		w.tables[t.change.ID] = t.table
		c.upkeep.measure(t.table, t.commit.Effort())
		if n := len(t.commit.Objects); n > 0 {
			c.metadata.add(t.commit.Objects[n-1].Key, t.commit.Objects[n-1].Data)
		}
	}
	for i := range pub.changes {
		if t := &pub.changes[i]; t.commit != nil && t.commit.Changed {
			c.point(&t.rec, t.table)
		}
	}
	w.entries = append(w.entries, pub.entry)
	c.garbage.add(pub.entry.Time, dead, later)
	c.wakeMaintenance()
}
