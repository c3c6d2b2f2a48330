package types

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// plain makes a varlena with a 4-byte header.
func plain(v []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(v)+4)<<2), v...)
}

func words(v ...uint32) (b []byte) {
	for _, w := range v {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func decode(t *testing.T, oid pg.OID, typmod int32, data []byte) (*column.Builder, error) {
	t.Helper()
	lt, codec, err := mapped(builtins{}, Source{Type: oid, Typmod: typmod})
	if err != nil {
		t.Fatal(err)
	}
	b := column.New(lake.Field{ID: 1, Name: "v", Type: lt}, &column.Batch{})
	return b, codec.Append(&Env{}, tuple.Datum{Data: data}, b)
}

// TestValueErrors: values that cannot be given say why, and do not look like damage.
func TestValueErrors(t *testing.T) {
	deep := []byte{}
	for range jsonbDepthMax + 2 {
		deep = append(deep, words(jsonbArray|1, entryContainer|entryHasOffset)...)
	}
	for i := 0; i < len(deep); i += 8 { // each container's length is what is left after it
		binary.LittleEndian.PutUint32(deep[i+4:], uint32(entryContainer)|uint32(len(deep)-i-8))
	}
	for _, c := range []struct {
		name   string
		oid    pg.OID
		typmod int32
		data   []byte
		reason string
	}{
		{"text of SQL_ASCII", oidText, -1, plain([]byte("caf\xe9")), "UTF-8"},
		{"jsonb of SQL_ASCII", oidJSONB, -1, plain(append(words(jsonbArray|jsonbScalar|1, entryString|1), 0xE9)), "UTF-8"},
		{"more digits than numeric(5,2)", oidNumeric, 5<<16 + 2 + 4, plain([]byte{0x80, 0x80, 0x10, 0x27 - 0x18}), "wider"},
		{"jsonb without end", oidJSONB, -1, plain(deep), "nested"},
	} {
		_, err := decode(t, c.oid, c.typmod, c.data)
		var v *ValueError
		if !errors.As(err, &v) || !strings.Contains(v.Reason, c.reason) || errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestEnumLabelIsText: an enum's label in a SQL_ASCII database may be no text, as any value.
func TestEnumLabelIsText(t *testing.T) {
	codec := enumCodec(builtins{}, PGType{Name: "mood"})
	for oid, ok := range map[uint32]bool{2: true, 4: false} {
		b := column.New(lake.Field{ID: 1, Name: "v", Type: stringType()}, &column.Batch{})
		var v *ValueError
		if err := codec.Append(&Env{}, tuple.Datum{Data: words(oid)}, b); (err == nil) != ok || err != nil && !errors.As(err, &v) {
			t.Errorf("label %d: %v", oid, err)
		}
	}
}

// TestDamage: bytes that make no sense are corrupt.
func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name string
		oid  pg.OID
		data []byte
	}{
		{"int4 of 3 bytes", oidInt4, []byte{1, 2, 3}},
		{"array of a billion", 1007, plain(words(1, 0, 23, 1<<30, 1, 7))},
		{"array that ends early", 1007, plain(words(1, 0, 23, 3, 1, 7))},
		{"array with nulls outside", 1007, plain(words(1, 400, 23, 3, 1, 7))},
		{"jsonb object too large", oidJSONB, plain(words(jsonbObject|1000, 0))},
		{"jsonb entry past the end", oidJSONB, plain(words(jsonbArray|1, entryString|50))},
		{"jsonb key that is a number", oidJSONB, plain(words(jsonbObject|1, entryNumeric|4, entryNull, 0))},
		{"jsonb header", oidJSONB, plain(words(1))},
		{"numeric digit", oidNumeric, plain([]byte{0, 0x80, 0xFF, 0xFF})},
		{"odd numeric", oidNumeric, plain([]byte{0, 0x80, 1})},
		{"inet of family 9", oidInet, plain([]byte{9, 32, 1, 2, 3, 4})},
		{"bits", oidVarbit, plain(words(999))},
		{"tsvector", oidTSVector, plain(words(1, 1|9<<1|100<<12))},
		{"path", oidPath, plain(words(9, 0, 0))},
		{"polygon", oidPolygon, plain(words(1))},
	} {
		if _, err := decode(t, c.oid, -1, c.data); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestOutOfRangeIsCounted: in the column, where the value is nested too.
func TestOutOfRangeIsCounted(t *testing.T) {
	b, err := decode(t, 1185, -1, plain(append(words(1, 0, 1184, 2, 1), words(0, 0x80000000, 0, 0)...)))
	if err != nil || b.OutOfRange != 1 {
		t.Fatalf("%v, %d out of range", err, b.OutOfRange)
	}
	if v := values(b); v[0].text != `{NULL,"2000-01-01 00:00:00+00"}` {
		t.Errorf("%+v", v)
	}
}

// TestFieldIDs: nested members are numbered from the id given, the same way each time.
func TestFieldIDs(t *testing.T) {
	for range 2 {
		lt, _, err := mapped(builtins{}, Source{Type: 1187, Typmod: -1})
		if err != nil {
			t.Fatal(err)
		}
		el := lt.Elem
		if lt.Kind != lake.List || el.ID != 2 || el.Name != "element" || el.Type.Fields[0].ID != 3 || el.Type.Fields[2].ID != 5 || el.Type.Fields[2].Name != "microseconds" {
			t.Errorf("%+v", lt)
		}
	}
}

// TestEndlessTypes: a domain over itself is refused, not followed.
func TestEndlessTypes(t *testing.T) {
	var u *Unsupported
	if _, _, err := mapped(loop{}, Source{Type: 20000, Typmod: -1}); !errors.As(err, &u) {
		t.Errorf("got %v", err)
	}
}

type loop struct{ builtins }

func (loop) Type(oid pg.OID) (PGType, bool) {
	return PGType{OID: oid, Typtype: 'd', BaseType: oid, Typmod: -1}, true
}

// TestJSONStringEscapes: every byte, at every place of a word of eight, next to others.
func TestJSONStringEscapes(t *testing.T) {
	slow := func(s []byte) string {
		out := `"`
		for _, c := range s {
			switch e := jsonEscape[c]; e {
			case 0:
				out += string([]byte{c})
			case 'u':
				out += fmt.Sprintf(`\u%04x`, c)
			default:
				out += `\` + string([]byte{e})
			}
		}
		return out + `"`
	}
	for c := range 256 {
		for n := range 20 {
			for at := range n {
				s := []byte(strings.Repeat("\xc3", n))
				s[at] = byte(c)
				if got := string(appendJSONString(nil, s)); got != slow(s) {
					t.Fatalf("%q becomes %s, want %s", s, got, slow(s))
				}
			}
		}
	}
}

func TestJSONBAllocatesNothing(t *testing.T) {
	_, codec, _ := mapped(builtins{}, Source{Type: oidJSONB, Typmod: -1})
	b := column.New(lake.Field{ID: 1, Name: "v", Type: stringType()}, &column.Batch{})
	env := &Env{}
	var data []byte
	for _, r := range readRecorded(t) {
		if r.oid == oidJSONB && strings.Contains(r.text, "two") {
			data = r.data
		}
	}
	if n := testing.AllocsPerRun(100, func() {
		if err := codec.Append(env, tuple.Datum{Data: data}, b); err != nil {
			t.Fatal(err)
		}
		b.Reset()
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
