package pgtest

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"time"
)

// Fixture is a test's server: what fails fails the test. It speaks to the database postgres.
type Fixture struct {
	*Server
	t TB
}

// NewFixture is NewTestServer.
func NewFixture(t TB, opts Options) Fixture {
	t.Helper()
	return Fixture{Server: NewTestServer(t, opts), t: t}
}

// SmallWAL are options for tests that move whole WAL segments about: those have 1 MiB, and nothing writes WAL or removes it
// but what the test does.
func SmallWAL(major int, settings map[string]string) Options {
	all := map[string]string{
		"fsync": "off", "autovacuum": "off", "shared_buffers": "16MB", "checkpoint_timeout": "1h", "min_wal_size": "2MB",
	}
	maps.Copy(all, settings)
	return Options{Major: major, InitdbArgs: []string{"--wal-segsize=1"}, Settings: all}
}

const (
	fixtureTimeout = time.Minute      // of each call
	awaitTimeout   = 20 * time.Second // of what the server does by itself
)

// Must fails the test on an error; the end of the server's log follows (NewTestServer).
func (f Fixture) Must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// Do runs statements as the superuser, over a connection that ends with the call.
func (f Fixture) Do(statements ...string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), fixtureTimeout)
	defer cancel()
	f.Must(f.Exec(ctx, "postgres", statements...))
}

// One returns the text of a query's single value.
func (f Fixture) One(sql string) string {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), fixtureTimeout)
	defer cancel()
	text, err := f.QueryText(ctx, "postgres", sql)
	f.Must(err)
	return text
}

// Await asks until the answer is want.
func (f Fixture) Await(want, sql string) {
	f.t.Helper()
	for deadline := time.Now().Add(awaitTimeout); ; time.Sleep(10 * time.Millisecond) {
		got := f.One(sql)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("%s: %q after %v, want %q", sql, got, awaitTimeout, want)
		}
	}
}

// AwaitFreeSlot waits until no walsender holds the server's only slot: one notices a while after its client that it is gone.
func (f Fixture) AwaitFreeSlot() {
	f.t.Helper()
	f.Await("false", "SELECT active::text FROM pg_replication_slots")
}

// FastStop is a fast shutdown, which must not take longer than limit.
func (f Fixture) FastStop(limit time.Duration) {
	f.t.Helper()
	f.Must(f.StopWithin(Fast, limit))
}

// Kill is a power cut.
func (f Fixture) Kill() {
	f.t.Helper()
	f.Must(f.Kill9())
}

// StartAgain starts a server that was stopped or killed.
func (f Fixture) StartAgain() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), fixtureTimeout)
	defer cancel()
	f.Must(f.Restart(ctx))
}

// StartAsStandby starts a stopped server as a standby that streams from nobody.
func (f Fixture) StartAsStandby() {
	f.t.Helper()
	f.Must(os.WriteFile(filepath.Join(f.DataDir(), "standby.signal"), nil, 0o644))
	f.StartAgain()
}
