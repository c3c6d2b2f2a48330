package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/tarn-db/tarn/internal/fault"
)

// notRunning says whether a server has the data directory open, by its postmaster.pid (miscadmin.h):
//
//	line 1 postmaster's PID   2 data directory   3 start time   4 port   5 socket directory   6 listen address
//	line 7 key and identifier of its System V shared memory   8 status
//
// A postmaster that was killed leaves the file; backends that outlive it stay attached to the shared memory (CreateLockFile).
func notRunning(root string) error {
	path := filepath.Join(root, "postmaster.pid")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fault.Errorf(fault.BaseFolder, "%w", err)
	}
	lines := strings.Split(string(b), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(lines[0]))
	if pid = max(pid, -pid); err != nil || pid == 0 { // negative: a stand-alone backend's
		return fault.Errorf(fault.RepairRunning, "%s names no process: if no server runs there, remove it", path)
	}
	if err := syscall.Kill(pid, 0); err == nil || errors.Is(err, syscall.EPERM) {
		return fault.Errorf(fault.RepairRunning, "process %d, which %s names, runs: stop the server first, or remove the file if that is none", pid, path)
	}
	if len(lines) < 7 {
		return nil
	}
	f := strings.Fields(lines[6])
	if len(f) != 2 {
		return nil
	}
	id, err := strconv.Atoi(f[1])
	if err != nil {
		return nil
	}
	var shm unix.SysvShmDesc
	if _, err := unix.SysvShmCtl(id, unix.IPC_STAT, &shm); err == nil && shm.Nattch > 0 {
		return fault.Errorf(fault.RepairRunning, "the postmaster is gone, and %d of its processes still have shared memory %d: end them first", shm.Nattch, id)
	}
	return nil
}
