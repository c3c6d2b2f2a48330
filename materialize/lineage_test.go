package materialize

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tidset"
)

// applyFormat is what the catalog does for format version 3: one deletion vector a data file, and row ids.
func (p *published0) applyFormat(t *lake.TableHead, ch *lake.TableChange) error {
	if ch.Format != 0 && ch.Format < t.Format {
		return fmt.Errorf("table %s goes back to format version %d", ch.Name, ch.Format)
	}
	t.Format = max(t.Format, ch.Format, lake.FormatV2)
	live := func(key string) bool {
		return slices.ContainsFunc(t.Data, func(f lake.File) bool { return f.Key == key })
	}
	t.Vectors = slices.DeleteFunc(slices.Clone(t.Vectors), func(v lake.Vector) bool {
		return !live(v.Data) || slices.ContainsFunc(ch.AddVectors, func(w lake.Vector) bool { return w.Data == v.Data })
	})
	for _, v := range ch.AddVectors {
		if !live(v.Data) {
			return fmt.Errorf("a deletion vector of %s, which is not live", v.Data)
		}
		t.Vectors = append(t.Vectors, v)
	}
	if t.Format == lake.FormatV2 && len(t.Vectors) > 0 || t.Format == lake.FormatV3 && len(t.Deletes) > 0 {
		return fmt.Errorf("format version %d with %d delete files and %d deletion vectors", t.Format, len(t.Deletes), len(t.Vectors))
	}
	if t.Format == lake.FormatV2 {
		return nil
	}
	if p.nextID == nil {
		p.nextID = map[lake.TableID]int64{}
	}
	for i := range t.Data {
		f := &t.Data[i]
		if f.Lineage == nil {
			f.Lineage = &lake.Lineage{FirstRowID: p.nextID[t.ID], Sequence: p.sequence}
			p.nextID[t.ID] += f.Rows
			ch.Assigned(f.Key, *f.Lineage)
		}
	}
	return nil
}

func (p *published0) vector(store objstore.Store, t *lake.TableHead, v lake.Vector) *roaring.Bitmap {
	i := slices.IndexFunc(t.Data, func(f lake.File) bool { return f.Key == v.Data })
	set, err := datafile.ReadVector(p.get(store, v.Key), v, t.Data[i].Rows)
	if err != nil {
		p.t.Fatal(err)
	}
	return set
}

// rowIDs are the row ids of live rows in tables of format version 3, by what a row is: its table, relation file, TID and xmin.
type rowIDs map[string]rowID

type rowID struct{ id, sequence int64 }

// kept says which row that was and is there has another id.
func (before rowIDs) kept(now rowIDs) error {
	for key, id := range now {
		if had, ok := before[key]; ok && had != id {
			return fmt.Errorf("row %s had row id %d of sequence number %d, and has %d of %d", key, had.id, had.sequence, id.id, id.sequence)
		}
	}
	return nil
}

