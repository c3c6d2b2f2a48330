package basebackup

import (
	"io/fs"
	"os"
	"syscall"
)

// chownLike gives a folder the owner of another file.
func chownLike(path string, of fs.FileInfo) error {
	stat := of.Sys().(*syscall.Stat_t)
	return os.Chown(path, int(stat.Uid), int(stat.Gid))
}
