package pgtest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// sharedMemory is what a killed server leaves in the kernel. The next postmaster on the same data directory removes it;
// where none comes it would stay until the machine restarts, and the kernel has room for some thousand of them.
type sharedMemory struct {
	segments map[int]bool    // System V identifiers
	files    map[string]bool // POSIX shared memory, under /dev/shm
}

// sharedMemoryOf lists what living processes of a server have mapped.
func sharedMemoryOf(pids []int) sharedMemory {
	m := sharedMemory{segments: map[int]bool{}, files: map[string]bool{}}
	for _, pid := range pids {
		maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
		if err != nil {
			continue // it has ended meanwhile
		}
		for line := range strings.Lines(string(maps)) {
			m.add(strings.Fields(line))
		}
	}
	return m
}

// add takes the fields of a line of /proc/PID/maps: range, mode, offset, device, inode, path. A System V segment's inode is
// its identifier.
func (m *sharedMemory) add(fields []string) {
	if len(fields) < 6 {
		return
	}
	switch path := fields[5]; {
	case strings.HasPrefix(path, "/SYSV"):
		if id, err := strconv.Atoi(fields[4]); err == nil {
			m.segments[id] = true
		}
	case strings.HasPrefix(path, "/dev/shm/PostgreSQL."):
		m.files[path] = true
	}
}

// remove deletes what is left, once: identifiers are used again.
func (m *sharedMemory) remove() error {
	var errs []error
	for id := range m.segments {
		if _, err := unix.SysvShmCtl(id, unix.IPC_RMID, nil); err != nil && err != syscall.EINVAL && err != syscall.EIDRM {
			errs = append(errs, fmt.Errorf("shared memory %d: %w", id, err))
		}
	}
	for path := range m.files {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	*m = sharedMemory{}
	return errors.Join(errs...)
}