// rowIDs reads the row ids as an engine would: from the data file's column, else from what the catalog says of the file.
func (p *published0) rowIDs(store objstore.Store) (rowIDs, error) {
	out := rowIDs{}
	for _, t := range p.tables {
		if t.Format < lake.FormatV3 {
			continue
		}
		seen := map[int64]string{}
		for _, f := range t.Data {
			deleted := roaring.New()
			for _, v := range t.Vectors {
				if v.Data == f.Key {
					deleted = p.vector(store, t, v)
				}
			}
			set, err := tidset.Decode(p.get(store, tidsKey(f.Key)))
			if err != nil {
				return nil, err
			}
			own := p.ownIDs(store, f)
			pos := uint32(0)
			set.Each(func(tid pg.TID, xmin pg.XID) bool {
				id := rowID{f.Lineage.FirstRowID + int64(pos), f.Lineage.Sequence}
				if own != nil && own[pos].id >= 0 {
					id = own[pos]
				}
				if !deleted.Contains(pos) {
					key := fmt.Sprintf("%v %v %s xmin %d", t.ID, set.Source(), tid, xmin)
					if other, ok := seen[id.id]; ok {
						err = fmt.Errorf("rows %s and %s have one row id %d", other, key, id.id)
					}
					seen[id.id], out[key] = key, id
				}
				pos++
				return err == nil
			})
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// ownIDs reads the columns of row lineage of a data file; nil if it has none, an id of -1 where it is null.
func (p *published0) ownIDs(store objstore.Store, f lake.File) []rowID {
	r, err := file.NewParquetReader(bytes.NewReader(p.get(store, f.Key)))
	if err != nil {
		p.t.Fatal(err)
	}
	s := r.MetaData().Schema
	n := s.NumColumns()
	if n < 3 || s.Column(n-2).SchemaNode().FieldID() != 2147483540 || s.Column(n-1).SchemaNode().FieldID() != 2147483539 {
		return nil
	}
	var out []rowID
	for g := range r.NumRowGroups() {
		rows := int(r.RowGroup(g).NumRows())
		columns := [2][]int64{p.longs(r.RowGroup(g), n-2, rows), p.longs(r.RowGroup(g), n-1, rows)}
		for i := range rows {
			out = append(out, rowID{id: columns[0][i], sequence: columns[1][i]})
		}
	}
	return out
}

// longs reads an optional column of a row group; null is -1.
func (p *published0) longs(g *file.RowGroupReader, column, rows int) []int64 {
	c, err := g.Column(column)
	if err != nil {
		p.t.Fatal(err)
	}
	values, def := make([]int64, rows), make([]int16, rows)
	var out []int64
	for len(out) < rows {
		n, _, err := c.(*file.Int64ColumnChunkReader).ReadBatch(int64(rows-len(out)), values, def, nil)
		if err != nil || n == 0 {
			p.t.Fatal(n, err)
		}
		next := 0
		for _, d := range def[:n] {
			if d == 0 {
				out = append(out, -1)
				continue
			}
			out = append(out, values[next])
			next++
		}
	}
	return out
}

func filledV3(t *testing.T, n int) (*rig, *table0) {
	r := rigOf(t)
	r.format, r.shared = lake.FormatV3, true
	var a *table0
	r.srv.do(func(x pg.XID) {
		a = r.srv.create(x, "a")
		for i := range n {
			r.srv.insert(x, a, i, fmt.Sprintf("a%d", i))
		}
	})
	r.cut()
	r.equal()
	return r, a
}

func (r *rig) rowIDs() rowIDs {
	r.t.Helper()
	ids, err := r.lake.rowIDs(r.store)
	if err != nil {
		r.t.Fatal(err)
	}
	return ids
}

// TestRowIDs: rows keep their ids and sequence numbers through deletes, compactions of compactions, and restarts.
func TestRowIDs(t *testing.T) {
	for _, planted := range []bool{false, true} {
		r, a := filledV3(t, 3)
		r.eng.faults.forgetRowIDs = planted
		before, wrong, compactions := r.rowIDs(), "", 0
		for i := range 3 * smallFilesMax {
			r.srv.do(func(x pg.XID) {
				r.srv.insert(x, a, 1000+i, "row")
				if i%3 == 0 {
					r.srv.delete(x, a.rows[i])
				}
			})
			if i == 70 {
				r.start()
				r.eng.faults.forgetRowIDs = planted
			}
			r.cut()
			r.equal()
			if len(r.lake.last.Tables[0].RemoveData) > smallFilesMax/2 {
				compactions++
			}
			now := r.rowIDs()
			if err := before.kept(now); err != nil {
				wrong = err.Error()
			}
			before = now
		}
		if compactions < 2 || (wrong != "") != planted {
			t.Errorf("planted %v: %d compactions, %q", planted, compactions, wrong)
		}
	}
}

// TestVectors: a data file has one deletion vector, with all that was deleted in it, and a publication's lie in one object.
func TestVectors(t *testing.T) {
	for _, planted := range []bool{false, true} {
		r, a := filledV3(t, 10)
		r.eng.faults.newPositions = planted
		r.srv.do(func(x pg.XID) {
			for i := range 10 {
				r.srv.insert(x, a, 100+i, "second file")
			}
		})
		r.cut()
		wrong := false
		for i := range 4 {
			r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[i]); r.srv.delete(x, a.rows[10+i]) })
			r.cut()
			wrong = wrong || r.differs() != ""
			ch := r.lake.last.Tables[0]
			if len(ch.AddVectors) != 2 || len(ch.AddDeletes) != 0 || ch.AddVectors[0].Key != ch.AddVectors[1].Key || r.status("a").DeleteFiles != 2 {
				t.Errorf("%+v", ch)
			}
		}
		if wrong != planted {
			t.Errorf("planted %v, and rows differ: %v", planted, wrong)
		}
		if planted {
			continue
		}
		r.start()
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[4]) })
		r.cut()
		r.equal()
		if ch := r.lake.last.Tables[0]; len(ch.AddVectors) != 1 || ch.AddVectors[0].Positions != 5 {
			t.Errorf("after a restart: %+v", ch)
		}
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[5]); r.srv.delete(x, a.rows[15]) })
		r.cut()
		r.shared = false
		r.start()
		r.cut()
		r.equal()
		ch := r.lake.last.Tables[0]
		if len(ch.AddVectors) != 2 || ch.AddVectors[0].Key == ch.AddVectors[1].Key || !ch.SameRows {
			t.Errorf("for a reader that cannot have them in one object: %+v", ch)
		}
		if res := r.cut(); res.Published {
			t.Error("vectors are written apart twice")
		}
	}
}

