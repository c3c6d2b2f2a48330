package materialize

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/schema"
	"github.com/tarn-db/tarn/materialize/types"
)

// columnState is a lake column as last published: enough to tell whether rows already written still mean the same.
type columnState struct {
	Num     int16             `json:"num"` // pg_attribute.attnum of the root
	Type    pg.OID            `json:"type"`
	Typmod  int32             `json:"typmod"`
	Field   lake.Field        `json:"field"`
	Shape   string            `json:"shape,omitempty"` // types.Mapping.Shape
	Enum    map[pg.OID]string `json:"enum,omitempty"`
	Missing []byte            `json:"missing,omitempty"` // attmissingval when the column appeared
}

// LeftOut is a Postgres column that is not in the lake, and why.
type LeftOut struct {
	Num    int16  `json:"num"` // pg_attribute.attnum
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// change is how a table's columns at a cut compare with those last published.
type change uint8

const (
	same     change = iota
	metadata        // names or columns changed, rows already written keep their meaning
	promote         // a type became one of the wider ones that Iceberg reads it as: files are written again, with the same values
	reencode        // rows already written would be read as wrong values: write them again
)

// columns is a table's lake schema at a cut.
type columns struct {
	states  []columnState
	codecs  []types.Codec // beside states
	leftOut []LeftOut
	schema  lake.Schema
	change  change
}

// planColumns maps a relation's columns to lake fields, keeping the field ids of what was last published, prev, and
// giving new ones above prev.lastID. missing says whether some rows lack a value for a column that has a default kept in
// the catalog (attmissingval).
//
// Invariant: a field id is never given to a second column, nor to a second type unless Iceberg promotes the first to it.
func planColumns(cat *schema.Catalogs, rel *schema.Relation, prev published, o types.Options, missing func(name string) []byte) (columns, error) {
	c := columns{schema: lake.Schema{LastColumnID: prev.lastID}}
	old := map[int16]*columnState{}
	for i := range prev.columns {
		old[prev.columns[i].Num] = &prev.columns[i]
	}
	taken := names{}
	for _, col := range rel.Columns {
		if col.Dropped {
			continue
		}
		p, lastID := old[col.Num], c.schema.LastColumnID
		st, codec, err := planColumn(cat, col, p, o, &lastID)
		if err == nil {
			err = taken.take(st.Field)
		}
		var u *types.Unsupported
		if errors.As(err, &u) {
			c.leftOut = append(c.leftOut, LeftOut{col.Num, validUTF8(col.Name), u.Reason})
			continue
		}
		if err != nil {
			return c, err
		}
		c.schema.LastColumnID = lastID
		st.Missing = missing(col.Name)
		c.raise(compare(p, &st, len(prev.columns) > 0))
		if p == nil && prev.leftOut(col.Num) {
			c.raise(reencode) // it is no new column: rows already written have values for it
		}
		delete(old, col.Num)
		c.states = append(c.states, st)
		c.codecs = append(c.codecs, codec)
		c.schema.Fields = append(c.schema.Fields, st.Field)
	}
	if len(old) > 0 || len(prev.columns) > 0 && !slices.Equal(c.leftOut, prev.left) { // columns that went, or that users are told of
		c.raise(metadata)
	}
	return c, nil
}

// published is what is in the lake of a table's columns; the zero value says nothing is.
type published struct {
	columns []columnState
	left    []LeftOut
	lastID  int // the highest field id ever given
}

// leftOut says whether the column was there and could not be published.
func (p *published) leftOut(num int16) bool {
	return slices.ContainsFunc(p.left, func(l LeftOut) bool { return l.Num == num })
}

func (c *columns) raise(to change) { c.change = max(c.change, to) }

// planColumn keeps p's field when its type still fits or grows as Iceberg's may, else gives a new field id.
func planColumn(cat *schema.Catalogs, col schema.Column, p *columnState, o types.Options, lastID *int) (columnState, types.Codec, error) {
	switch {
	case col.Generated == 'v':
		return columnState{}, nil, &types.Unsupported{Reason: "virtual generated columns are not stored"}
	case !utf8.ValidString(col.Name):
		return columnState{}, nil, &types.Unsupported{Reason: "its name is not valid UTF-8"}
	}
	st := columnState{Num: col.Num, Type: col.Type, Typmod: col.Typmod, Enum: cat.EnumLabels(col.Type)}
	if p != nil {
		next := *lastID + 1
		m, err := o.Map(cat, col.Name, col.Source(), &p.Field.Type, &next)
		if err != nil {
			return st, nil, err
		}
		if m.Type.Equal(p.Field.Type) || p.Type == col.Type && types.Fits(p.Field.Type, m.Type) || types.Promotes(p.Field.Type, m.Type) {
			st.Field, st.Shape = lake.Field{ID: p.Field.ID, Name: col.Name, Type: m.Type}, m.Shape
			*lastID = next - 1
			return st, m.Codec, nil
		}
	}
	id := *lastID + 1
	next := id + 1
	m, err := o.Map(cat, col.Name, col.Source(), nil, &next)
	if err != nil {
		return st, nil, err
	}
	st.Field, st.Shape = lake.Field{ID: id, Name: col.Name, Type: m.Type}, m.Shape
	*lastID = next - 1
	return st, m.Codec, nil
}

// compare says what became of one column. had is false for a table's first publication.
func compare(p, st *columnState, had bool) change {
	switch {
	case p == nil && !had:
		return same
	case p == nil && st.Missing != nil:
		return reencode // rows older than the column have its default, not null
	case p == nil:
		return metadata
	case p.Field.ID != st.Field.ID:
		return reencode // another type: old files hold nothing under the new id
	case meaningChanged(p, st):
		return reencode
	case !p.Field.Type.Equal(st.Field.Type) && types.Promotes(p.Field.Type, st.Field.Type):
		return promote
	case !p.Field.Equal(st.Field), p.Type != st.Type, p.Typmod != st.Typmod: // the field, or an attribute inside it, has another name
		return metadata
	}
	return same
}

// meaningChanged says whether bytes written under p would be read differently under st though the field is the same:
// a type changed without rewriting the heap (cidr to inet), an enum label renamed, a default changed, an attribute of a composite
// that came or went.
//
// A typmod limits what may be stored and is not how it is read; only that of numeric is, and there the lake's type tells.
func meaningChanged(p, st *columnState) bool {
	if p.Type != st.Type && !(textual(p.Type) && textual(st.Type)) || p.Shape != st.Shape {
		return true
	}
	for oid, label := range p.Enum {
		if l, ok := st.Enum[oid]; ok && l != label {
			return true
		}
	}
	return st.Missing != nil && !bytes.Equal(p.Missing, st.Missing)
}

// textual says whether a type's values are the characters stored: text, varchar.
func textual(t pg.OID) bool { return t == 25 || t == 1043 }

func (c *columnState) equal(d *columnState) bool {
	return c.Num == d.Num && c.Type == d.Type && c.Typmod == d.Typmod && c.Shape == d.Shape && c.Field.Equal(d.Field) && maps.Equal(c.Enum, d.Enum)
}

// maxFieldID is the highest id in a field and its nested members.
func maxFieldID(f lake.Field) int {
	id := f.ID
	for _, m := range f.Type.Members() {
		id = max(id, maxFieldID(m))
	}
	return id
}
