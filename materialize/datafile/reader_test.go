package datafile

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// written is a file of those rows of everyKind.
func written(t *testing.T, opts Options, rows []int) []byte {
	t.Helper()
	var buf bytes.Buffer
	opts.Schema = everyKind()
	w, err := NewWriter(opts, &buf)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		appendRow(w.Columns(), r)
		if err := w.EndRow(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// TestCopyRows copies rows of a file of several row groups and many pages: what comes out is, byte for byte, the file that is written
// of those rows.
func TestCopyRows(t *testing.T) {
	const rows = 20_000
	all := make([]int, rows)
	for i := range all {
		all[i] = i
	}
	src := written(t, Options{RowGroupRows: 9000, RowGroupBytes: 1 << 30}, all)
	for _, every := range []int{1, 2, 7, 613, 5000, 19_999} {
		var positions []uint32
		var picked []int
		for i := every - 1; i < rows; i += every {
			positions, picked = append(positions, uint32(i)), append(picked, i)
		}
		r, err := OpenReader(bytes.NewReader(src), int64(len(src)))
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		w, err := NewWriter(Options{Schema: everyKind()}, &out)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Copy(positions, w.Columns(), 0, func(int) error { return w.EndRow() }); err != nil {
			t.Fatalf("every %d: %v", every, err)
		}
		if _, err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if want := written(t, Options{}, picked); !bytes.Equal(out.Bytes(), want) {
			t.Errorf("every %d: a copy of %d rows is not the file written of them", every, len(picked))
		}
	}
}

// TestCopyGrown reads columns as the wider types that Iceberg promotes them to, under other ids, and a column that came later.
func TestCopyGrown(t *testing.T) {
	dec := func(p int) lake.Type { return lake.Type{Kind: lake.Decimal, Precision: p, Scale: 2} }
	var buf bytes.Buffer
	w, err := NewWriter(Options{Schema: lake.Schema{Fields: []lake.Field{{ID: 1, Name: "i", Type: typ(lake.Int)}, {ID: 2, Name: "f", Type: typ(lake.Float)}, {ID: 3, Name: "a", Type: dec(9)}, {ID: 4, Name: "b", Type: dec(9)}, {ID: 5, Name: "c", Type: dec(20)}}}}, &buf)
	if err != nil {
		t.Fatal(err)
	}
	c := w.Columns()
	c[0].AppendInt32(-5)
	c[1].AppendFloat(1.5)
	c[2].AppendInt32(-7)
	c[3].AppendInt32(-8)
	c[4].AppendFixed([]byte{0xFF, 0, 0, 0, 0, 0, 0, 0, 1})
	if err := w.EndRow(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReader(bytes.NewReader(buf.Bytes()), int64(buf.Len()))
	if err != nil {
		t.Fatal(err)
	}
	var to []*column.Builder
	for _, f := range []lake.Field{{ID: 11, Name: "i", Type: typ(lake.Long)}, {ID: 12, Name: "f", Type: typ(lake.Double)}, {ID: 13, Name: "a", Type: dec(18)}, {ID: 14, Name: "b", Type: dec(38)}, {ID: 15, Name: "c", Type: dec(38)}, {ID: 16, Name: "new", Type: typ(lake.String)}} {
		to = append(to, column.New(f, &column.Batch{}))
	}
	rows := 0
	if err := r.Copy([]uint32{0}, to, 10, func(int) error { rows++; return nil }); err != nil || rows != 1 {
		t.Fatal(rows, err)
	}
	b := append(bytes.Repeat([]byte{0xFF}, 15), 0xF8)
	cWant := append(bytes.Repeat([]byte{0xFF}, 8), 0, 0, 0, 0, 0, 0, 0, 1)
	if to[0].Int64s[0] != -5 || to[1].Double[0] != 1.5 || to[2].Int64s[0] != -7 || !bytes.Equal(to[3].Data, b) || !bytes.Equal(to[4].Data, cWant) || to[5].Def[0] != 0 {
		t.Errorf("%v %v %v %x %x %v", to[0].Int64s, to[1].Double, to[2].Int64s, to[3].Data, to[4].Data, to[5].Def)
	}
}

type lost struct{ io.ReaderAt }

var errLost = errors.New("the store did not answer")

func (lost) ReadAt([]byte, int64) (int, error) { return 0, errLost }

// TestReaderErrors tells damage from a store that does not answer.
func TestReaderErrors(t *testing.T) {
	src := written(t, Options{}, []int{0, 1, 2, 3})
	if _, err := OpenReader(bytes.NewReader(src[:len(src)-9]), int64(len(src)-9)); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a cut file: %v", err)
	}
	if _, err := OpenReader(lost{}, int64(len(src))); !errors.Is(err, errLost) || errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("an object that cannot be read: %v", err)
	}
	for i := 4; i < len(src)-8; i += 5 { // an error or other values, never a panic
		bad := bytes.Clone(src)
		bad[i] ^= 0x55
		r, err := OpenReader(bytes.NewReader(bad), int64(len(bad)))
		if err != nil {
			continue
		}
		w, err := NewWriter(Options{Schema: everyKind()}, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		_ = r.Copy([]uint32{0, 3}, w.Columns(), 0, func(int) error { return nil })
	}
	r, err := OpenReader(bytes.NewReader(src), int64(len(src)))
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(Options{Schema: everyKind()}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Copy([]uint32{4}, w.Columns(), 0, func(int) error { return nil }); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a row that is not there: %v", err)
	}
}
