package schema

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/syscat"
	"github.com/tarn-db/tarn/materialize/tuple"
	"github.com/tarn-db/tarn/materialize/types"
	"github.com/tarn-db/tarn/materialize/visible"
)

// ErrNoCatalogs: a database's directory is not there (it is being created, or was dropped).
var ErrNoCatalogs = errors.New("the database has no catalogs at this LSN")

// invalidDatabase in datconnlimit marks a database whose DROP did not come to its end (DATCONNLIMIT_INVALID_DB): Postgres
// lets nobody in, and a part of its files is gone.
const invalidDatabase = -2

// Databases reads pg_database, without those that are half dropped.
func Databases(ctx context.Context, p Pages) ([]Database, map[pg.RelFileLocator]bool, error) {
	file := pg.RelFileLocator{Spc: pg.GlobalTablespace, Rel: p.RelMap(0)[1262]}
	var out []Database
	err := scan(ctx, p, file, "pg_database", func(r *row) error {
		if r.int4("datconnlimit") == invalidDatabase {
			return nil
		}
		out = append(out, Database{
			OID: r.oid("oid"), Name: r.name("datname"), Tablespace: r.oid("dattablespace"), Encoding: r.int4("encoding"),
			Template: r.bool("datistemplate"), AllowConn: r.bool("datallowconn"),
		})
		return nil
	})
	return out, map[pg.RelFileLocator]bool{file: true}, err
}

