package types

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// fixture is a datum that a real server wrote, of a type that needs catalogs. testdata/nested.txt is of Postgres 18 and
// has lines "type hex text"; testdata/extensions.txt is of pgvector 0.8.6 and PostGIS 3.3.2 on Postgres 15, and has lines "library
// function hex text", where a geometry's text is what ST_AsBinary(g, 'NDR') gives.
type fixture struct {
	src  Source
	data []byte
	text string
}

// fixtureCatalog resolves the types of fixtures.
type fixtureCatalog struct{ builtins }

const oidPair, oidFirstExtension pg.OID = 16387, 20000

var fixtureTypes = map[string]Source{
	"pair": {Type: oidPair}, "pair[]": {Type: 16386}, "int4range": {Type: 3904}, "numrange": {Type: 3906}, "int4multirange": {Type: 4451}, "nummultirange": {Type: 4532},
	"int4[][]": {Type: 1007, Dims: 2}, "hstore": {Type: oidFirstExtension},
	"cube cube_in": {Type: oidFirstExtension + 5}, "ltree ltree_in": {Type: oidFirstExtension + 6},
	"vector vector_in": {Type: oidFirstExtension + 1}, "vector halfvec_in": {Type: oidFirstExtension + 2},
	"postgis-3 LWGEOM_in": {Type: oidFirstExtension + 3}, "postgis-3 geography_in": {Type: oidFirstExtension + 4},
}

func (fixtureCatalog) Type(oid pg.OID) (PGType, bool) {
	t := PGType{OID: oid, Len: -1, Align: 'i', Typmod: -1, Typtype: 'b'}
	switch oid {
	case oidPair:
		t.Typtype, t.Align, t.Relid = 'c', 'd', 1
	case 16386:
		t.Category, t.Elem = 'A', oidPair
	case 3904, 3906:
		t.Typtype = 'r'
	case 4451, 4532:
		t.Typtype = 'm'
	case oidFirstExtension:
		t.Input = Func{"hstore", "hstore_in"}
	case oidFirstExtension + 1:
		t.Input = Func{"vector", "vector_in"}
	case oidFirstExtension + 2:
		t.Input = Func{"vector", "halfvec_in"}
	case oidFirstExtension + 3:
		t.Input = Func{"postgis-3", "LWGEOM_in"}
	case oidFirstExtension + 4:
		t.Input = Func{"postgis-3", "geography_in"}
	case oidFirstExtension + 5:
		t.Input = Func{"cube", "cube_in"}
	case oidFirstExtension + 6:
		t.Input = Func{"ltree", "ltree_in"}
	default:
		return builtins{}.Type(oid)
	}
	return t, true
}

func (fixtureCatalog) Attributes(pg.OID) ([]Attribute, bool) {
	return []Attribute{
		{Attr: tuple.Attr{Num: 1, Len: 4, Align: 'i', ByVal: true}, Name: "a", Source: Source{Type: oidInt4, Typmod: -1}},
		{Attr: tuple.Attr{Num: 2, Len: 1, Align: 'c', ByVal: true, Dropped: true}},
		{Attr: tuple.Attr{Num: 3, Len: -1, Align: 'i'}, Name: "b", Source: Source{Type: oidText, Typmod: -1}},
	}, true
}

func (fixtureCatalog) Subtype(oid pg.OID) (pg.OID, bool) {
	of, ok := map[pg.OID]pg.OID{3904: oidInt4, 3906: oidNumeric, 4451: 3904, 4532: 3906}[oid]
	return of, ok
}

func readFixtures(t testing.TB) (out []fixture) {
	for _, name := range []string{"testdata/nested.txt", "testdata/extensions.txt"} {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
			head, quoted, _ := strings.Cut(s.Text(), ` "`)
			at := strings.LastIndexByte(head, ' ')
			data, err1 := hex.DecodeString(head[at+1:])
			text, err2 := strconv.Unquote(`"` + quoted)
			src, ok := fixtureTypes[head[:at]]
			if err1 != nil || err2 != nil || !ok {
				t.Fatalf("%s: %q: %v, %v", name, s.Text(), err1, err2)
			}
			src.Typmod = -1
			out = append(out, fixture{src, data, text})
		}
	}
	return out
}

