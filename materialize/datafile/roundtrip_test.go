package datafile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// python runs a script with pyarrow and duckdb, or skips.
func python(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	bin := os.Getenv("TARN_PYTHON")
	if bin == "" {
		bin = "../../.cache/venv/bin/python"
	}
	if _, err := os.Stat(bin); err != nil {
		pgtest.Missing(t, err, "run internal/tools/install-readers")
	}
	cmd := exec.Command(bin, append([]string{"-c", script}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, errs.String())
	}
	return out
}

func typ(k lake.Kind) lake.Type { return lake.Type{Kind: k} }

func everyKind() lake.Schema {
	list := func(id int, t lake.Type) lake.Type {
		return lake.Type{Kind: lake.List, Elem: &lake.Field{ID: id, Name: "element", Type: t}}
	}
	interval := func(id int) lake.Type {
		return lake.Type{Kind: lake.Struct, Fields: []lake.Field{{ID: id, Name: "months", Type: typ(lake.Int)}, {ID: id + 1, Name: "days", Type: typ(lake.Int)}, {ID: id + 2, Name: "microseconds", Type: typ(lake.Long)}}}
	}
	dec := func(p, s int) lake.Type { return lake.Type{Kind: lake.Decimal, Precision: p, Scale: s} }
	return lake.Schema{Fields: []lake.Field{
		{ID: 1, Name: "b", Type: typ(lake.Bool)}, {ID: 2, Name: "i", Type: typ(lake.Int)}, {ID: 3, Name: "l", Type: typ(lake.Long)},
		{ID: 4, Name: "f", Type: typ(lake.Float)}, {ID: 5, Name: "d", Type: typ(lake.Double)}, {ID: 6, Name: "dec9", Type: dec(9, 2)},
		{ID: 7, Name: "dec18", Type: dec(18, 0)}, {ID: 8, Name: "dec38", Type: dec(38, 10)}, {ID: 9, Name: "date", Type: typ(lake.Date)},
		{ID: 10, Name: "time", Type: typ(lake.Time)}, {ID: 11, Name: "ts", Type: typ(lake.Timestamp)}, {ID: 12, Name: "tstz", Type: typ(lake.TimestampTZ)},
		{ID: 13, Name: "s", Type: typ(lake.String)}, {ID: 14, Name: "u", Type: typ(lake.UUID)}, {ID: 15, Name: "bin", Type: typ(lake.Binary)},
		{ID: 16, Name: "li", Type: list(20, typ(lake.Int))}, {ID: 17, Name: "ls", Type: list(21, typ(lake.String))},
		{ID: 18, Name: "iv", Type: interval(22)}, {ID: 19, Name: "liv", Type: list(25, interval(26))}, {ID: 29, Name: "with.dot", Type: typ(lake.Int)},
	}, LastColumnID: 29}
}

// fixed16 is a decimal of 38 digits.
func fixed16(v int64) []byte {
	b := make([]byte, 16)
	for i := range 8 {
		b[15-i] = byte(v >> (8 * i))
		if v < 0 {
			b[i] = 0xFF
		}
	}
	return b
}

// appendRow adds row r of everyKind; every seventh row is all nulls.
func appendRow(c []*column.Builder, r int) {
	if r%7 == 6 {
		for _, b := range c {
			b.AppendNull()
		}
		return
	}
	v := int64(r)
	c[0].AppendBool(r%2 == 1)
	c[1].AppendInt32(int32(r % 10))
	c[2].AppendInt64(v * 1_000_003)
	c[3].AppendFloat(float32(r) / 4)
	if r%5 == 0 {
		c[4].AppendDouble(math.NaN())
	} else {
		c[4].AppendDouble(float64(-r) / 8)
	}
	c[5].AppendInt32(int32(-r))
	c[6].AppendInt64(v - 500)
	c[7].AppendFixed(fixed16(v - 500))
	c[8].AppendInt32(int32(r))
	c[9].AppendInt64(v * 1000)
	c[10].AppendInt64(v * 1_000_001)
	c[11].AppendInt64(-v * 1_000_001)
	c[12].AppendBytes(fmt.Appendf(nil, "text number %d ü", r%100))
	var u [16]byte
	u[0], u[15] = byte(r), byte(r>>8)
	c[13].AppendFixed(u[:])
	c[14].AppendBytes([]byte{0, byte(r), 0xFF})
	li := c[15].AppendList(r % 4)
	for i := range r % 4 {
		if i == 1 {
			li.AppendNull()
		} else {
			li.AppendInt32(int32(r + i))
		}
	}
	if r%3 == 0 {
		c[16].AppendNull()
	} else {
		ls := c[16].AppendList(2)
		ls.AppendBytes([]byte("x"))
		ls.AppendBytes(fmt.Appendf(nil, "%d", r))
	}
	appendInterval(c[17], r)
	liv := c[18].AppendList(r % 3)
	for i := range r % 3 {
		if i == 1 {
			liv.AppendNull()
		} else {
			appendInterval(liv, r+i)
		}
	}
	c[19].AppendInt32(7)
}