// TestUpgrade: a table of format version 2 becomes one of 3 at the next publication, whose deletion vectors have what its delete files
// had; it never goes back.
func TestUpgrade(t *testing.T) {
	for _, planted := range []bool{false, true} {
		r, a, _ := filled(t, 20)
		for i := range 3 {
			r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[i]) })
			r.cut()
		}
		r.srv.do(func(x pg.XID) { r.srv.insert(x, a, 100, "second file"); r.srv.insert(x, a, 101, "second file") })
		r.cut()
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[20]) })
		r.cut()
		r.format = lake.FormatV3
		r.start()
		r.eng.faults.newPositions = planted
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[3]) })
		r.cut()
		if wrong := r.differs() != ""; wrong != planted {
			t.Errorf("planted %v, and rows differ: %v", planted, wrong)
		}
		for _, ch := range r.lake.last.Tables {
			if ch.Format != lake.FormatV3 || ch.Name.Name == "a" && (len(ch.RemoveDeletes) != 4 || len(ch.AddVectors) != 2) {
				t.Errorf("%+v", ch)
			}
		}
		if len(r.lake.last.Tables) != 2 {
			t.Errorf("%d tables are published, and both change their format", len(r.lake.last.Tables))
		}
		if planted {
			continue
		}
		if res := r.cut(); res.Published {
			t.Error("upgraded twice")
		}
		r.format = 0
		r.start()
		if err := r.eng.CheckFormats(); err != nil {
			t.Errorf("a table may stay as it is: %v", err)
		}
		r.format = lake.FormatV2
		r.start()
		err := r.eng.CheckFormats()
		if fault.CodeOf(err) != fault.FormatDown || !strings.Contains(err.Error(), "app.public.a ") || strings.Contains(err.Error(), "\n") {
			t.Errorf("back to version 2: %v", err)
		}
		r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[4]) })
		r.cut()
		r.equal()
	}
}

// TestVectorDamage: a deletion vector that cannot be read stops its table, by name.
func TestVectorDamage(t *testing.T) {
	r, a := filledV3(t, 10)
	r.srv.do(func(x pg.XID) { r.srv.delete(x, a.rows[1]) })
	r.cut()
	v := r.lake.last.Tables[0].AddVectors[0]
	b := bytes.Clone(r.lake.get(r.store, v.Key))
	b[v.Offset+v.Size-5] ^= 1
	if _, err := r.store.Put(context.Background(), v.Key, b); err != nil {
		t.Fatal(err)
	}
	r.start()
	if s := r.status("a"); s.State != "error" || !strings.Contains(s.Error, "checksum") || !strings.Contains(s.Error, v.Key) {
		t.Errorf("%+v", s)
	}
	if err := r.eng.Resync("app.public.a", false); err != nil {
		t.Fatal(err)
	}
	r.cut()
	r.equal()
}
