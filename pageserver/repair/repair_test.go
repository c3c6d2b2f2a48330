package repair

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/datadir"
)

var rel = pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 16384}

// The first record that names a block says whether recovery reads it.
func TestFirstRecordDecides(t *testing.T) {
	p := &Plan{forks: map[datadir.Fork]*touched{}}
	main, vm := datadir.Fork{Rel: rel}, datadir.Fork{Rel: rel, Fork: pg.VMFork}
	p.touch(main, 1, true)
	p.touch(main, 1, false)
	p.touch(main, 2, false)
	p.touch(main, 2, true)
	p.touch(vm, 2, false)
	if got := p.forks[main]; got.read.GetCardinality() != 1 || !got.read.Contains(2) || got.built.GetCardinality() != 1 || !got.built.Contains(1) {
		t.Errorf("read %v, built %v", got.read, got.built)
	}
	if order := p.order(); p.Blocks() != 2 || len(order) != 2 || order[0] != main || order[1] != vm {
		t.Errorf("%d blocks of %v", p.Blocks(), order)
	}
}

// pages has one page for all blocks but those above it.
type pages struct {
	page pg.Page
	last pg.BlockNumber
}

func (p pages) Page(_ context.Context, _ pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber) (pg.Page, error) {
	if num == pg.FSMFork {
		return nil, errors.New("a free space map is not asked for")
	}
	if blk > p.last {
		return nil, nil
	}
	return p.page, nil
}

// page is one with a header and a fill, without a checksum.
func page(fill byte) pg.Page {
	p := pg.Page(bytes.Repeat([]byte{fill}, pg.BlockSize))
	p.SetChecksum(0)
	return p
}

// folder is a data directory with a relation of blocks and a free space map.
func folder(t *testing.T, main, fsm []byte) (d *datadir.Dir, path string) {
	t.Helper()
	root := t.TempDir()
	path = filepath.Join(root, "base", "5", "16384")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{filepath.Join(root, "PG_VERSION"): []byte("18\n"), path: main, path + "_fsm": fsm} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d, err := datadir.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d, path
}

// Each block of the plan is made what the page store has, with its checksum; blocks it does not have become zeros, blocks that the
// file does not have stay away, and blocks that the plan does not name stay as they are.
func TestPutBack(t *testing.T) {
	good := page(7)
	whole := bytes.Clone(good)
	pg.Page(whole).SetChecksum(pg.Page(whole).ChecksumAs(4))
	main := append(bytes.Join([][]byte{page(1), page(2), page(3), page(4), whole}, nil), page(5)[:100]...) // block 5 is cut short
	d, path := folder(t, main, bytes.Join([][]byte{page(1), page(2)}, nil))
	p := &Plan{forks: map[datadir.Fork]*touched{}}
	for _, blk := range []pg.BlockNumber{1, 2, 4, 5, 9} {
		p.touch(datadir.Fork{Rel: rel}, blk, false)
	}
	p.touch(datadir.Fork{Rel: rel}, 3, true)
	p.touch(datadir.Fork{Rel: rel, Fork: pg.FSMFork}, 1, false)
	from := pages{good, 4}
	done := int64(0)
	put := func(o Options) Report {
		t.Helper()
		o.Checksums, o.Progress = true, func(n int64) { done += n }
		r, err := p.PutBack(t.Context(), d, from, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	want := Report{Relations: 1, PutBack: 3, Same: 1, Torn: 4, FSM: 1, Absent: 1}
	if r := put(Options{DryRun: true}); r != want || done != p.Blocks() {
		t.Errorf("dry run: %+v, %d of %d", r, done, p.Blocks())
	}
	if now, err := os.ReadFile(path); err != nil || !bytes.Equal(now, main) {
		t.Errorf("a dry run writes: %v", err)
	}
	if r := put(Options{}); r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
	now, err := os.ReadFile(path)
	if err != nil || len(now) != 6*pg.BlockSize {
		t.Fatalf("%d bytes, %v", len(now), err)
	}
	for blk := range pg.BlockNumber(6) {
		got, was := pg.Page(now[blk*pg.BlockSize:][:pg.BlockSize]), good
		switch blk {
		case 0:
			was = page(1)
		case 3:
			was = page(4)
		case 5:
			was = make(pg.Page, pg.BlockSize)
		default:
			if got.Checksum() != got.ChecksumAs(blk) {
				t.Errorf("block %d has a wrong checksum", blk)
			}
			got.SetChecksum(0)
		}
		if !bytes.Equal(got, was) {
			t.Errorf("block %d is not what it should be", blk)
		}
	}
	fsm, err := os.ReadFile(path + "_fsm")
	if err != nil || !bytes.Equal(fsm[:pg.BlockSize], page(1)) || !pg.Page(fsm[pg.BlockSize:]).IsNew() {
		t.Errorf("free space map: %v", err)
	}
	if r := put(Options{}); r != (Report{Same: 4, Absent: 1}) {
		t.Errorf("again: %+v", r)
	}
}

// text is WAL that begins at an LSN and comes in small pieces.
type text struct {
	start pg.LSN
	bytes string
}

func (s text) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn < s.start || lsn >= s.start+pg.LSN(len(s.bytes)) {
		return 0, io.EOF
	}
	return copy(dst[:min(len(dst), 3)], s.bytes[lsn-s.start:]), nil
}

// What the store has of the WAL must be in pg_wal, to the last byte.
func TestCompare(t *testing.T) {
	p := &Plan{Redo: 102, End: 108}
	for _, c := range []struct {
		archive, local string
		from           pg.LSN
		want           string
	}{
		{"..23456789", "..23456789abc", 100, ""},
		{"..2345", "..23456789abc", 100, ""},  // not archived yet
		{"xx23456789", "..23456789", 100, ""}, // before the redo LSN
		{"..x3456789", "..23456789", 103, ""}, // before the archive
		{"..234x6789", "..23456789", 100, "they differ at 0/69"},
		{"..23456789", "..234567\x00\x00", 100, "pg_wal ends at 0/6C and the store has WAL to 0/6E"},
		{"..23456789", "..234567", 100, "pg_wal ends at 0/6C and the store has WAL to 0/6E"},
	} {
		err := p.Compare(text{100, c.archive}, text{100, c.local}, c.from, 100+pg.LSN(len(c.archive)))
		if (err == nil) != (c.want == "") || err != nil && (!errors.Is(err, ErrWALDiffers) || !bytes.Contains([]byte(err.Error()), []byte(c.want))) {
			t.Errorf("%q and %q: %v, want %q", c.archive, c.local, err, c.want)
		}
	}
	j := &Joined{Archive: text{100, "archive"}, Local: text{100, "....... and the server's"}, Archived: 107}
	var got []byte
	for {
		var b [10]byte
		n, err := j.Read(100+pg.LSN(len(got)), b[:])
		if err != nil {
			break
		}
		got = append(got, b[:n]...)
	}
	if string(got) != "archive and the server's" {
		t.Errorf("%q", got)
	}
}