func appendInterval(b *column.Builder, r int) {
	m := b.AppendStruct()
	m[0].AppendInt32(int32(r))
	m[1].AppendInt32(int32(-r))
	m[2].AppendInt64(int64(r) * 1e6)
}

func writeFile(t testing.TB, opts Options, rows int) ([]byte, lake.File) {
	t.Helper()
	var buf bytes.Buffer
	w, err := NewWriter(opts, &buf)
	if err != nil {
		t.Fatal(err)
	}
	for r := range rows {
		appendRow(w.Columns(), r)
		if err := w.EndRow(); err != nil {
			t.Fatal(err)
		}
	}
	f, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if f.Bytes != int64(buf.Len()) || f.Rows != int64(rows) {
		t.Errorf("%d bytes, %d rows; File says %d, %d", buf.Len(), rows, f.Bytes, f.Rows)
	}
	return buf.Bytes(), f
}

// checkScript rebuilds what appendRow wrote and compares it with what each reader gives.
const checkScript = `
import sys, math, datetime as dt, decimal as de, json, uuid
import pyarrow.parquet as pq, duckdb
path, rows = sys.argv[1], int(sys.argv[2])
E = dt.datetime(1970, 1, 1); EZ = E.replace(tzinfo=dt.timezone.utc); us = lambda n: dt.timedelta(microseconds=n)
iv = lambda r: {"months": r, "days": -r, "microseconds": r * 1000000}
def want(r):
    if r % 7 == 6: return [None] * 20
    u = bytearray(16); u[0] = r & 255; u[15] = (r >> 8) & 255
    return [r % 2 == 1, r % 10, r * 1000003, r / 4, math.nan if r % 5 == 0 else -r / 8, de.Decimal(-r).scaleb(-2), de.Decimal(r - 500),
      de.Decimal(r - 500).scaleb(-10), (E + dt.timedelta(days=r)).date(), (E + us(r * 1000)).time(), E + us(r * 1000001), EZ - us(r * 1000001),
      "text number %d ü" % (r % 100), uuid.UUID(bytes=bytes(u)), bytes([0, r & 255, 255]),
      [None if i == 1 else r + i for i in range(r % 4)], None if r % 3 == 0 else ["x", str(r)], iv(r),
      [None if i == 1 else iv(r + i) for i in range(r % 3)], 7]
def norm(v):
    if isinstance(v, float) and math.isnan(v): return "nan"
    if isinstance(v, dt.datetime) and v.tzinfo: return v.astimezone(dt.timezone.utc)
    return v
def compare(name, got):
    assert len(got) == rows, (name, len(got))
    for r, g in enumerate(got):
        w = want(r)
        for i, (a, b) in enumerate(zip(g, w)):
            assert norm(a) == norm(b), (name, r, i, a, b)
f = pq.ParquetFile(path)
t = f.read()
cols = [c.to_pylist() for c in t.columns]
cols[13] = [None if v is None else (v if isinstance(v, uuid.UUID) else uuid.UUID(bytes=v)) for v in cols[13]]
compare("pyarrow", list(zip(*cols)))
con = duckdb.connect(); con.execute("set enable_progress_bar = false")
# It would want the module pytz to give out a timestamp with time zone.
got = con.execute("select * replace (epoch_us(tstz) as tstz) from read_parquet(?)", [path]).fetchall()
compare("duckdb", [[EZ + us(v) if i == 11 and v is not None else v for i, v in enumerate(row)] for row in got])
def ids(field):
    out = [int((field.metadata or {}).get(b"PARQUET:field_id", b"-1"))]
    t = field.type
    if str(t).startswith("list"): out += ids(t.value_field)
    elif str(t).startswith("struct"):
        for i in range(t.num_fields): out += ids(t.field(i))
    return out
m = f.metadata
print(json.dumps({"ids": sum([ids(x) for x in f.schema_arrow], []), "created_by": m.created_by, "row_groups": m.num_row_groups,
  "types": [str(x.type) for x in f.schema_arrow], "enc": {m.row_group(0).column(i).path_in_schema: list(m.row_group(0).column(i).encodings) for i in range(m.num_columns)},
  "physical": [m.schema.column(i).physical_type for i in range(m.num_columns)]}))
q = con.execute("select count(*), min(l) from read_parquet(?) where l > 5000000", [path]).fetchone()
w = [r * 1000003 for r in range(rows) if r % 7 != 6 and r * 1000003 > 5000000]
assert q == (len(w), min(w, default=None)), q
`

