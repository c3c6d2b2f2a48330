package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// result is one run of one benchmark, with what is needed to judge and repeat it.
type result struct {
	Benchmark string    `json:"benchmark"`
	Command   string    `json:"command"`
	Time      time.Time `json:"time"`
	Commit    string    `json:"commit"` // "+" at its end: the tree had changes
	Go        string    `json:"go"`
	CPU       string    `json:"cpu"`
	CPUs      int       `json:"cpus"`
	Kernel    string    `json:"kernel"`
	LoadStart string    `json:"load_start"` // load averages of 1, 5 and 15 minutes before the run
	LoadEnd   string    `json:"load_end"`
	Steal     float64   `json:"steal_percent"` // of CPU time taken by the hypervisor during the run
	Figures   any       `json:"figures"`

	stolen, total float64
}

func newResult(ctx context.Context, name string, args []string) *result {
	r := &result{
		Benchmark: name, Command: "go run ./benchmarks " + strings.Join(args, " "), Time: time.Now().UTC().Truncate(time.Second),
		Go: runtime.Version(), CPU: cpuModel(), CPUs: runtime.NumCPU(), LoadStart: loadAverage(),
		Commit: gitCommit(ctx),
	}
	r.Kernel = firstLine("/proc/sys/kernel/osrelease")
	r.stolen, r.total = stealTicks()
	return r
}

// finish prints the result and keeps it if asked to.
func (r *result) finish(keep bool) error {
	r.LoadEnd = loadAverage()
	if s, t := stealTicks(); t > r.total {
		r.Steal = round(100*(s-r.stolen)/(t-r.total), 1)
	}
	out, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(out))
	if !keep {
		return nil
	}
	dir := filepath.Join("benchmarks", "results")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Benchmark+".json"), append(out, '\n'), 0o644)
}

func gitCommit(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	commit := strings.TrimSpace(string(out))
	dirty, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--", "*.go").Output()
	if err != nil || len(dirty) > 0 {
		commit += "+"
	}
	return commit
}

func cpuModel() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.SplitSeq(string(text), "\n") {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func firstLine(path string) string {
	text, _ := os.ReadFile(path)
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

func loadAverage() string {
	fields := strings.Fields(firstLine("/proc/loadavg"))
	return strings.Join(fields[:min(3, len(fields))], " ")
}

// stealTicks reads the machine's CPU time: what others on the same host took, and all of it (proc(5), /proc/stat).
func stealTicks() (stolen, total float64) {
	var ticks [8]float64
	var name string
	_, err := fmt.Sscan(firstLine("/proc/stat"), &name, &ticks[0], &ticks[1], &ticks[2], &ticks[3], &ticks[4], &ticks[5], &ticks[6], &ticks[7])
	if err != nil {
		return 0, 0
	}
	for _, t := range ticks {
		total += t
	}
	return ticks[7], total
}
