package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver"
)

// readerRun is one reading of a recording's WAL from tmpfs, page headers, checksums and decoding included: by tarn, and by
// pg_waldump, which prints nothing (--quiet).
type readerRun struct {
	CPU         float64 `json:"cpu_s"`
	Wall        float64 `json:"wall_s"`
	WaldumpCPU  float64 `json:"pg_waldump_cpu_s"`
	WaldumpWall float64 `json:"pg_waldump_wall_s"`
}

// runReaders reads a recording both ways.
func runReaders(ctx context.Context, o options, r *recording) (run readerRun, err error) {
	dir := filepath.Join(o.fast, "reader")
	if err := copyRecording(ctx, r, dir); err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	folder := filepath.Join(dir, "data", "pg_wal")
	if err := run.tarn(folder, r); err != nil {
		return run, err
	}
	return run, run.waldump(ctx, folder, r)
}

func (run *readerRun) tarn(folder string, r *recording) error {
	cpu, began := selfCPU(), time.Now()
	src, reader, err := openWAL(folder, r)
	if err != nil {
		return err
	}
	defer src.Close()
	for err == nil {
		_, err = reader.NextBatch(pageserver.BatchRecords)
	}
	if !errors.Is(err, io.EOF) {
		return err
	}
	run.CPU, run.Wall = seconds(selfCPU()-cpu), seconds(time.Since(began))
	if at := reader.Position().Complete; at < r.End {
		return fmt.Errorf("reading stopped at %s, before %s", at, r.End)
	}
	return nil
}

func (run *readerRun) waldump(ctx context.Context, folder string, r *recording) error {
	bin, err := pgtest.Bin(15)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(bin, "pg_waldump"), "--quiet", "-p", folder, "-s", r.Start.String(), "-e", r.End.String())
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("pg_waldump: %w", err)
	}
	run.WaldumpWall = seconds(time.Since(began))
	run.WaldumpCPU = seconds(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
	return nil
}
