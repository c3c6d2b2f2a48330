package transform

import (
	"encoding/binary"
	"encoding/hex"
	"math/big"
	"testing"
	"time"

	"github.com/tarn-db/tarn/materialize/lake"
)

func long(v int64) []byte { return binary.LittleEndian.AppendUint64(nil, uint64(v)) }

func of(k lake.Kind) lake.Type { return lake.Type{Kind: k} }

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

// micros is a moment in microseconds.
func micros(s string) int64 {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t.UnixMicro()
}

// The table of Iceberg's spec, "Appendix B: 32-bit Hash Requirements".
func TestHash(t *testing.T) {
	days := func(s string) []byte { return le32(int32(floorDiv(micros(s+"T00:00:00Z"), 86_400_000_000))) }
	for _, c := range []struct {
		what string
		typ  lake.Type
		v    []byte
		want int32
	}{
		{"int 34", of(lake.Int), le32(34), 2017239379},
		{"long 34", of(lake.Long), long(34), 2017239379},
		{"decimal 14.20", lake.Type{Kind: lake.Decimal, Precision: 9, Scale: 2}, Decimal(big.NewInt(1420)), -500754589},
		{"date 2017-11-16", of(lake.Date), days("2017-11-16"), -653330422},
		{"time 22:31:08", of(lake.Time), long((22*3600 + 31*60 + 8) * 1_000_000), -662762989},
		{"timestamp 2017-11-16T22:31:08", of(lake.Timestamp), long(micros("2017-11-16T22:31:08Z")), -2047944441},
		{"timestamp 2017-11-16T22:31:08.000001", of(lake.Timestamp), long(micros("2017-11-16T22:31:08.000001Z")), -1207196810},
		{"timestamptz 2017-11-16T14:31:08-08:00", of(lake.TimestampTZ), long(micros("2017-11-16T14:31:08-08:00")), -2047944441},
		{"timestamptz 2017-11-16T14:31:08.000001-08:00", of(lake.TimestampTZ), long(micros("2017-11-16T14:31:08.000001-08:00")), -1207196810},
		{"string iceberg", of(lake.String), []byte("iceberg"), 1210000089},
		{"uuid", of(lake.UUID), unhex("f79c3e09677c4bbda4793f349cb785e7"), 1488055340},
		{"binary 00010203", of(lake.Binary), []byte{0, 1, 2, 3}, -188683207},
	} {
		if got := int32(hash(c.typ, c.v)); got != c.want {
			t.Errorf("%s: hash %d, want %d", c.what, got, c.want)
		}
	}
	for _, v := range []int32{-1, -34, -1 << 31} { // a column that grows keeps its buckets
		if i, l := hash(of(lake.Int), le32(v)), hash(of(lake.Long), long(int64(v))); i != l {
			t.Errorf("%d: hash %d as int, %d as long", v, i, l)
		}
	}
}

