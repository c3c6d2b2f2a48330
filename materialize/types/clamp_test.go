package types

import (
	"testing"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// TestClamp: every value that a server recorded and Iceberg cannot hold is the nearest one that it can, or null where none
// is nearest; all are counted. Numerics are asked for as decimals that they do not fit.
func TestClamp(t *testing.T) {
	want := map[string]string{
		"infinity": "9999-12-31", "-infinity": "0001-01-01", "24:00:00": "23:59:59.999999", "18446744073709551615": "9223372036854775807",
	}
	for _, c := range []struct {
		as        Numeric
		from, to  string
		countedAs int64
	}{
		{Numeric{5, 2}, "1", "1.00", 0}, {Numeric{5, 2}, "0.0001", "0.00", 1}, {Numeric{5, 2}, "10000", "999.99", 1}, {Numeric{5, 2}, "-Infinity", "-999.99", 1},
		{Numeric{5, 2}, "NaN", "NULL", 1}, {Numeric{38, 10}, "123456789012345678901234567890.123456789", "9999999999999999999999999999.9999999999", 1},
		{Numeric{38, 4}, "123456789012345678901234567890.123456789", "123456789012345678901234567890.1235", 1}, {Numeric{9, 0}, "-1.50", "-2", 1},
		{Numeric{4, 1}, "1234.5000", "999.9", 1}, {Numeric{6, 2}, "1234.5000", "1234.50", 0}, {Numeric{1, 0}, "0.000", "0", 0}, {Numeric{38, 38}, "0.00000000000000000001", "0.00000000000000000001000000000000000000", 0},
	} {
		r := recordedAs(t, c.from)
		got, b := under(t, Options{Columns: map[string]Numeric{"v": c.as}}, r, true)
		if got.member() != c.to || b.OutOfRange != c.countedAs {
			t.Errorf("%s as %+v: %q, %d out of range; want %q, %d", c.from, c.as, got.member(), b.OutOfRange, c.to, c.countedAs)
		}
		if got, _ := under(t, Options{Columns: map[string]Numeric{"v": c.as}}, r, false); got.null != (c.countedAs > 0) {
			t.Errorf("%s as %+v without clamp: %q", c.from, c.as, got.member())
		}
	}
	clamped := 0
	for _, r := range readRecorded(t) {
		to, ok := want[r.text]
		if !ok || r.oid != oidDate && r.oid != oidTime && r.oid != oidXID8 {
			continue
		}
		clamped++
		if got, b := under(t, Options{}, r, true); got.text != to || b.OutOfRange != 1 {
			t.Errorf("%s: %+v, %d out of range; want %s", r.text, got, b.OutOfRange, to)
		}
	}
	if clamped < 4 {
		t.Errorf("%d values were out of range", clamped)
	}
}

// recordedAs is the numeric that a server printed so.
func recordedAs(t *testing.T, text string) recorded {
	for _, r := range readRecorded(t) {
		if r.oid == oidNumeric && r.text == text {
			return r
		}
	}
	t.Fatalf("no numeric %s is recorded", text)
	return recorded{}
}

func under(t *testing.T, o Options, r recorded, clamp bool) (shown, *column.Builder) {
	next := 2
	m, err := o.Map(builtins{}, "v", Source{Type: r.oid, Typmod: r.typmod}, nil, &next)
	if err != nil {
		t.Fatal(err)
	}
	b := column.New(lake.Field{ID: 1, Name: "v", Type: m.Type}, &column.Batch{Clamp: clamp})
	if err := m.Codec.Append(&Env{}, tuple.Datum{Data: r.data}, b); err != nil {
		t.Fatalf("%s: %v", r.text, err)
	}
	return values(b)[0], b
}
