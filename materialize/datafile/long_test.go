package datafile

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/tarn-db/tarn/materialize/lake"
)

// TestLongValues: values of 16 KiB, in a list too, lie in pages of about pageBytesMax and not in one for the whole batch, and come
// back as they were.
func TestLongValues(t *testing.T) {
	text := lake.Type{Kind: lake.String}
	schema := lake.Schema{Fields: []lake.Field{
		{ID: 1, Name: "s", Type: text},
		{ID: 2, Name: "l", Type: lake.Type{Kind: lake.List, Elem: &lake.Field{ID: 3, Name: "element", Type: text}}},
	}, LastColumnID: 3}
	long := func(i int) string { return strings.Repeat(fmt.Sprintf("%08d", i), 2048) }
	var buf bytes.Buffer
	w, err := NewWriter(Options{Schema: schema}, &buf)
	if err != nil {
		t.Fatal(err)
	}
	const rows = 400
	var want [2][]string
	c := w.Columns()
	for i := range rows {
		if i%5 == 4 {
			c[0].AppendNull()
		} else {
			c[0].AppendBytes([]byte(long(i)))
			want[0] = append(want[0], long(i))
		}
		list := c[1].AppendList(i % 3)
		for j := range i % 3 {
			list.AppendBytes([]byte(long(1000 + 3*i + j)))
			want[1] = append(want[1], long(1000+3*i+j))
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
	defer r.Close()
	for i := range want {
		var got []string
		for g := range r.NumRowGroups() {
			got = append(got, longColumn(t, r.RowGroup(g), i)...)
		}
		if len(got) != len(want[i]) {
			t.Fatalf("column %d has %d values of %d", i, len(got), len(want[i]))
		}
		for k := range got {
			if got[k] != want[i][k] {
				t.Fatalf("column %d: value %d is %.20q, want %.20q", i, k, got[k], want[i][k])
			}
		}
	}
}

// longColumn reads a column's values and looks at the size of its pages.
func longColumn(t *testing.T, group *file.RowGroupReader, i int) (out []string) {
	t.Helper()
	pages, err := group.GetColumnPageReader(i)
	if err != nil {
		t.Fatal(err)
	}
	for pages.Next() {
		data := pages.Page().Data()
		if n := len(data); n > pageBytesMax+3*16<<10+4096 {
			t.Errorf("column %d has a page of %d bytes", i, n)
		}
		// Repetition levels come first: their length in four bytes, the header of a run in one, and of either kind of run the first level is
		// in the next one's lowest bit.
		if i == 1 && data[5]&1 != 0 {
			t.Errorf("column %d has a page that begins within a row", i)
		}
	}
	if err := pages.Err(); err != nil {
		t.Fatal(err)
	}
	col, err := group.Column(i)
	if err != nil {
		t.Fatal(err)
	}
	values := make([]parquet.ByteArray, 1024)
	def, rep := make([]int16, 1024), make([]int16, 1024)
	for col.HasNext() {
		_, n, err := col.(*file.ByteArrayColumnChunkReader).ReadBatch(1024, values, def, rep)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range values[:n] {
			out = append(out, string(v))
		}
	}
	return out
}
