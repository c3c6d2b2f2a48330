package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

const (
	readyTimeout   = 90 * time.Second
	publishTimeout = 90 * time.Second
)

// binary builds tarn once; TARN_BIN names one that is built already.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("TARN_BIN"); path != "" {
		return path, nil
	}
	path := filepath.Join(buildDir, "tarn")
	out, err := exec.Command("go", "build", "-o", path, "github.com/tarn-db/tarn/cmd/tarn").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build tarn: %w: %s", err, out)
	}
	return path, nil
})

var buildDir string

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "tarn-e2e"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}

// tarn is one `tarn serve`, over its restarts.
type tarn struct {
	t           *testing.T
	dir         string
	config      string
	httpAddr    string
	catalogAddr string
	env         []string // added to its environment

	serveArgs []string // beside --config

	cmd    *exec.Cmd
	exited chan struct{}
	err    error // of cmd, once exited is closed
}

// newTarn writes a tarn.yaml for a source; start runs it.
func newTarn(t *testing.T, sourceURL string) *tarn {
	t.Helper()
	dir := t.TempDir()
	return newTarnOn(t, sourceURL, dir, "file://"+filepath.Join(dir, "lake"))
}

// formats has about half of the tables of every scenario in Iceberg's format version 3.
const formats = "tables: [{match: \"*.*.*a*\", format_version: 3}, {match: \"*.s.t1\", format_version: 3}]\n"

// newTarnOn is newTarn with a folder and a store.
func newTarnOn(t *testing.T, sourceURL, dir, store string) *tarn {
	t.Helper()
	tn := &tarn{t: t, dir: dir}
	tn.httpAddr, tn.catalogAddr = freeAddr(t), freeAddr(t)
	tn.config = filepath.Join(tn.dir, "tarn.yaml")
	yaml := fmt.Sprintf("store: %s\ndata_dir: %s\nsource: {url: %q, slot: tarn}\ncatalog: {listen: %q}\nhttp: {listen: %q}\nsql: {listen: %q}\npublish: {interval: 100ms}\n%s",
		store, tn.dataDir(), sourceURL, tn.catalogAddr, tn.httpAddr, freeAddr(t), formats)
	if err := os.WriteFile(tn.config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if tn.running() {
			tn.kill9()
		}
		if t.Failed() {
			t.Logf("end of tarn's log:\n%s", tn.logTail())
		}
	})
	return tn
}