func TestReadersReadTheSame(t *testing.T) {
	for name, c := range map[string]struct {
		opts Options
		rows int
	}{
		"one row":      {Options{}, 1},
		"small":        {Options{}, 1000},
		"row groups":   {Options{RowGroupRows: 10000}, 30000},
		"delta":        {Options{DeltaIntegers: true}, 20000},
		"snappy":       {Options{Compression: Snappy}, 9000},
		"uncompressed": {Options{Compression: Uncompressed}, 9000},
	} {
		t.Run(name, func(t *testing.T) {
			c.opts.Schema = everyKind()
			b, f := writeFile(t, c.opts, c.rows)
			path := filepath.Join(t.TempDir(), "f.parquet")
			if err := os.WriteFile(path, b, 0o666); err != nil {
				t.Fatal(err)
			}
			var got struct {
				IDs       []int               `json:"ids"`
				CreatedBy string              `json:"created_by"`
				RowGroups int                 `json:"row_groups"`
				Types     []string            `json:"types"`
				Enc       map[string][]string `json:"enc"`
				Physical  []string            `json:"physical"`
			}
			if err := json.Unmarshal(python(t, checkScript, path, fmt.Sprint(c.rows)), &got); err != nil {
				t.Fatal(err)
			}
			want := "[1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 20 17 21 18 22 23 24 19 25 26 27 28 29]"
			if fmt.Sprint(got.IDs) != want {
				t.Errorf("field ids %v, want %s", got.IDs, want)
			}
			if got.CreatedBy != DefaultCreatedBy || got.RowGroups != len(f.SplitOffsets) {
				t.Errorf("%+v", got)
			}
			if s := strings.Join(got.Types, " "); !strings.Contains(s, "decimal128(9, 2) decimal128(18, 0) decimal128(38, 10) date32[day] time64[us] timestamp[us] timestamp[us, tz=UTC] string") {
				t.Errorf("types %s", s)
			}
			if s := strings.Join(got.Physical[5:8], " "); s != "INT32 INT64 FIXED_LEN_BYTE_ARRAY" {
				t.Errorf("decimals are %s", s)
			}
			if c.rows >= 1000 && (!strings.Contains(fmt.Sprint(got.Enc["i"]), "DICT") || strings.Contains(fmt.Sprint(got.Enc["l"]), "DICT")) {
				t.Errorf("encodings %v", got.Enc)
			}
			if c.opts.DeltaIntegers && !strings.Contains(fmt.Sprint(got.Enc["l"]), "DELTA") {
				t.Errorf("encodings %v", got.Enc)
			}
		})
	}
}

