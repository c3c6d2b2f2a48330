package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/walfixture"
)

var majors = []pg.Major{pg.PG15, pg.PG18}

func fixture(t testing.TB, m pg.Major) *walfixture.WAL {
	t.Helper()
	w, err := walfixture.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func newReader(t testing.TB, o Options) *Reader {
	t.Helper()
	r, err := NewReader(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// digest identifies a record and all that was decoded from it.
type digest struct {
	lsn, end pg.LSN
	rmid     RMID
	info     uint8
	hash     uint32
}

func (d digest) String() string {
	return fmt.Sprintf("%s-%s rmid %d info %#x hash %08x", d.lsn, d.end, d.rmid, d.info, d.hash)
}

var digestTable = crc32.MakeTable(crc32.Koopman) // not the WAL's own

func digestOf(rec *Record) digest {
	le := binary.LittleEndian
	b := le.AppendUint64(nil, uint64(rec.Prev))
	b = le.AppendUint32(b, uint32(rec.XID))
	b = le.AppendUint32(b, uint32(rec.TopXID))
	b = le.AppendUint32(b, uint32(rec.Origin))
	b = le.AppendUint32(b, rec.TotLen)
	b = append(b, rec.Main...)
	for i := range rec.Blocks {
		k := &rec.Blocks[i]
		b = append(b, k.ID, byte(k.Fork), k.ImageInfo, flag(k.WillInit), flag(k.HasData), flag(k.HasImage), flag(k.ApplyImage))
		for _, v := range []uint32{uint32(k.Rel.Spc), uint32(k.Rel.DB), uint32(k.Rel.Rel), uint32(k.Block), uint32(k.HoleOffset), uint32(k.HoleLength)} {
			b = le.AppendUint32(b, v)
		}
		b = append(b, k.Data...)
		b = append(b, k.Image...)
	}
	return digest{rec.LSN, rec.End, rec.RMID, rec.Info, crc32.Checksum(b, digestTable)}
}

func flag(b bool) byte {
	if b {
		return 1
	}
	return 0
}

// readAll returns the digests of all records and what ended them.
func readAll(r *Reader) (all []digest, err error) {
	for {
		rec, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, digestOf(rec))
	}
}

func TestReadsWholeFixture(t *testing.T) {
	for _, m := range majors {
		w := fixture(t, m)
		r := newReader(t, Options{Source: w, Start: w.Start, Timeline: 1})
		all, err := readAll(r)
		if err != io.EOF {
			t.Fatalf("PostgreSQL %d: after %d records: %v", m, len(all), err)
		}
		if r.Major() != m || r.SegmentSize() != walfixture.SegmentSize {
			t.Errorf("major %d, segment size %d", r.Major(), r.SegmentSize())
		}
		want := Position{Complete: w.End(), Available: w.End()}
		if got := r.Position(); got != want {
			t.Errorf("position %+v, want %+v", got, want)
		}
		t.Logf("PostgreSQL %d: %d records", m, len(all))
	}
}

func TestImagesRestore(t *testing.T) {
	for _, m := range majors {
		w := fixture(t, m)
		r := newReader(t, Options{Source: w, Start: w.Start})
		page := make(pg.Page, pg.BlockSize)
		kinds := map[uint8]int{}
		for {
			rec, err := r.Next()
			if err != nil {
				break
			}
			for i := range rec.Blocks {
				b := &rec.Blocks[i]
				if !b.HasImage {
					continue
				}
				if err := b.RestoreImage(page); err != nil {
					t.Fatalf("PostgreSQL %d: %s block %d: %v", m, rec.LSN, b.ID, err)
				}
				kinds[b.ImageInfo&imageCompressed]++
				sane := page.Lower() >= pg.PageHeaderSize && page.Lower() <= page.Upper() && page.Upper() <= page.Special() &&
					binary.LittleEndian.Uint16(page[18:]) == pg.BlockSize|4
				if !sane && !page.IsNew() {
					t.Fatalf("PostgreSQL %d: %s block %d: page header % x", m, rec.LSN, b.ID, page[:24])
				}
				if hole := page[b.HoleOffset : b.HoleOffset+b.HoleLength]; !bytes.Equal(hole, make([]byte, len(hole))) {
					t.Fatalf("%s block %d: hole is not zero", rec.LSN, b.ID)
				}
			}
		}
		t.Logf("PostgreSQL %d: images by compression bits %v", m, kinds)
		if kinds[0] == 0 || kinds[imagePGLZ] == 0 || m == pg.PG15 && (kinds[imageLZ4] == 0 || kinds[imageZSTD] == 0) {
			t.Errorf("PostgreSQL %d: images by compression bits %v: a kind is missing", m, kinds)
		}
	}
}

// tail hands out a stream piece by piece: limit moves up, each Read returns at most chunk bytes.
type tail struct {
	*walfixture.WAL
	limit pg.LSN
	chunk int
}

func (s *tail) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn >= s.limit {
		return 0, ErrNoMoreYet
	}
	dst = dst[:min(len(dst), s.chunk, int(s.limit-lsn))]
	return s.WAL.Read(lsn, dst)
}

// TestTailingReader lets the committed end grow by steps of all sizes; the records must be those of one read, and the
// position must never claim a record that was not returned, nor bytes that were not there.
func TestTailingReader(t *testing.T) {
	for _, m := range majors {
		w := fixture(t, m)
		want, _ := readAll(newReader(t, Options{Source: w, Start: w.Start}))
		for seed := range uint64(6) {
			rng := rand.New(rand.NewPCG(seed, 1))
			step := []int{1, 7, 64, 5000, 100_000, 700_000}[seed]
			s := &tail{WAL: w, limit: w.Start, chunk: 1 + rng.IntN(20_000)}
			r := newReader(t, Options{Source: s, Start: w.Start})
			n := 0
			for s.limit < w.End() {
				s.limit = min(w.End(), s.limit+1+pg.LSN(rng.IntN(2*step)))
				if step == 1 && s.limit > w.Start+300_000 {
					s.limit = min(w.End(), s.limit+50_000) // byte by byte over the first pages is enough
				}
				for {
					rec, err := r.Next()
					if err == ErrNoMoreYet {
						break
					}
					if err != nil {
						t.Fatalf("seed %d: record %d, limit %s: %v", seed, n, s.limit, err)
					}
					if got := digestOf(rec); n >= len(want) || got != want[n] {
						t.Fatalf("seed %d: record %d is %s, want %s", seed, n, got, want[n])
					}
					if rec.End > s.limit {
						t.Fatalf("seed %d: record %s ends at %s, only %s is there", seed, rec.LSN, rec.End, s.limit)
					}
					n++
				}
				if n > 0 {
					checkPosition(t, r.Position(), s.limit)
				}
			}
			if n != len(want) {
				t.Fatalf("seed %d: %d records, want %d", seed, n, len(want))
			}
		}
	}
}

func checkPosition(t *testing.T, p Position, limit pg.LSN) {
	t.Helper()
	switch {
	case p.Complete > p.Available || p.Available > limit,
		p.Partial != 0 && (p.Partial < p.Complete || p.Partial >= p.Available),
		// Without a partial record only a page header can lie between.
		p.Partial == 0 && p.Available-p.Complete > LongPageHeaderSize:
		t.Fatalf("position %+v with WAL up to %s", p, limit)
	case p.Available != limit:
		t.Fatalf("position %+v, but WAL is there up to %s", p, limit)
	}
}

// TestStartsAnywhere begins at each record and at each page.
func TestStartsAnywhere(t *testing.T) {
	w := fixture(t, pg.PG15)
	r := newReader(t, Options{Source: w, Start: w.Start})
	var lsns []pg.LSN
	var want []digest
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		lsns, want = append(lsns, rec.LSN), append(want, digestOf(rec))
	}
	first := func(start pg.LSN) (digest, error) {
		rec, err := newReader(t, Options{Source: w, Start: start}).Next()
		if err != nil {
			return digest{}, err
		}
		return digestOf(rec), nil
	}
	for i := 0; i < len(lsns); i += 7 {
		if got, err := first(lsns[i]); err != nil || got != want[i] {
			t.Fatalf("start at record %s: %v, got %s, want %s", lsns[i], err, got, want[i])
		}
	}
	i := 0
	for page := w.Start; page < w.End(); page += PageSize {
		for i < len(lsns) && lsns[i] < page {
			i++
		}
		if i == len(lsns) {
			break
		}
		if inSwitchTail(r, w, lsns, i, page) {
			continue
		}
		if got, err := first(page); err != nil || got != want[i] {
			t.Fatalf("start at page %s: %v, got %s, want %s", page, err, got, want[i])
		}
	}
	for _, off := range []pg.LSN{3, 8, 20, PageSize + 8, 61} {
		if _, err := first(w.Start + off); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("start %d bytes in: %v", off, err)
		}
	}
}