// Read reads one database's catalogs.
func Read(ctx context.Context, p Pages, db Database) (*Catalogs, error) {
	c := &Catalogs{
		Database: db, Relations: map[pg.OID]*Relation{}, children: map[pg.OID][]pg.OID{}, typ: map[pg.OID]types.PGType{},
		subtype: map[pg.OID]pg.OID{}, enums: map[pg.OID]string{}, enumOf: map[pg.OID]map[pg.OID]string{}, Files: map[pg.RelFileLocator]bool{},
	}
	relmap := p.RelMap(db.OID)
	if relmap[1259] == 0 {
		return nil, fmt.Errorf("database %q: %w", db.Name, ErrNoCatalogs)
	}
	mapped := func(oid pg.OID) pg.RelFileLocator {
		c.Mapped = append(c.Mapped, oid)
		return pg.RelFileLocator{Spc: db.Tablespace, DB: db.OID, Rel: relmap[oid]}
	}
	names := map[*Relation]pg.OID{}
	if err := c.scan(ctx, p, mapped(1259), "pg_class", func(r *row) error {
		rel := &Relation{
			OID: r.oid("oid"), Name: r.name("relname"), Kind: r.char("relkind"), Persistence: r.char("relpersistence"),
			AM: r.oid("relam"), Partition: r.bool("relispartition"), Populated: r.bool("relispopulated"), Toast: r.oid("reltoastrelid"),
		}
		if node := r.oid("relfilenode"); node != 0 {
			rel.File = pg.RelFileLocator{Spc: r.oid("reltablespace"), DB: db.OID, Rel: node}
			if rel.File.Spc == 0 {
				rel.File.Spc = db.Tablespace
			}
		}
		names[rel] = r.oid("relnamespace")
		c.Relations[rel.OID] = rel
		return nil
	}); err != nil {
		return nil, err
	}
	namespaces := map[pg.OID]string{}
	if err := c.scan(ctx, p, c.file("pg_namespace", 2615), "pg_namespace", func(r *row) error {
		namespaces[r.oid("oid")] = r.name("nspname")
		return nil
	}); err != nil {
		return nil, err
	}
	for rel, ns := range names {
		rel.Namespace = namespaces[ns]
	}
	if err := c.scan(ctx, p, mapped(1249), "pg_attribute", c.attribute); err != nil {
		return nil, err
	}
	for _, rel := range c.Relations {
		slices.SortFunc(rel.Columns, func(a, b Column) int { return int(a.Num) - int(b.Num) })
		for i := range rel.Columns {
			if int(rel.Columns[i].Num) != i+1 && rel.OID >= pg.FirstNormalOID {
				return nil, &pg.CorruptError{Rel: rel.File, What: fmt.Sprintf("pg_attribute of %q.%q has no row for column %d", rel.Namespace, rel.Name, i+1)}
			}
		}
	}
	inputs := map[pg.OID][]pg.OID{} // typinput to the types of extensions it reads
	if err := c.scan(ctx, p, mapped(1247), "pg_type", func(r *row) error {
		t := types.PGType{
			OID: r.oid("oid"), Name: r.name("typname"), Namespace: namespaces[r.oid("typnamespace")], Typtype: r.char("typtype"),
			Category: r.char("typcategory"), Len: r.int2("typlen"), ByVal: r.bool("typbyval"), Align: r.char("typalign"),
			Elem: r.oid("typelem"), BaseType: r.oid("typbasetype"), Typmod: r.int4("typtypmod"), Dims: int(r.int4("typndims")), Relid: r.oid("typrelid"),
		}
		c.typ[t.OID] = t
		if t.Typtype == 'b' && t.OID >= pg.FirstNormalOID && !(t.Category == 'A' && t.Elem != 0) {
			inputs[r.oid("typinput")] = append(inputs[r.oid("typinput")], t.OID)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if len(inputs) > 0 { // pg_proc is large, and most databases have no types of extensions
		if err := c.scan(ctx, p, mapped(1255), "pg_proc", func(r *row) error { return c.input(r, inputs) }); err != nil {
			return nil, err
		}
	}
	if err := c.scan(ctx, p, c.file("pg_range", 3541), "pg_range", func(r *row) error {
		c.subtype[r.oid("rngtypid")] = r.oid("rngsubtype")
		c.subtype[r.oid("rngmultitypid")] = r.oid("rngtypid")
		return nil
	}); err != nil {
		return nil, err
	}
	if err := c.scan(ctx, p, c.file("pg_enum", 3501), "pg_enum", func(r *row) error {
		oid, typ, label := r.oid("oid"), r.oid("enumtypid"), r.name("enumlabel")
		c.enums[oid] = label
		if c.enumOf[typ] == nil {
			c.enumOf[typ] = map[pg.OID]string{}
		}
		c.enumOf[typ][oid] = label
		return nil
	}); err != nil {
		return nil, err
	}
	return c, c.scan(ctx, p, c.file("pg_inherits", 2611), "pg_inherits", func(r *row) error {
		if !r.bool("inhdetachpending") {
			parent := r.oid("inhparent")
			c.children[parent] = append(c.children[parent], r.oid("inhrelid"))
		}
		return nil
	})
}

func (c *Catalogs) file(name string, oid pg.OID) pg.RelFileLocator {
	if r := c.Relations[oid]; r != nil {
		return r.File
	}
	return pg.RelFileLocator{DB: c.Database.OID}
}

func (c *Catalogs) scan(ctx context.Context, p Pages, file pg.RelFileLocator, name string, fn func(*row) error) error {
	c.Files[file] = true
	return scan(ctx, p, file, name, fn)
}

func (c *Catalogs) attribute(r *row) error {
	num := r.int2("attnum")
	rel := c.Relations[r.oid("attrelid")]
	if num <= 0 || rel == nil {
		return nil
	}
	col := Column{
		Num: num, Name: r.name("attname"), Type: r.oid("atttypid"), Typmod: r.int4("atttypmod"), Len: r.int2("attlen"),
		Align: r.char("attalign"), ByVal: r.bool("attbyval"), Dropped: r.bool("attisdropped"), NotNull: r.bool("attnotnull"),
		Generated: r.char("attgenerated"), Dims: r.dims("attndims"), HasMissing: r.bool("atthasmissing"),
	}
	if col.HasMissing {
		d := r.datum("attmissingval")
		if d.Null {
			col.HasMissing = false
		} else {
			v, err := missingValue(d.Data, col)
			if err != nil {
				return fmt.Errorf("attmissingval of %q.%q: %w", rel.Name, col.Name, err)
			}
			col.Missing = v
		}
	}
	rel.Columns = append(rel.Columns, col)
	return nil
}

// Languages of pg_proc whose functions are in C (catalog/pg_language.dat).
const (
	languageInternal = 12
	languageC        = 13
)

// input notes the C function that reads the text of types of extensions.
func (c *Catalogs) input(r *row, inputs map[pg.OID][]pg.OID) error {
	for _, oid := range inputs[r.oid("oid")] {
		var f types.Func
		switch r.oid("prolang") {
		case languageInternal:
			f.Symbol = r.text("prosrc")
		case languageC:
			f.Symbol, f.Library = r.text("prosrc"), strings.TrimSuffix(path.Base(r.text("probin")), ".so")
		}
		t := c.typ[oid]
		t.Input = f
		c.typ[oid] = t
	}
	return nil
}

// missingValue takes the one element out of attmissingval, a one-element array of the column's type. The array may be
// compressed: pg_attribute has no TOAST relation, so a default of some kilobytes is.
//
//	array, after the varlena header: ndim int32, dataoffset int32, elemtype oid, dim int32, lbound int32, element
func missingValue(varlena []byte, col Column) ([]byte, error) {
	var r tuple.Reader
	b, err := r.Value(varlena)
	if err != nil {
		return nil, err
	}
	if len(b) < 12 {
		return nil, corrupt("array header is %d bytes", len(b))
	}
	ndim, dataOffset := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
	if ndim != 1 || dataOffset != 0 || len(b) < 20 {
		return nil, corrupt("array with %d dimensions, nulls at %d", ndim, dataOffset)
	}
	at := pg.MaxAlign(4+20) - 4 // the header's varlena length word counts for alignment
	if at > len(b) {
		return nil, corrupt("array of %d bytes has no element", len(b))
	}
	el := b[at:]
	n := int(col.Len)
	if n < 0 {
		if n, err = tuple.VarSize(el, col.Len); err != nil {
			return nil, err
		}
	}
	if n < 0 || n > len(el) {
		return nil, corrupt("element of %d bytes in %d", n, len(el))
	}
	return bytes.Clone(el[:n]), nil
}

func corrupt(format string, args ...any) error {
	return &pg.CorruptError{What: fmt.Sprintf(format, args...)}
}

// scan calls fn for each visible row of a catalog.
func scan(ctx context.Context, p Pages, file pg.RelFileLocator, name string, fn func(*row) error) error {
	cat := syscat.Lookup(p.Major(), name)
	if cat == nil || file.Rel == 0 {
		return fmt.Errorf("%s of database %d: %w", name, file.DB, ErrNoCatalogs)
	}
	attrs := make([]tuple.Attr, len(cat.Attrs))
	for i, a := range cat.Attrs {
		attrs[i] = tuple.Attr{Num: a.Num, Len: a.Len, Align: a.Align, ByVal: a.ByVal}
	}
	desc := tuple.NewDesc(attrs)
	r := &row{cat: cat, values: make([]tuple.Datum, len(attrs))}
	n, ok, err := p.NBlocks(ctx, file, pg.MainFork)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s of database %d has no file: %w", name, file.DB, ErrNoCatalogs) // not the same as no rows
	}
	return p.Scan(ctx, file, pg.MainFork, 0, n, func(blk pg.BlockNumber, page pg.Page) error {
		items, err := page.HeapItems()
		if err != nil {
			return fmt.Errorf("%s block %d: %w", name, blk, err)
		}
		for off := pg.OffsetNumber(1); int(off) <= items; off++ {
			t, ok, err := page.HeapTuple(off)
			if err == nil && ok {
				ok, err = visible.Tuple(t, p)
			}
			if err == nil && ok {
				if err = desc.Deform(t, r.values); err == nil {
					err = fn(r)
				}
				err = cmp.Or(r.err, err)
			}
			if err != nil {
				return fmt.Errorf("%s (%d,%d): %w", name, blk, off, err)
			}
		}
		return nil
	})
}

// row gives a catalog row's columns by name.
type row struct {
	cat    *syscat.Catalog
	values []tuple.Datum
	err    error // the first column that was not as the layout says
}

func (r *row) datum(name string) tuple.Datum {
	i := r.cat.Index(name)
	if i < 0 {
		r.err = &pg.CorruptError{What: fmt.Sprintf("no column %s in this major", name)}
		return tuple.Datum{Null: true}
	}
	return r.values[i]
}

func (r *row) fixed(name string, n int) []byte {
	d := r.datum(name)
	if d.Null || len(d.Data) < n {
		if r.err == nil {
			r.err = &pg.CorruptError{What: fmt.Sprintf("column %s is null or short", name)}
		}
		return make([]byte, n)
	}
	return d.Data
}

func (r *row) oid(name string) pg.OID { return pg.OID(binary.LittleEndian.Uint32(r.fixed(name, 4))) }
func (r *row) int4(name string) int32 { return int32(binary.LittleEndian.Uint32(r.fixed(name, 4))) }
func (r *row) int2(name string) int16 { return int16(binary.LittleEndian.Uint16(r.fixed(name, 2))) }
func (r *row) char(name string) byte  { return r.fixed(name, 1)[0] }
func (r *row) bool(name string) bool  { return r.fixed(name, 1)[0] != 0 }
func (r *row) name(name string) string {
	b := r.fixed(name, 64)
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// dims is a number of dimensions: int4 before 16, int2 since.
func (r *row) dims(name string) int {
	if i := r.cat.Index(name); i >= 0 && r.cat.Attrs[i].Len == 2 {
		return int(r.int2(name))
	}
	return int(r.int4(name))
}

// text is a column of type text.
func (r *row) text(name string) string {
	d := r.datum(name)
	if d.Null {
		return ""
	}
	var read tuple.Reader // such a catalog column of a few bytes is not in TOAST
	b, err := read.Value(d.Data)
	if err != nil && r.err == nil {
		r.err = fmt.Errorf("column %s: %w", name, err)
	}
	return string(b)
}

func sortByOID(rels []*Relation) {
	slices.SortFunc(rels, func(a, b *Relation) int {
		return int(max(math.MinInt32, min(math.MaxInt32, int64(a.OID)-int64(b.OID))))
	})
}