// TestHalfARowIsRefused: a row in which a column got no value must not shift the column.
func TestHalfARowIsRefused(t *testing.T) {
	w, err := NewWriter(Options{Schema: everyKind()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	appendRow(w.Columns(), 1)
	w.Columns()[3].AppendFloat(1)
	if err := w.EndRow(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err == nil || !strings.Contains(err.Error(), `"f"`) {
		t.Errorf("got %v", err)
	}
}

// failing accepts some bytes, then fails as a full disk does.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestSinkErrorsAreGiven(t *testing.T) {
	_, full := writeFile(t, Options{Schema: everyKind(), RowGroupRows: 500}, 2000)
	for left := 0; left < int(full.Bytes); left += 997 {
		w, err := NewWriter(Options{Schema: everyKind(), RowGroupRows: 500}, &failing{left})
		for r := 0; r < 2000 && err == nil; r++ {
			appendRow(w.Columns(), r)
			err = w.EndRow()
		}
		if err == nil {
			_, err = w.Close()
		}
		if err == nil {
			t.Fatalf("a sink that failed after %d of %d bytes made no error", left, full.Bytes)
		}
	}
}

func TestPositionDeletes(t *testing.T) {
	a, b := roaring.BitmapOf(5, 0, 4_000_000_000), roaring.New()
	b.AddRange(10, 5000)
	d, data, err := EncodePositionDeletes([]PathPositions{{"s3://bucket/b.parquet", b}, {"s3://bucket/a.parquet", a}, {"s3://bucket/none.parquet", roaring.New()}})
	if err != nil {
		t.Fatal(err)
	}
	if d.Rows != 4993 || d.Bytes != int64(len(data)) || string(d.Columns[0].Lower) != "s3://bucket/a.parquet" || string(d.Columns[0].Upper) != "s3://bucket/b.parquet" ||
		!bytes.Equal(d.Columns[1].Upper, le64(4_000_000_000)) || d.Columns[0].FieldID != 2147483546 || d.Columns[1].FieldID != 2147483545 || len(d.SplitOffsets) != 1 {
		t.Errorf("%+v", d)
	}
	m, err := ReadPositionDeletes(data)
	if err != nil || len(m) != 2 || !m["s3://bucket/a.parquet"].Equals(a) || !m["s3://bucket/b.parquet"].Equals(b) {
		t.Errorf("read back %v, %v", m, err)
	}
	path := filepath.Join(t.TempDir(), "d.parquet")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	out := string(python(t, `
import sys, pyarrow.parquet as pq
f = pq.ParquetFile(sys.argv[1]); t = f.read().to_pylist()
assert t == sorted(t, key=lambda r: (r["file_path"], r["pos"])) and len(t) == 4993, len(t)
import duckdb
con = duckdb.connect(); con.execute("set enable_progress_bar = false")
assert con.sql("select count(*), sum(pos) from read_parquet('%s')" % sys.argv[1]).fetchone() == (4993, 4000000005 + sum(range(10, 5000)))
print([x.metadata[b"PARQUET:field_id"].decode() for x in f.schema_arrow], [x.nullable for x in f.schema_arrow], t[2], t[3])`, path))
	if strings.TrimSpace(out) != `['2147483546', '2147483545'] [False, False] {'file_path': 's3://bucket/a.parquet', 'pos': 4000000000} {'file_path': 's3://bucket/b.parquet', 'pos': 10}` {
		t.Errorf("pyarrow: %s", out)
	}
	if _, _, err := EncodePositionDeletes(nil); err == nil {
		t.Error("an empty delete file was made")
	}
	if _, _, err := EncodePositionDeletes([]PathPositions{{"x", a}, {"x", b}}); err == nil {
		t.Error("one path twice was accepted")
	}
}

// TestDamagedDeletes: each flipped byte and each cut is noticed.
func TestDamagedDeletes(t *testing.T) {
	_, data, err := EncodePositionDeletes([]PathPositions{{"file:///x", roaring.BitmapOf(1, 2, 3)}})
	if err != nil {
		t.Fatal(err)
	}
	for i := range data {
		for _, flip := range []byte{0x01, 0x40, 0xFF} {
			b := bytes.Clone(data)
			b[i] ^= flip
			if _, err := ReadPositionDeletes(b); !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("byte %d: %v", i, err)
			}
		}
		if _, err := ReadPositionDeletes(data[:i]); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}
