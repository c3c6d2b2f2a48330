package datafile

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/parquet/file"
	"pgregory.net/rapid"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// TestBoundsAsPyIceberg has PyIceberg read the bounds and compares them with what appendRow wrote.
func TestBoundsAsPyIceberg(t *testing.T) {
	s := everyKind()
	_, f := writeFile(t, Options{Schema: s, RowGroupRows: 8192}, 20000)
	names := map[int]string{}
	pyTypes := map[lake.Kind]string{lake.Bool: "BooleanType()", lake.Int: "IntegerType()", lake.Long: "LongType()", lake.Float: "FloatType()", lake.Double: "DoubleType()",
		lake.Date: "DateType()", lake.Time: "TimeType()", lake.Timestamp: "TimestampType()", lake.TimestampTZ: "TimestamptzType()", lake.String: "StringType()", lake.Binary: "BinaryType()"}
	var ask [][4]string
	for _, field := range s.Fields {
		names[field.ID] = field.Name
		py := pyTypes[field.Type.Kind]
		if field.Type.Kind == lake.Decimal {
			py = fmt.Sprintf("DecimalType(%d, %d)", field.Type.Precision, field.Type.Scale)
		}
		for _, c := range f.Columns {
			if c.FieldID == field.ID && c.Lower != nil {
				ask = append(ask, [4]string{field.Name, py, hex.EncodeToString(c.Lower), hex.EncodeToString(c.Upper)})
			}
		}
	}
	in, _ := json.Marshal(ask)
	got := string(python(t, `
import sys, json
from pyiceberg.types import *
from pyiceberg.conversions import from_bytes
for name, typ, low, high in json.loads(sys.argv[1]):
    print(name, from_bytes(eval(typ), bytes.fromhex(low)), from_bytes(eval(typ), bytes.fromhex(high)))`, string(in)))
	want := `b False True
i 0 9
l 0 19999059997
f 0.0 4999.75
dec9 -199.99 0.00
dec18 -500 19499
dec38 -5.00E-8 0.0000019499
date 0 19999
time 0 19999000
ts 0 19999019999
tstz -19999019999 0
s text number 0 ü text number 99 ü
bin b'\x00\x00\xff' b'\x00\xff\xff'
with.dot 7 7
`
	// d has no bounds, as it has NaN; Float's lower bound is -0.0.
	if norm(got) != norm(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	for _, c := range f.Columns {
		switch {
		case names[c.FieldID] == "d" && c.NaNs != 3429: // of 4000 rows that are multiples of 5, those not all null
			t.Errorf("%d NaNs", c.NaNs)
		case names[c.FieldID] != "" && c.FieldID < 16 && (c.Values != 20000 || c.Nulls != 2857):
			t.Errorf("%s: %d values, %d nulls", names[c.FieldID], c.Values, c.Nulls)
		case c.Bytes <= 0:
			t.Errorf("field %d has %d bytes", c.FieldID, c.Bytes)
		}
	}
	if len(f.SplitOffsets) != 3 || f.SplitOffsets[0] != 4 {
		t.Errorf("row groups at %v", f.SplitOffsets)
	}
}

// TestRowGroupsWithoutMisreadStatistics: floats and UUIDs have none, other types have.
func TestRowGroupsWithoutMisreadStatistics(t *testing.T) {
	s := everyKind()
	data, _ := writeFile(t, Options{Schema: s, RowGroupRows: 8192}, 20000)
	r, err := file.NewParquetReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	without := map[string]bool{"f": true, "d": true, "u": true}
	for g := range r.NumRowGroups() {
		for i := range s.Fields[:15] {
			chunk, err := r.MetaData().RowGroup(g).ColumnChunk(i)
			if err != nil {
				t.Fatal(err)
			}
			stats, err := chunk.Statistics()
			if err != nil {
				t.Fatal(err)
			}
			name, has := s.Fields[i].Name, stats != nil && stats.HasMinMax()
			if has == without[name] {
				t.Errorf("row group %d, column %s: bounds: %v", g, name, has)
			}
		}
	}
}

func norm(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "-0.0 ", "0.0 "), "0.0000000500", "5.00E-8")
}

