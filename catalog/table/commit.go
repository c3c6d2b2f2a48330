package table

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Stamp is what all tables of one publication share.
type Stamp struct {
	Nonce      uuid.UUID
	Time       time.Time // of the snapshot; never before that of an earlier publication
	LSN        pg.LSN
	Timeline   pg.TimelineID
	SystemID   uint64
	CommitTime time.Time
	Engine     string // engine-version in the summary
	Branch     string // of the lake; empty for main

	Grace        time.Duration // snapshots superseded for longer leave
	SnapshotsMax int           // at most so many stay listed; >= 1
}

// Object is one to put.
type Object struct {
	Key  string
	Data []byte
}

// Commit is a table after a change that nobody sees yet.
type Commit struct {
	// Objects must be durable before the commit is made visible; their names are of this commit alone.
	Objects []Object
	// Changed is false if the table's metadata stays as it is, as with a mere rename.
	Changed bool

	table     *Table
	name      journal.Metadata
	meta      metadata
	schema    lake.Schema
	ice       *iceberg.Schema
	manifests []*manifest
	removed   []entry
	assigned  []entry // data files that got row ids
	renewed   bool    // former partition specs are gone, and with them the history: readers could make nothing of it
	totals    Totals
	expired   []snapshot
	heir      *snapshot // the oldest snapshot that stayed, if any expired
	jsonBytes int       // of its metadata.json
	rewritten int       // manifests that were read again and written into others
}

// Name names the metadata.json that becomes the table's.
func (c *Commit) Name() journal.Metadata { return c.name }

// Totals are the sums over live files after the commit.
func (c *Commit) Totals() Totals { return c.totals }

// change is a TableChange's effect on one kind of file.
type change struct {
	content iceberg.ManifestContent
	add     []entry
	remove  map[string]bool
}

// Prepare works out a change and encodes its objects. It reads the store only for sealed manifests that lose a file.
func (t *Table) Prepare(ctx context.Context, ch *lake.TableChange, st Stamp) (*Commit, error) {
	c := &Commit{table: t, name: t.name, meta: t.meta.clone(), schema: t.schema, ice: t.ice, manifests: t.manifests, totals: t.totals}
	if t.damaged {
		if !ch.ReplaceAll {
			if len(ch.AddData)+len(ch.AddDeletes)+len(ch.RemoveData)+len(ch.RemoveDeletes) > 0 {
				return nil, errDamaged
			}
			return c, nil // its name and state are in the caller's log
		}
		c.meta.forgetSnapshots()
	}
	if err := c.evolve(ch); err != nil {
		return nil, err
	}
	data, deletes, err := c.changes(ch)
	if err == nil {
		err = c.checkDeletes(deletes)
	}
	if err != nil {
		return nil, err
	}
	if ch.Create || t.damaged || len(data.add)+len(data.remove)+len(deletes.add)+len(deletes.remove) > 0 {
		if err := c.addSnapshot(ctx, st, ch, data, deletes); err != nil {
			return nil, err
		}
	}
	if !c.Changed {
		return c, nil
	}
	c.meta.LastUpdatedMS = max(c.meta.LastUpdatedMS, st.Time.UnixMilli())
	if c.renewed {
		st.SnapshotsMax = 1
	}
	c.expired, c.heir = c.meta.expire(c.meta.LastUpdatedMS-st.Grace.Milliseconds(), st.SnapshotsMax)
	if t.name.Version == math.MaxUint32 {
		return nil, errors.New("metadata versions are used up")
	}
	c.name = journal.Metadata{Version: t.name.Version + 1, Nonce: st.Nonce}
	b, err := c.meta.encode()
	if err != nil {
		return nil, err
	}
	c.jsonBytes = len(b)
	c.Objects = append(c.Objects, Object{Key: c.name.Key(t.id), Data: b})
	return c, nil
}

var errDamaged = errors.New("the table's metadata is lost or damaged: only a change that replaces all of its files can be made")

