package verify

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// fixture is a small recording of WAL with the server's images of every page of some resource managers after every record: each
// of their record types, in a few hundred kilobytes for each major version. A manager's file adds its own to fixtures.
type fixture struct {
	name     string
	rmids    []wal.RMID // whose record types it is about
	checking string     // wal_consistency_checking of the server it is made with

	// What the server is made to do: script, a statement each, and then sessions, which may be nil.
	script   []string
	sessions func(ctx context.Context, t *testing.T, srv *pgtest.Server)
	settings map[string]string // of the server, besides fixtureSettings

	types  func(major pg.Major) []string // the record types it must hold, by wal.RecordName
	faults []fault                       // planted besides those that every record type gets
	// unseen says why the faults that every record type gets cannot be seen, by "TYPE BLOCKID" or "TYPE BLOCKID KIND".
	unseen map[string]string
}

var fixtures []*fixture

var fixtureMajors = []pg.Major{pg.PG15, pg.PG16, pg.PG17, pg.PG18}

// recorded is a fixture of one major version.
type recorded struct {
	*fixture
	major pg.Major
}

// eachFixture runs f for every fixture and major version, in order of names.
func eachFixture(t *testing.T, f func(t *testing.T, r recorded)) {
	for _, r := range allRecorded() {
		t.Run(r.String(), func(t *testing.T) { f(t, r) })
	}
}

func allRecorded() (list []recorded) {
	slices.SortFunc(fixtures, func(a, b *fixture) int { return strings.Compare(a.name, b.name) })
	for _, f := range fixtures {
		for _, major := range fixtureMajors {
			list = append(list, recorded{f, major})
		}
	}
	return list
}

func (r recorded) String() string { return fmt.Sprintf("%s%d", r.name, r.major) }

func (r recorded) path() string { return "testdata/" + r.String() + ".wal.zst" }

// has says whether a record is of a type the fixture is about.
func (r recorded) has(rec *wal.Record) bool { return slices.Contains(r.rmids, rec.RMID) }

// The WAL of a fixture begins at a checkpoint's redo point, with full_page_writes, so that no base is needed. In a zstd frame:
//
//	0 "TWF1"   4 major uint32   8 redo point uint64   16 the WAL from the start of the redo point's page on
const fixtureMagic = "TWF1"

// fixtureSegment is the fixtures' WAL segment size, bytes.
const fixtureSegment = 1 << 20

// memory is WAL held in memory.
type memory struct {
	start pg.LSN
	wal   []byte
}

func (m memory) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn < m.start || lsn >= m.start+pg.LSN(len(m.wal)) {
		return 0, io.EOF
	}
	return copy(dst, m.wal[lsn-m.start:]), nil
}

// read returns the options to read the fixture's WAL with.
func (r recorded) read(t testing.TB) wal.Options {
	t.Helper()
	packed, err := os.ReadFile(r.path())
	if err != nil {
		t.Fatalf("%v; TARN_WRITE_FIXTURES=%s go test -run TestWriteFixtures ./pageserver/verify makes it", err, r)
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	b, err := dec.DecodeAll(packed, nil)
	if err != nil || len(b) < 16 || string(b[:4]) != fixtureMagic {
		t.Fatalf("%s is not a fixture: %v", r.path(), err)
	}
	start := pg.LSN(binary.LittleEndian.Uint64(b[8:]))
	return wal.Options{
		Source: memory{start: start &^ 0x1FFF, wal: b[16:]}, Start: start,
		SegmentSize: fixtureSegment, Major: pg.Major(binary.LittleEndian.Uint32(b[4:])), EndAtInvalid: true,
	}
}

// verifier redoes from nothing.
func (r recorded) verifier() *verifier {
	b, _ := newBeside(nil, nil)
	v := &verifier{pages: newPageSet(nil), beside: b}
	v.env.HintsLogged = r.major >= pg.PG18 // initdb's default since 18
	return v
}

// TestFixtures redoes each fixture: all record types are there, and every page is what the server made it.
func TestFixtures(t *testing.T) {
	eachFixture(t, func(t *testing.T, f recorded) {
		v, seen := f.verifier(), map[string]int{}
		v.fault = func(_, _ pg.Page, rec *wal.Record, _ *wal.BlockRef) {
			if f.has(rec) {
				seen[rec.TypeName()]++
			}
		}
		if err := v.redo(context.Background(), f.read(t), nil); err != nil {
			t.Fatal(err)
		}
		r := v.finish()
		t.Logf("%d records, %d images, %v", r.Records, r.ImagesCompared, seen)
		if !r.OK() || r.Skipped != 0 {
			t.Errorf("%+v", r)
		}
		for _, name := range f.types(f.major) {
			if seen[name] == 0 {
				t.Errorf("there is no %s", name)
			}
		}
	})
}
