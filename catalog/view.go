package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// ErrNoDatabase: no table of that database is or was in the lake within the retained history.
var ErrNoDatabase = errors.New("no such database in the lake")

// AheadError: nothing was published at or above that LSN yet.
type AheadError struct {
	LSN, Published pg.LSN
}

func (e *AheadError) Error() string {
	return fmt.Sprintf("LSN %s is not published yet; the lake is at %s: wait for it with tarn wait --lsn %s", e.LSN, e.Published, e.LSN)
}

// ExpiredError: the publication in force at that LSN is no longer kept.
type ExpiredError struct {
	LSN, Oldest pg.LSN
}

func (e *ExpiredError) Error() string {
	return fmt.Sprintf("LSN %s is older than the retained history, which begins at %s", e.LSN, e.Oldest)
}

// Publication is one step of the whole lake.
type Publication struct {
	Seq        uint64    `json:"seq"` // of the catalog log
	LSN        pg.LSN    `json:"lsn"`
	CommitTime time.Time `json:"commit_time,omitzero"` // of the last transaction at or below LSN
	Time       time.Time `json:"time"`                 // when it was published
}

// View reads what is published. It may be used by many goroutines and is always current.
type View struct {
	c *Catalog
}

// Head describes the newest publication.
type Head struct {
	Publication
	Epoch    uint64        `json:"epoch"`
	Timeline pg.TimelineID `json:"timeline"`
	SystemID uint64        `json:"system_id,string"`
}

// Head is the newest publication; its LSN is zero when there is none.
func (v View) Head() Head {
	v.c.mu.RLock()
	defer v.c.mu.RUnlock()
	s := v.c.state
	return Head{Publication: s.head(), Epoch: s.epoch, Timeline: s.timeline, SystemID: s.systemID}
}

// Publications lists those that can still be read, oldest first.
func (v View) Publications() []Publication {
	v.c.mu.RLock()
	defer v.c.mu.RUnlock()
	return slices.Clone(v.c.state.pubs)
}

// Databases lists the databases that have a table now, sorted.
func (v View) Databases() []string {
	v.c.mu.RLock()
	defer v.c.mu.RUnlock()
	var names []string
	for name, tables := range v.c.state.databases {
		for _, t := range tables {
			if !t.rec.Dropped && t.rec.Database == name {
				names = append(names, name)
				break
			}
		}
	}
	slices.Sort(names)
	return names
}

// TableStatus is a live table as last published.
type TableStatus struct {
	ID          lake.TableID
	Name        lake.TableName
	UUID        string
	LSN         pg.LSN // of the publication that last changed it
	Rows        int64
	Bytes       int64 // of data and delete files
	DataFiles   int64
	DeleteFiles int64
	Metadata    string // location of its metadata.json
}

// Tables lists the live tables, sorted by name.
func (v View) Tables() []TableStatus {
	v.c.mu.RLock()
	defer v.c.mu.RUnlock()
	list := make([]TableStatus, 0, len(v.c.state.names))
	for name, t := range v.c.state.names {
		r := &t.rec
		list = append(list, TableStatus{
			ID: r.ID(), Name: name, UUID: r.UUID, LSN: r.LSN, Rows: r.Rows, Bytes: r.Bytes,
			DataFiles: r.DataFiles, DeleteFiles: r.DeleteFiles, Metadata: v.c.opts.Store.URL(r.Metadata.Key(r.ID())),
		})
	}
	slices.SortFunc(list, func(a, b TableStatus) int { return compareNames(a.Name, b.Name) })
	return list
}

// Cut is one database at one publication: every table as it was then.
type Cut struct {
	Publication
	Database string

	c      *Catalog
	branch *state // of its lake, which does not change; nil for main
}

// state is what the cut is of. Under mu.
func (c Cut) state() *state {
	if c.branch != nil {
		return c.branch
	}
	return c.c.state
}

// Newest is a database at the head. ErrNoDatabase if it has no tables.
func (v View) Newest(database string) (Cut, error) {
	v.c.mu.RLock()
	defer v.c.mu.RUnlock()
	return v.cut(database, v.c.state.head())
}

