package tuple

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/pierrec/lz4/v4"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestDeformAsPageinspect compares with heap_page_item_attrs, the server's own deforming, over columns of all
// alignments, with nulls anywhere, after columns were dropped and added.
func TestDeformAsPageinspect(t *testing.T) {
	srv := pgtest.NewTestServer(t, pgtest.Options{Major: 15, Settings: map[string]string{"autovacuum": "off"}})
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `create extension pageinspect;
		create table t (a int2, b int8, c "char", d float8, e text, f bool, g int4, h text, i timestamptz, j name, k point, l bytea, m numeric);
		insert into t select n, n, 'x', n, repeat('e', (n * 7) % 300), n % 2 = 0, n, repeat('h', n % 200), now(), 'name' || n, point(n, n), decode(repeat('ab', n % 140), 'hex'), n / 3.0 from generate_series(1, 300) n;
		insert into t select case when n & 1 = 0 then n end, case when n & 2 = 0 then n end, case when n & 4 = 0 then 'c' end, case when n & 8 = 0 then n end,
			case when n & 16 = 0 then 'text' end, case when n & 32 = 0 then true end, case when n & 64 = 0 then n end, case when n & 128 = 0 then repeat('z', 130) end,
			case when n & 256 = 0 then now() end, case when n & 512 = 0 then 'n' end, case when n & 1024 = 0 then point(1, 2) end, case when n & 2048 = 0 then '\x00'::bytea end, n from generate_series(0, 4095) n;
		alter table t drop column d, drop column h;
		insert into t select n, n, 'x', repeat('e', n), true, n, now(), 'after', null, '\x01', null from generate_series(1, 100) n;
		alter table t add column o int default 77, add column p text default 'missing', add column q text;
		insert into t (a, o, p, q) select n, n, 'there', 'q' from generate_series(1, 50) n;
		checkpoint`, pgx.QueryExecModeSimpleProtocol); err != nil {
		t.Fatal(err)
	}
	var attrs []Attr
	rows, err := conn.Query(ctx, `select attnum, attlen, attalign::text, attisdropped, atthasmissing from pg_attribute where attrelid = 't'::regclass and attnum > 0 order by attnum`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var a Attr
		var align string
		if err := rows.Scan(&a.Num, &a.Len, &align, &a.Dropped, &a.HasMissing); err != nil {
			t.Fatal(err)
		}
		a.Align = align[0]
		if a.HasMissing && a.Len == 4 {
			a.Missing = []byte{77, 0, 0, 0}
		} else if a.HasMissing {
			a.Missing = append([]byte{8<<1 | 1}, "missing"...)
		}
		attrs = append(attrs, a)
	}
	desc := NewDesc(attrs)
	var path string
	if err := conn.QueryRow(ctx, `select pg_relation_filepath('t')`).Scan(&path); err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(filepath.Join(srv.DataDir(), path))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	out := make([]Datum, desc.Len())
	for blk := range len(file) / pg.BlockSize {
		page := pg.Page(file[blk*pg.BlockSize : (blk+1)*pg.BlockSize])
		rows, err := conn.Query(ctx, fmt.Sprintf(`select lp, t_attrs from heap_page_item_attrs(get_raw_page('t', %d), 't'::regclass)`, blk))
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var lp pg.OffsetNumber
			var want [][]byte
			if err := rows.Scan(&lp, &want); err != nil {
				t.Fatal(err)
			}
			tup, ok := page.Tuple(lp)
			if !ok {
				t.Fatalf("(%d,%d) is no tuple", blk, lp)
			}
			if err := desc.Deform(tup, out); err != nil {
				t.Fatalf("(%d,%d): %v", blk, lp, err)
			}
			for i, d := range out {
				switch {
				case attrs[i].Dropped:
					if !d.Null {
						t.Errorf("(%d,%d): dropped column %d is there", blk, lp, i+1)
					}
				case i >= tup.Natts() && attrs[i].HasMissing:
					if d.Null || !bytes.Equal(d.Data, attrs[i].Missing) {
						t.Errorf("(%d,%d): missing column %d is %x", blk, lp, i+1, d.Data)
					}
				case i >= tup.Natts() || want[i] == nil:
					if !d.Null {
						t.Errorf("(%d,%d): column %d is %x, want null", blk, lp, i+1, d.Data)
					}
				case d.Null || !bytes.Equal(d.Data, want[i]):
					t.Errorf("(%d,%d): column %d is %x, want %x", blk, lp, i+1, d.Data, want[i])
				}
				compared++
			}
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if compared < 60_000 {
		t.Errorf("only %d columns compared", compared)
	}
	t.Logf("%d columns of %d pages compared", compared, len(file)/pg.BlockSize)
}