// evolve applies format version, schema, layout and properties.
func (c *Commit) evolve(ch *lake.TableChange) (err error) {
	if err := c.upgrade(ch.Format); err != nil {
		return err
	}
	had := c.schema
	if c.ice == nil || !ch.Schema.Equal(c.schema) {
		if err := checkSchema(ch.Schema); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
		if c.ice, err = c.meta.setSchema(ch.Schema); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
		c.Changed = true
	}
	c.schema = ch.Schema
	c.schema.LastColumnID = max(ch.Schema.LastColumnID, c.meta.LastColumnID)
	if c.schema.LastColumnID != c.meta.LastColumnID {
		c.meta.LastColumnID, c.Changed = c.schema.LastColumnID, true
	}
	if err := c.setLayout(ch, had); err != nil {
		return err
	}
	for k, v := range ch.Properties {
		if old, ok := c.meta.Properties[k]; !ok || old != v {
			c.meta.Properties[k], c.Changed = v, true
		}
	}
	return nil
}

// changes checks a change's files against the live ones.
func (c *Commit) changes(ch *lake.TableChange) (data, deletes change, err error) {
	t := c.table
	data = change{content: iceberg.ManifestContentData, remove: map[string]bool{}}
	deletes = change{content: iceberg.ManifestContentDeletes, remove: map[string]bool{}}
	if ch.ReplaceAll {
		for id, m := range t.index {
			if m.content == iceberg.ManifestContentData {
				data.remove[id] = true
			} else {
				deletes.remove[id] = true
			}
		}
	}
	for _, r := range []struct {
		keys []string
		to   *change
	}{{ch.RemoveData, &data}, {ch.RemoveDeletes, &deletes}} {
		for _, key := range r.keys {
			if m := t.index[key]; m == nil || m.content != r.to.content {
				return data, deletes, fmt.Errorf("%s file %s is to be removed and is not live", r.to.content, key)
			}
			r.to.remove[key] = true
		}
	}
	fresh := map[string]bool{}
	add := func(to *change, f lake.File, content iceberg.ManifestEntryContent) error {
		if t.index[f.Key] != nil || fresh[f.Key] {
			return fmt.Errorf("file %s is added twice", f.Key)
		}
		fresh[f.Key] = true
		e, err := c.newEntry(f, content, t.store.URL(f.Key))
		to.add = append(to.add, e)
		return err
	}
	for _, f := range ch.AddData {
		if err := add(&data, f, iceberg.EntryContentData); err != nil {
			return data, deletes, err
		}
	}
	for _, f := range ch.AddDeletes {
		if err := add(&deletes, f.File, iceberg.EntryContentPosDeletes); err != nil {
			return data, deletes, err
		}
	}
	return data, deletes, c.changeVectors(ch, &data, &deletes)
}

// addSnapshot encodes manifests and their list, and lists the new snapshot.
func (c *Commit) addSnapshot(ctx context.Context, st Stamp, ch *lake.TableChange, data, deletes change) error {
	t, m := c.table, &c.meta
	id := snapshotID(st.Nonce, t.id)
	snap := snapshot{
		ID:             id,
		SequenceNumber: m.LastSequenceNumber + 1,
		TimestampMS:    max(m.LastUpdatedMS, st.Time.UnixMilli()),
		SchemaID:       m.CurrentSchemaID,
	}
	parent := m.current()
	if parent != nil {
		snap.ParentID = parent.ID
	}
	wr := writer{
		commit: c, nonce: st.Nonce,
		stamp: stamp{snapshotID: id, parentID: snap.ParentID, sequence: snap.SequenceNumber, schema: c.ice, meta: m, format: m.FormatVersion},
	}
	if m.NextRowID != nil {
		wr.stamp.nextRowID = *m.NextRowID
	}
	c.manifests = nil
	for _, one := range []change{data, deletes} {
		if err := wr.rewrite(ctx, one); err != nil {
			return err
		}
	}
	c.rewritten = wr.replaced
	list := fmt.Sprintf("%s/metadata/snap-%d-%s.avro", t.id.Root(), id, st.Nonce)
	b, err := encodeList(wr.stamp, c.manifests)
	if err != nil {
		return err
	}
	c.Objects = append(c.Objects, Object{Key: list, Data: b})
	if err := c.assignRowIDs(&snap, list, b); err != nil {
		return err
	}
	snap.ManifestList = t.store.URL(list)
	snap.Summary = c.summary(st, ch, &wr)
	if err := snap.seal(); err != nil {
		return err
	}
	if parent != nil {
		parent.drops = c.dropsOfParent(parent)
	}
	m.LastSequenceNumber, m.LastUpdatedMS = snap.SequenceNumber, snap.TimestampMS
	m.CurrentSnapshotID = id
	m.Refs["main"] = ref{SnapshotID: id, Type: "branch"}
	m.Snapshots = append(m.Snapshots, snap)
	m.SnapshotLog = append(m.SnapshotLog, logEntry{TimestampMS: snap.TimestampMS, SnapshotID: id})
	c.Changed = true
	return nil
}

