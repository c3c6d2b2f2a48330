package waldir_test

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// write puts a stream into a folder as segment files; the last one, which is not full, as .partial. Further names get
// the bytes they are given.
func write(t testing.TB, w *walfixture.WAL, extra map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	put := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for at := 0; at < len(w.Bytes); at += walfixture.SegmentSize {
		name := pg.WALFileName(1, w.Start+pg.LSN(at), walfixture.SegmentSize)
		if at+walfixture.SegmentSize > len(w.Bytes) {
			put(name+".partial", w.Bytes[at:])
			continue
		}
		put(name, w.Bytes[at:at+walfixture.SegmentSize])
	}
	for name, b := range extra {
		put(name, b)
	}
	return dir
}

func load(t testing.TB, m pg.Major) *walfixture.WAL {
	t.Helper()
	w, err := walfixture.Load(m)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// drain counts the records of a folder and returns what ended them.
func drain(t testing.TB, dir string, o waldir.Options, endAtInvalid bool) (n int, end pg.LSN, err error) {
	t.Helper()
	src, err := waldir.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	r, err := wal.NewReader(wal.Options{Source: src, Start: src.First(), EndAtInvalid: endAtInvalid})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		if _, err = r.Next(); err == nil {
			n++
		}
	}
	drainBatches(t, src, endAtInvalid, n, r.Position().Complete, err)
	return n, r.Position().Complete, err
}

// pieces is a source that hands out as little as a page's part at a time.
type pieces struct{ *waldir.Source }

func (p pieces) Read(lsn pg.LSN, dst []byte) (int, error) {
	return p.Source.Read(lsn, dst[:min(len(dst), 1000)])
}

// drainBatches wants batches to have the records, and to end as they do one by one, in whatever pieces they come.
func drainBatches(t testing.TB, src *waldir.Source, endAtInvalid bool, n int, end pg.LSN, want error) {
	t.Helper()
	for _, source := range []wal.Source{src, pieces{src}} {
		r, err := wal.NewReader(wal.Options{Source: source, Start: src.First(), EndAtInvalid: endAtInvalid})
		if err != nil {
			t.Fatal(err)
		}
		got := 0
		for err == nil {
			var batch []wal.Record
			batch, err = r.NextBatch(100)
			got += len(batch)
		}
		if got != n || r.Position().Complete != end || err.Error() != want.Error() {
			t.Errorf("in batches %d records to %s, then %v; one by one %d to %s, then %v", got, r.Position().Complete, err, n, end, want)
		}
	}
}

func TestPartialSegment(t *testing.T) {
	w := load(t, pg.PG15)
	n, end, err := drain(t, write(t, w, nil), waldir.Options{}, false)
	if err != io.EOF || end != w.End() {
		t.Errorf("%d records to %s, want %s: %v", n, end, w.End(), err)
	}
	if _, _, err := drain(t, write(t, w, nil), waldir.Options{Follow: true}, false); err != wal.ErrNoMoreYet {
		t.Errorf("following: %v", err)
	}
}

// TestRecycledTail: what follows the end of WAL in a server's folder is an older segment under a later name, or the
// old content of the last one.
func TestRecycledTail(t *testing.T) {
	w := load(t, pg.PG18)
	last := w.End().SegmentStart(walfixture.SegmentSize)
	full := append([]byte(nil), w.Bytes[last-w.Start:]...)
	full = append(full, w.Bytes[len(full):walfixture.SegmentSize]...)
	dir := write(t, w, map[string][]byte{
		pg.WALFileName(1, last, walfixture.SegmentSize):                          full,
		pg.WALFileName(1, last+walfixture.SegmentSize, walfixture.SegmentSize):   w.Bytes[:walfixture.SegmentSize],
		pg.WALFileName(1, last+2*walfixture.SegmentSize, walfixture.SegmentSize): make([]byte, walfixture.SegmentSize),
	})
	if n, end, err := drain(t, dir, waldir.Options{}, true); err != io.EOF || end != w.End() {
		t.Errorf("%d records to %s, want %s: %v", n, end, w.End(), err)
	}
	if _, _, err := drain(t, dir, waldir.Options{}, false); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("when the end is not to be guessed: %v", err)
	}
}

