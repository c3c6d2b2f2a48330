package basebackup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/tarn-db/tarn/internal/fault"
)

// ErrTargetTaken: a folder that is to be written is not empty, or is no folder.
var ErrTargetTaken = fault.New(fault.TargetTaken, "name a folder that is empty or not there yet")

// Directory is the target of a data directory on this machine, as the user who writes it: the server has to run as the same one.
type Directory struct {
	Path   string // it is empty, or not there
	NoSync bool   // return before it is durable: a crash of the machine may leave a directory that is damaged

	made  []string // what abort removes, roots of trees
	paths []string // files and folders in the order they were made
}

// Permissions of data directories (PG_DIR_MODE_OWNER, PG_FILE_MODE_OWNER).
const (
	folderMode = 0o700
	fileMode   = 0o600
)

func (d *Directory) links() bool { return true }

func (d *Directory) begin(tablespaces []Tablespace) error {
	path, err := filepath.Abs(d.Path)
	if err != nil {
		return err
	}
	d.Path, d.made, d.paths = path, nil, nil
	roots := []string{path}
	for _, ts := range tablespaces {
		if ts.Location == "" {
			continue
		}
		for _, root := range roots {
			if ts.Location == root || within(ts.Location, root) || within(root, ts.Location) {
				return fmt.Errorf("tablespace %d at %s: %s is written too: %w", ts.OID, ts.Location, root, ErrTargetTaken)
			}
		}
		roots = append(roots, ts.Location)
	}
	for _, root := range roots {
		if err := vacant(root); err != nil {
			return err
		}
	}
	return d.root(path)
}

func within(path, folder string) bool {
	rel, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(rel)
}

// vacant refuses a folder that has something in it.
func vacant(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("%s: %w: %w", path, fault.Cause(err), ErrTargetTaken)
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty, %s is in it: %w", path, entries[0].Name(), ErrTargetTaken)
	}
	return nil
}

// root makes a folder that begins a tree of ours, or takes an empty one.
func (d *Directory) root(path string) error {
	if _, err := os.Lstat(path); err == nil {
		// What was there stays there, empty.
		d.made = append(d.made, path+string(filepath.Separator))
		d.paths = append(d.paths, path)
		return os.Chmod(path, folderMode)
	}
	first := path // of the folders that are missing
	for parent := filepath.Dir(first); ; first, parent = parent, filepath.Dir(parent) {
		if _, err := os.Lstat(parent); err == nil || parent == first {
			break
		}
	}
	d.made = append(d.made, first)
	d.paths = append(d.paths, filepath.Dir(first), path)
	return os.MkdirAll(path, folderMode)
}

func (d *Directory) place(name string) string { return filepath.Join(d.Path, filepath.FromSlash(name)) }

func (d *Directory) folder(name string) error {
	path := d.place(name)
	d.paths = append(d.paths, path)
	return os.Mkdir(path, folderMode)
}

func (d *Directory) link(name, to string) error {
	if err := vacant(to); err != nil { // again: it may have been a while
		return err
	}
	if err := d.root(to); err != nil {
		return err
	}
	return os.Symlink(to, d.place(name))
}

func (d *Directory) file(name string, _ int64) (io.WriteCloser, error) {
	path := d.place(name)
	d.paths = append(d.paths, path)
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fileMode)
}

// sync makes what was written since the last call durable, files before the folders they are in.
func (d *Directory) sync() error {
	paths := d.paths
	d.paths = nil
	if d.NoSync {
		return nil
	}
	for _, path := range slices.Backward(paths) {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (d *Directory) finish() error {
	d.paths = append([]string{d.place("global")}, d.paths...)
	return d.sync()
}

func (d *Directory) abort() (err error) {
	for _, path := range d.made {
		if path[len(path)-1] != filepath.Separator {
			err = errors.Join(err, os.RemoveAll(path))
			continue
		}
		entries, listErr := os.ReadDir(path)
		err = errors.Join(err, listErr)
		for _, e := range entries {
			err = errors.Join(err, os.RemoveAll(filepath.Join(path, e.Name())))
		}
	}
	return err
}
