package basebackup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver"
)

// TestTargets: what is in the way, what cannot be whole, what is cut short, and a stream.
func TestTargets(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	r := newRig(t, pgtest.Options{Major: 18})
	old := r.serverFolder("old")
	r.do("postgres", fmt.Sprintf("create tablespace old location '%s'", old), "create table early tablespace old as select generate_series(1, 1000) i")
	r.importStopped()
	r.do("postgres", "create table late as select generate_series(1, 1000) i")
	tl := r.at(0)
	t.Run("tar", func(t *testing.T) { r.tarStarts(t, tl) })
	t.Run("in the way", func(t *testing.T) { r.refused(t, tl) })
	t.Run("cut short", func(t *testing.T) { r.cutShort(t, tl) })
	t.Run("durable", func(t *testing.T) { // as users have it
		dir := filepath.Join(r.folder, "deep", "down", "data")
		o := Options{Tablespaces: map[string]string{old: filepath.Join(r.folder, "deep", "ts")}}
		if report, err := Write(context.Background(), tl, &Directory{Path: dir}, o); err != nil || report.Tablespaces[0].Location != o.Tablespaces[old] {
			t.Errorf("%+v, %v", report, err)
		}
	})
	t.Run("more than a segment", func(t *testing.T) { segmentFiles(t, tl) })
	t.Run("opaque", func(t *testing.T) { r.opaque(t, tl) })
}

