package pgtest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// layOut copies the server whose programs are in bin to a new folder and returns that. Postgres finds its lib and share
// relative to its own program (make_relative_path), so they come along; nothing else does, for the folder above bin may be
// somebody's home. The new folder's name cannot be guessed, and it is our own: the group may read it and nobody else, so
// that no account can plant a program there.
func layOut(bin string, gid uint32) (_ string, err error) {
	home, err := os.MkdirTemp("", "pgbin")
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("copy the server in %s: %w", filepath.Dir(bin), err), os.RemoveAll(home))
		}
	}()
	for _, name := range []string{filepath.Base(bin), "lib", "share"} {
		from := filepath.Join(filepath.Dir(bin), name)
		if _, err := os.Stat(from); errors.Is(err, fs.ErrNotExist) {
			continue // a distribution's share is elsewhere, at a path that is compiled in
		}
		if err := layOutTree(from, filepath.Join(home, name)); err != nil {
			return "", err
		}
	}
	// The open mode comes last: until then nobody sees a server that is half there.
	if err := os.Chown(home, os.Geteuid(), int(gid)); err != nil {
		return "", err
	}
	return home, os.Chmod(home, 0o750)
}

func layOutTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := os.Lstat(path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return makeDir(target, 0o755)
		case info.Mode()&fs.ModeSymlink != 0:
			text, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(text, target)
		case info.Mode().IsRegular():
			return layOutFile(path, target, info.Mode())
		}
		return nil // a socket or the like is no part of a server
	})
}

// makeDir is os.Mkdir whatever the umask.
func makeDir(path string, mode fs.FileMode) error {
	if err := os.Mkdir(path, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// layOutFile links a file that everybody may read and only its owner may write; that is a matter of milliseconds for a
// whole server. A link to any other would need a chmod, which would open the user's own file too: such a file is copied, and
// so is each where the temporary folder is another file system.
func layOutFile(from, to string, mode fs.FileMode) error {
	if (mode == 0o644 || mode == 0o755) && os.Link(from, to) == nil {
		return nil
	}
	open := fs.FileMode(0o644)
	if mode&0o111 != 0 {
		open = 0o755
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, open)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(open), out.Close())
}