func (f *fixture) decode(data []byte) (*column.Builder, error) {
	lt, codec, err := mapped(fixtureCatalog{}, f.src)
	if err != nil {
		return nil, err
	}
	b := column.New(lake.Field{ID: 1, Name: "v", Type: lt}, &column.Batch{})
	return b, codec.Append(&Env{Reader: tuple.Reader{Most: 1 << 20}}, tuple.Datum{Data: data}, b)
}

func TestFixtures(t *testing.T) {
	fixtures := readFixtures(t)
	for _, f := range fixtures {
		b, err := f.decode(f.data)
		if err != nil {
			t.Errorf("%+v %x: %v", f.src, f.data, err)
			continue
		}
		got := values(b)[0].text
		if f.src.Type > oidFirstExtension && f.src.Type < oidFirstExtension+5 { // vectors and geometries in the extension's own words
			got = strings.NewReplacer("{", "[", "}", "]", `"`, "", `\x`, "").Replace(got)
		}
		if got != f.text {
			t.Errorf("%+v %x gives %q, the server printed %q", f.src, f.data, got, f.text)
		}
		// Cut anywhere the value is damaged, and says so: no decoder reads past an end, or stops before it.
		v, err := tuple.Inline(f.data)
		if err != nil {
			t.Fatal(err)
		}
		for n := range v {
			cut := append(le.AppendUint32(nil, uint32(n+4)<<2), v[:n]...)
			if _, err := f.decode(cut); !errors.Is(err, pg.ErrCorrupt) && !f.mayBeCut(n, len(v)) {
				t.Errorf("%+v %x cut to %d of %d bytes: %v", f.src, f.data, n, len(v), err)
			}
		}
	}
	if len(fixtures) < 60 {
		t.Errorf("%d values are recorded", len(fixtures))
	}
}

// mayBeCut says of which types a shorter value can be another one: the header of a composite may allow any of its null
// attributes, an array without elements and a multirange may have padding, and so may the text at the end of an hstore.
func (f *fixture) mayBeCut(n, of int) bool {
	switch f.src.Type {
	case oidPair, 16386, 1007, oidFirstExtension:
		return n >= 8
	case 3904, 3906:
		return n == 5 && f.data[len(f.data)-of+4] == rangeEmpty // what is the last byte then says so
	case 4451, 4532:
		return n >= of-4
	}
	return false
}

// FuzzNested: no bytes make a codec of a nested type panic, hang or ask for memory out of proportion.
func FuzzNested(f *testing.F) {
	var kinds []Source
	for _, x := range readFixtures(f) {
		at := -1
		for i, k := range kinds {
			if k == x.src {
				at = i
			}
		}
		if at < 0 {
			at, kinds = len(kinds), append(kinds, x.src)
		}
		f.Add(uint8(at), x.data)
	}
	f.Fuzz(func(t *testing.T, kind uint8, data []byte) {
		x := fixture{src: kinds[int(kind)%len(kinds)]}
		if b, err := x.decode(data); err == nil {
			if n := len(values(b)); n != 1 {
				t.Errorf("one datum became %d values", n)
			}
		}
	})
}

// TestNestedBudget: members that are decompressed inside a composite count together.
func TestNestedBudget(t *testing.T) {
	x := &Env{Reader: tuple.Reader{Most: 1000}}
	in := x.inner()
	if err := in.charge(600); err != nil {
		t.Fatal(err)
	}
	var large *tuple.TooLargeError
	if err := in.inner().charge(600); !errors.As(err, &large) {
		t.Errorf("1200 bytes of 1000: %v", err)
	}
}

