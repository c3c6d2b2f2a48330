package materialize

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
)

// published0 is the other side of lake.Publisher: it holds what was published as heads, and can fail before or after a
// publication takes effect.
type published0 struct {
	t      testing.TB
	head   lake.Head
	tables map[lake.TableID]*lake.TableHead
	change func(*lake.Publication) // a planted fault
	fail   error                   // of the next Publish
	lose   bool                    // it takes effect all the same
	begun  bool
	last   lake.Publication
	before map[lake.TableID]*lake.TableHead // the last publication

	sequence int64
	nextID   map[lake.TableID]int64
}

func (p *published0) Begin(context.Context) (lake.Head, error) {
	p.begun = true
	h := p.head
	h.Tables = nil
	for _, t := range p.tables {
		c := *t
		c.Data, c.Deletes, c.Vectors = slices.Clone(t.Data), slices.Clone(t.Deletes), slices.Clone(t.Vectors)
		h.Tables = append(h.Tables, c)
	}
	return h, nil
}

var errPublish = errors.New("the store did not answer")

func (p *published0) Publish(_ context.Context, pub lake.Publication) error {
	if !p.begun {
		return errors.New("Publish without Begin")
	}
	if pub.LSN < p.head.LSN && pub.Timeline <= p.head.Timeline {
		return fmt.Errorf("the lake is at %s already", p.head.LSN)
	}
	err := p.fail
	p.fail = nil
	if pub.Durable != nil {
		if err := pub.Durable(); err != nil {
			p.begun = false
			return err
		}
	}
	if err != nil {
		p.begun = false
		if !p.lose {
			return err
		}
	}
	p.last = pub
	if p.change != nil {
		p.change(&pub)
	}
	if e := p.apply(pub); e != nil {
		return e
	}
	return err
}

func (p *published0) apply(pub lake.Publication) error {
	next := maps.Clone(p.tables)
	p.sequence++
	for _, ch := range pub.Tables {
		if ch.Drop {
			delete(next, ch.ID)
			continue
		}
		t := &lake.TableHead{ID: ch.ID, UUID: ch.UUID}
		if old := next[ch.ID]; old != nil {
			if ch.Create {
				return fmt.Errorf("table %s is created twice", ch.Name)
			}
			*t = *old
		} else if !ch.Create {
			return fmt.Errorf("table %s is not in the lake", ch.Name)
		}
		t.Name, t.Schema, t.State, t.LSN = ch.Name, ch.Schema, ch.State, pub.LSN
		if ch.ReplaceAll {
			t.Data, t.Deletes, t.Damaged = nil, nil, nil
		}
		for _, k := range ch.RemoveData {
			if !slices.ContainsFunc(t.Data, func(f lake.File) bool { return f.Key == k }) {
				return fmt.Errorf("data file %s is not live", k)
			}
		}
		for _, k := range ch.RemoveDeletes {
			if !slices.Contains(t.Deletes, k) {
				return fmt.Errorf("delete file %s is not live", k)
			}
		}
		t.Data = slices.DeleteFunc(slices.Clone(t.Data), func(f lake.File) bool { return slices.Contains(ch.RemoveData, f.Key) })
		t.Deletes = slices.DeleteFunc(slices.Clone(t.Deletes), func(k string) bool { return slices.Contains(ch.RemoveDeletes, k) })
		t.Data = append(t.Data, ch.AddData...)
		for _, d := range ch.AddDeletes {
			t.Deletes = append(t.Deletes, d.Key)
		}
		if err := p.applyFormat(t, &ch); err != nil {
			return err
		}
		next[ch.ID] = t
	}
	names := map[lake.TableName]bool{}
	for _, t := range next {
		if names[t.Name] {
			return fmt.Errorf("two tables are named %s", t.Name)
		}
		names[t.Name] = true
	}
	p.before, p.tables = p.tables, next
	p.head.LSN, p.head.Timeline, p.head.State = pub.LSN, pub.Timeline, pub.State
	return nil
}

// rows reads every table as an engine would: data files without the deleted positions.
func (p *published0) rows(store objstore.Store) map[string][]string {
	out := map[string][]string{}
	for _, t := range p.tables {
		deleted := map[string]func(uint32) bool{}
		for _, key := range t.Deletes {
			m, err := datafile.ReadPositionDeletes(p.get(store, key))
			if err != nil {
				p.t.Fatal(err)
			}
			for path, pos := range m {
				before := deleted[path]
				deleted[path] = func(n uint32) bool { return pos.Contains(n) || before != nil && before(n) }
			}
		}
		for _, v := range t.Vectors { // where a file has one, nothing else counts
			deleted[store.URL(v.Data)] = p.vector(store, t, v).Contains
		}
		rows := []string{}
		for _, f := range t.Data {
			for i, row := range p.read(store, f.Key, t.Schema) {
				if d := deleted[store.URL(f.Key)]; d == nil || !d(uint32(i)) {
					rows = append(rows, row)
				}
			}
		}
		slices.Sort(rows)
		out[t.Name.String()] = rows
	}
	return out
}

