package layer

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

type entry struct {
	k key.Key
	v []byte
}

func build(t testing.TB, lsn pg.LSN, sequences ...[]entry) []byte {
	t.Helper()
	return buildWith(t, lsn, func(int) bool { return false }, sequences...)
}

// buildWith has the sequences compressed fast that fast is true of.
func buildWith(t testing.TB, lsn pg.LSN, fast func(sequence int) bool, sequences ...[]entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, Image, lsn)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range sequences {
		w.SetFast(fast(i))
		for _, e := range s {
			if err := w.Add(e.k, e.v); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Break(); err != nil {
			t.Fatal(err)
		}
	}
	info, err := w.Close()
	if err != nil || info.Size != int64(b.Len()) || info.LSN != lsn {
		t.Fatalf("Close = %+v, %v", info, err)
	}
	return b.Bytes()
}

// read returns every value of a layer, in order, or why it cannot.
func read(data []byte) (all []entry, err error) {
	if len(data) < HeaderSize+FooterSize {
		return nil, corruptf("short")
	}
	if err := CheckHeader(data[:HeaderSize]); err != nil {
		return nil, err
	}
	f, err := ParseFooter(data[len(data)-FooterSize:], int64(len(data)))
	if err != nil {
		return nil, err
	}
	x, err := f.ParseIndex(data[f.IndexOffset:][:f.IndexLength])
	if err != nil {
		return nil, err
	}
	for i := range x.Groups {
		g := &x.Groups[i]
		v, err := g.Decode(data[g.Offset:][:g.Length], nil)
		if err != nil {
			return nil, err
		}
		_ = v.Each(func(k key.Key, value []byte) error {
			all = append(all, entry{k, slices.Clone(value)})
			return nil
		})
	}
	return all, nil
}

func page(seed int) []byte {
	p := make([]byte, pg.BlockSize)
	copy(p[100:], fmt.Sprintf("page %d", seed))
	copy(p[8000:], strings.Repeat("x", seed%150))
	return p
}

func relation(n pg.OID) pg.RelFileLocator { return pg.RelFileLocator{Spc: 1663, DB: 5, Rel: n} }

// sample is a layer of all kinds, its forks in an order of arrival that is not key order.
func sample() (sequences [][]entry, sorted []entry) {
	var forks [2][]entry
	for i, rel := range []pg.OID{200, 100} {
		for blk := range pg.BlockNumber(50) {
			if blk%7 != 3 {
				forks[i] = append(forks[i], entry{key.OfBlock(relation(rel), 0, blk), page(int(blk) + int(rel))})
			}
		}
		forks[i] = append(forks[i], entry{key.OfBlock(relation(rel), 0, key.SizeBlock), []byte{50, 0, 0, 0}})
	}
	var meta []entry
	for rel := range pg.OID(3000) {
		meta = append(meta, entry{key.OfRelation(relation(rel)), []byte(fmt.Sprint("created", rel))})
	}
	meta = append(meta, entry{key.OfSLRU(0, 3), page(3)}, entry{key.OfRelMap(1663, 5), make([]byte, 512)}, entry{key.OfControl(), nil})
	sequences = [][]entry{forks[0], forks[1], meta}
	sorted = slices.Concat(sequences...)
	slices.SortFunc(sorted, func(a, b entry) int { return a.k.Compare(b.k) })
	return sequences, sorted
}

func TestRoundTrip(t *testing.T) {
	sequences, want := sample()
	for _, fast := range []func(int) bool{func(int) bool { return false }, func(int) bool { return true }, func(i int) bool { return i == 1 }} {
		testRoundTrip(t, buildWith(t, 0x1000, fast, sequences...), want)
	}
}

func testRoundTrip(t *testing.T, data []byte, want []entry) {
	t.Helper()
	got, err := read(data)
	if err != nil {
		t.Fatal(err)
	}
	same := func(a, b entry) bool { return a.k == b.k && bytes.Equal(a.v, b.v) }
	if !slices.EqualFunc(got, want, same) {
		t.Fatalf("%d values read, %d written, or they differ", len(got), len(want))
	}
	f, _ := ParseFooter(data[len(data)-FooterSize:], int64(len(data)))
	x, err := f.ParseIndex(data[f.IndexOffset:][:f.IndexLength])
	if err != nil || x.LSN != 0x1000 {
		t.Fatal(x, err)
	}
	for _, e := range want {
		i, ok := x.Find(e.k)
		if !ok {
			t.Fatalf("Find does not find %s", e.k)
		}
		g := &x.Groups[i]
		v, err := g.Decode(data[g.Offset:][:g.Length], nil)
		if err != nil {
			t.Fatal(err)
		}
		if value, ok := v.Get(e.k); !ok || !bytes.Equal(value, e.v) {
			t.Fatalf("Get(%s) = %d bytes, %v", e.k, len(value), ok)
		}
	}
	for _, k := range []key.Key{key.OfBlock(relation(100), 0, 3), key.OfBlock(relation(100), 0, 50), key.OfBlock(relation(150), 0, 0),
		key.OfBlock(relation(100), 2, 0), key.OfSLRU(0, 2), key.OfTwoPhase(1)} {
		if _, ok := x.Find(k); ok {
			t.Errorf("Find finds %s, which is not there", k)
		}
	}
}

func TestOverlapRefused(t *testing.T) {
	w, err := NewWriter(&bytes.Buffer{}, Image, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for blk := range pg.BlockNumber(3) {
			_ = w.Add(key.OfBlock(relation(1), 0, blk), page(1))
		}
		_ = w.Break()
	}
	if _, err := w.Close(); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("overlapping groups: %v", err)
	}
}

