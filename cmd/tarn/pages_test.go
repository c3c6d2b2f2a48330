package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/listen/testcert"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/pageapi/client"
	"github.com/tarn-db/tarn/pageserver/slru"
	"github.com/tarn-db/tarn/pageserver/verify"
)

const pagesDatabase = "app"

// pagesRig is a source, and a tarn attached to it that serves pages over TLS, to who has a token.
type pagesRig struct {
	t    *testing.T
	seed uint64
	pg   *pgtest.Server
	dir  string
	http string // address
	opts client.Options
	*client.Client
}

func newPagesRig(t *testing.T, major int, setup ...string) *pagesRig {
	t.Helper()
	r := &pagesRig{t: t, seed: pgtest.Seed(t), dir: t.TempDir()}
	r.pg = pgtest.NewTestServer(t, pgtest.Options{Major: major, Databases: []string{pagesDatabase}, Settings: map[string]string{"autovacuum": "off", "track_commit_timestamp": "on"}})
	r.exec(setup...)
	const token = "a-token-of-the-page-service"
	pair, err := testcert.Make(r.dir, "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(pair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	r.http = freePort(t)
	r.opts = client.Options{Addr: freePort(t), TLS: &tls.Config{RootCAs: roots, ServerName: "localhost"}, Token: token}
	tokens := filepath.Join(r.dir, "tokens")
	yaml := fmt.Sprintf("store: file://%[1]s/lake\ndata_dir: %[1]s/data\nsource: {url: %[2]q}\ncatalog: {listen: %[3]q}\nhttp: {listen: %[4]q}\npublish: {interval: 100ms}\npages: {listen: %[5]q, tls: {cert: %[6]q, key: %[7]q}, tokens_file: %[8]q}\n",
		r.dir, r.pg.ReplConnString(pagesDatabase), freePort(t), r.http, r.opts.Addr, pair.Cert, pair.Key, tokens)
	for path, text := range map[string]string{tokens: token, r.config(): yaml} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.Client = r.client(r.opts)
	return r
}

func freePort(t *testing.T) string {
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func (r *pagesRig) config() string { return filepath.Join(r.dir, "tarn.yaml") }

// tarn runs a verb in this process.
func (r *pagesRig) tarn(args ...string) (out string, err error) {
	var stdout bytes.Buffer
	cmd := rootCommand(&stdout, io.Discard)
	cmd.SetArgs(append(args, "--config", r.config()))
	err = cmd.ExecuteContext(r.t.Context())
	return stdout.String(), err
}

// serve runs the server until stop, which says what the log has of what should not have happened.
func (r *pagesRig) serve() (stop func()) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var log bytes.Buffer
	cmd := rootCommand(io.Discard, &log)
	cmd.SetArgs([]string{"serve", "--config", r.config()})
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil || strings.Contains(log.String(), "level=ERROR") {
			r.t.Errorf("serve: %v, its log:\n%s", err, log.String())
		}
	})
	r.t.Cleanup(stop)
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ready, why, err := (&admin.Client{Addr: r.http}).Ready(r.t.Context())
		if ready {
			return stop
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("tarn is not ready: %v, %v", why, err)
		}
	}
}

func (r *pagesRig) exec(statements ...string) {
	r.t.Helper()
	if err := r.pg.Exec(r.t.Context(), pagesDatabase, statements...); err != nil {
		r.t.Fatal(err)
	}
}

