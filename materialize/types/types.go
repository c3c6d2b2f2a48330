// Package types says which Iceberg type a Postgres type becomes and turns datums into values of it. It is pure: it
// knows the bytes of Postgres's types and the text its output functions make of them.
package types

import (
	"fmt"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// PGType is a row of pg_type.
type PGType struct {
	OID       pg.OID
	Name      string // typname
	Namespace string // its schema's name
	Typtype   byte   // b base, c composite, d domain, e enum, m multirange, p pseudo, r range
	Category  byte   // typcategory
	Len       int16  // typlen
	ByVal     bool   // typbyval
	Align     byte   // typalign
	Elem      pg.OID // typelem: of a true array (Len -1), its element
	BaseType  pg.OID // typbasetype of a domain
	Typmod    int32  // typtypmod of a domain
	Relid     pg.OID // typrelid of a composite
}

// Resolver answers from the catalogs at the cut.
type Resolver interface {
	Type(oid pg.OID) (PGType, bool)
	// EnumLabel gives enumlabel by pg_enum.oid, which is what an enum's datum is.
	EnumLabel(oid pg.OID) (string, bool)
}

// Codec adds datums of one Postgres type to a column. It is immutable and safe for concurrent use.
type Codec interface {
	// Append decodes d into b, one value for each call. A *ValueError says the value cannot be given as the column's
	// type; an error that is pg.ErrCorrupt that its bytes are damaged. After an error the builder's batch is unusable.
	Append(x *Env, d tuple.Datum, b *column.Builder) error
}

// Env is what codecs need beside the bytes: TOAST and scratch memory. One goroutine uses it at a time.
type Env struct {
	tuple.Reader
}

// Options are what the text of some types depends on.
type Options struct {
	// LCMonetary is the setting money is printed by. Only C, POSIX and en_US are known; with another one, or none,
	// money columns are left out.
	LCMonetary string
}

// Unsupported says why a column has to be left out of the lake.
type Unsupported struct{ Reason string }

func (u *Unsupported) Error() string { return u.Reason }

func unsupported(format string, args ...any) error {
	return &Unsupported{Reason: fmt.Sprintf(format, args...)}
}

// ValueError says that one value cannot be given in the column's type, though its type can in general.
type ValueError struct{ Reason string }

func (e *ValueError) Error() string { return e.Reason }

// Map finds the Iceberg type of a column and the codec for its datums. Nested members get field ids from firstNestedID
// on: a list's element first, then what is inside the element; a struct's members in order, each followed by what is
// inside it. The error is an *Unsupported if the column has to be left out.
func Map(r Resolver, oid pg.OID, typmod int32, firstNestedID int) (lake.Type, Codec, error) {
	return Options{}.Map(r, oid, typmod, firstNestedID)
}

// Map is the function Map under these options.
func (o Options) Map(r Resolver, oid pg.OID, typmod int32, firstNestedID int) (lake.Type, Codec, error) {
	m := mapper{Options: o, resolver: r, nextID: firstNestedID}
	t, c, err := m.mapType(oid, typmod)
	if err != nil {
		return lake.Type{}, nil, err
	}
	return t, c, nil
}

// codec is every Codec: what to do with a value that is there.
type codec struct {
	// value adds v, the datum without varlena header, decompressed. It may be a slice of scratch memory.
	value   func(x *Env, v []byte, b *column.Builder) error
	varlena bool
	width   int // of types that are not varlena: bytes
}

// Append implements Codec.
func (c *codec) Append(x *Env, d tuple.Datum, b *column.Builder) error {
	if d.Null {
		b.AppendNull()
		return nil
	}
	v := d.Data
	if c.varlena {
		var err error
		if v, err = x.Value(v); err != nil {
			return err
		}
	} else if len(v) < c.width {
		return corrupt("value of %d bytes where the type has %d", len(v), c.width)
	}
	return c.value(x, v, b)
}

// corrupt is an error about a value's bytes.
func corrupt(format string, args ...any) error {
	return &pg.CorruptError{What: fmt.Sprintf(format, args...)}
}

// mapper walks a type, which may be nested, and hands out field ids.
type mapper struct {
	Options
	resolver Resolver
	nextID   int
	depth    int
}

// depthMax bounds chains of domains and arrays, which a damaged catalog could make endless.
const depthMax = 32

func (m *mapper) mapType(oid pg.OID, typmod int32) (lake.Type, *codec, error) {
	if m.depth++; m.depth > depthMax {
		return lake.Type{}, nil, unsupported("type %d is nested more than %d deep", oid, depthMax)
	}
	defer func() { m.depth-- }()
	t, ok := m.resolver.Type(oid)
	if !ok {
		return lake.Type{}, nil, unsupported("type with OID %d is not in pg_type", oid)
	}
	switch {
	case t.Typtype == 'd':
		if t.Typmod >= 0 {
			typmod = t.Typmod
		}
		return m.mapType(t.BaseType, typmod)
	case t.Typtype == 'e':
		return stringType(), enumCodec(m.resolver, t), nil
	case t.Typtype == 'b' && t.Category == 'A' && t.Elem != 0 && t.Len == -1:
		return m.mapArray(t, typmod)
	case t.Typtype != 'b':
		return lake.Type{}, nil, unsupported("type %s is %s, which is not supported yet", t.name(), kindName(t.Typtype))
	case oid >= pg.FirstNormalOID:
		return lake.Type{}, nil, unsupported("type %s comes from an extension and is not supported", t.name())
	}
	return m.mapBase(t, typmod)
}

func (t PGType) name() string {
	if t.Namespace == "" || t.Namespace == "pg_catalog" {
		return t.Name
	}
	return t.Namespace + "." + t.Name
}

func kindName(typtype byte) string {
	switch typtype {
	case 'c':
		return "a composite type"
	case 'r':
		return "a range"
	case 'm':
		return "a multirange"
	case 'p':
		return "a pseudo-type"
	}
	return fmt.Sprintf("of typtype %q", typtype)
}

func stringType() lake.Type { return lake.Type{Kind: lake.String} }

// moneyKnown says whether money is printed as cash_out does it for the C and en_US locales.
func (o Options) moneyKnown() bool {
	name, _, _ := strings.Cut(o.LCMonetary, ".")
	return name == "C" || name == "POSIX" || name == "en_US"
}