// At is a database at the last publication at or below lsn: *AheadError, *ExpiredError or ErrNoDatabase if there is none.
func (v View) At(database string, lsn pg.LSN) (Cut, error) {
	v.c.mu.RLock()
	defer v.c.mu.RUnlock()
	if _, err := v.cut(database, Publication{}); err != nil {
		return Cut{}, err
	}
	if head := v.c.state.head(); head.Seq != 0 && lsn > head.LSN && lsn <= v.c.reached {
		return v.cut(database, head)
	}
	p, err := v.c.state.publicationAt(lsn)
	if err != nil {
		return Cut{}, err
	}
	return v.cut(database, p)
}

func (v View) cut(database string, p Publication) (Cut, error) {
	if len(v.c.state.databases[database]) == 0 {
		return Cut{}, fmt.Errorf("%w: %q", ErrNoDatabase, database)
	}
	return Cut{Publication: p, Database: database, c: v.c}, nil
}

// TableVersion is a table at a cut.
type TableVersion struct {
	ID   lake.TableID
	Name lake.TableName
	LSN  pg.LSN // of the publication that last changed it
	Key  string // of its metadata.json
	URL  string // where engines find that

	meta journal.Metadata
}

// MetadataName names its metadata.json, for table.Load.
func (t TableVersion) MetadataName() journal.Metadata { return t.meta }

// each calls fn for every table of the cut.
func (c Cut) each(fn func(t *tableState, v version) bool) {
	c.c.mu.RLock()
	defer c.c.mu.RUnlock()
	for _, t := range c.state().databases[c.Database] {
		if v, ok := t.at(c.Seq); ok && v.name.Database == c.Database && !fn(t, v) {
			return
		}
	}
}

// Namespaces lists the schemas that have a table, sorted.
func (c Cut) Namespaces() []string {
	seen := map[string]bool{}
	c.each(func(_ *tableState, v version) bool { seen[v.name.Namespace] = true; return true })
	return sortedKeys(seen)
}

// HasNamespace reports whether a schema has a table.
func (c Cut) HasNamespace(namespace string) bool {
	found := false
	c.each(func(_ *tableState, v version) bool { found = v.name.Namespace == namespace; return !found })
	return found
}

// Tables lists the tables of a schema, sorted.
func (c Cut) Tables(namespace string) []string {
	seen := map[string]bool{}
	c.each(func(_ *tableState, v version) bool {
		if v.name.Namespace == namespace {
			seen[v.name.Name] = true
		}
		return true
	})
	return sortedKeys(seen)
}

// Table finds a table by name.
func (c Cut) Table(namespace, name string) (tv TableVersion, ok bool) {
	want := lake.TableName{Database: c.Database, Namespace: namespace, Name: name}
	c.c.mu.RLock()
	if t := c.state().names[want]; t != nil {
		if v, live := t.at(c.Seq); live && v.name == want {
			tv, ok = c.c.tableVersion(t, v), true
		}
	}
	c.c.mu.RUnlock()
	if ok {
		return tv, true
	}
	c.each(func(t *tableState, v version) bool {
		if v.name == want {
			tv, ok = c.c.tableVersion(t, v), true
		}
		return !ok
	})
	return tv, ok
}

func (c *Catalog) tableVersion(t *tableState, v version) TableVersion {
	key := v.meta.Key(t.rec.ID())
	return TableVersion{ID: t.rec.ID(), Name: v.name, LSN: v.lsn, Key: key, URL: c.opts.Store.URL(key), meta: v.meta}
}

// Metadata returns a table's metadata.json. The bytes are shared: do not change them.
func (v View) Metadata(ctx context.Context, t TableVersion) ([]byte, error) {
	return v.c.metadata.get(ctx, t.Key)
}

// State returns what the materializer published with a table last; nil if the table is gone.
func (v View) State(ctx context.Context, id lake.TableID) ([]byte, error) {
	v.c.mu.RLock()
	var blob *journal.Blob
	if t := v.c.state.tables[id]; t != nil {
		blob = t.rec.State
	}
	v.c.mu.RUnlock()
	return v.c.readBlob(ctx, blob)
}

func sortedKeys(m map[string]bool) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func compareNames(a, b lake.TableName) int {
	return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

func compareIDs(a, b lake.TableID) int {
	return cmp.Or(cmp.Compare(a.DB, b.DB), cmp.Compare(a.Rel, b.Rel), cmp.Compare(a.Incarnation, b.Incarnation))
}

// Store is where the lake lies.
func (v View) Store() objstore.Store { return v.c.opts.Store }