// inSwitchTail says page lies in the unused rest of a segment: the next record starts in a later segment.
func inSwitchTail(_ *Reader, w *walfixture.WAL, lsns []pg.LSN, i int, page pg.LSN) bool {
	seg := page.SegmentStart(w.SegmentLen)
	return lsns[i].SegmentStart(w.SegmentLen) != seg && page != seg &&
		binary.LittleEndian.Uint16(w.Bytes[page-w.Start:]) == 0
}

func TestRefusals(t *testing.T) {
	w := fixture(t, pg.PG15)
	h, err := ParsePageHeader(w.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	next := func(o Options) error {
		o.Source = w
		if o.Start == 0 {
			o.Start = w.Start
		}
		r := newReader(t, o)
		_, err := readAll(r)
		if _, again := r.Next(); again == nil || again.Error() != err.Error() {
			t.Errorf("the error does not stay: %v, then %v", err, again)
		}
		return err
	}
	var sys *SystemIDError
	if err := next(Options{SystemID: h.SystemID + 1}); !errors.As(err, &sys) || sys.Got != h.SystemID {
		t.Errorf("other system: %v", err)
	}
	if err := next(Options{SystemID: h.SystemID + 1, Start: w.Start + PageSize}); !errors.As(err, &sys) {
		t.Errorf("other system, from the second page: %v", err)
	}
	if err := next(Options{SystemID: h.SystemID}); err != io.EOF {
		t.Errorf("same system: %v", err)
	}
	if err := next(Options{Major: pg.PG18}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("other major: %v", err)
	}
	if err := next(Options{SegmentSize: 16 << 20}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("other segment size: %v", err)
	}
	var tli *TimelineError
	later := setTimeline(w, 2)
	r := newReader(t, Options{Source: later, Start: later.Start, Timeline: 1})
	if _, err := readAll(r); !errors.As(err, &tli) || tli.Got != 2 {
		t.Errorf("later timeline: %v", err)
	}
	// The magic of a version to come is refused by its name.
	future := &walfixture.WAL{Start: w.Start, Bytes: bytes.Clone(w.Bytes), SegmentLen: w.SegmentLen}
	binary.LittleEndian.PutUint16(future.Bytes, pg.PG18.WALMagic()+1)
	if _, err := newReader(t, Options{Source: future, Start: w.Start}).Next(); err == nil || !bytes.Contains([]byte(err.Error()), []byte("invalid magic number D119")) {
		t.Errorf("magic of a later version: %v", err)
	}
}

// setTimeline rewrites the timeline of each page after the first hundred.
func setTimeline(w *walfixture.WAL, tli uint32) *walfixture.WAL {
	c := &walfixture.WAL{Start: w.Start, Bytes: bytes.Clone(w.Bytes), SegmentLen: w.SegmentLen}
	for at := 100 * PageSize; at+24 < len(c.Bytes); at += PageSize {
		if binary.LittleEndian.Uint16(c.Bytes[at:]) != 0 {
			binary.LittleEndian.PutUint32(c.Bytes[at+4:], tli)
		}
	}
	return c
}

// TestHugeLengthDoesNotAllocate: a record that claims 1 GiB costs only what is there of it.
func TestHugeLengthDoesNotAllocate(t *testing.T) {
	w := fixture(t, pg.PG15)
	b := bytes.Clone(w.Bytes[:2*PageSize])
	at := LongPageHeaderSize
	b[2] &^= PageFirstIsContrecord
	clear(b[at : at+recordHeaderSize])
	binary.LittleEndian.PutUint32(b[at:], recordSizeMax)
	binary.LittleEndian.PutUint16(b[PageSize+2:], PageFirstIsContrecord)
	binary.LittleEndian.PutUint32(b[PageSize+16:], recordSizeMax-uint32(PageSize-at))
	r := newReader(t, Options{Source: &walfixture.WAL{Start: w.Start, Bytes: b, SegmentLen: w.SegmentLen}, Start: w.Start})
	if _, err := r.Next(); err != io.EOF {
		t.Fatal(err)
	}
	if p := r.Position(); p.Partial != w.Start+pg.LSN(at) || cap(r.arena) > 8*PageSize {
		t.Errorf("position %+v, arena %d bytes", p, cap(r.arena))
	}
}

// TestNoAllocationPerRecord reads a stretch with records on one page and over several, after the buffers have grown.
func TestNoAllocationPerRecord(t *testing.T) {
	w := fixture(t, pg.PG18)
	r := newReader(t, Options{Source: w, Start: w.Start})
	for range 4000 {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(2000, func() { r.Next() }); n != 0 {
		t.Errorf("%v allocations per record", n)
	}
}

func BenchmarkNext(b *testing.B) {
	for _, m := range majors {
		b.Run(fmt.Sprint(int(m)), func(b *testing.B) {
			w := fixture(b, m)
			b.SetBytes(int64(len(w.Bytes)))
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				r := newReader(b, Options{Source: w, Start: w.Start})
				for {
					if _, err := r.Next(); err != nil {
						break
					}
					n++
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
