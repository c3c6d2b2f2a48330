package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// DataDir is the server's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir, "data") }

// LogPath is the file the server logs to.
func (s *Server) LogPath() string { return filepath.Join(s.dir, "server.log") }

// BinDir is the folder of the programs that run: of a copy where the server's account cannot get at the original.
func (s *Server) BinDir() string { return s.bin }

// Port is the TCP port on 127.0.0.1.
func (s *Server) Port() int { return s.port }

// ConnString connects the superuser to a database over TCP.
func (s *Server) ConnString(db string) string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/%s?sslmode=disable", s.port, db)
}

// ReplConnString connects the role "replicator" over TCP; add "&replication=true" for a walsender connection. It is what goes
// into source.url of tarn.yaml.
func (s *Server) ReplConnString(db string) string {
	return fmt.Sprintf("postgres://replicator:%s@127.0.0.1:%d/%s?sslmode=disable", Password, s.port, db)
}

// Exec runs statements, each in a transaction of its own, as the superuser.
func (s *Server) Exec(ctx context.Context, db string, statements ...string) error {
	conn, err := pgx.Connect(ctx, s.ConnString(db))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// QueryText runs a query of one row and one column and returns it as text.
func (s *Server) QueryText(ctx context.Context, db, sql string) (string, error) {
	conn, err := pgx.Connect(ctx, s.ConnString(db))
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var text string
	if err := conn.QueryRow(ctx, sql, pgx.QueryExecModeSimpleProtocol).Scan(&text); err != nil {
		return "", fmt.Errorf("%s: %w", sql, err)
	}
	return text, nil
}

// Running tells whether the postmaster is alive.
func (s *Server) Running() bool {
	if s.cmd == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Stop is StopWithin a minute.
func (s *Server) Stop(mode StopMode) error { return s.StopWithin(mode, stopTimeout) }

// StopWithin asks the server to end and waits. A server that does not end in time is killed, and that is an error.
func (s *Server) StopWithin(mode StopMode, limit time.Duration) error {
	if !s.Running() {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.Signal(mode)); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.exited:
		return nil
	case <-time.After(limit):
		return errors.Join(fmt.Errorf("postgres did not stop within %v: %s", limit, s.logTail()), s.Kill9())
	}
}

// Kill9 kills the postmaster and all its children at one time. Killing the postmaster alone leaves backends that go on to
// finish their commits, which is not what a power cut does; and each of them is in a process group of its own (setsid in
// InitPostmasterChild), so no signal to a group reaches them all. The postmaster is stopped first: it starts no new ones.
func (s *Server) Kill9() error {
	if !s.Running() {
		return nil
	}
	postmaster := s.cmd.Process.Pid
	if err := syscall.Kill(postmaster, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stop postmaster %d: %w", postmaster, err)
	}
	children, err := childrenOf(postmaster)
	all := append(slices.Clone(children), postmaster)
	s.left = sharedMemoryOf(all)
	for _, pid := range all {
		if killErr := syscall.Kill(pid, syscall.SIGKILL); killErr != nil && !errors.Is(killErr, syscall.ESRCH) {
			err = errors.Join(err, fmt.Errorf("kill process %d: %w", pid, killErr))
		}
	}
	<-s.exited
	return errors.Join(err, awaitGone(children))
}

// childrenOf lists the processes whose parent is pid.
func childrenOf(pid int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var children []int
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat"))
		if err != nil {
			continue // it has ended meanwhile
		}
		// "pid (comm) state ppid ...": the name may hold blanks and parentheses.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) > 1 && fields[1] == strconv.Itoa(pid) {
			children = append(children, child)
		}
	}
	return children, nil
}

// awaitGone waits until killed processes have let go of sockets, files and shared memory. One that only waits for its
// parent to collect it has.
func awaitGone(pids []int) error {
	for range 1000 {
		left := 0
		for _, pid := range pids {
			stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && !strings.Contains(string(stat), ") Z ") {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("some of the processes %v are still there after SIGKILL", pids)
}

// Restart starts the server again, on the same port and data; one that runs is stopped fast before.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.Stop(Fast); err != nil {
		return err
	}
	// After Kill9 the lock file names a dead process, or by bad luck a living one of somebody else.
	if err := os.Remove(filepath.Join(s.DataDir(), "postmaster.pid")); err != nil && !os.IsNotExist(err) {
		return err
	}
	return s.launch(ctx)
}

// Reload makes the running server read its configuration again.
func (s *Server) Reload() error { return s.cmd.Process.Signal(syscall.SIGHUP) }

// Remove ends a server that still runs and deletes all that Start made; the folder only if that was made too. The server is
// told rather than killed, for it knows best what it has in shared memory.
func (s *Server) Remove() error {
	errs := []error{s.StopWithin(Immediate, removeTimeout), s.left.remove()}
	if s.removeBin != nil {
		errs = append(errs, s.removeBin())
	}
	if s.ownDir {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

func (s *Server) logTail() string {
	b, err := os.ReadFile(s.LogPath())
	if err != nil {
		return ""
	}
	return tail(string(b))
}

func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines) > 12 {
		lines = lines[len(lines)-12:]
	}
	return strings.Join(lines, "\n")
}