// client speaks to the page service.
func (r *pagesRig) client(o client.Options) *client.Client {
	r.t.Helper()
	c, err := client.Open(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	return c
}

// flushed is the end of the source's WAL.
func (r *pagesRig) flushed() pg.LSN {
	r.t.Helper()
	text, err := r.pg.QueryText(r.t.Context(), pagesDatabase, "SELECT pg_current_wal_flush_lsn()::text")
	lsn, parse := pg.ParseLSN(text)
	if err = errors.Join(err, parse); err != nil {
		r.t.Fatal(err)
	}
	return lsn
}

// forkOf finds a relation's main fork.
func (r *pagesRig) forkOf(relation string) (f client.Fork) {
	r.t.Helper()
	text, err := r.pg.QueryText(r.t.Context(), pagesDatabase, fmt.Sprintf("SELECT d.oid || ' ' || pg_relation_filenode('%s') FROM pg_database d WHERE datname = current_database()", relation))
	f.Rel.Spc = pg.DefaultTablespace
	if err == nil {
		_, err = fmt.Sscan(text, &f.Rel.DB, &f.Rel.Rel)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return f
}

// TestPageService reads pages over gRPC: where redo is, as they were at former LSNs and on a branch, and at the end every page of the
// cluster, which is what the server has in its files.
func TestPageService(t *testing.T) {
	majors := []int{15, 18}
	if os.Getenv("TARN_LONG") != "" {
		majors = []int{15, 16, 17, 18}
	}
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) { pageService(t, major) })
	}
}

func pageService(t *testing.T, major int) {
	r := newPagesRig(t, major, "CREATE TABLE accounts (id int PRIMARY KEY, balance int, note text)", "INSERT INTO accounts SELECT i, 0, repeat('x', i % 900) FROM generate_series(1, 5000) i",
		"CREATE INDEX ON accounts USING gin (string_to_array(note, 'y'))", "CREATE SEQUENCE numbers")
	stop := r.serve()
	forks := []client.Fork{r.forkOf("accounts"), r.forkOf("accounts_pkey"), r.forkOf("pg_class")}
	var former []pg.LSN
	for i := range 3 {
		r.exec(fmt.Sprintf("UPDATE accounts SET balance = %d WHERE id %% 5 = %d", i+1, i), "VACUUM accounts", "SELECT nextval('numbers')", fmt.Sprintf("CREATE TABLE t%d AS SELECT * FROM accounts WHERE id < 1000", i))
		former = append(former, r.flushed())
		r.readsItsWrites(fmt.Sprintf("t%d", i), former[i])
	}
	r.exec("DELETE FROM accounts WHERE id > 3000", "VACUUM accounts", "TRUNCATE t0", "DROP TABLE t1")
	r.readsRefused(former[0])
	rng := rand.New(rand.NewPCG(r.seed, 1))
	for _, lsn := range former {
		r.readsThePast(forks[rng.IntN(len(forks))], lsn, rng)
	}
	if _, err := r.tarn("branch", "create", "early", "--at", former[0].String()); err != nil {
		t.Fatal(err)
	}
	early, lsn, err := r.Page(t.Context(), client.At{Position: pageapi.Position{Branch: "early"}}, forks[0], 0)
	if want, _, _ := r.Page(t.Context(), at(former[0]), forks[0], 0); err != nil || lsn != former[0] || !bytes.Equal(early, want) {
		t.Errorf("the branch at %s is read at %s, and its page is another: %v", former[0], lsn, err)
	}
	r.readsMoving(forks[0])
	// The flush at the end has brought all of it into layers: they answer from here on.
	stop()
	stop = r.serve()
	for _, lsn := range former {
		r.readsThePast(forks[rng.IntN(len(forks))], lsn, rng)
	}
	r.readsThePast(forks[0], former[0], rng)
	r.readsAll()
	stop()
}

func at(lsn pg.LSN) client.At { return client.At{Position: pageapi.Position{LSN: lsn}} }

