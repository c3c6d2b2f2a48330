package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of /proc/PID/stat's times: USER_HZ, 100 a second on every Linux Go runs on.
const clockTick = 10 * time.Millisecond

// selfCPU is the CPU time this process has used, user and system, garbage collection included.
func selfCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic("BUG: getrusage: " + err.Error())
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// processCPU is the CPU time another process has used, user and system, without its children's.
func processCPU(pid int) (time.Duration, error) { return statTimes(pid, 11) }

// childrenCPU is the CPU time of a process's children that have ended, and of theirs.
func childrenCPU(pid int) (time.Duration, error) { return statTimes(pid, 13) }

// statTimes sums two times of /proc/PID/stat (proc(5)): utime and stime from field 11 behind the name on, cutime and cstime from 13 on.
func statTimes(pid, field int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(text, []byte(") ")) // the name may hold spaces
	fields := bytes.Fields(rest)
	if !ok || len(fields) < field+2 {
		return 0, fmt.Errorf("/proc/%d/stat cannot be read", pid)
	}
	var ticks int64
	for _, f := range fields[field : field+2] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// isWalsender says whether a process of Postgres sends WAL.
func isWalsender(pid int) bool { return strings.Contains(processTitle(pid), "walsender") }

// processTitle is what a Postgres process says it is doing.
func processTitle(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
}

// descendants are the processes below pid, itself included.
func descendants(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		names, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, name := range names {
			for _, f := range strings.Fields(firstLine(name)) {
				if n, err := strconv.Atoi(f); err == nil {
					all = append(all, n)
				}
			}
		}
	}
	return all
}

// residentBytes is a process's memory now and its highest so far (VmRSS, VmHWM).
func residentBytes(pid int) (now, peak int64) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.SplitSeq(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		n, _ := strconv.ParseInt(f[1], 10, 64)
		switch f[0] {
		case "VmRSS:":
			now = n << 10
		case "VmHWM:":
			peak = n << 10
		}
	}
	return now, peak
}

// resetPeak makes this process's highest memory start afresh.
func resetPeak() {
	runtime.GC()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
}

// command runs a program to its end and returns what it printed; an error carries the end of that.
func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out))
		return text, fmt.Errorf("%s: %w: %s", filepath.Base(name), err, text[max(0, len(text)-2000):])
	}
	return string(out), nil
}

// copyTree replaces to by a copy of the folder from, owners included.
func copyTree(ctx context.Context, from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	_, err := command(ctx, "cp", "-a", from, to)
	return err
}

func round(x float64, digits int) float64 {
	p := math.Pow10(digits)
	return math.Round(x*p) / p
}

func seconds(d time.Duration) float64 { return round(d.Seconds(), 3) }

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}
