package datafile_test

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tidset"
	"github.com/tarn-db/tarn/materialize/tuple"
	"github.com/tarn-db/tarn/materialize/types"
)

const narrowRows = 200_000

// narrowPages are the heap pages of a table (bigint, int, text of 20, numeric(12,2), timestamptz, jsonb of 60) that a
// real server wrote.
func narrowPages(b *testing.B) []byte {
	srv := pgtest.NewTestServer(b, pgtest.Options{Major: 15, Settings: map[string]string{"autovacuum": "off"}})
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `create table narrow (id bigint, n int, t text, amount numeric(12,2), at timestamptz, doc jsonb);
		insert into narrow select i, i % 1000, left(md5((i % 50000)::text), 20), (random() * 1000000)::numeric(12,2), '2026-01-01'::timestamptz + i * interval '137 ms',
			jsonb_build_object('user', i % 5000, 'kind', 'click', 'ok', i % 2 = 0, 'path', '/item/' || i % 997) from generate_series(1, 200000) i; checkpoint`, pgx.QueryExecModeSimpleProtocol); err != nil {
		b.Fatal(err)
	}
	var path string
	if err := conn.QueryRow(ctx, "select pg_relation_filepath('narrow')").Scan(&path); err != nil {
		b.Fatal(err)
	}
	pages, err := os.ReadFile(filepath.Join(srv.DataDir(), path))
	if err != nil {
		b.Fatal(err)
	}
	return pages
}

type narrowTypes struct{}

func (narrowTypes) Type(oid pg.OID) (types.PGType, bool) {
	return types.PGType{OID: oid, Typtype: 'b', Typmod: -1}, true
}
func (narrowTypes) Attributes(pg.OID) ([]types.Attribute, bool) { return nil, false }
func (narrowTypes) Subtype(pg.OID) (pg.OID, bool)               { return 0, false }
func (narrowTypes) EnumLabel(pg.OID) (string, bool)             { return "", false }

// narrow is everything needed to turn pages of the table into a data file.
type narrow struct {
	schema lake.Schema
	codecs []types.Codec
	desc   *tuple.Desc
}

func newNarrow(b *testing.B) *narrow {
	n := &narrow{}
	var attrs []tuple.Attr
	for i, c := range []struct {
		name   string
		oid    pg.OID
		typmod int32
		len    int16
		align  byte
	}{
		{"id", 20, -1, 8, 'd'}, {"n", 23, -1, 4, 'i'}, {"t", 25, -1, -1, 'i'}, {"amount", 1700, 12<<16 + 2 + 4, -1, 'i'}, {"at", 1184, -1, 8, 'd'}, {"doc", 3802, -1, -1, 'i'},
	} {
		next := 100
		m, err := types.Options{}.Map(narrowTypes{}, c.name, types.Source{Type: c.oid, Typmod: c.typmod}, nil, &next)
		if err != nil {
			b.Fatal(err)
		}
		n.codecs = append(n.codecs, m.Codec)
		n.schema.Fields = append(n.schema.Fields, lake.Field{ID: i + 1, Name: c.name, Type: m.Type})
		attrs = append(attrs, tuple.Attr{Num: int16(i + 1), Len: c.len, Align: c.align})
	}
	n.desc = tuple.NewDesc(attrs)
	return n
}

// encode writes all tuples of the pages, as the table's encoder does.
func (n *narrow) encode(b *testing.B, pages []byte, opts datafile.Options, sink io.Writer) (lake.File, *tidset.Set) {
	opts.Schema = n.schema
	w, err := datafile.NewWriter(opts, sink)
	if err != nil {
		b.Fatal(err)
	}
	cols, env, out := w.Columns(), &types.Env{}, make([]tuple.Datum, n.desc.Len())
	tids := tidset.NewBuilder(tidset.Source{})
	for blk := range len(pages) / pg.BlockSize {
		page := pg.Page(pages[blk*pg.BlockSize : (blk+1)*pg.BlockSize])
		for off := pg.OffsetNumber(1); int(off) <= page.NumItems(); off++ {
			t, ok := page.Tuple(off)
			if !ok {
				continue
			}
			err := n.desc.Deform(t, out)
			for i := 0; i < len(cols) && err == nil; i++ {
				err = n.codecs[i].Append(env, out[i], cols[i])
			}
			if err == nil {
				err = tids.Add(pg.TID{Block: pg.BlockNumber(blk), Offset: off}, t.Xmin())
			}
			if err == nil {
				err = w.EndRow()
			}
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	f, err := w.Close()
	if err != nil {
		b.Fatal(err)
	}
	return f, tids.Finish()
}

// cpuTime is what this process has used, garbage collection included: on a busy machine it says more than the clock.
func cpuTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkEncodeNarrow goes from heap pages to Parquet bytes.
func BenchmarkEncodeNarrow(b *testing.B) {
	pages, n := narrowPages(b), newNarrow(b)
	for name, opts := range map[string]datafile.Options{"zstd": {}, "snappy": {Compression: datafile.Snappy}, "delta": {DeltaIntegers: true}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var f lake.File
			cpu := cpuTime(b)
			for b.Loop() {
				f, _ = n.encode(b, pages, opts, io.Discard)
			}
			if f.Rows != narrowRows {
				b.Fatalf("%d rows", f.Rows)
			}
			b.ReportMetric(narrowRows*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
			b.ReportMetric(narrowRows*float64(b.N)/(cpuTime(b)-cpu).Seconds()/1e6, "Mrows/cpu-s")
			b.ReportMetric(float64(f.Bytes)/narrowRows, "B/row")
		})
	}
}

// BenchmarkSmallFile is a publication of a few rows.
func BenchmarkSmallFile(b *testing.B) {
	pages, n := narrowPages(b), newNarrow(b)
	b.ReportAllocs()
	for b.Loop() {
		n.encode(b, pages[:pg.BlockSize], datafile.Options{}, io.Discard)
	}
}

// TestClosedAfterABatch: a file may end with no row waiting: right after a batch, or without any row.
func TestClosedAfterABatch(t *testing.T) {
	const batchRows = 8192 // what is encoded at once
	for _, rows := range []int{0, batchRows, 2 * batchRows} {
		var buf bytes.Buffer
		w, err := datafile.NewWriter(datafile.Options{Schema: lake.Schema{LastColumnID: 1, Fields: []lake.Field{{ID: 1, Name: "n", Type: lake.Type{Kind: lake.Long}}}}, RowGroupRows: batchRows}, &buf)
		if err != nil {
			t.Fatal(err)
		}
		for i := range rows {
			w.Columns()[0].AppendInt64(int64(i))
			if err := w.EndRow(); err != nil {
				t.Fatal(err)
			}
		}
		f, err := w.Close()
		if err != nil || f.Rows != int64(rows) || len(f.SplitOffsets) != rows/batchRows {
			t.Errorf("%d rows: %+v, %v", rows, f, err)
		}
	}
}
