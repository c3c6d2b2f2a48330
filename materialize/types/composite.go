package types

import (
	"fmt"
	"unicode/utf8"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// mapComposite makes a struct of a composite type, or of the row type of a table. A member keeps its id as long as its
// attribute is there, whatever it is called; an attribute that is dropped and added again is another one.
func (m *mapper) mapComposite(t PGType, prev *lake.Type) (lake.Type, *codec, error) {
	attrs, ok := m.resolver.Attributes(t.Relid)
	if !ok {
		return lake.Type{}, nil, unsupported("composite type %s has no pg_class row", t.name())
	}
	m.composite = true
	m.shape = fmt.Appendf(m.shape, "c%d(", t.OID)
	out := lake.Type{Kind: lake.Struct}
	layout := make([]tuple.Attr, len(attrs))
	var members []compositeMember
	for i := range attrs {
		a := &attrs[i]
		if layout[i] = a.Attr; a.Dropped {
			continue
		}
		if !utf8.ValidString(a.Name) {
			return lake.Type{}, nil, unsupported("the name of attribute %d of %s is not valid UTF-8", a.Num, t.name())
		}
		m.shape = fmt.Appendf(m.shape, "%d:%d:%d:%d:%x:", a.Num, a.Source.Type, a.Source.Typmod, a.Source.Dims, a.Missing)
		f, c, err := m.mapMember(a.Name, a.Source, attribute(prev, a.Num))
		if err != nil {
			return lake.Type{}, nil, within(err, "attribute %q of %s", a.Name, t.name())
		}
		f.Num = a.Num
		out.Fields = append(out.Fields, f)
		members = append(members, compositeMember{i, c})
	}
	m.shape = append(m.shape, ')')
	if len(members) == 0 {
		return lake.Type{}, nil, unsupported("composite type %s has no attributes", t.name())
	}
	return out, compositeCodec(t, tuple.NewDesc(layout), members), nil
}

// attribute is the member that prev has for an attribute, nil if there is none.
func attribute(prev *lake.Type, num int16) *lake.Field {
	if prev == nil || prev.Kind != lake.Struct {
		return nil
	}
	for i := range prev.Fields {
		if prev.Fields[i].Num == num {
			return &prev.Fields[i]
		}
	}
	return nil
}

// within says where inside a type something is not supported.
func within(err error, format string, args ...any) error {
	return unsupported("%s: %s", fmt.Sprintf(format, args...), err)
}

type compositeMember struct {
	attr  int // index in the layout
	codec *codec
}

func compositeCodec(t PGType, desc *tuple.Desc, members []compositeMember) *codec {
	return &codec{varlena: true, value: func(x *Env, v []byte, b *column.Builder) error {
		in := x.inner()
		if len(in.values) < desc.Len() {
			in.values = make([]tuple.Datum, desc.Len())
		}
		values := in.values[:desc.Len()]
		if err := desc.DeformComposite(v, t.OID, values); err != nil {
			return err
		}
		fields := b.AppendStruct()
		for i, m := range members {
			d := values[m.attr]
			if !d.Null && m.codec.varlena {
				if err := x.charge(tuple.RawSize(d.Data)); err != nil {
					return err
				}
			}
			if err := m.codec.Append(in, d, fields[i]); err != nil {
				return err
			}
		}
		return nil
	}}
}

// charge counts bytes that a member of a composite takes when it is decompressed. One value of a column, whatever is
// inside it, may take as many as one that is not nested.
func (x *Env) charge(n int) error {
	if x = x.outer(); x.Most > 0 && x.raw+n > x.Most {
		return &tuple.TooLargeError{Bytes: x.raw + n, Most: x.Most}
	}
	x.raw += n
	return nil
}

// outermost is the Codec of a column that has composites in it.
type outermost struct{ *codec }

// Append implements Codec.
func (c outermost) Append(x *Env, d tuple.Datum, b *column.Builder) error {
	x.raw = 0
	return c.codec.Append(x, d, b)
}
