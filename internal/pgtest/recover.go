package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// recoverTimeout bounds one recovery: the WAL of the server's own tests is about a gigabyte.
const recoverTimeout = 10 * time.Minute

// PointInTime says where a server's recovery ends.
type PointInTime struct {
	Archive string // folder of WAL files that the server's account can read
	LSN     string // the last record is the last that begins before it: with an LSN between two records, all before it and none behind
	// CommitTimes says that the WAL tracks commit times there. A server that is not told would forget them when it ends recovery.
	CommitTimes bool
}

// RecoverTo has a stock server redo WAL from the base backup in opts.Dir/data, or from the data directory of a server that was stopped,
// up to a point, where it pauses. There it is promoted, so that it writes out all it holds, and stopped: what a paused standby has in
// memory alone is on disk then, and nothing has been changed. No session comes in between, which would set hints and prune pages.
// It returns the data directory.
func RecoverTo(ctx context.Context, opts Options, to PointInTime) (dir string, err error) {
	ctx, cancel := context.WithTimeout(ctx, recoverTimeout)
	defer cancel()
	dir = filepath.Join(opts.Dir, "data")
	if err := to.configure(&opts, dir); err != nil {
		return "", err
	}
	opts.KeepData = true
	s, err := Start(ctx, opts)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Remove()) }()
	if err := s.awaitPause(ctx); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "promote"), nil, 0o600); err != nil {
		return "", err
	}
	if err := s.cmd.Process.Signal(syscall.SIGUSR1); err != nil { // CheckPromoteSignal
		return "", err
	}
	if err := s.awaitLog(ctx, "database system is ready to accept connections"); err != nil {
		return "", err
	}
	return dir, s.Stop(Fast)
}

// configure has the server on dir recover to the point. The last line of a setting wins.
func (to PointInTime) configure(opts *Options, dir string) (err error) {
	if opts.Port == 0 {
		if opts.Port, err = FreePort(); err != nil {
			return err
		}
	}
	settings := fmt.Sprintf("port = %d\nunix_socket_directories = '%s'\nrestore_command = 'cp %s/%%f %%p'\nrecovery_target_lsn = '%s'\n"+
		"recovery_target_inclusive = off\nrecovery_target_action = pause\nhot_standby = on\nautovacuum = off\nmax_logical_replication_workers = 0\n"+
		"log_min_messages = log\nfsync = off\ntrack_commit_timestamp = %t\n", opts.Port, opts.Dir, to.Archive, to.LSN, to.CommitTimes)
	auto := filepath.Join(dir, "postgresql.auto.conf")
	had, err := os.ReadFile(auto)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(auto, append(had, "\n"+settings...), 0o600), os.WriteFile(filepath.Join(dir, "recovery.signal"), nil, 0o600), os.Chmod(dir, 0o700))
}

func (s *Server) awaitPause(ctx context.Context) error {
	for {
		state, err := s.QueryText(ctx, "postgres", "select pg_get_wal_replay_pause_state()")
		if err == nil && state == "paused" {
			return nil
		}
		if err := s.pause(ctx); err != nil {
			return fmt.Errorf("recovery is %q, not paused: %w: %s", state, err, s.logTail())
		}
	}
}

func (s *Server) awaitLog(ctx context.Context, text string) error {
	for {
		if b, err := os.ReadFile(s.LogPath()); err != nil || strings.Contains(string(b), text) {
			return err
		}
		if err := s.pause(ctx); err != nil {
			return fmt.Errorf("the server does not say %q: %w: %s", text, err, s.logTail())
		}
	}
}

// pause waits a moment for a server that runs.
func (s *Server) pause(ctx context.Context) error {
	select {
	case <-s.exited:
		return errors.New("the process ended")
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(25 * time.Millisecond):
		return nil
	}
}
