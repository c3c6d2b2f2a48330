package materialize

import (
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestCompare holds the rule of which catalog changes make published rows wrong.
func TestCompare(t *testing.T) {
	str := lake.Type{Kind: lake.String}
	col := func(id int, name string, typ pg.OID, typmod int32) columnState {
		return columnState{Num: 1, Type: typ, Typmod: typmod, Field: lake.Field{ID: id, Name: name, Type: str}}
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
		{"varchar made longer", ptr(col(1, "a", 1043, 14)), ptr(col(1, "a", 1043, 24)), true, same},
		{"bit length", ptr(col(1, "a", 1560, 4)), ptr(col(1, "a", 1560, 8)), true, reencode},
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

func ptr[T any](v T) *T { return &v }
