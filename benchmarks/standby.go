package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// standbyRun is what a stock standby needed to replay a recording.
type standbyRun struct {
	StartupCPU float64 `json:"startup_cpu_s"` // the startup process: reads WAL, checks it, redoes it
	OthersCPU  float64 `json:"others_cpu_s"`  // checkpointer, background writer and the rest
	Wall       float64 `json:"wall_s"`
}

// standbySettings: nothing is evicted, nobody queries, no restartpoint is due while it replays.
const standbySettings = `
hot_standby = off
shared_buffers = '%dMB'
fsync = on
checkpoint_timeout = '1d'
max_wal_size = '200GB'
wal_keep_size = '200GB'
port = %d
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
logging_collector = off
autovacuum = off
huge_pages = try
`

// runStandby replays a recording in a standby whose data directory and WAL lie on tmpfs. It must find the WAL in its
// pg_wal, where a standby that was fed by streaming has it.
func runStandby(ctx context.Context, o options, r *recording) (run standbyRun, err error) {
	dir := filepath.Join(o.fast, "standby")
	data := filepath.Join(dir, "data")
	if err := copyRecording(ctx, r, dir); err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	port, err := pgtest.FreePort()
	if err != nil {
		return run, err
	}
	size, err := folderBytes(data)
	if err != nil {
		return run, err
	}
	conf := fmt.Sprintf(standbySettings, size>>20*5/4+512, port)
	if err := os.WriteFile(filepath.Join(data, "postgresql.auto.conf"), []byte(conf), 0o644); err != nil {
		return run, err
	}
	if err := os.WriteFile(filepath.Join(data, "standby.signal"), nil, 0o644); err != nil {
		return run, err
	}
	return replay(ctx, data, r.End)
}

// replay starts the server and waits until its startup process has come to the end.
func replay(ctx context.Context, data string, end pg.LSN) (run standbyRun, err error) {
	info, err := os.Stat(data)
	if err != nil {
		return run, err
	}
	owner := info.Sys().(*syscall.Stat_t)
	bin, err := pgtest.Bin(15)
	if err != nil {
		return run, err
	}
	bin, removeBin, err := pgtest.Reachable(bin, owner.Uid, owner.Gid)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, removeBin()) }()
	log, err := os.Create(filepath.Join(filepath.Dir(data), "standby.log"))
	if err != nil {
		return run, err
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data)
	cmd.Dir, cmd.Stdout, cmd.Stderr = data, log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: &syscall.Credential{Uid: owner.Uid, Gid: owner.Gid}}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return run, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
	}()
	if err := awaitEnd(ctx, log.Name(), cmd.Process.Pid); err != nil {
		return run, err
	}
	run.Wall = seconds(time.Since(began))
	for _, pid := range descendants(cmd.Process.Pid) {
		cpu, err := processCPU(pid)
		if err != nil {
			return run, err
		}
		if strings.Contains(processTitle(pid), "startup") {
			run.StartupCPU += seconds(cpu)
		} else {
			run.OthersCPU += seconds(cpu)
		}
	}
	text, err := os.ReadFile(log.Name())
	if err != nil {
		return run, err
	}
	// What the shutdown checkpoint record is followed by: nothing. Its end is where the standby found no record.
	if !strings.Contains(string(text), "redo starts at") {
		return run, fmt.Errorf("the standby did not replay: %s", text)
	}
	reached, err := replayEnd(string(text))
	if err == nil && reached < end {
		err = fmt.Errorf("the standby stopped at %s, before %s", reached, end)
	}
	return run, err
}

// endOfWAL is what a standby logs when it has used up its WAL (XLogReaderValidatePageHeader and others).
const endOfWAL = "invalid record length at "

func awaitEnd(ctx context.Context, log string, pid int) error {
	for {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		if strings.Contains(string(text), endOfWAL) {
			return nil
		}
		if syscall.Kill(pid, 0) != nil || strings.Contains(string(text), "FATAL") {
			return fmt.Errorf("the standby ended: %s", text)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func replayEnd(log string) (pg.LSN, error) {
	_, rest, ok := strings.Cut(log, endOfWAL)
	if !ok {
		return 0, errors.New("the standby has not come to the end of its WAL")
	}
	text, _, _ := strings.Cut(rest, ":")
	return pg.ParseLSN(text)
}

// copyRecording lays a recording out under dir as a data directory with all of its WAL.
func copyRecording(ctx context.Context, r *recording, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	if err := copyTree(ctx, r.Base, data); err != nil {
		return err
	}
	_, err := command(ctx, "cp", "-aT", r.WAL, filepath.Join(data, "pg_wal"))
	return err
}

func folderBytes(dir string) (n int64, err error) {
	err = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += info.Size()
		}
		return err
	})
	return n, err
}