// makeTuple builds a tuple without nulls around a body.
func makeTuple(natts int, body []byte) pg.HeapTuple {
	t := make(pg.HeapTuple, 24, 24+len(body))
	t.SetInfomask2(uint16(natts))
	t[22] = 24
	return append(t, body...)
}

var someAttrs = []Attr{{Num: 1, Len: 4, Align: 'i'}, {Num: 2, Len: -1, Align: 'i'}, {Num: 3, Len: 8, Align: 'd'}, {Num: 4, Len: -2, Align: 'c'}, {Num: 5, Len: 1, Align: 'c'}}

func TestDeformRefusesDamage(t *testing.T) {
	d := NewDesc(someAttrs)
	out := make([]Datum, d.Len())
	good := makeTuple(5, append([]byte{1, 0, 0, 0, 7, 'a', 'b', 0, 8, 0, 0, 0, 0, 0, 0, 0}, "cstr\x00z"...))
	if err := d.Deform(good, out); err != nil || string(out[1].Data) != "\x07ab" || string(out[3].Data) != "cstr\x00" || string(out[4].Data) != "z" {
		t.Fatalf("%v %v", err, out)
	}
	for n := range len(good) {
		if err := d.Deform(good[:n], out); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	for name, change := range map[string]func(pg.HeapTuple){
		"too many columns":   func(t pg.HeapTuple) { t.SetInfomask2(6) },
		"t_hoff too small":   func(t pg.HeapTuple) { t[22] = 22 },
		"t_hoff too large":   func(t pg.HeapTuple) { t[22] = 255 },
		"no room for nulls":  func(t pg.HeapTuple) { t.SetInfomask(pg.HeapHasNull); t[22] = 23 },
		"varlena past end":   func(t pg.HeapTuple) { t[28] = 0xFF },
		"varlena of nothing": func(t pg.HeapTuple) { copy(t[28:], []byte{0, 0, 0, 0}) },
		"unknown pointer":    func(t pg.HeapTuple) { copy(t[28:], []byte{1, 3}) },
	} {
		bad := bytes.Clone(good)
		change(pg.HeapTuple(bad))
		if err := d.Deform(pg.HeapTuple(bad), out); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDeform(f *testing.F) {
	d := NewDesc(someAttrs)
	f.Add([]byte(makeTuple(5, append([]byte{1, 0, 0, 0, 7, 'a', 'b', 0, 8, 0, 0, 0, 0, 0, 0, 0}, "cstr\x00z"...))))
	f.Add([]byte(makeTuple(1, []byte{1, 0, 0, 0})))
	f.Fuzz(func(t *testing.T, b []byte) {
		out := make([]Datum, d.Len())
		if err := d.Deform(pg.HeapTuple(b), out); err != nil && !errors.Is(err, pg.ErrCorrupt) {
			t.Error(err)
		}
	})
}

func TestDeformAllocatesNothing(t *testing.T) {
	d := NewDesc(someAttrs)
	out := make([]Datum, d.Len())
	tup := makeTuple(5, append([]byte{1, 0, 0, 0, 7, 'a', 'b', 0, 8, 0, 0, 0, 0, 0, 0, 0}, "cstr\x00z"...))
	if n := testing.AllocsPerRun(100, func() { _ = d.Deform(tup, out) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// compressed makes a 4B_C varlena.
func compressed(method uint32, size int, data []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, uint32(8+len(data))<<2|2)
	return append(binary.LittleEndian.AppendUint32(b, uint32(size)|method<<30), data...)
}

func lz4Block(t testing.TB, v []byte) []byte {
	dst := make([]byte, lz4.CompressBlockBound(len(v)))
	n, err := lz4.CompressBlock(v, dst, nil)
	if err != nil || n == 0 {
		t.Fatalf("lz4: %d, %v", n, err)
	}
	return dst[:n]
}

// stored is a TOAST relation of one value.
type stored []byte

func (s stored) Fetch(_, value pg.OID, _ int, dst []byte) ([]byte, error) {
	if value != 5 {
		return nil, errors.New("no such value")
	}
	return append(dst, s...), nil
}

func pointer(raw, size int, method uint32, value uint32) []byte {
	b := []byte{1, tagOnDisk}
	b = binary.LittleEndian.AppendUint32(b, uint32(raw+4))
	b = binary.LittleEndian.AppendUint32(b, uint32(size)|method<<30)
	b = binary.LittleEndian.AppendUint32(b, value)
	return binary.LittleEndian.AppendUint32(b, 16390)
}

func TestReaderForms(t *testing.T) {
	long := bytes.Repeat([]byte("long value "), 1000)
	block := lz4Block(t, long)
	toasted := append(binary.LittleEndian.AppendUint32(nil, uint32(len(long))|methodLZ4<<30), block...)
	pglz := []byte{2, 'a', 0x0F, 1, 82} // a literal, then 100 bytes from 1 before: both lowest bits are 01
	for _, c := range []struct {
		name    string
		varlena []byte
		toast   Detoaster
		want    []byte
		err     bool
	}{
		{"short", []byte{3<<1 | 1, 'a', 'b'}, nil, []byte("ab"), false},
		{"short and empty", []byte{1<<1 | 1}, nil, []byte{}, false},
		{"plain", append(binary.LittleEndian.AppendUint32(nil, 6<<2), "ab"...), nil, []byte("ab"), false},
		{"lz4", compressed(methodLZ4, len(long), block), nil, long, false},
		{"pglz", compressed(methodPGLZ, 101, pglz), nil, bytes.Repeat([]byte("a"), 101), false},
		{"external", pointer(2, 2, 0, 5), stored("ab"), []byte("ab"), false},
		{"external lz4", pointer(len(long), len(toasted), methodLZ4, 5), stored(toasted), long, false},
		{"nothing", nil, nil, nil, true},
		{"cut short", []byte{9<<1 | 1, 'a'}, nil, nil, true},
		{"no TOAST", pointer(2, 2, 0, 5), nil, nil, true},
		{"no such value", pointer(2, 2, 0, 6), stored("ab"), nil, true},
		{"external is shorter", pointer(3, 3, 0, 5), stored("ab"), nil, true},
		{"external has another size", pointer(len(long)+1, len(toasted), methodLZ4, 5), stored(toasted), nil, true},
		{"external larger than raw", pointer(1, 2, 0, 5), stored("ab"), nil, true},
		{"lz4 says less", compressed(methodLZ4, len(long)-1, block), nil, nil, true},
		{"lz4 says more", compressed(methodLZ4, len(long)+1, block), nil, nil, true},
		{"a claim of a gigabyte", compressed(methodLZ4, 1<<30-1, block), nil, nil, true},
		{"method 2", compressed(2, len(long), block), nil, nil, true},
		{"pglz cut", compressed(methodPGLZ, 101, pglz[:3]), nil, nil, true},
	} {
		r := &Reader{Toast: c.toast}
		v, err := r.Value(c.varlena)
		if c.err != (err != nil) || !c.err && !bytes.Equal(v, c.want) {
			t.Errorf("%s: %.40q, %v", c.name, v, err)
		}
		if err != nil && c.name != "no such value" && !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v is of no type", c.name, err)
		}
	}
}

// TestReaderMost: a value that is too large is refused before it is fetched or memory is asked for, and not as damage.
func TestReaderMost(t *testing.T) {
	long := bytes.Repeat([]byte("long value "), 1000)
	for _, most := range []int{len(long), len(long) - 1} {
		r := &Reader{Toast: stored(long), Most: most}
		for name, varlena := range map[string][]byte{
			"external": pointer(len(long), len(long), 0, 5), "compressed": compressed(methodLZ4, len(long), lz4Block(t, long)),
		} {
			var large *TooLargeError
			if _, err := r.Value(varlena); (err != nil) != (most < len(long)) || err != nil && (!errors.As(err, &large) || errors.Is(err, pg.ErrCorrupt)) {
				t.Errorf("%s, at most %d bytes: %v", name, most, err)
			}
		}
		if most < len(long) && cap(r.raw)+cap(r.fetched) > 0 {
			t.Error("memory was asked for")
		}
	}
}

func FuzzReader(f *testing.F) {
	long := bytes.Repeat([]byte("long value "), 100)
	f.Add([]byte{3<<1 | 1, 'a', 'b'})
	f.Add(compressed(methodLZ4, len(long), lz4Block(f, long)))
	f.Add(compressed(methodPGLZ, 101, []byte{2, 'a', 0x0F, 1, 82}))
	f.Add(pointer(2, 2, 0, 5))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := &Reader{Toast: stored("ab")}
		_, _ = r.Value(b)
		_, _ = Inline(b)
		_, _ = ParsePointer(b)
	})
}
