// Package laketest is for tests: it writes the data and delete files of small tables as the materializer does, and
// keeps beside them the rows a reader must see.
package laketest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/google/uuid"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Table is a table of one bigint column and any number of text columns, and its model.
type Table struct {
	Store  objstore.Store
	ID     lake.TableID
	Name   lake.TableName
	UUID   string
	Schema lake.Schema
	Format int // Iceberg format version; 0 is 2

	Files   map[string]*File // live data files by key
	Deletes map[string]bool  // live delete files by key
	files   int
}

// File is a live data file: its rows and which of them are deleted.
type File struct {
	IDs     []int64
	Deleted *roaring.Bitmap
}

// New is a table with the columns id bigint and name text.
func New(store objstore.Store, rel pg.OID, name lake.TableName) *Table {
	return &Table{
		Store: store, ID: lake.TableID{DB: 5, Rel: rel, Incarnation: pg.LSN(rel) << 8}, Name: name, UUID: uuid.NewString(),
		Schema: lake.Schema{LastColumnID: 2, Fields: []lake.Field{
			{ID: 1, Name: "id", Type: lake.Type{Kind: lake.Long}},
			{ID: 2, Name: "name", Type: lake.Type{Kind: lake.String}},
		}},
		Files: map[string]*File{}, Deletes: map[string]bool{},
	}
}

// Change is a change of the table without files.
func (t *Table) Change() lake.TableChange {
	return lake.TableChange{ID: t.ID, Name: t.Name, UUID: t.UUID, Schema: t.Schema, Format: t.Format}
}

func (t *Table) key(ext string) string {
	t.files++
	return fmt.Sprintf("%s/data/%06d-%s%s", t.ID.Root(), t.files, uuid.NewString()[:8], ext)
}

// Insert writes a data file with one row per id; text columns are the column's name and the id.
func (t *Table) Insert(ctx context.Context, ids ...int64) (lake.File, error) {
	var buf bytes.Buffer
	w, err := datafile.NewWriter(datafile.Options{Schema: t.Schema}, &buf)
	if err != nil {
		return lake.File{}, err
	}
	for _, id := range ids {
		for i, c := range w.Columns() {
			if t.Schema.Fields[i].Type.Kind == lake.Long {
				c.AppendInt64(id)
			} else {
				c.AppendBytes([]byte(Text(t.Schema.Fields[i].ID, id)))
			}
		}
		if err := w.EndRow(); err != nil {
			return lake.File{}, err
		}
	}
	f, err := w.Close()
	if err != nil {
		return f, err
	}
	f.Key = t.key(".parquet")
	if _, err := t.Store.Put(ctx, f.Key, buf.Bytes()); err != nil {
		return f, err
	}
	t.Files[f.Key] = &File{IDs: slices.Clone(ids), Deleted: roaring.New()}
	return f, nil
}

// Text is the value of a text column, by field id.
func Text(field int, id int64) string { return fmt.Sprintf("c%d-%d", field, id) }

// Delete writes one delete file for the rows with these ids.
func (t *Table) Delete(ctx context.Context, ids ...int64) (lake.PositionDeletes, error) {
	var pp []datafile.PathPositions
	for _, key := range slices.Sorted(maps.Keys(t.Files)) {
		f := t.Files[key]
		positions := roaring.New()
		for i, id := range f.IDs {
			if slices.Contains(ids, id) && !f.Deleted.Contains(uint32(i)) {
				positions.Add(uint32(i))
			}
		}
		if !positions.IsEmpty() {
			f.Deleted.Or(positions)
			pp = append(pp, datafile.PathPositions{Path: t.Store.URL(key), Positions: positions})
		}
	}
	d, b, err := datafile.EncodePositionDeletes(pp)
	if err != nil {
		return d, err
	}
	d.Key = t.key("-deletes.parquet")
	_, err = t.Store.Put(ctx, d.Key, b)
	t.Deletes[d.Key] = true
	return d, err
}

// DeleteVectors writes one object with a deletion vector for each data file that has rows with these ids. The first time, in a table
// that was of format version 2, all files with deleted rows get one; the keys of delete files to remove are returned too.
func (t *Table) DeleteVectors(ctx context.Context, ids ...int64) (vectors []lake.Vector, gone []string, err error) {
	var dd []datafile.DataPositions
	for _, key := range slices.Sorted(maps.Keys(t.Files)) {
		f := t.Files[key]
		before := f.Deleted.GetCardinality()
		for i, id := range f.IDs {
			if slices.Contains(ids, id) {
				f.Deleted.Add(uint32(i))
			}
		}
		if n := f.Deleted.GetCardinality(); n > before || n > 0 && len(t.Deletes) > 0 {
			dd = append(dd, datafile.DataPositions{Key: key, Path: t.Store.URL(key), Positions: f.Deleted})
		}
	}
	gone = slices.Sorted(maps.Keys(t.Deletes))
	t.Deletes = map[string]bool{}
	if len(dd) == 0 {
		return nil, gone, nil
	}
	vectors, b, err := datafile.EncodeVectors(dd)
	if err != nil {
		return nil, gone, err
	}
	key := t.key(lake.VectorsSuffix)
	for i := range vectors {
		vectors[i].Key = key
	}
	_, err = t.Store.Put(ctx, key, b)
	return vectors, gone, err
}

// Rows are the ids a reader sees, sorted.
func (t *Table) Rows() []int64 {
	rows := []int64{}
	for _, f := range t.Files {
		for i, id := range f.IDs {
			if !f.Deleted.Contains(uint32(i)) {
				rows = append(rows, id)
			}
		}
	}
	slices.Sort(rows)
	return rows
}

// Clear forgets all files, as ReplaceAll does.
func (t *Table) Clear() {
	t.Files, t.Deletes = map[string]*File{}, map[string]bool{}
}
