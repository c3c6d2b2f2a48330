package materialize

import (
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/types"
)

// TestCompare holds the rule of which catalog changes make published rows wrong.
func TestCompare(t *testing.T) {
	str := lake.Type{Kind: lake.String}
	col := func(id int, name string, typ pg.OID, typmod int32) columnState {
		return columnState{Num: 1, Type: typ, Typmod: typmod, Field: lake.Field{ID: id, Name: name, Type: str}}
	}
	typed := func(typ pg.OID, t lake.Type) columnState {
		c := col(1, "a", typ, -1)
		c.Field.Type = t
		return c
	}
	enum := func(labels map[pg.OID]string) columnState {
		c := col(1, "a", 20000, -1)
		c.Enum = labels
		return c
	}
	missing := func(v string) columnState {
		c := col(1, "a", 25, -1)
		c.Missing = []byte(v)
		return c
	}
	shape := func(s string) columnState {
		c := col(1, "a", 20000, -1)
		c.Shape = s
		return c
	}
	member := func(name string) columnState {
		c := shape("c1(1:23)")
		c.Field.Type = lake.Type{Kind: lake.Struct, Fields: []lake.Field{{ID: 2, Name: name, Type: str, Num: 1}}}
		return c
	}
	text := col(1, "a", 25, -1)
	for _, c := range []struct {
		name     string
		old, new *columnState
		had      bool
		want     change
	}{
		{"nothing", &text, ptr(col(1, "a", 25, -1)), true, same},
		{"a table's first columns", nil, ptr(missing("x")), false, same},
		{"renamed", &text, ptr(col(1, "b", 25, -1)), true, metadata},
		{"added", nil, ptr(col(2, "b", 25, -1)), true, metadata},
		{"added with a default", nil, ptr(missing("x")), true, reencode},
		{"another lake type", &text, ptr(col(2, "a", 25, -1)), true, reencode},
		{"cidr to inet", ptr(col(1, "a", 650, -1)), ptr(col(1, "a", 869, -1)), true, reencode},
		{"varchar made longer", ptr(col(1, "a", 1043, 14)), ptr(col(1, "a", 1043, 24)), true, metadata},
		{"varchar to text", ptr(col(1, "a", 1043, 14)), &text, true, metadata},
		{"char to text", ptr(col(1, "a", 1042, 14)), &text, true, reencode},
		{"bit length", ptr(col(1, "a", 1562, 4)), ptr(col(1, "a", 1562, 8)), true, metadata},
		{"int to bigint", ptr(typed(20, lake.Type{Kind: lake.Int})), ptr(typed(20, lake.Type{Kind: lake.Long})), true, promote},
		{"enum value added", ptr(enum(map[pg.OID]string{1: "x"})), ptr(enum(map[pg.OID]string{1: "x", 2: "y"})), true, same},
		{"enum value renamed", ptr(enum(map[pg.OID]string{1: "x"})), ptr(enum(map[pg.OID]string{1: "z"})), true, reencode},
		{"attribute added", ptr(shape("c1(1:23)")), ptr(shape("c1(1:23,2:25)")), true, reencode},
		{"attribute renamed", ptr(member("x")), ptr(member("y")), true, metadata},
		{"default dropped by a rewrite", ptr(missing("x")), ptr(col(1, "a", 25, -1)), true, same},
	} {
		if got := compare(c.old, c.new, c.had); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
	}
}

// A field keeps its id only where the Iceberg specification lets readers take old files for the new type.
func TestPromotes(t *testing.T) {
	kind := func(k lake.Kind) lake.Type { return lake.Type{Kind: k} }
	decimal := func(p, s int) lake.Type { return lake.Type{Kind: lake.Decimal, Precision: p, Scale: s} }
	list := func(id int, e lake.Type) lake.Type {
		return lake.Type{Kind: lake.List, Elem: &lake.Field{ID: id, Name: "element", Type: e}}
	}
	for _, c := range []struct {
		from, to lake.Type
		want     bool
	}{
		{kind(lake.Int), kind(lake.Long), true}, {kind(lake.Long), kind(lake.Int), false}, {kind(lake.Float), kind(lake.Double), true},
		{kind(lake.Double), kind(lake.Float), false}, {kind(lake.Int), kind(lake.Double), false}, {kind(lake.Int), kind(lake.String), false},
		{kind(lake.Date), kind(lake.Timestamp), false}, {kind(lake.Timestamp), kind(lake.TimestampTZ), false},
		{decimal(8, 2), decimal(10, 2), true}, {decimal(10, 2), decimal(8, 2), false}, {decimal(8, 2), decimal(10, 3), false},
		{list(2, kind(lake.Int)), list(2, kind(lake.Long)), true}, {list(2, kind(lake.Int)), list(3, kind(lake.Long)), false},
		{list(2, kind(lake.Long)), list(2, kind(lake.Int)), false}, {kind(lake.Int), list(2, kind(lake.Long)), false},
	} {
		if got := types.Promotes(c.from, c.to); got != c.want {
			t.Errorf("%+v to %+v: %v", c.from, c.to, got)
		}
	}
}

func ptr[T any](v T) *T { return &v }