func TestApply(t *testing.T) {
	dec := lake.Type{Kind: lake.Decimal, Precision: 9, Scale: 2}
	moment := func(s string) []byte { return long(micros(s)) }
	for _, c := range []struct {
		transform string
		typ       lake.Type
		v         []byte
		want      []byte
	}{
		{"truncate[10]", of(lake.Int), le32(1), le32(0)},
		{"truncate[10]", of(lake.Int), le32(-1), le32(-10)},
		{"truncate[10]", of(lake.Int), le32(-10), le32(-10)},
		{"truncate[10]", of(lake.Long), long(-11), long(-20)},
		{"truncate[50]", dec, Decimal(big.NewInt(1065)), Decimal(big.NewInt(1050))}, // 10.65 -> 10.50
		{"truncate[50]", dec, Decimal(big.NewInt(-5)), Decimal(big.NewInt(-50))},
		{"truncate[3]", of(lake.String), []byte("iceberg"), []byte("ice")},
		{"truncate[3]", of(lake.String), []byte("éé𝄞𝄞"), []byte("éé𝄞")},
		{"truncate[3]", of(lake.String), []byte{}, []byte{}},
		{"truncate[3]", of(lake.Binary), []byte{1, 2, 3, 4}, []byte{1, 2, 3}},
		{"year", of(lake.Date), le32(-1), le32(-1)}, // 1969-12-31
		{"month", of(lake.Date), le32(-1), le32(-1)},
		{"day", of(lake.Date), le32(-1), le32(-1)},
		{"year", of(lake.Date), le32(17501), le32(47)}, // 2017-12-01
		{"month", of(lake.Date), le32(17501), le32(575)},
		{"month", of(lake.Date), le32(-719529), le32(-1970*12 - 1)}, // the last day of year -1
		{"year", of(lake.Timestamp), moment("1969-12-31T23:59:59.999999Z"), le32(-1)},
		{"month", of(lake.Timestamp), moment("1969-11-30T23:59:59.999999Z"), le32(-2)},
		{"day", of(lake.TimestampTZ), moment("1969-12-31T23:59:59.999999Z"), le32(-1)},
		{"hour", of(lake.Timestamp), moment("1969-12-31T23:59:59.999999Z"), le32(-1)},
		{"hour", of(lake.Timestamp), moment("2017-12-01T10:12:55.038194Z"), le32(420034)},
		{"day", of(lake.Timestamp), moment("2017-12-01T10:12:55.038194Z"), le32(17501)},
		{"bucket[16]", of(lake.Int), nil, nil},
		{"bucket[100]", of(lake.Long), long(34), le32(2017239379 % 100)},
		{"bucket[100]", of(lake.String), []byte("iceberg"), le32(1210000089 % 100)},
		{"bucket[100]", of(lake.Binary), []byte{0, 1, 2, 3}, le32((-188683207 & 0x7FFFFFFF) % 100)},
		{"identity", of(lake.String), []byte("x"), []byte("x")},
	} {
		tr, err := Parse(c.transform)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := tr.Result(c.typ); !ok {
			t.Errorf("%s does not take kind %d", c.transform, c.typ.Kind)
		}
		if got := tr.Apply(c.typ, c.v); string(got) != string(c.want) || (got == nil) != (c.want == nil) {
			t.Errorf("%s of % x: % x, want % x", c.transform, c.v, got, c.want)
		}
		if tr.String() != c.transform {
			t.Errorf("%s is written as %s", c.transform, tr)
		}
	}
}

func TestResult(t *testing.T) {
	for _, c := range []struct {
		transform string
		typ       lake.Type
	}{
		{"identity", of(lake.Double)}, {"identity", of(lake.UUID)}, {"identity", lake.Type{Kind: lake.List, Elem: &lake.Field{}}}, {"bucket[4]", of(lake.Bool)}, {"bucket[4]", of(lake.Float)},
		{"truncate[4]", of(lake.UUID)}, {"truncate[4]", of(lake.Date)}, {"truncate[101]", lake.Type{Kind: lake.Decimal, Precision: 2}},
		{"hour", of(lake.Date)}, {"day", of(lake.Time)}, {"year", of(lake.Long)},
	} {
		tr, err := Parse(c.transform)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := tr.Result(c.typ); ok {
			t.Errorf("%s takes kind %d", c.transform, c.typ.Kind)
		}
	}
	for _, s := range []string{"", "void", "bucket", "bucket[0]", "bucket[-1]", "bucket[4294967297]", "days"} {
		if tr, err := Parse(s); err == nil {
			t.Errorf("%q is taken as %v", s, tr)
		}
	}
}

func TestText(t *testing.T) {
	number := of(lake.Int)
	for _, c := range []struct {
		kind   Kind
		result lake.Type
		v      []byte
		want   string
	}{
		{Year, number, le32(-1), "1969"}, {Month, number, le32(-1), "1969-12"}, {Month, number, le32(575), "2017-12"}, {Hour, number, le32(420034), "2017-12-01-10"},
		{Day, of(lake.Date), le32(-1), "1969-12-31"}, {Bucket, number, le32(7), "7"}, {Identity, of(lake.String), []byte("a"), "a"}, {Identity, of(lake.UUID), []byte{1, 255}, "01ff"},
		{Identity, of(lake.Bool), []byte{1}, "true"}, {Identity, of(lake.Long), nil, "null"},
	} {
		if got := Text(c.result, Transform{Kind: c.kind}, c.v); got != c.want {
			t.Errorf("kind %d of % x: %s, want %s", c.kind, c.v, got, c.want)
		}
	}
}
