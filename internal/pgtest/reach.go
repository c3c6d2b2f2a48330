package pgtest

import (
	"os"
	"path/filepath"
	"syscall"
)

// Reachable returns a folder of the programs in bin that an account can get at: bin itself with its symlinks resolved or,
// where a folder on the way is closed to the account (a home folder such as /root is), a copy of the server below the
// temporary folder, which remove deletes. The user's own folders stay as closed as they are.
func Reachable(bin string, uid, gid uint32) (dir string, remove func() error, err error) {
	if bin, err = resolve(bin); err != nil {
		return "", nil, err
	}
	o := owner{uid: uid, gid: gid}
	open, err := o.canSearch(bin)
	if err != nil {
		return "", nil, err
	}
	if open {
		return bin, func() error { return nil }, nil
	}
	home, err := layOut(bin, gid)
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(home, filepath.Base(bin)), func() error { return os.RemoveAll(home) }, nil
}

func resolve(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// canSearch says whether the mode of dir and of each folder above it lets the owner through. Only the owner's first group
// counts, as a server is started without others.
func (o owner) canSearch(dir string) (bool, error) {
	for {
		info, err := os.Stat(dir)
		if err != nil {
			return false, err
		}
		stat := info.Sys().(*syscall.Stat_t)
		search := os.FileMode(0o001)
		switch {
		case stat.Uid == o.uid:
			search = 0o100
		case stat.Gid == o.gid:
			search = 0o010
		}
		if info.Mode().Perm()&search == 0 {
			return false, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true, nil
		}
		dir = parent
	}
}