// dropsOfParent are the keys that the parent needs and the new snapshot does not.
func (c *Commit) dropsOfParent(parent *snapshot) []string {
	keep := make(map[string]bool, len(c.manifests))
	for _, m := range c.manifests {
		keep[m.key] = true
	}
	var drops []string
	if key, ok := c.table.store.Key(parent.ManifestList); ok {
		drops = append(drops, key)
	}
	for _, m := range c.table.manifests {
		if !keep[m.key] {
			drops = append(drops, m.key)
		}
	}
	return append(drops, c.removedKeys()...)
}

// snapshotID derives a positive id from what is unique about the snapshot.
func snapshotID(nonce uuid.UUID, id lake.TableID) int64 {
	h := fnv.New64a()
	h.Write(nonce[:])
	var b [16]byte
	binary.LittleEndian.PutUint32(b[:], uint32(id.DB))
	binary.LittleEndian.PutUint32(b[4:], uint32(id.Rel))
	binary.LittleEndian.PutUint64(b[8:], uint64(id.Incarnation))
	h.Write(b[:])
	return int64(h.Sum64()&math.MaxInt64 | 1)
}

// Garbage is what a commit made superfluous: nobody who loads the table from now on needs Keys.
type Garbage struct {
	Keys []string
	// Later lists the keys that could not be told without reading the store; to be called before Keys are removed.
	Later func(context.Context) ([]string, error)
}

// Adopt makes the commit the table's state. It must be called once, and only if the commit is visible.
func (c *Commit) Adopt() Garbage {
	t := c.table
	if !c.Changed {
		return Garbage{}
	}
	var g Garbage
	if t.name.Version > 0 {
		g.Keys = append(g.Keys, t.name.Key(t.id))
	}
	g.Later = c.expiredDrops(&g.Keys)
	for _, e := range c.removed {
		delete(t.index, e.id())
		t.countVector(&e, -1)
	}
	t.damaged = false
	t.name, t.meta, t.schema, t.ice, t.totals, t.jsonBytes = c.name, c.meta, c.schema, c.ice, c.totals, c.jsonBytes
	old := make(map[*manifest]bool, len(t.manifests))
	for _, m := range t.manifests {
		old[m] = true
	}
	t.manifests = c.manifests
	for _, m := range t.manifests {
		if old[m] {
			continue
		}
		for _, e := range m.entries {
			t.index[e.id()] = m
			if e.snapshotID == t.meta.CurrentSnapshotID {
				t.countVector(&e, 1)
			}
		}
		if m.sealed() {
			m.unload()
		}
	}
	return g
}

// expiredDrops adds to keys what expired snapshots alone needed, and returns a function that works out what it is for
// those that were committed before this process began, which need reading.
func (c *Commit) expiredDrops(keys *[]string) func(context.Context) ([]string, error) {
	type pair struct{ s, next snapshot }
	var unknown []pair
	for i, s := range c.expired {
		next := c.heir
		if i+1 < len(c.expired) {
			next = &c.expired[i+1]
		}
		if s.drops != nil {
			*keys = append(*keys, s.drops...)
		} else {
			unknown = append(unknown, pair{s, *next})
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	reader := &Table{store: c.table.store, id: c.table.id}
	return func(ctx context.Context) ([]string, error) {
		var all []string
		for _, p := range unknown {
			drops, err := reader.dropsOf(ctx, &p.s, &p.next)
			if err != nil && !errors.Is(err, objstore.ErrNotFound) {
				return all, err
			}
			all = append(all, drops...)
		}
		return all, nil
	}
}