// tarStarts unpacks a stream, with the tablespace in place, and starts on it. pg_control is the last of it, behind the WAL.
func (r *rig) tarStarts(t *testing.T, tl *pageserver.Timeline) {
	ctx := context.Background()
	var stream bytes.Buffer
	last := int64(0)
	o := Options{Progress: func(done, total int64) {
		if done < last || done > total {
			t.Errorf("%d of %d after %d", done, total, last)
		}
		last = done
	}}
	report, err := Write(ctx, tl, &Tar{W: &stream}, o)
	if err != nil || last != report.Bytes || report.Tablespaces[0].Location != "" {
		t.Fatalf("%+v, %d written: %v", report, last, err)
	}
	dir := filepath.Join(r.folder, "tar", "data")
	names := unpack(t, &stream, dir)
	n := len(names)
	if names[n-1] != "global/pg_control" || !strings.HasPrefix(names[n-2], "pg_wal/0") {
		t.Errorf("last are %v", names[n-3:])
	}
	srv, err := r.start(dir)
	if err != nil {
		t.Fatal(err)
	}
	text, err := srv.QueryText(ctx, "postgres", "select (select count(*) from early) || ' ' || (select count(*) from late)")
	if err := errors.Join(err, startedClean(srv), srv.Remove()); err != nil || text != "1000 1000" {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := Write(ctx, tl, &Tar{W: io.Discard}, Options{Tablespaces: map[string]string{"1": "/a"}}); fault.CodeOf(err) != fault.Usage {
		t.Errorf("a mapping for a stream: %v", err)
	}
}

func unpack(t *testing.T, stream io.Reader, dir string) (names []string) {
	t.Helper()
	if err := os.MkdirAll(dir, folderMode); err != nil {
		t.Fatal(err)
	}
	for tr := tar.NewReader(stream); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if h.Typeflag == tar.TypeDir {
			if err := os.Mkdir(path, h.FileInfo().Mode()); err != nil {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(tr)
		if err == nil {
			err = os.WriteFile(path, b, h.FileInfo().Mode())
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

// refused: nothing is touched that is there.
func (r *rig) refused(t *testing.T, tl *pageserver.Timeline) {
	full, file, empty := filepath.Join(r.folder, "full"), filepath.Join(r.folder, "file"), filepath.Join(r.folder, "empty")
	r.must(os.MkdirAll(filepath.Join(full, "something"), 0o755))
	r.must(os.WriteFile(file, nil, 0o600))
	r.must(os.Mkdir(empty, 0o755))
	old := tl.Cluster().Tablespaces[0]
	for _, c := range []struct {
		name, dir string
		spaces    map[string]string
		code      fault.Code
	}{
		{"not empty", full, map[string]string{old.Path: filepath.Join(r.folder, "ts")}, fault.TargetTaken},
		{"a file", file, map[string]string{old.Path: filepath.Join(r.folder, "ts")}, fault.TargetTaken},
		{"the tablespace where it was", empty, nil, fault.TargetTaken},
		{"the tablespace where something is", empty, map[string]string{fmt.Sprint(old.OID): full}, fault.TargetTaken},
		{"the tablespace in the directory", empty, map[string]string{old.Path: filepath.Join(empty, "ts")}, fault.TargetTaken},
		{"no tablespace", empty, map[string]string{"/nowhere": "/a"}, fault.Usage},
		{"no absolute path", empty, map[string]string{old.Path: "ts"}, fault.Usage},
	} {
		_, err := Write(context.Background(), tl, &Directory{Path: c.dir}, Options{Tablespaces: c.spaces})
		if fault.CodeOf(err) != c.code {
			t.Errorf("%s: %v, want %s", c.name, err, c.code)
		}
		t.Logf("%s: %v", c.name, err)
	}
	left, err := os.ReadDir(empty)
	kept, err2 := os.ReadDir(full)
	if len(left) != 0 || len(kept) != 1 || err != nil || err2 != nil {
		t.Errorf("%v left, %v kept", left, kept)
	}
}

// cutShort cancels at each tenth of the bytes: nothing is left.
func (r *rig) cutShort(t *testing.T, tl *pageserver.Timeline) {
	parent := filepath.Join(r.folder, "cut")
	there := filepath.Join(parent, "there")
	r.must(os.MkdirAll(there, 0o755))
	for tenth := int64(0); tenth < 10; tenth++ {
		ctx, cancel := context.WithCancel(context.Background())
		o := Options{Tablespaces: map[string]string{tl.Cluster().Tablespaces[0].Path: filepath.Join(parent, "ts", "a")}, Progress: func(done, total int64) {
			if done*10 >= total*tenth {
				cancel()
			}
		}}
		dir := there
		if tenth%2 == 0 {
			dir = filepath.Join(parent, "new", "data")
		}
		_, err := Write(ctx, tl, &Directory{Path: dir, NoSync: true}, o)
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%d tenths: %v", tenth, err)
		}
		left, err := os.ReadDir(parent)
		inside, err2 := os.ReadDir(there)
		if len(left) != 1 || len(inside) != 0 || err != nil || err2 != nil {
			t.Errorf("%d tenths: %v, %v are left", tenth, left, inside)
		}
	}
}

// sizes is a target that keeps the names of files and their sizes.
type sizes struct {
	Directory
	names []string
}

type counter int64

func (c *counter) Write(p []byte) (int, error) { *c += counter(len(p)); return len(p), nil }
func (c *counter) Close() error                { return nil }

func (s *sizes) begin([]Tablespace) error  { return nil }
func (s *sizes) folder(string) error       { return nil }
func (s *sizes) link(string, string) error { return nil }
func (s *sizes) sync() error               { return nil }
func (s *sizes) finish() error             { return nil }
func (s *sizes) abort() error              { return nil }
func (s *sizes) file(name string, size int64) (io.WriteCloser, error) {
	s.names = append(s.names, fmt.Sprintf("%s %d", name, size))
	return new(counter), nil
}

// touch applies a record that changes a block of a relation.
func touch(tl *pageserver.Timeline, rmid wal.RMID, rel pg.RelFileLocator, blk pg.BlockNumber) error {
	page := make(pg.Page, pg.BlockSize)
	page.Init(0)
	at := tl.RedoLSN()
	rec := &wal.Record{Major: tl.Major(), LSN: at, End: at + 64, RMID: rmid, Blocks: []wal.BlockRef{{Rel: rel, Block: blk, HasImage: rmid == wal.RMXLog, ApplyImage: rmid == wal.RMXLog}}}
	if rmid == wal.RMXLog {
		rec.Info, rec.Blocks[0].Image = 0xB0, page
	}
	return tl.Apply(context.Background(), rec)
}

// segmentFiles: a fork is in files of 1 GiB, all full but the last.
func segmentFiles(t *testing.T, tl *pageserver.Timeline) {
	rel := pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 99999}
	if err := touch(tl, wal.RMXLog, rel, pg.SegmentBlocks+1); err != nil {
		t.Fatal(err)
	}
	var s sizes
	if _, err := Write(context.Background(), tl, &s, Options{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"base/5/99999 1073741824", "base/5/99999.1 16384"} {
		if !slices.Contains(s.names, want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// opaque: a relation that is not known is named, and nothing is written.
func (r *rig) opaque(t *testing.T, tl *pageserver.Timeline) {
	if err := touch(tl, wal.RMCustomMin, pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 99999}, 3); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(r.folder, "opaque")
	_, err := Write(context.Background(), tl, &Directory{Path: dir}, Options{})
	if !errors.Is(err, pageserver.ErrOpaque) || fault.CodeOf(err) != fault.PagesUnknown || !strings.Contains(err.Error(), "1663/5/99999") {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("something is written: %v", err)
	}
}