// readsItsWrites reads a table right after its commit: all of it is there.
func (r *pagesRig) readsItsWrites(table string, lsn pg.LSN) {
	r.t.Helper()
	fork := r.forkOf(table)
	now := client.At{Position: pageapi.Position{MinLSN: lsn}}
	n, exists, _, err := r.RelSize(r.t.Context(), now, fork)
	if err != nil || !exists {
		r.t.Fatalf("%s right after its commit: exists %v, %v", table, exists, err)
	}
	rows := 0
	err = r.Scan(r.t.Context(), now, fork, 0, n, func(at pg.LSN, _ pg.BlockNumber, page pg.Page) error {
		if rows += page.NumItems(); at < lsn {
			r.t.Errorf("%s was read at %s, before its commit at %s", table, at, lsn)
		}
		return nil
	})
	if err != nil || rows != 999 {
		r.t.Errorf("%s has %d rows right after its commit: %v", table, rows, err)
	}
}

// readsThePast reads random blocks as they were: what `tarn page` reads from the store.
func (r *pagesRig) readsThePast(fork client.Fork, lsn pg.LSN, rng *rand.Rand) {
	r.t.Helper()
	n, exists, _, err := r.RelSize(r.t.Context(), at(lsn), fork)
	if err != nil || !exists || n == 0 {
		r.t.Fatalf("relation %s at %s has %d blocks, exists %v: %v", fork.Rel, lsn, n, exists, err)
	}
	for range 2 {
		blk := pg.BlockNumber(rng.IntN(int(n)))
		page, of, err := r.Page(r.t.Context(), at(lsn), fork, blk)
		out, verb := r.tarn("page", "--rel", fork.Rel.String(), "--block", fmt.Sprint(blk), "--at", lsn.String())
		if err != nil || of != lsn || verb != nil || out != string(page) || page.LSN() > lsn {
			r.t.Errorf("relation %s block %d at %s: read at %s, of %s; tarn page is equal: %v; %v, %v", fork.Rel, blk, lsn, of, page.LSN(), out == string(page), err, verb)
		}
	}
}

// readsMoving reads a table while it is written to. Whatever an answer says its LSN is, the table at that LSN is what was read.
func (r *pagesRig) readsMoving(fork client.Fork) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	var writers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				_ = r.pg.Exec(ctx, pagesDatabase, fmt.Sprintf("UPDATE accounts SET balance = balance + %d WHERE id %% 97 = %d", i+1, n%97))
			}
		})
	}
	type seen struct {
		from  pg.BlockNumber
		lsn   pg.LSN
		pages []byte
	}
	var all []seen
	for range 300 {
		// One request of a scan: all of it is of one LSN.
		s := seen{from: pg.BlockNumber(len(all) % 40)}
		err := r.Scan(ctx, client.At{}, fork, s.from, s.from+40, func(lsn pg.LSN, _ pg.BlockNumber, page pg.Page) error {
			if s.lsn != 0 && s.lsn != lsn || page.LSN() > lsn {
				r.t.Errorf("a page of %s in an answer of %s and %s", page.LSN(), s.lsn, lsn)
			}
			s.lsn, s.pages = lsn, append(s.pages, page...)
			return nil
		})
		if err != nil {
			r.t.Fatal(err)
		}
		all = append(all, s)
	}
	cancel()
	writers.Wait()
	if all[0].lsn == all[len(all)-1].lsn {
		r.t.Error("nothing was written meanwhile")
	}
	for i := 0; i < len(all); i += len(all) / 5 {
		var then []byte
		err := r.Scan(r.t.Context(), at(all[i].lsn), fork, all[i].from, all[i].from+40, func(_ pg.LSN, _ pg.BlockNumber, page pg.Page) error {
			then = append(then, page...)
			return nil
		})
		if err != nil || !bytes.Equal(then, all[i].pages) {
			r.t.Errorf("what was read at %s while it was the newest is not what is read there later: %v", all[i].lsn, err)
		}
	}
}

