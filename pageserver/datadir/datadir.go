// Package datadir reads relation pages out of the data directory of a server that is not running.
package datadir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
)

// Fork names one fork of one relation: what Postgres keeps in one row of segment files.
type Fork struct {
	Rel  pg.RelFileLocator
	Fork pg.ForkNumber
}

// segment names one segment file of a fork.
type segment struct {
	Fork
	no uint32
}

// openFilesMax bounds the segment files kept open.
const openFilesMax = 64

// Dir is a data directory. It is not safe for concurrent use; files are opened when first read.
type Dir struct {
	root  string
	major pg.Major
	open  map[segment]*os.File // nil: there is no such file
}

// Open checks that root is the data directory of a version tarn reads. Nothing is locked: the server must be stopped, or
// the directory a copy.
func Open(root string) (*Dir, error) {
	text, err := os.ReadFile(filepath.Join(root, "PG_VERSION"))
	if err != nil {
		return nil, fmt.Errorf("%s is not a Postgres data directory: %w", root, err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pg.Major(n).WALMagic() == 0 {
		return nil, fmt.Errorf("%s is of PostgreSQL %q: 15 to 18 are read", root, strings.TrimSpace(string(text)))
	}
	return &Dir{root: root, major: pg.Major(n), open: map[segment]*os.File{}}, nil
}

// Major is the server version the directory belongs to.
func (d *Dir) Major() pg.Major { return d.major }

// Root is the directory's path.
func (d *Dir) Root() string { return d.root }

// Close closes the files that reads have opened.
func (d *Dir) Close() error {
	var errs []error
	for _, f := range d.open {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	clear(d.open)
	return errors.Join(errs...)
}

// ReadPage reads one block into dst, pg.BlockSize bytes. It returns false, with dst zeroed, when the fork has no such
// block or does not exist. A block the file holds only in part, which a crash can leave at its end, reads as if the rest
// were zeros.
func (d *Dir) ReadPage(f Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
	clear(dst)
	file, err := d.file(segment{f, uint32(blk / pg.SegmentBlocks)})
	if err != nil || file == nil {
		return false, err
	}
	n, err := file.ReadAt(dst, int64(blk%pg.SegmentBlocks)*pg.BlockSize)
	if err != nil && err != io.EOF {
		return false, fmt.Errorf("read block %d of %s: %w", blk, file.Name(), err)
	}
	return n > 0, nil
}

// Blocks is the fork's length in blocks, a block held in part counted; 0 if the fork does not exist. As in Postgres the
// first segment that is not full is the last (mdnblocks).
func (d *Dir) Blocks(f Fork) (pg.BlockNumber, error) {
	var total pg.BlockNumber
	for no := uint32(0); ; no++ {
		file, err := d.file(segment{f, no})
		if err != nil || file == nil {
			return total, err
		}
		info, err := file.Stat()
		if err != nil {
			return 0, err
		}
		blocks := pg.BlockNumber((info.Size() + pg.BlockSize - 1) / pg.BlockSize)
		total += blocks
		if blocks < pg.SegmentBlocks {
			return total, nil
		}
	}
}

// file returns the open segment, or nil if there is none.
func (d *Dir) file(s segment) (*os.File, error) {
	if f, ok := d.open[s]; ok {
		return f, nil
	}
	path, err := d.path(s)
	if err != nil {
		return nil, err
	}
	var f *os.File
	if path != "" {
		if f, err = os.Open(path); errors.Is(err, fs.ErrNotExist) {
			f, err = nil, nil
		}
		if err != nil {
			return nil, err
		}
	}
	if len(d.open) >= openFilesMax {
		if err := d.Close(); err != nil {
			return nil, err
		}
	}
	d.open[s] = f
	return f, nil
}

// SegmentPath names the file that holds a block of a fork, "" if its tablespace is not there. The file need not exist.
func (d *Dir) SegmentPath(f Fork, blk pg.BlockNumber) (string, error) {
	return d.path(segment{f, uint32(blk / pg.SegmentBlocks)})
}

// path names the segment's file (GetRelationPath), or "" if its tablespace is not there.
func (d *Dir) path(s segment) (string, error) {
	folder, err := d.folder(s.Rel.Spc, s.Rel.DB)
	if err != nil || folder == "" {
		return "", err
	}
	name := strconv.FormatUint(uint64(s.Rel.Rel), 10)
	if s.Fork.Fork != pg.MainFork {
		name += "_" + s.Fork.Fork.String()
	}
	if s.no > 0 {
		name += "." + strconv.FormatUint(uint64(s.no), 10)
	}
	return filepath.Join(folder, name), nil
}

// folder is where a database's relations of one tablespace lie (GetDatabasePath), or "".
func (d *Dir) folder(spc, db pg.OID) (string, error) {
	switch spc {
	case pg.GlobalTablespace:
		return filepath.Join(d.root, "global"), nil
	case pg.DefaultTablespace:
		return filepath.Join(d.root, "base", strconv.FormatUint(uint64(db), 10)), nil
	}
	versioned, err := d.tablespace(spc)
	if err != nil || versioned == "" {
		return "", err
	}
	return filepath.Join(versioned, strconv.FormatUint(uint64(db), 10)), nil
}

// tablespace is the folder PG_<major>_<catalog version> in a user's tablespace, or "".
func (d *Dir) tablespace(spc pg.OID) (string, error) {
	pattern := filepath.Join(d.root, "pg_tblspc", strconv.FormatUint(uint64(spc), 10), fmt.Sprintf("PG_%d_*", d.major))
	found, err := filepath.Glob(pattern)
	if err != nil || len(found) == 0 {
		return "", err
	}
	if len(found) > 1 {
		return "", fmt.Errorf("tablespace %d has several folders of PostgreSQL %d: %s", spc, d.major, strings.Join(found, ", "))
	}
	return found[0], nil
}

// Control reads pg_control, and refuses one of another version than the directory's.
func (d *Dir) Control() (control.Control, error) {
	b, err := os.ReadFile(filepath.Join(d.root, "global", "pg_control"))
	if err != nil {
		return control.Control{}, err
	}
	c, err := control.Parse(b)
	if err != nil {
		return c, fmt.Errorf("%s: %w", d.root, err)
	}
	if c.Major != d.major {
		return c, fmt.Errorf("%s: PG_VERSION says %d and pg_control %d", d.root, d.major, c.Major)
	}
	return c, nil
}
