package pgtest

import (
	"context"
	"os"
	"time"
)

// TB is the part of testing.TB used here; this package is linked into the tarn binary for the demo, testing is not.
type TB interface {
	Helper()
	Failed() bool
	Skip(args ...any)
	Fatal(args ...any)
	Fatalf(format string, args ...any)
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Cleanup(func())
}

// NewTestServer starts a server for a test and removes it, with its folder, at the test's end. Without binaries of that
// version the test is skipped, except under CI=true, where what is missing is a failure. Servers of a process are copies of
// one data directory per version and set of initdb arguments; each has its own system identifier.
func NewTestServer(t TB, opts Options) *Server {
	t.Helper()
	if _, err := opts.programs(); err != nil {
		Missing(t, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	opts.fromTemplate = true
	// Not t.TempDir: with a long test name its path does not fit into a Unix socket's address.
	srv, err := Start(ctx, opts)
	if err != nil {
		t.Fatalf("start Postgres: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the server's log:\n%s", srv.logTail())
		}
		if err := srv.Remove(); err != nil {
			t.Errorf("remove the server: %v", err)
		}
	})
	return srv
}

// Missing ends a test for what is not on this machine: with CI=true it fails, else it is skipped.
func Missing(t TB, what ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what...)
	}
	t.Skip(what...)
}