// TestFollowsGrowingSegments fills zeroed segments a piece at a time, as pg_receivewal does.
func TestFollowsGrowingSegments(t *testing.T) {
	w := load(t, pg.PG15)
	want, _, _ := drain(t, write(t, w, nil), waldir.Options{}, false)
	whole := (len(w.Bytes) + walfixture.SegmentSize - 1) / walfixture.SegmentSize * walfixture.SegmentSize
	grown := &walfixture.WAL{Start: w.Start, Bytes: make([]byte, whole), SegmentLen: w.SegmentLen}
	copy(grown.Bytes, w.Bytes[:100])
	dir := write(t, grown, nil)
	src, err := waldir.Open(dir, waldir.Options{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	r, err := wal.NewReader(wal.Options{Source: src, Start: w.Start, EndAtInvalid: true})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for at := 100; at < len(w.Bytes); {
		next := min(len(w.Bytes), at+33_333, at/walfixture.SegmentSize*walfixture.SegmentSize+walfixture.SegmentSize)
		start := w.Start + pg.LSN(at/walfixture.SegmentSize*walfixture.SegmentSize)
		f, err := os.OpenFile(filepath.Join(dir, pg.WALFileName(1, start, walfixture.SegmentSize)), os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(w.Bytes[at:next], int64(w.Start)+int64(at)-int64(start)); err != nil {
			t.Fatal(err)
		}
		f.Close()
		at = next
		for {
			if _, err = r.Next(); err != nil {
				break
			}
			n++
		}
		if err != io.EOF && err != wal.ErrNoMoreYet {
			t.Fatalf("with %d bytes: %v", at, err)
		}
	}
	if n != want || r.Position().Complete != w.End() {
		t.Errorf("%d records to %s, want %d to %s", n, r.Position().Complete, want, w.End())
	}
}

// TestDamageBeforeLaterSegmentIsNotTheEnd: EndAtInvalid must not hide damage in the middle.
func TestDamageBeforeLaterSegmentIsNotTheEnd(t *testing.T) {
	w := load(t, pg.PG18)
	w.Bytes[700_000] ^= 1
	if n, _, err := drain(t, write(t, w, nil), waldir.Options{}, true); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("after %d records: %v", n, err)
	}
}

// TestStoppedBeforeLaterSegments: a recovery ended before segments that were written before the crash, and the server was then stopped. Its
// last word is that the end is there. A record after the checkpoint, or no checkpoint, is damage as ever.
func TestStoppedBeforeLaterSegments(t *testing.T) {
	for _, m := range []pg.Major{pg.PG15, pg.PG18} {
		w := load(t, m)
		last := w.End().SegmentStart(walfixture.SegmentSize)
		later := append([]byte(nil), w.Bytes[:walfixture.SegmentSize]...)
		binary.LittleEndian.PutUint64(later[8:], uint64(last+walfixture.SegmentSize))
		folder := func(stale ...byte) string {
			full := make([]byte, walfixture.SegmentSize)
			copy(full[copy(full, w.Bytes[last-w.Start:]):], stale)
			return write(t, w, map[string][]byte{
				pg.WALFileName(1, last, walfixture.SegmentSize):                        full,
				pg.WALFileName(1, last+walfixture.SegmentSize, walfixture.SegmentSize): later,
			})
		}
		if n, end, err := drain(t, folder(), waldir.Options{}, true); err != io.EOF || end != w.End() {
			t.Errorf("PostgreSQL %d: %d records to %s, want %s: %v", m, n, end, w.End(), err)
		}
		if _, _, err := drain(t, folder(50), waldir.Options{}, true); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("PostgreSQL %d: with something behind the checkpoint: %v", m, err)
		}
		running := append([]byte(nil), w.Bytes...)
		end := lastRecordStart(t, w)
		w.Bytes = running[:end-w.Start] // the checkpoint is gone
		if _, _, err := drain(t, folder(), waldir.Options{}, true); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("PostgreSQL %d: without the checkpoint: %v", m, err)
		}
	}
}

// lastRecordStart is where the last record of a stream begins.
func lastRecordStart(t *testing.T, w *walfixture.WAL) (last pg.LSN) {
	t.Helper()
	r, err := wal.NewReader(wal.Options{Source: w, Start: w.Start})
	if err != nil {
		t.Fatal(err)
	}
	for {
		rec, err := r.Next()
		if err != nil {
			return last
		}
		last = rec.LSN
	}
}

func TestMissingSegment(t *testing.T) {
	w := load(t, pg.PG18)
	dir := write(t, w, nil)
	os.Remove(filepath.Join(dir, pg.WALFileName(1, w.Start+walfixture.SegmentSize, walfixture.SegmentSize)))
	src, err := waldir.Open(dir, waldir.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	if src.First() != w.Start+2*walfixture.SegmentSize {
		t.Errorf("first contiguous segment at %s", src.First())
	}
	if _, err := src.Read(w.Start+walfixture.SegmentSize, make([]byte, 10)); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("missing segment: %v", err)
	}
}

func TestTimelineChoice(t *testing.T) {
	w := load(t, pg.PG15)
	second := w.Start + walfixture.SegmentSize
	other := make([]byte, walfixture.SegmentSize)
	dir := write(t, w, map[string][]byte{
		pg.WALFileName(2, second, walfixture.SegmentSize): other,
		pg.WALFileName(3, second, walfixture.SegmentSize): other,
		"00000003.history": []byte("1\t" + second.String() + "\tno recovery target specified\n"),
	})
	var b [8]byte
	for tli, wantZero := range map[pg.TimelineID]bool{1: false, 2: true, 3: true} {
		src, err := waldir.Open(dir, waldir.Options{Timeline: tli})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := src.Read(second, b[:]); err != nil || (b == [8]byte{}) != wantZero {
			t.Errorf("timeline %d: % x, %v", tli, b, err)
		}
		src.Close()
	}
	if err := os.WriteFile(filepath.Join(dir, "00000003.history"), []byte("4\t0/0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := waldir.Open(dir, waldir.Options{}); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("bad history: %v", err)
	}
	if _, err := waldir.Open(t.TempDir(), waldir.Options{}); !errors.Is(err, waldir.ErrNoSegments) {
		t.Errorf("empty folder: %v", err)
	}
}

// BenchmarkFolder reads the WAL folder TARN_WAL_DIR names, files and all.
func BenchmarkFolder(b *testing.B) {
	dir := os.Getenv("TARN_WAL_DIR")
	if dir == "" {
		b.Skip("TARN_WAL_DIR names no folder")
	}
	b.ReportAllocs()
	records, bytes := 0, int64(0)
	for b.Loop() {
		src, err := waldir.Open(dir, waldir.Options{})
		if err != nil {
			b.Fatal(err)
		}
		n, end, err := drain(b, dir, waldir.Options{}, true)
		if err != io.EOF {
			b.Fatal(err)
		}
		records += n
		bytes += int64(end - src.First())
		src.Close()
	}
	b.ReportMetric(float64(records)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(bytes)/b.Elapsed().Seconds()/1e6, "MB/s")
}
