package pgtest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// datadir is the content of a stopped server's data directory, in memory: what is kept there needs nobody to delete it.
// Entries come in the order of a walk, each folder before what is in it. It is immutable.
type datadir []entry

type entry struct {
	path string // from the data directory
	mode fs.FileMode
	size int64  // bytes
	data []byte // without the zeros at its end, which are most of a WAL segment
}

func readDatadir(root string) (datadir, error) {
	var d datadir
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		e := entry{mode: info.Mode()}
		if e.path, err = filepath.Rel(root, path); err != nil {
			return err
		}
		switch {
		case info.IsDir():
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			e.size, e.data = int64(len(b)), bytes.Clone(bytes.TrimRight(b, "\x00"))
		default:
			return fmt.Errorf("%s is neither file nor folder: tablespaces cannot be copied", path)
		}
		d = append(d, e)
		return nil
	})
	return d, err
}

// write makes root, which must not be there.
func (d datadir) write(root string) error {
	for _, e := range d {
		path := filepath.Join(root, e.path)
		var err error
		if e.mode.IsDir() {
			err = makeDir(path, e.mode.Perm())
		} else {
			err = e.write(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (e *entry) write(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, e.mode.Perm())
	if err != nil {
		return err
	}
	_, err = f.Write(e.data)
	return errors.Join(err, f.Truncate(e.size), f.Close())
}

// Save keeps a copy of the stopped server's data directory for Restore.
func (s *Server) Save() (err error) {
	if s.Running() {
		return errors.New("the data directory of a running server is no state to go back to")
	}
	s.saved, err = readDatadir(s.DataDir())
	return err
}

// Restore puts what Save kept in the place of the stopped server's data directory, as somebody does who restores a backup
// or fails over to a standby that lags.
func (s *Server) Restore() error {
	if s.Running() || s.saved == nil {
		return errors.New("a server is restored when it is stopped, to what was saved")
	}
	// A postmaster knows what its predecessor left by the inode of the data directory, which is a new one now.
	if err := s.left.remove(); err != nil {
		return err
	}
	if err := os.RemoveAll(s.DataDir()); err != nil {
		return err
	}
	if err := s.saved.write(s.DataDir()); err != nil {
		return err
	}
	return s.owner.own(s.DataDir())
}