// TestStringBounds: no string is below its lower or above its upper bound, which are strings of at most 16 characters.
func TestStringBounds(t *testing.T) {
	runes := rapid.SampledFrom([]rune{'a', 'b', 0, 0x7F, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, utf8.MaxRune})
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.StringOfN(runes, 0, 20, -1), 1, 20).Draw(t, "values")
		var buf bytes.Buffer
		kind := rapid.SampledFrom([]lake.Kind{lake.String, lake.Binary}).Draw(t, "kind")
		w, err := NewWriter(Options{Schema: lake.Schema{Fields: []lake.Field{{ID: 1, Name: "s", Type: typ(kind)}}}}, &buf)
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range values {
			w.Columns()[0].AppendBytes([]byte(v))
			if err := w.EndRow(); err != nil {
				t.Fatal(err)
			}
			if i == len(values)/2 {
				if err := w.flush(false); err != nil { // bounds span batches
					t.Fatal(err)
				}
			}
		}
		f, err := w.Close()
		if err != nil {
			t.Fatal(err)
		}
		low, high := string(f.Columns[0].Lower), f.Columns[0].Upper
		for _, v := range values {
			if v < low || high != nil && v > string(high) {
				t.Fatalf("%q is not within %q and %q", v, low, high)
			}
		}
		if kind == lake.String {
			for _, b := range []string{low, string(high)} {
				if !utf8.ValidString(b) || utf8.RuneCountInString(b) > boundChars {
					t.Fatalf("bound %q", b)
				}
			}
		} else if len(low) > boundChars || len(high) > boundChars {
			t.Fatalf("bounds %q %q", low, high)
		}
		if high == nil && !strings.HasPrefix(maxString(values), strings.Repeat(string(utf8.MaxRune), 1)) {
			t.Fatalf("no upper bound of %q", values)
		}
	})
}

func maxString(values []string) (m string) {
	for _, v := range values {
		m = max(m, v)
	}
	return m
}

func TestDecimalBounds(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"0000000000000000", "00"}, {"ffffffffffffffff", "ff"}, {"0000000000000080", "0080"}, {"ffffffffffffff7f", "ff7f"}, {"00000000000000ff", "00ff"}, {"ffffffffffffff80", "80"},
	} {
		b, _ := hex.DecodeString(c.in)
		if got := hex.EncodeToString(column.Shortest(b)); got != c.want {
			t.Errorf("%s becomes %s, want %s", c.in, got, c.want)
		}
	}
}

func TestDistinctIn(t *testing.T) {
	for _, c := range []struct{ total, n, d, low, high float64 }{
		{1e6, 8192, 8192, 1e6, 1e6},       // a key
		{1e6, 8192, 10, 10, 10},           // few values
		{1e6, 8192, 7561, 45_000, 55_000}, // 50,000 values seen in a sample
		{8192, 8192, 7561, 7561, 7561},    // the sample is all
		{1e6, 8192, 8191, 1e6 - 1, 1e6},   // one twice by chance
		{1e9, 8192, 4000, 4_700, 5_100},   // about 4,800
	} {
		if got := distinctIn(c.total, c.n, c.d); got < c.low || got > c.high || math.IsNaN(got) {
			t.Errorf("%v of %v distinct in a sample of %v: %v among %v", c.d, c.n, c.n, got, c.total)
		}
	}
}

// TestUUIDsWithoutDictionary, however often they repeat.
func TestUUIDsWithoutDictionary(t *testing.T) {
	for kind, want := range map[lake.Kind]bool{lake.UUID: false, lake.String: true} {
		var buf bytes.Buffer
		w, err := NewWriter(Options{Schema: lake.Schema{Fields: []lake.Field{{ID: 1, Name: "v", Type: typ(kind)}}}}, &buf)
		if err != nil {
			t.Fatal(err)
		}
		for range 5000 {
			if v := []byte("0123456789abcdef"); kind == lake.UUID {
				w.Columns()[0].AppendFixed(v)
			} else {
				w.Columns()[0].AppendBytes(v)
			}
			if err := w.EndRow(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		r, err := file.NewParquetReader(bytes.NewReader(buf.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		chunk, err := r.MetaData().RowGroup(0).ColumnChunk(0)
		if err != nil {
			t.Fatal(err)
		}
		if chunk.HasDictionaryPage() != want {
			t.Errorf("kind %d has a dictionary: %v", kind, !want)
		}
	}
}
