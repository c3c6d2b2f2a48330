package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// memoryFigures are what `tarn serve` needs when what it is given does not fit into what it may use.
type memoryFigures struct {
	Memory int64         `json:"memory_mib"` // memory: of tarn.yaml
	Rows   int           `json:"rows"`
	Phases []memoryPhase `json:"phases"`
	Peak   int64         `json:"peak_rss_mib"` // of all phases
}

type memoryPhase struct {
	Name  string  `json:"name"`
	Wall  float64 `json:"wall_s"` // until published
	CPU   float64 `json:"tarn_cpu_s"`
	Peak  int64   `json:"peak_rss_mib"`
	After int64   `json:"rss_after_mib"`
}

// memoryPhases: each statement is one transaction, so that all of its blocks are open at once. The table grows to twice its
// rows, each row is replaced, and half of them go.
var memoryPhases = []struct{ name, sql string }{
	{"insert as many rows again, in one transaction", "insert into narrow select id + $rows, n, t, amount, at, doc from narrow"},
	{"update every row, in one transaction", "update narrow set n = n + 1"},
	{"delete every second row", "delete from narrow where id % 2 = 0"},
	{"vacuum", "vacuum narrow"},
}

// memoryBench runs the real binary with little memory: base backup and initial copy, then the phases.
func memoryBench(ctx context.Context, o options) (f *memoryFigures, err error) {
	sc, err := newScene(ctx, o, "memory", copySpec(o.rows))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sc.close()) }()
	f = &memoryFigures{Memory: o.memory >> 20, Rows: o.rows}
	t, err := sc.attach(ctx, o.memory, "")
	if err != nil {
		return nil, err
	}
	defer t.stop()
	if err := f.phase(ctx, t, sc.srv, "base backup and initial copy", ""); err != nil {
		return f, err
	}
	for _, p := range memoryPhases {
		if err := f.phase(ctx, t, sc.srv, p.name, strings.ReplaceAll(p.sql, "$rows", fmt.Sprint(o.rows))); err != nil {
			return f, err
		}
	}
	return f, nil
}

// phase runs a statement, waits until the lake has it, and notes the most memory tarn had meanwhile.
func (f *memoryFigures) phase(ctx context.Context, t *tarn, srv *pgtest.Server, name, sql string) error {
	pid := t.cmd.Process.Pid
	began := time.Now()
	before, err := processCPU(pid)
	if err != nil {
		return t.failed(err)
	}
	if sql != "" {
		_ = os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0) // its peak starts afresh
		if err := srv.Exec(ctx, "app", sql); err != nil {
			return err
		}
	}
	lsn, err := demo.FlushLSN(ctx, srv)
	if err != nil {
		return err
	}
	if err := t.awaitPublished(ctx, lsn, 20*time.Minute); err != nil {
		return err
	}
	after, err := processCPU(pid)
	if err != nil {
		return t.failed(err)
	}
	now, peak := residentBytes(pid)
	p := memoryPhase{Name: name, Wall: seconds(time.Since(began)), CPU: seconds(after - before), Peak: peak >> 20, After: now >> 20}
	say("%+v", p)
	f.Phases = append(f.Phases, p)
	f.Peak = max(f.Peak, p.Peak)
	return nil
}
