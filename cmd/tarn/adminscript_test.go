package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/listen"
	"github.com/tarn-db/tarn/internal/listen/testcert"
	"github.com/tarn-db/tarn/internal/pg"
)

// cmdAdmin serves the admin API of a server that stands still, for the scripts of the client verbs: `admin VAR` names
// its address. Its published LSN is 0/3000; nothing beyond is ever reached.
func cmdAdmin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: admin VAR")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	serveAdmin(ts, l, nil)
	ts.Setenv(args[0], l.Addr().String())
}

// cmdSecureAdmin is cmdAdmin behind TLS and a token: `secureadmin VAR DIR` also writes DIR/tarn.yaml, what it names, and
// DIR/other.pem, a certificate that is not the server's.
func cmdSecureAdmin(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: secureadmin VAR DIR")
	}
	dir := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(dir, 0o700))
	cert, err := testcert.Make(dir, "server", nil)
	ts.Check(err)
	_, err = testcert.Make(dir, "other", nil)
	ts.Check(err)
	tokens := filepath.Join(dir, "tokens")
	ts.Check(os.WriteFile(tokens, []byte("script-token-0123456789\n"), 0o600))
	guard, err := listen.Open(listen.Options{Name: "http", Cert: cert.Cert, Key: cert.Key, Tokens: tokens})
	ts.Check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	yaml := fmt.Sprintf("http: {listen: %q, tls: {cert: %q, key: %q}, tokens_file: %q}\n", l.Addr(), cert.Cert, cert.Key, tokens)
	ts.Check(os.WriteFile(filepath.Join(dir, "tarn.yaml"), []byte(yaml), 0o600))
	serveAdmin(ts, guard.Listener(l), guard.Allows)
	ts.Setenv(args[0], l.Addr().String())
}

func serveAdmin(ts *testscript.TestScript, l net.Listener, allow func(*http.Request) bool) {
	ctx, cancel := context.WithCancel(context.Background())
	srv := admin.New(admin.Options{Source: still{}, Freshness: admin.NewFreshnessTracker(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Allow: allow})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	ts.Defer(func() { cancel(); <-done })
}

type still struct{}

func (still) Branches() []admin.Branch {
	return []admin.Branch{{Name: "main", LSN: 0x4100}, {Name: "audit", Parent: "main", LSN: 0x2000, Created: time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)}}
}

func (still) CreateBranch(_ context.Context, r admin.BranchRequest) (admin.Branch, error) {
	if r.Name == "audit" {
		return admin.Branch{}, fault.New(fault.BranchExists, "branch audit exists already: choose another name, or delete it first")
	}
	return admin.Branch{Name: r.Name, Parent: r.From, LSN: max(r.LSN, 0x10)}, nil
}

func (still) DeleteBranch(_ context.Context, name string) error {
	if name != "audit" {
		return fault.Errorf(fault.BranchUnknown, "there is no branch %s: `tarn branch list` shows them", name)
	}
	return nil
}

func (still) Status() admin.Status {
	off := false
	return admin.Status{
		State: admin.StateCorrupt, Error: "at 0/4100: relation 1663/5/16384 fork main block 7: no line pointer 3",
		Source:    admin.SourceInfo{Version: "18.6", SystemID: 7480000000000000001, Timeline: 1, FullPageWrites: &off, FullPageWritesLSN: 0x2FC8},
		SourceLSN: 0x5000, ReceiveLSN: 0x5000, CommitLSN: 0x5000, ArchivedLSN: 0x4000, RedoLSN: 0x4100, CutLSN: 0x3000, PublishedLSN: 0x3000,
		LagBytes: 0x2000, LagMS: 1500, Freshness: admin.Freshness{P50: 512, P99: 980.4, Samples: 12}, Memory: admin.Memory{UsedBytes: 3 << 20, LimitBytes: 1 << 30},
		Upkeep: admin.Upkeep{
			TableUpkeep:    admin.TableUpkeep{Compactions: 12, CompactedFiles: 384, MergedDeleteFiles: 96, RewrittenManifests: 40, ExpiredSnapshots: 1000},
			RemovedObjects: 5000, WaitingObjects: 17, SweepFailures: 1,
		},
		Cache: admin.Cache{Hits: 90, Misses: 10, Bytes: 5 << 20, LimitBytes: 1 << 30},
		Tables: []admin.Table{
			{Name: "app.public.orders", State: admin.TableLive, Rows: 1234567, DataFiles: 12, SmallFiles: 8, DeleteFiles: 3, Snapshots: 128, Manifests: 2, MetadataBytes: 120_000, LSN: 0x3000},
			{Name: "app.public.shapes", State: admin.TableError, Error: "corrupt page"},
		},
	}
}

func (s still) WaitFor(ctx context.Context, stage admin.Stage, lsn pg.LSN) error {
	st := s.Status()
	if st.At(stage) >= lsn {
		return nil
	}
	if stage == admin.StageRedo {
		return fmt.Errorf("redo has stopped: %s", st.Error)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (still) Resync(_ context.Context, table string, all bool) error {
	switch {
	case all:
		return fmt.Errorf("%w: a base backup runs", admin.ErrRefused)
	case table != "app.public.orders":
		return fmt.Errorf("%s: %w: see `tarn tables`", table, admin.ErrUnknownTable)
	}
	return nil
}

func (still) Publications() []admin.PublicationInfo {
	return []admin.PublicationInfo{{Seq: 1, LSN: 0x3000, PublishedAt: time.Unix(0, 0)}}
}

func (still) Ready() (bool, []string) { return false, []string{"corrupt"} }