// TestForeignBytes: a value that says it is of another type than its column is damaged, not read as one of it.
func TestForeignBytes(t *testing.T) {
	at := map[pg.OID]int{oidPair: 5, 3904: 1, 3906: 1, 4451: 1, 4532: 1} // of the type's OID, behind a short header or in one of 4 bytes
	for _, f := range readFixtures(t) {
		if i, ok := at[f.src.Type]; ok {
			data := bytes.Clone(f.data)
			data[i] ^= 1
			if _, err := f.decode(data); !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("%+v %x: %v", f.src, data, err)
			}
		}
	}
}

// changed is a catalog in which the attributes of pair are others.
type changed struct {
	fixtureCatalog
	attrs []Attribute
}

func (c changed) Attributes(pg.OID) ([]Attribute, bool) { return c.attrs, true }

// TestMemberIDs: a member keeps its id by its attribute's number whatever its name, one that was dropped and added again gets
// another, and the shape tells what has to be written again.
func TestMemberIDs(t *testing.T) {
	attrs, _ := fixtureCatalog{}.Attributes(0)
	next := 2
	pairs, err := Options{}.Map(fixtureCatalog{}, "v", Source{Type: 16386, Typmod: -1}, nil, &next)
	if err != nil || next != 5 {
		t.Fatalf("%+v, next id %d, %v", pairs, next, err)
	}
	attrs[0].Name = "renamed"
	m, err := Options{}.Map(changed{attrs: attrs}, "v", Source{Type: 16386, Typmod: -1}, &pairs.Type, &next)
	if f := m.Type.Elem.Type.Fields; err != nil || next != 5 || m.Type.Elem.ID != 2 || f[0].ID != 3 || f[0].Name != "renamed" || f[1].ID != 4 || m.Shape != pairs.Shape || !Fits(pairs.Type, m.Type) {
		t.Errorf("renamed: %+v, next id %d, %v", m, next, err)
	}
	attrs[0].Dropped = true
	attrs = append(attrs, Attribute{Attr: tuple.Attr{Num: 4, Len: 4, Align: 'i', ByVal: true}, Name: "a", Source: Source{Type: oidInt4, Typmod: -1}})
	m, err = Options{}.Map(changed{attrs: attrs}, "v", Source{Type: 16386, Typmod: -1}, &pairs.Type, &next)
	if f := m.Type.Elem.Type.Fields; err != nil || next != 6 || m.Type.Elem.ID != 2 || f[0].ID != 4 || f[1].ID != 5 || f[1].Num != 4 || m.Shape == pairs.Shape {
		t.Errorf("dropped and added again: %+v, next id %d, %v", m, next, err)
	}
	attrs[2].Source.Type = oidBytea // as if what a member becomes had changed
	m, err = Options{}.Map(changed{attrs: attrs}, "v", Source{Type: 16386, Typmod: -1}, &pairs.Type, &next)
	if f := m.Type.Elem.Type.Fields; err != nil || f[0].ID == 4 || f[0].Num != 3 || f[0].Type.Kind != lake.Binary {
		t.Errorf("of another type: %+v, %v", m, err)
	}
}

// doubling is a catalog in which type n is a composite of two of type n-1.
type doubling struct{ builtins }

func (doubling) Type(oid pg.OID) (PGType, bool) {
	if oid <= 20000 {
		return builtins{}.Type(oidInt4)
	}
	return PGType{OID: oid, Typtype: 'c', Len: -1, Align: 'd', Relid: oid}, true
}

func (doubling) Attributes(relid pg.OID) ([]Attribute, bool) {
	src := Source{Type: relid - 1, Typmod: -1}
	return []Attribute{{Attr: tuple.Attr{Num: 1, Len: -1}, Name: "a", Source: src}, {Attr: tuple.Attr{Num: 2, Len: -1}, Name: "b", Source: src}}, true
}

// TestManyFields: composites of composites of composites are refused before they fill memory.
func TestManyFields(t *testing.T) {
	var u *Unsupported
	if _, _, err := mapped(doubling{}, Source{Type: 20030, Typmod: -1}); !errors.As(err, &u) || len(err.Error()) > 2000 {
		t.Errorf("2^30 fields: %v", err)
	}
	if _, _, err := mapped(doubling{}, Source{Type: 20008, Typmod: -1}); err != nil {
		t.Error(err)
	}
}
