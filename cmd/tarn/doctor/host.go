package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/progress"
)

// What the machine should have.
const (
	diskMin    = 1 << 30  // bytes free below which a start is refused: data_dir holds the last GiB of WAL
	diskWanted = 10 << 30 // bytes free
	filesMin   = 256      // open files
	filesGood  = 1024
	fsyncSlow  = 50 * time.Millisecond
)

// host looks at this machine: the data folder and its disk, memory, limits.
func (x *examiner) host() (c checks) {
	x.dataDir(&c)
	x.memory(&c)
	openFiles(&c)
	return c
}

func (x *examiner) dataDir(c *checks) {
	const name = "host.data_dir"
	dir := x.Config.DataDir
	const fix = "give the user tarn runs as the right to write there, or name another with --data-dir"
	if x.Serving {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			c.failErr(name, fault.Errorf(fault.DataDirUnusable, "data_dir %s cannot be made (%w): %s", dir, fault.Cause(err), fix))
			return
		}
	}
	st, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := writableBelow(dir); err != nil {
			c.failErr(name, fault.Errorf(fault.DataDirUnusable, "data_dir %w", err))
			return
		}
		c.ok(name, dir+" is not there yet: tarn makes it when it starts")
		disk(c, dir)
		return
	case err != nil:
		c.failErr(name, fault.Errorf(fault.DataDirUnusable, "data_dir %s cannot be looked at (%w): %s", dir, fault.Cause(err), fix))
		return
	case !st.IsDir():
		c.failErr(name, fault.New(fault.DataDirUnusable, "data_dir "+dir+" is no folder: name another with --data-dir"))
		return
	case !mayWrite(dir):
		c.failErr(name, fault.New(fault.DataDirUnusable, "data_dir "+dir+" cannot be written: "+fix))
		return
	case st.Mode().Perm()&0o077 != 0:
		c.warn(name, fmt.Sprintf("%s is open to other users of this machine (mode %04o): it holds your rows", dir, st.Mode().Perm()), "chmod 700 "+dir)
	default:
		c.ok(name, dir)
	}
	disk(c, dir)
	fsync(c, dir)
}

// mayWrite asks the system, as the user we run as.
func mayWrite(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }

// disk looks at the room where a folder is or would be.
func disk(c *checks, dir string) {
	const name, fix = "host.disk", "make room there, or name a data_dir on a larger disk"
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	for errors.Is(err, unix.ENOENT) && dir != filepath.Dir(dir) {
		dir = filepath.Dir(dir)
		err = unix.Statfs(dir, &st)
	}
	if err != nil {
		c.unknown(name, "the disk of "+dir+" cannot be asked ("+err.Error()+")")
		return
	}
	free := int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // the fields' types differ by system
	text := progress.Format(free, progress.Bytes) + " free for data_dir"
	switch {
	case free < diskMin:
		c.fail(name, fault.DiskFull, text+", at least 1 GiB is needed", fix)
	case free < diskWanted:
		c.warn(name, text+": it holds the last GiB of WAL, what is not archived yet, and caches", fix)
	default:
		c.ok(name, text)
	}
}

// fsync tries whether the disk takes writes for good, and how long that takes.
func fsync(c *checks, dir string) {
	const name = "host.fsync"
	f, err := os.CreateTemp(dir, "preflight-*")
	if err != nil {
		c.failErr(name, fault.Errorf(fault.DataDirUnusable, "data_dir %s cannot be written (%w): give the user tarn runs as the right to write there, or name another with --data-dir", dir, fault.Cause(err)))
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const rounds = 3
	best := time.Hour
	for range rounds {
		began := time.Now()
		_, err := f.Write(make([]byte, 8<<10))
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			c.failErr(name, fault.Errorf(fault.DataDirUnusable, "data_dir %s does not keep what is written (%w): look at its disk, or name another with --data-dir", dir, fault.Cause(err)))
			return
		}
		best = min(best, time.Since(began))
	}
	if best > fsyncSlow {
		c.warn(name, fmt.Sprintf("a write takes %s to be durable: each commit the quorum acknowledges waits for one", best.Round(time.Millisecond)), "put data_dir on a local SSD")
		return
	}
	c.ok(name, fmt.Sprintf("a write is durable in %s", best.Round(10*time.Microsecond)))
}

// memory compares the setting with what there is.
func (x *examiner) memory(c *checks) {
	const name = "host.memory"
	set := int64(x.Config.Memory)
	have, of := machineMemory()
	switch {
	case have == 0:
		c.unknown(name, fmt.Sprintf("memory is %s; how much this machine has cannot be read here", x.Config.Memory))
	case set > have:
		c.warn(name, fmt.Sprintf("memory is %s, and %s has %s: the kernel would end tarn", x.Config.Memory, of, progress.Format(have, progress.Bytes)), "set memory to at most three quarters of it")
	case set > have/4*3:
		c.advise(name, fmt.Sprintf("memory is %s of %s of %s", x.Config.Memory, progress.Format(have, progress.Bytes), of), "leave a quarter to the system: set memory lower")
	default:
		c.ok(name, fmt.Sprintf("memory is %s of %s of %s", x.Config.Memory, progress.Format(have, progress.Bytes), of))
	}
}

// machineMemory is the memory this process may use, bytes: the control group's limit where it is lower than the machine's. 0
// where the system does not say.
func machineMemory() (bytes int64, of string) {
	data, err := os.ReadFile("/proc/meminfo")
	if err == nil {
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
				n, _ := strconv.ParseInt(f[1], 10, 64)
				bytes, of = n<<10, "this machine"
			}
		}
	}
	for _, path := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		if data, err := os.ReadFile(path); err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64); err == nil && n > 0 && (bytes == 0 || n < bytes) {
				bytes, of = n, "this control group"
			}
		}
	}
	return bytes, of
}

func openFiles(c *checks) {
	const name, fix = "host.open_files", "ulimit -n 4096, or LimitNOFILE=4096 in the systemd unit"
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		c.unknown(name, err.Error())
		return
	}
	switch n := uint64(l.Cur); {
	case n < filesMin:
		c.fail(name, fault.OpenFiles, fmt.Sprintf("%d open files are allowed, tarn needs %d", n, filesMin), fix)
	case n < filesGood:
		c.warn(name, fmt.Sprintf("%d open files are allowed: many tables and readers need more", n), fix)
	default:
		c.ok(name, fmt.Sprintf("%d are allowed", n))
	}
}
