package objstore

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// makeDirs makes a folder and its parents; the entries of those that are new, or new to us, are durable when it returns:
// another goroutine or process may have made one and not fsynced it yet.
func (d *Dir) makeDirs(folder string) error {
	st, err := os.Stat(folder)
	there := err == nil && st.IsDir()
	if _, known := d.durable.Load(folder); there && (known || !d.holds(folder)) {
		return nil
	}
	if parent := filepath.Dir(folder); parent != folder {
		if err := d.makeDirs(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(folder, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := syncDir(filepath.Dir(folder)); err != nil {
		return err
	}
	if d.holds(folder) {
		d.durable.Store(folder, struct{}{})
	}
	return nil
}

// holds says whether a folder lies in the store. Those above may be closed to us, and are somebody else's.
func (d *Dir) holds(folder string) bool { return strings.HasPrefix(folder, d.root+"/") }

func syncDir(folder string) error {
	f, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