func freeAddr(t *testing.T) string {
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func (tn *tarn) storeDir() string   { return filepath.Join(tn.dir, "lake") }
func (tn *tarn) dataDir() string    { return filepath.Join(tn.dir, "data") }
func (tn *tarn) logPath() string    { return filepath.Join(tn.dir, "tarn.log") }
func (tn *tarn) catalogURL() string { return "http://" + tn.catalogAddr }

func (tn *tarn) client() *admin.Client { return &admin.Client{Addr: tn.httpAddr} }

// start runs `tarn serve`, and does not wait for it to be ready.
func (tn *tarn) start() {
	tn.t.Helper()
	path, err := binary()
	if err != nil {
		tn.t.Fatal(err)
	}
	log, err := os.OpenFile(tn.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		tn.t.Fatal(err)
	}
	defer log.Close()
	tn.cmd = exec.Command(path, append([]string{"serve", "--config", tn.config}, tn.serveArgs...)...)
	tn.cmd.Env = append(os.Environ(), tn.env...)
	tn.cmd.Stdout, tn.cmd.Stderr = log, log
	tn.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := tn.cmd.Start(); err != nil {
		tn.t.Fatal(err)
	}
	exited := make(chan struct{})
	tn.exited = exited
	go func(cmd *exec.Cmd) {
		tn.err = cmd.Wait()
		close(exited)
	}(tn.cmd)
}

func (tn *tarn) running() bool {
	if tn.cmd == nil {
		return false
	}
	select {
	case <-tn.exited:
		return false
	default:
		return true
	}
}

// waitReady waits for /readyz.
func (tn *tarn) waitReady() {
	tn.t.Helper()
	if err := tn.awaitReady(); err != nil {
		tn.t.Fatal(err)
	}
}

func (tn *tarn) awaitReady() error {
	deadline := time.Now().Add(readyTimeout)
	var reasons []string
	for time.Now().Before(deadline) {
		ready, why, err := tn.client().Ready(tn.t.Context())
		if ready {
			return nil
		}
		if reasons = why; err != nil {
			reasons = []string{err.Error()}
		}
		select {
		case <-tn.exited:
			return fmt.Errorf("tarn serve ended: %w", tn.err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("tarn is not ready after %v: %s", readyTimeout, strings.Join(reasons, "; "))
}

// startReady is start and waitReady.
func (tn *tarn) startReady() {
	tn.t.Helper()
	tn.start()
	tn.waitReady()
}

// waitPublished waits until everything up to lsn is in the lake.
func (tn *tarn) waitPublished(lsn pg.LSN) {
	tn.t.Helper()
	tn.waitPublishedWithin(lsn, publishTimeout)
}

func (tn *tarn) waitPublishedWithin(lsn pg.LSN, limit time.Duration) {
	tn.t.Helper()
	ctx, cancel := context.WithTimeout(tn.t.Context(), limit+10*time.Second)
	defer cancel()
	if _, err := tn.client().Wait(ctx, admin.StagePublished, lsn, limit); err != nil {
		tn.t.Fatalf("wait for %s: %v", lsn, err)
	}
}

// kill9 ends the process at once.
func (tn *tarn) kill9() {
	tn.t.Helper()
	if err := syscall.Kill(-tn.cmd.Process.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
		tn.t.Fatal(err)
	}
	<-tn.exited
}

// stop asks the server to end, as an init system does; it has to end cleanly.
func (tn *tarn) stop() {
	tn.t.Helper()
	if err := tn.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		tn.t.Fatal(err)
	}
	select {
	case <-tn.exited:
		if tn.err != nil {
			tn.t.Fatalf("tarn serve, asked to end: %v", tn.err)
		}
	case <-time.After(30 * time.Second):
		tn.t.Fatal("tarn serve did not end within 30 s of SIGTERM")
	}
}

// run runs another verb of tarn against this server and returns what it prints and its exit code.
func (tn *tarn) run(args ...string) (out string, code int) {
	tn.t.Helper()
	path, err := binary()
	if err != nil {
		tn.t.Fatal(err)
	}
	cmd := exec.CommandContext(tn.t.Context(), path, append(args, "--config", tn.config)...)
	cmd.Env = append(os.Environ(), tn.env...)
	b, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		tn.t.Fatal(err)
	}
	return string(b), cmd.ProcessState.ExitCode()
}

func (tn *tarn) logTail() string {
	b, err := os.ReadFile(tn.logPath())
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// errors are the lines of the log that speak of something that should not have happened.
func (tn *tarn) errors() (lines []string) {
	tn.t.Helper()
	b, err := os.ReadFile(tn.logPath())
	if err != nil {
		tn.t.Fatal(err)
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "goroutine ") || strings.Contains(line, "DATA RACE") {
			lines = append(lines, line)
		}
	}
	return lines
}

// strict puts a table in error that has a value which the lake's type cannot hold.
const strict = "{match: \"app.*.*\", out_of_range: error}, "

// addRule puts a rule for tables, and ", ", before those that are there.
func (tn *tarn) addRule(rule string) {
	tn.t.Helper()
	yaml, err := os.ReadFile(tn.config)
	if err == nil {
		err = os.WriteFile(tn.config, []byte(strings.Replace(string(yaml), "tables: [", "tables: ["+rule, 1)), 0o600)
	}
	if err != nil {
		tn.t.Fatal(err)
	}
}

func (tn *tarn) appendConfig(text string) {
	tn.t.Helper()
	f, err := os.OpenFile(tn.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		tn.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		tn.t.Fatal(err)
	}
}