func (p *published0) get(store objstore.Store, key string) []byte {
	b, _, err := store.Get(context.Background(), key)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// read gives a data file's rows as the current schema sees them, by field id, columns joined with |.
func (p *published0) read(store objstore.Store, key string, schema lake.Schema) []string {
	r, err := file.NewParquetReader(bytes.NewReader(p.get(store, key)))
	if err != nil {
		p.t.Fatal(err)
	}
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	if err != nil {
		p.t.Fatal(err)
	}
	tbl, err := fr.ReadTable(context.Background())
	if err != nil {
		p.t.Fatal(err)
	}
	rows := make([]string, tbl.NumRows())
	for n, f := range schema.Fields {
		col := -1
		for i := range int(tbl.NumCols()) {
			if id, ok := tbl.Schema().Field(i).Metadata.GetValue("PARQUET:field_id"); ok && id == fmt.Sprint(f.ID) {
				col = i
			}
		}
		i := 0
		put := func(s string) {
			if n > 0 {
				rows[i] += "|"
			}
			rows[i] += s
			i++
		}
		if col < 0 {
			for range rows {
				put("(null)")
			}
			continue
		}
		for _, chunk := range tbl.Column(col).Data().Chunks() {
			for j := range chunk.Len() {
				put(chunk.ValueStr(j))
			}
		}
	}
	return rows
}

// rig is a server, a lake and the engine between them.
type rig struct {
	t     testing.TB
	srv   *server
	pages Pages // srv, or a wrapper with a planted fault
	lake  *published0
	store *objstore.Faulty
	eng   *Engine
	dir   string

	fileBytes   int64 // of the engine, if not 0: 1 makes every file a large one
	format      int   // Iceberg format version that the configuration wants
	shared      bool  // deletion vectors share objects
	parquet     bool  // the data files are of one schema
	copyOnWrite bool  // tables have no deletes beside their data files

	history bool                      // tables have histories
	seen    map[lake.TableID][]string // rows of tables with a history at the last publication that was compared
	seenAt  pg.LSN
}

func newRig(t testing.TB, dir string) *rig {
	s := newServer(t)
	r := &rig{t: t, srv: s, pages: s, store: objstore.NewFaulty(objstore.NewMem()), dir: dir, lake: &published0{t: t, tables: map[lake.TableID]*lake.TableHead{}}}
	r.start()
	return r
}

// start makes an engine over what is published, as after a crash: what was taken for a cut that was not confirmed is
// dirty again.
func (r *rig) start() {
	if r.eng != nil {
		if err := r.eng.Close(); err != nil {
			r.t.Fatal(err)
		}
		r.srv.ReturnDirty()
		r.srv.commits = maps.Clone(r.srv.ended) // redo begins anew before what is published
	}
	var err error
	r.eng, err = New(context.Background(), Options{Store: r.store, Publisher: r.lake, ToastDir: r.dir, MemoryBytes: 64 << 20, Workers: 2,
		History: func(lake.TableName) bool { return r.history },
		Format:  func(lake.TableName) TableFormat { return TableFormat{r.format, r.shared, r.copyOnWrite, r.parquet} }})
	if err != nil {
		r.t.Fatal(err)
	}
	if r.fileBytes != 0 {
		r.eng.fileBytes = r.fileBytes
	}
	r.eng.SetLCMonetary("C")
	r.eng.Attach(r.pages)
}

func (r *rig) close() {
	if err := r.eng.Close(); err != nil {
		r.t.Error(err)
	}
}

func (r *rig) tryCut() (CutResult, error) {
	res, err := r.eng.Cut(context.Background(), CutPoint{LSN: r.srv.lsn, Resume: 1, Timeline: 1, SystemID: 1})
	if res.Published {
		r.sameRowsHold(&published0{t: r.lake.t, tables: r.lake.before})
	}
	return res, err
}

// sameRowsHold compares the rows of tables that the last publication says have the rows that they had, read by the same schema.
func (r *rig) sameRowsHold(before *published0) {
	r.t.Helper()
	var had, have map[string][]string
	for _, ch := range r.lake.last.Tables {
		if !ch.SameRows || !ch.Schema.Equal(before.tables[ch.ID].Schema) {
			continue
		}
		if had == nil {
			had, have = before.rows(r.store.Store), r.lake.rows(r.store.Store) // faults are for the engine
		}
		if was, is := had[before.tables[ch.ID].Name.String()], have[ch.Name.String()]; !slices.Equal(was, is) {
			r.t.Errorf("%s had %q and has %q: not the same rows, as published", ch.Name, was, is)
		}
	}
}

func (r *rig) cut() CutResult {
	r.t.Helper()
	res, err := r.tryCut()
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// differs compares the lake with the server's rows, tables named in skip left out; empty when they are equal.
func (r *rig) differs(skip ...string) string {
	want, got := r.srv.want(), r.lake.rows(r.store)
	for _, name := range skip {
		delete(want, name)
		delete(got, name)
	}
	maps.DeleteFunc(got, func(name string, _ []string) bool { return strings.HasSuffix(name, HistorySuffix) })
	for name := range want {
		if !slices.Equal(want[name], got[name]) || (got[name] == nil) {
			return fmt.Sprintf("%s: lake has %q, server %q", name, got[name], want[name])
		}
	}
	for name := range got {
		if want[name] == nil {
			return fmt.Sprintf("%s is in the lake and not on the server", name)
		}
	}
	return ""
}

func (r *rig) equal(skip ...string) {
	r.t.Helper()
	if d := r.differs(skip...); d != "" {
		r.t.Error(d)
	}
}

// status is one table's.
func (r *rig) status(name string) TableStatus {
	for _, s := range r.eng.Status() {
		if s.Name == "app.public."+name {
			return s
		}
	}
	return TableStatus{}
}

var _ Pages = (*server)(nil)
var _ lake.Publisher = (*published0)(nil)
