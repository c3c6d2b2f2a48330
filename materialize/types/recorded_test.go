package types

import (
	"bufio"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

var update = flag.Bool("update", false, "record testdata/datums.txt from a server of version 18")

const recordedFile = "testdata/datums.txt"

// recorded is a datum a real server wrote: a line "oid typmod hex text", text quoted.
type recorded struct {
	oid    pg.OID
	typmod int32
	data   []byte
	text   string
}

// record appends a column's short inline values to the file, if its type needs no catalog of the server.
func record(t *testing.T, c typeCase, cc *serverColumn) {
	if cc.oid >= pg.FirstNormalOID || strings.Contains(c.sqlType, "mood") || strings.Contains(c.sqlType, "price") {
		return
	}
	f, err := os.OpenFile(recordedFile, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	done := map[string]bool{}
	for _, r := range cc.rows {
		key := string(r.datum.Data)
		if r.datum.Null || len(r.datum.Data) > 200 || done[key] || r.datum.Data[0] == 1 && len(r.datum.Data) == 18 {
			continue
		}
		done[key] = true
		fmt.Fprintf(f, "%d %d %x %q\n", cc.oid, cc.typmod, r.datum.Data, deref(r.text))
	}
}

func readRecorded(t testing.TB) (out []recorded) {
	f, err := os.Open(recordedFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		p := strings.SplitN(s.Text(), " ", 4)
		oid, _ := strconv.ParseUint(p[0], 10, 32)
		typmod, _ := strconv.ParseInt(p[1], 10, 32)
		data, err1 := hex.DecodeString(p[2])
		text, err2 := strconv.Unquote(p[3])
		if err1 != nil || err2 != nil {
			t.Fatalf("%s: %q", recordedFile, s.Text())
		}
		out = append(out, recorded{pg.OID(oid), int32(typmod), data, text})
	}
	return out
}

// builtins resolves built-in types without a server: base types by OID, and the array types recorded.
type builtins struct{}

// mapped is the type and codec of a column that comes first in a new table.
func mapped(r Resolver, src Source) (lake.Type, Codec, error) {
	next := 2
	m, err := Options{LCMonetary: "C"}.Map(r, "v", src, nil, &next)
	return m.Type, m.Codec, err
}

func (builtins) Attributes(pg.OID) ([]Attribute, bool) { return nil, false }
func (builtins) Subtype(pg.OID) (pg.OID, bool)         { return 0, false }
func (builtins) EnumLabel(oid pg.OID) (string, bool) {
	if oid == 4 {
		return "caf\xe9", true
	}
	return "label", oid%2 == 0
}
func (builtins) Type(oid pg.OID) (PGType, bool) {
	if el, ok := arrayElements[oid]; ok {
		return PGType{OID: oid, Typtype: 'b', Category: 'A', Len: -1, Align: 'i', Elem: el, Typmod: -1}, true
	}
	t := PGType{OID: oid, Typtype: 'b', Len: -1, Align: 'i', Typmod: -1}
	if l, ok := fixedLengths[oid]; ok {
		t.Len, t.Align = l.len, l.align
	}
	return t, true
}

var arrayElements = map[pg.OID]pg.OID{
	22: 21, 30: 26, 1000: oidBool, 1002: oidChar, 1003: oidName, 1005: oidInt2, 1007: oidInt4, 1016: oidInt8, 1009: oidText, 1231: oidNumeric,
	3807: oidJSONB, 2951: oidUUID, 1185: oidTimestampz, 1041: oidInet, 1187: oidInterval,
}

var fixedLengths = map[pg.OID]struct {
	len   int16
	align byte
}{
	oidBool: {1, 'c'}, oidChar: {1, 'c'}, oidName: {64, 'c'}, oidInt2: {2, 's'}, oidInt4: {4, 'i'}, oidInt8: {8, 'd'}, oidOID: {4, 'i'},
	oidUUID: {16, 'c'}, oidTimestampz: {8, 'd'}, oidInterval: {16, 'd'},
}

func TestRecordedDatums(t *testing.T) {
	n := 0
	for _, r := range readRecorded(t) {
		lt, codec, err := mapped(builtins{}, Source{Type: r.oid, Typmod: r.typmod})
		if err != nil {
			t.Fatal(err)
		}
		b := column.New(lake.Field{ID: 1, Name: "v", Type: lt}, &column.Batch{})
		if err := codec.Append(&Env{}, tuple.Datum{Data: r.data}, b); err != nil {
			t.Errorf("type %d: %x: %v", r.oid, r.data, err)
			continue
		}
		if v := values(b)[0]; !v.null && v.text != r.text {
			t.Errorf("type %d: %x gives %q, the server printed %q", r.oid, r.data, v.text, r.text)
		}
		n++
	}
	if n < 250 {
		t.Errorf("%d datums are recorded", n)
	}
}

// FuzzCodecs: no bytes make a codec panic, hang or ask for memory out of proportion.
func FuzzCodecs(f *testing.F) {
	for _, r := range readRecorded(f) {
		f.Add(uint32(r.oid), r.typmod, r.data)
	}
	f.Fuzz(func(t *testing.T, oid uint32, typmod int32, data []byte) {
		lt, codec, err := mapped(builtins{}, Source{Type: pg.OID(oid), Typmod: typmod})
		if err != nil {
			return
		}
		b := column.New(lake.Field{ID: 1, Name: "v", Type: lt}, &column.Batch{})
		if err := codec.Append(&Env{}, tuple.Datum{Data: data}, b); err == nil {
			if n := len(values(b)); n != 1 {
				t.Errorf("one datum became %d values", n)
			}
		}
	})
}