// readsRefused asks for what there is not, and without being allowed to.
func (r *pagesRig) readsRefused(former pg.LSN) {
	r.t.Helper()
	fork := r.forkOf("accounts")
	gone := fork
	gone.Rel.Rel += 1_000_000
	stranger := r.opts
	stranger.Token = "not-a-token-of-the-service"
	size, _, _, err := r.RelSize(r.t.Context(), client.At{}, fork)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, x := range []struct {
		what string
		c    *client.Client
		at   client.At
		fork client.Fork
		blk  pg.BlockNumber
		kind codes.Code
		code fault.Code
	}{
		{"a wrong token", r.client(stranger), client.At{}, fork, 0, codes.Unauthenticated, fault.TokenNeeded},
		{"an unknown relation", r.Client, client.At{}, gone, 0, codes.NotFound, fault.PageMissing},
		{"behind the end", r.Client, client.At{}, fork, size, codes.NotFound, fault.PageMissing},
		{"behind the end of then", r.Client, at(former), fork, 1 << 20, codes.NotFound, fault.PageMissing},
		{"before history", r.Client, at(0x28), fork, 0, codes.OutOfRange, fault.BeforeHistory},
		{"an unknown branch", r.Client, client.At{Position: pageapi.Position{Branch: "none"}}, fork, 0, codes.NotFound, fault.BranchUnknown},
		{"another cluster", r.Client, client.At{SystemID: 1}, fork, 0, codes.FailedPrecondition, fault.PagesOfOther},
	} {
		_, _, err := x.c.Page(r.t.Context(), x.at, x.fork, x.blk)
		var e *client.Error
		if !errors.As(err, &e) || e.Status != x.kind || e.Code != x.code {
			r.t.Errorf("%s: %v, want %s with %s", x.what, err, x.kind, x.code)
		}
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
	defer cancel()
	if _, _, err := r.Page(ctx, at(1<<50), fork, 0); !errors.Is(err, context.DeadlineExceeded) && fault.CodeOf(err) != fault.WaitTimeout {
		r.t.Errorf("an LSN that does not come: %v", err)
	}
}

// readsAll stops the server and compares its files with what the service answers, page by page.
func (r *pagesRig) readsAll() {
	r.t.Helper()
	if err := r.pg.Stop(pgtest.Fast); err != nil {
		r.t.Fatal(err)
	}
	dir, err := datadir.Open(r.pg.DataDir())
	if err != nil {
		r.t.Fatal(err)
	}
	defer dir.Close()
	ctl, err := dir.Control()
	if err != nil {
		r.t.Fatal(err)
	}
	end := client.At{Position: pageapi.Position{MinLSN: ctl.CheckPoint.Redo + 1}, SystemID: ctl.SystemID} // the record of the shutdown is there itself
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Minute)
	defer cancel()
	final, err := verify.ComparePages(ctx, r.pg.DataDir(), func(f datadir.Fork, blk pg.BlockNumber, dst pg.Page) (bool, error) {
		page, _, err := r.Page(ctx, end, client.Fork{Rel: f.Rel, Num: f.Fork}, blk)
		if fault.CodeOf(err) == fault.PageMissing { // extended, and never written to
			clear(dst)
			return true, nil
		}
		copy(dst, page)
		return true, err
	}, nil)
	if err != nil || !final.OK() || final.VMPages == 0 {
		r.t.Errorf("pages are not what the server has: %+v, %v", final, err)
	}
	r.t.Logf("%d heap pages, %d map pages, %v", final.HeapPages, final.VMPages, final.ByRmgr)
	segments := 0
	for _, kind := range []slru.Kind{slru.CLOG, slru.Offsets, slru.Members, slru.CommitTs} {
		file, err := dir.LogFile(kind.Folder(), slru.SegmentName(0))
		if err != nil {
			continue
		}
		segment, _, err := r.SLRUSegment(ctx, end, kind, 0)
		if err != nil || !bytes.Equal(segment, file) {
			r.t.Errorf("%s/0000 is %d bytes, the server's %d, or differs: %v", kind, len(segment), len(file), err)
		}
		segments++
	}
	if segments < 4 {
		r.t.Errorf("%d files of SLRUs compared", segments)
	}
}
