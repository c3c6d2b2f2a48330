package main

import (
	"errors"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tarn-db/tarn/internal/fault"
)

// failure is what a failed command prints: one line, with a code of the registry.
var failure = regexp.MustCompile(`^tarn: (TARN-[0-9]{4}): [^\n]+\n$`)

// cmdExits runs a command that must end with a code. A failure must say why in exactly one line on stderr, with a code
// that is not the unexpected, and nothing on stdout.
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
	m := failure.FindStringSubmatch(stderr)
	if want != exitDone && (m == nil || stdout != "") {
		ts.Fatalf("a failure must be one line on stderr and nothing on stdout, got stderr %q, stdout %q", stderr, stdout)
	}
	if want == exitDone {
		return
	}
	if code, ok := fault.Parse(m[1]); !ok || code == fault.Unexpected {
		ts.Fatalf("the failure has no code of its own: %s", stderr)
	}
}
