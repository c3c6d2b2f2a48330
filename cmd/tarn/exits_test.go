package main

import (
	"errors"
	"os/exec"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdExits runs a command that must end with a code. A failure must say why in exactly one line on stderr, starting
// with "tarn: ", and nothing on stdout.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE command...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	stdout, stderr := ts.ReadFile("stdout"), ts.ReadFile("stderr")
	if got != want {
		ts.Fatalf("exit code %d, want %d; stderr: %s", got, want, stderr)
	}
	if want != exitDone && (strings.Count(stderr, "\n") != 1 || !strings.HasPrefix(stderr, "tarn: ") || stdout != "") {
		ts.Fatalf("a failure must be one line on stderr and nothing on stdout, got stderr %q, stdout %q", stderr, stdout)
	}
}
