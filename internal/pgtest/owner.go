package pgtest

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// owner is the account a server runs as; nil means our own.
type owner struct{ uid, gid uint32 }

// ownerFor returns the account to run Postgres as: ours, unless we are root. Then it is the named one, else the first of
// postgres and nobody that exists.
func ownerFor(name string) (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	names := []string{"postgres", "nobody"}
	if name != "" {
		names = []string{name}
	}
	for _, n := range names {
		u, err := user.Lookup(n)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 != nil || err2 != nil || uid == 0 {
			continue
		}
		return &owner{uid: uint32(uid), gid: uint32(gid)}, nil
	}
	return nil, fmt.Errorf("postgres does not run as root and none of the accounts %v is here: create one", names)
}

// sysProcAttr puts the server in a process group of its own, so that a terminal's interrupt does not reach it.
func (o *owner) sysProcAttr() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Setpgid: true}
	dieWithUs(attr)
	if o != nil {
		attr.Credential = &syscall.Credential{Uid: o.uid, Gid: o.gid}
	}
	return attr
}

// own makes dir and everything in it the owner's and lets the owner reach it: each folder above that only root may
// enter, such as the ones testing.T.TempDir makes, gets the search (x) permission for others.
func (o *owner) own(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if o == nil {
		return nil
	}
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, int(o.uid), int(o.gid))
	})
	if err != nil {
		return err
	}
	return openWay(filepath.Dir(dir))
}

// openWay never widens a home folder or anything outside the temporary folder: data put there by root is refused by
// Postgres itself, with a clear message.
func openWay(dir string) error {
	tmp := filepath.Clean(os.TempDir())
	for ; dir != tmp && dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		rel, err := filepath.Rel(tmp, dir)
		if err != nil || rel == ".." || len(rel) > 2 && rel[:3] == "../" {
			return nil
		}
		info, err := os.Stat(dir)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 == 0 {
			if err := os.Chmod(dir, info.Mode().Perm()|0o001); err != nil {
				return err
			}
		}
	}
	return nil
}
