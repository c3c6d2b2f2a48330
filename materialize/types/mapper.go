package types

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// mapper walks a type, which may be nested, and hands out field ids.
type mapper struct {
	Options
	resolver  Resolver
	nextID    *int
	depth     int
	shape     []byte
	fields    int      // nested ones, so far
	composite bool     // there is a composite at or inside the type
	numeric   bool     // there is a numeric
	as        *Numeric // what the column's rule wants of it; nil: nothing
}

// Limits of what one column may become: chains of domains, arrays and composites, which a damaged catalog could make endless,
// and fields, each of which is a column of every data file. Composites of composites double them with each level.
const (
	depthMax  = 32
	fieldsMax = 4096
)

// field gives a nested field its id: the one it had, or a new one.
func (m *mapper) field(name string, prev *lake.Field) lake.Field {
	m.fields++
	if prev != nil {
		return lake.Field{ID: prev.ID, Name: name, Num: prev.Num}
	}
	*m.nextID++
	return lake.Field{ID: *m.nextID - 1, Name: name}
}

// mapMember maps the type of a nested field, whose id is kept if what it was before is still its type, or grows to it as Iceberg lets it.
func (m *mapper) mapMember(name string, src Source, prev *lake.Field) (lake.Field, *codec, error) {
	var was *lake.Type
	if prev != nil {
		was = &prev.Type
	}
	f, first, shape := m.field(name, prev), *m.nextID, len(m.shape)
	t, c, err := m.mapType(src, was)
	if err == nil && prev != nil && !Fits(*was, t) && !Promotes(*was, t) {
		*m.nextID, m.shape = first, m.shape[:shape]
		f = m.field(name, nil)
		t, c, err = m.mapType(src, nil)
	}
	f.Type = t
	return f, c, err
}

// Fits says whether a field that was of one type may keep its id as one of another: members of structs come and go, but
// nothing else may change.
func Fits(was, now lake.Type) bool {
	if was.Kind != now.Kind || was.Precision != now.Precision || was.Scale != now.Scale {
		return false
	}
	if now.Kind == lake.Struct {
		return true
	}
	a, b := was.Members(), now.Members()
	for i := range a {
		if i >= len(b) || a[i].ID != b[i].ID || !Fits(a[i].Type, b[i].Type) {
			return false
		}
	}
	return len(a) == len(b)
}

// Promotes says whether a field may keep its id when its type changes (Iceberg spec, "Schema Evolution"): int to long,
// float to double, decimal to more digits with the same scale, and the elements of a list likewise.
func Promotes(from, to lake.Type) bool {
	switch {
	case from.Kind == lake.List && to.Kind == lake.List:
		return from.Elem.ID == to.Elem.ID && Promotes(from.Elem.Type, to.Elem.Type)
	case from.Kind == lake.Decimal && to.Kind == lake.Decimal:
		return from.Scale == to.Scale && from.Precision <= to.Precision
	}
	return from.Kind == lake.Int && to.Kind == lake.Long || from.Kind == lake.Float && to.Kind == lake.Double
}

// member is the i-th field inside a type of that kind, nil if prev has none.
func member(prev *lake.Type, kind lake.Kind, i int) *lake.Field {
	if prev == nil || prev.Kind != kind {
		return nil
	}
	if fields := prev.Members(); i < len(fields) && fields[i].Num == 0 {
		return &fields[i]
	}
	return nil
}

func (m *mapper) mapType(src Source, prev *lake.Type) (lake.Type, *codec, error) {
	if m.depth++; m.depth > depthMax {
		return lake.Type{}, nil, unsupported("type %d is nested more than %d deep", src.Type, depthMax)
	}
	defer func() { m.depth-- }()
	if m.fields > fieldsMax {
		return lake.Type{}, nil, unsupported("it has more than %d nested fields", fieldsMax)
	}
	t, ok := m.resolver.Type(src.Type)
	if !ok {
		return lake.Type{}, nil, unsupported("type with OID %d is not in pg_type", src.Type)
	}
	switch {
	case t.Typtype == 'd':
		base := Source{Type: t.BaseType, Typmod: src.Typmod, Dims: max(src.Dims, t.Dims)}
		if t.Typmod >= 0 {
			base.Typmod = t.Typmod
		}
		return m.mapType(base, prev)
	case t.Typtype == 'e':
		return stringType(), enumCodec(m.resolver, t), nil
	case t.Typtype == 'b' && t.Category == 'A' && t.Elem != 0 && t.Len == -1:
		return m.mapArray(t, src, prev)
	case t.Typtype == 'c':
		return m.mapComposite(t, prev)
	case t.Typtype == 'r':
		return m.mapRange(t, prev)
	case t.Typtype == 'm':
		return m.mapMultirange(t, prev)
	case t.Typtype != 'b':
		return lake.Type{}, nil, unsupported("type %s is %s, which is not supported", t.name(), kindName(t.Typtype))
	case t.OID >= pg.FirstNormalOID:
		return m.mapExtension(t, prev)
	}
	return m.mapBase(t, src.Typmod, prev)
}

func (t PGType) name() string {
	if t.Namespace == "" || t.Namespace == "pg_catalog" {
		return t.Name
	}
	return t.Namespace + "." + t.Name
}

func kindName(typtype byte) string {
	if typtype == 'p' {
		return "a pseudo-type"
	}
	return fmt.Sprintf("of typtype %q", typtype)
}