// TestEveryByte flips each byte of a layer: it is noticed, or changes nothing.
func TestEveryByte(t *testing.T) {
	blocks := []entry{{key.OfBlock(relation(1), 0, 0), page(1)}, {key.OfBlock(relation(1), 0, 5), page(2)},
		{key.OfBlock(relation(1), 0, key.SizeBlock), []byte{6, 0, 0, 0}}, {key.OfRelation(relation(1)), []byte("x")}}
	testEveryByte(t, build(t, 7, blocks))
	testEveryByte(t, buildWith(t, 7, func(int) bool { return true }, blocks))
}

func testEveryByte(t *testing.T, data []byte) {
	t.Helper()
	for at := range data {
		for _, flip := range []byte{1, 0x80, 0xFF} {
			data[at] ^= flip
			got, err := read(data)
			data[at] ^= flip
			if err == nil {
				t.Fatalf("byte %d of %d flipped by %#x: nobody noticed, %d values", at, len(data), flip, len(got))
			}
		}
	}
	for n := range len(data) {
		if _, err := read(data[:n]); err == nil {
			t.Fatalf("cut to %d bytes: nobody noticed", n)
		}
	}
}

func TestNewerVersion(t *testing.T) {
	data := build(t, 7, []entry{{key.OfControl(), []byte("x")}})
	data[len(data)-FooterSize+8]++
	if _, err := read(data); !errors.Is(err, ErrVersion) {
		t.Errorf("a footer of version 3: %v", err)
	}
	data = build(t, 7, []entry{{key.OfControl(), []byte("x")}})
	data[8]++
	if _, err := read(data); !errors.Is(err, ErrVersion) {
		t.Errorf("a header of version 3: %v", err)
	}
}

// TestFirstVersion reads what the first version wrote, which had no other compression than zstd.
func TestFirstVersion(t *testing.T) {
	data := build(t, 7, []entry{{key.OfControl(), []byte("x")}})
	footer := data[len(data)-FooterSize:]
	data[8], footer[8] = 1, 1
	le.PutUint32(footer[60:], crc32.Checksum(footer[:60], castagnoli))
	if got, err := read(data); err != nil || len(got) != 1 {
		t.Errorf("a layer of version 1: %d values, %v", len(got), err)
	}
}

// TestGolden pins the parts of the format that do not depend on the compressor.
func TestGolden(t *testing.T) {
	data := build(t, 0x16B3740, []entry{{key.OfControl(), []byte("abc")}})
	wantHeader := "5441524e5047494d" + "0200" + "0100" + "40000000"
	if got := hex.EncodeToString(data[:HeaderSize]); got != wantHeader {
		t.Errorf("header %s, want %s", got, wantHeader)
	}
	// Too short to be worth compressing: length, key, value.
	wantGroup := "03000000" + "050000000000000000000000000000000000" + "616263"
	if got := hex.EncodeToString(data[HeaderSize:][:25]); got != wantGroup {
		t.Errorf("group %s, want %s", got, wantGroup)
	}
	g := Group{First: key.OfBlock(relation(1), 0, 5), Count: 4, Offset: 16, Length: 300, RawLength: 32784, CRC: 0x01020304,
		Runs: []Run{{5, 2}, {9, 1}, {0xFFFFFFFF, 1}}}
	wantEntry := "00" + "000000067f00000005000000010000000005" + "03" + "0002" + "0201" + "f5ffffff0f01" + "10" + "ac02" + "908002" + "04030201"
	if got := hex.EncodeToString(g.append(nil)); got != wantEntry {
		t.Errorf("index entry %s, want %s", got, wantEntry)
	}
}

func FuzzIndex(f *testing.F) {
	var raw []byte
	for _, g := range []Group{{First: key.OfBlock(relation(1), 0, 5), Runs: []Run{{5, 2}}, Count: 2, Offset: 16, Length: 10, RawLength: 20}} {
		raw = g.append(raw)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, b []byte) {
		d := indexReader{rest: b}
		for len(d.rest) > 0 && !d.bad {
			g := d.group()
			if d.bad {
				break
			}
			v, err := g.Decode(b, nil)
			if err == nil {
				_ = v.Each(func(key.Key, []byte) error { return nil })
			}
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	var entries []entry
	for blk := range pg.BlockNumber(160) {
		p := make([]byte, pg.BlockSize)
		for i := 24; i < len(p); i += 64 { // rows of a counter, a random number and padding, as pgbench has
			copy(p[i:], fmt.Sprintf("%08d", blk*100+pg.BlockNumber(i)))
			p[i+8], p[i+9], p[i+10] = byte(rng.Uint32()), byte(rng.Uint32()), byte(rng.Uint32())
		}
		entries = append(entries, entry{key.OfBlock(relation(1), 0, blk), p})
	}
	data := build(b, 7, entries)
	f, _ := ParseFooter(data[len(data)-FooterSize:], int64(len(data)))
	x, err := f.ParseIndex(data[f.IndexOffset:][:f.IndexLength])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(len(data))/float64(len(entries)*pg.BlockSize), "ratio")
	b.SetBytes(int64(len(entries) * pg.BlockSize))
	var dst []byte
	for b.Loop() {
		for i := range x.Groups {
			g := &x.Groups[i]
			if cap(dst) < g.RawLength {
				dst = make([]byte, g.RawLength)
			}
			if _, err := g.Decode(data[g.Offset:][:g.Length], dst); err != nil {
				b.Fatal(err)
			}
		}
	}
}
