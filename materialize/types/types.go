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
	Dims      int    // typndims of a domain over an array: dimensions it was declared with
	Relid     pg.OID // typrelid of a composite
	Input     Func   // typinput, of base types that came after initdb
}

// Func is what a row of pg_proc says of a function in C: who wrote the bytes of a type.
type Func struct {
	Library string // probin without its folder; empty of a function inside the server (language internal)
	Symbol  string // prosrc
}

// Attribute is an attribute of a composite type, a row of pg_attribute.
type Attribute struct {
	tuple.Attr
	Name   string
	Source Source
}

// Source is what pg_attribute says of a column's, or an attribute's, type.
type Source struct {
	Type   pg.OID // atttypid
	Typmod int32  // atttypmod
	Dims   int    // attndims: dimensions an array was declared with, which Postgres does not hold its values to
}

// Resolver answers from the catalogs at the cut.
type Resolver interface {
	Type(oid pg.OID) (PGType, bool)
	// EnumLabel gives enumlabel by pg_enum.oid, which is what an enum's datum is.
	EnumLabel(oid pg.OID) (string, bool)
	// Attributes are those of a composite type by its typrelid, in attnum order without a gap, dropped ones included.
	Attributes(relid pg.OID) ([]Attribute, bool)
	// Subtype is rngsubtype of a range (pg_range), or the range of a multirange.
	Subtype(oid pg.OID) (pg.OID, bool)
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
	inside *Env          // for what lies inside a value that was read by this one, whose buffers it must leave alone
	values []tuple.Datum // of a composite's attributes
	top    *Env          // the one that is inside of none; nil of itself
	raw    int           // of top: bytes decompressed inside the value under way
}

// inner is the Env for what lies inside a value of x.
func (x *Env) inner() *Env {
	if x.inside == nil {
		x.inside = &Env{Reader: tuple.Reader{Most: x.Most}, top: x.outer()}
	}
	return x.inside
}

func (x *Env) outer() *Env {
	if x.top == nil {
		return x
	}
	return x.top
}

// Options are what the mapping of types depends on beside the catalogs.
type Options struct {
	// LCMonetary is the setting money is printed by. Only C, POSIX and en_US are known; with another one, or none,
	// money columns are left out.
	LCMonetary string
	// OutOfRange is what becomes of values that Iceberg's types cannot hold; they are counted in any case.
	OutOfRange OutOfRange
	// Numeric is what a numeric becomes that declares no precision, or one that Iceberg's decimal cannot hold.
	Numeric Numeric
	// Columns says it of any numeric in a column, by the column's name.
	Columns map[string]Numeric
	// Bare gives uuid and time as text: readers of bare Parquet, Spark for one, refuse the types that Iceberg has for them.
	Bare bool
}

// OutOfRange is a policy for values that Iceberg's types cannot hold.
type OutOfRange uint8

// The policies.
const (
	Null   OutOfRange = iota // they are null
	Clamp                    // they are the nearest value that there is; null where none is nearest, as for NaN
	Refuse                   // they put their table in error
)

// Numeric is what a numeric is given as: the zero value is text, exact to the digit.
type Numeric struct{ Precision, Scale int }

// Unsupported says why a column has to be left out of the lake.
type Unsupported struct{ Reason string }

func (u *Unsupported) Error() string { return u.Reason }

func unsupported(format string, args ...any) error {
	return &Unsupported{Reason: fmt.Sprintf(format, args...)}
}

// ValueError says that one value cannot be given in the column's type, though its type can in general.
type ValueError struct{ Reason string }

func (e *ValueError) Error() string { return e.Reason }

// Mapping is what a column becomes.
type Mapping struct {
	Type  lake.Type
	Codec Codec
	// Shape tells apart what the same bytes of a nested value may mean: the types and numbers of composites' attributes,
	// subtypes of ranges, the functions that know an extension's type. It is empty where the column's own type says all.
	Shape string
}

// NoNumericError: Options.Columns has a column that is no numeric, nor has one inside.
type NoNumericError struct{ Column string }

func (e *NoNumericError) Error() string {
	return fmt.Sprintf("a rule in tables gives column %q the type of a numeric, which it is not: take it out of columns", e.Column)
}

// Map finds what a column of that name becomes. Members of a nested type keep the field ids they have in prev, the column's type until
// now, if there was one; others get ids from *nextID on, which is moved past them: a list's element first, then what is inside
// the element; a struct's members in order, each followed by what is inside it. Attributes of composites are told by their
// numbers. The error is an *Unsupported if the column has to be left out.
func (o Options) Map(r Resolver, column string, src Source, prev *lake.Type, nextID *int) (Mapping, error) {
	m := mapper{Options: o, resolver: r, nextID: nextID}
	as, declared := o.Columns[column]
	if declared {
		m.as = &as
	}
	t, c, err := m.mapType(src, prev)
	if err != nil {
		return Mapping{}, err
	}
	if declared && !m.numeric {
		return Mapping{}, &NoNumericError{Column: column}
	}
	out := Mapping{Type: t, Codec: c, Shape: string(m.shape)}
	if m.composite {
		out.Codec = outermost{c}
	}
	return out, nil
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

func stringType() lake.Type { return lake.Type{Kind: lake.String} }

// moneyKnown says whether money is printed as cash_out does it for the C and en_US locales.
func (o Options) moneyKnown() bool {
	name, _, _ := strings.Cut(o.LCMonetary, ".")
	return name == "C" || name == "POSIX" || name == "en_US"
}
