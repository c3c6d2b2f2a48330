package pageapi_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/listen"
	"github.com/tarn-db/tarn/internal/listen/testcert"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/pageapi/client"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// refused says whether err is the service's, of a kind and with a code.
func refused(t *testing.T, what string, err error, kind codes.Code, code fault.Code) {
	t.Helper()
	var e *client.Error
	if !errors.As(err, &e) || e.Status != kind || fault.CodeOf(err) != code {
		t.Errorf("%s: %v; want %s with %s", what, err, kind, code)
	}
}

// TestRead: what is read is what was imported, zeros included, in one piece and in many.
func TestRead(t *testing.T) {
	const n = 3000
	reg := prometheus.NewRegistry()
	r := newRig(t, n, pageapi.Options{Registerer: reg}, nil)
	defer r.end(t)
	ctx := t.Context()
	want := r.tl.RedoLSN() + 0x100
	size, exists, lsn, err := r.RelSize(ctx, client.At{SystemID: testSystemID, Timeline: 1}, testFork)
	if size != n || !exists || lsn != want || err != nil {
		t.Errorf("size %d, %v at %s, %v", size, exists, lsn, err)
	}
	for _, blk := range []pg.BlockNumber{0, 6, 255, n - 1} {
		page, lsn, err := r.Page(ctx, client.At{}, testFork, blk)
		if err != nil || lsn != want || !bytes.Equal(page, testPage(blk)) {
			t.Errorf("block %d at %s is not as imported: %v", blk, lsn, err)
		}
	}
	for _, s := range []struct{ from, to pg.BlockNumber }{{0, n}, {5, 8}, {6, 7}, {63, 129}, {n - 1, n}, {9, 9}} {
		next := s.from
		err := r.Scan(ctx, client.At{Position: pageapi.Position{MinLSN: want}}, testFork, s.from, s.to, func(lsn pg.LSN, blk pg.BlockNumber, page pg.Page) error {
			if blk != next || lsn != want || !bytes.Equal(page, testPage(blk)) {
				t.Fatalf("scan of [%d, %d): block %d at %s in place of %d", s.from, s.to, blk, lsn, next)
			}
			next++
			return nil
		})
		if err != nil || next != s.to {
			t.Errorf("scan of [%d, %d) ends before %d: %v", s.from, s.to, next, err)
		}
	}
	segment, _, err := r.SLRUSegment(ctx, client.At{}, slru.CLOG, 0)
	if err != nil || !bytes.Equal(segment, bytes.Repeat([]byte{0x55}, 2*pg.BlockSize)) {
		t.Errorf("pg_xact/0000 is %d bytes: %v", len(segment), err)
	}
	if got := counted(t, reg, "tarn_pages_read_total"); got != 4+n+3+1+66+1+2 {
		t.Errorf("%v pages counted", got)
	}
	if ok, took := counted(t, reg, "tarn_page_requests_total", "OK", "/tarn.page.v1.PageService/GetPage"), counted(t, reg, "tarn_page_request_seconds", "/tarn.page.v1.PageService/GetPage"); ok != 4 || took != 4 {
		t.Errorf("%v requests for a page counted, the time of %v", ok, took)
	}
}

// TestRefused: each thing that cannot be read is told apart.
func TestRefused(t *testing.T) {
	r := newRig(t, 10, pageapi.Options{}, nil)
	defer r.end(t)
	page := func(at client.At, fork client.Fork, blk pg.BlockNumber) error {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err := r.Page(ctx, at, fork, blk)
		return err
	}
	at := func(branch string, lsn, least pg.LSN) client.At {
		return client.At{Position: pageapi.Position{Branch: branch, LSN: lsn, MinLSN: least}}
	}
	here, other := r.tl.RedoLSN(), testFork
	other.Rel.Rel++
	forked, unnamed := testFork, testFork
	forked.Num, unnamed.Rel.Rel = 4, 0
	fsm := testFork
	fsm.Num = pg.FSMFork
	refused(t, "behind the end", page(client.At{}, testFork, 10), codes.NotFound, fault.PageMissing)
	refused(t, "no such relation", page(client.At{}, other, 0), codes.NotFound, fault.PageMissing)
	refused(t, "no such fork", page(client.At{}, fsm, 0), codes.NotFound, fault.PageMissing)
	refused(t, "fork 4", page(client.At{}, forked, 0), codes.InvalidArgument, fault.RequestBad)
	refused(t, "relation 0", page(client.At{}, unnamed, 0), codes.InvalidArgument, fault.RequestBad)
	refused(t, "the block of sizes", page(client.At{}, testFork, pg.InvalidBlock), codes.InvalidArgument, fault.RequestBad)
	refused(t, "two LSNs", page(at("", here, here), testFork, 0), codes.InvalidArgument, fault.RequestBad)
	refused(t, "a branch", page(at("nightly", 0, 0), testFork, 0), codes.NotFound, fault.BranchUnknown)
	refused(t, "before history", page(at("main", 0x100, 0), testFork, 0), codes.OutOfRange, fault.BeforeHistory)
	refused(t, "another cluster", page(client.At{SystemID: 78}, testFork, 0), codes.FailedPrecondition, fault.PagesOfOther)
	refused(t, "another timeline", page(client.At{Timeline: 2}, testFork, 0), codes.FailedPrecondition, fault.PagesOfOther)
	for _, a := range []client.At{at("", here+0x101, 0), at("", 0, here+0x101), at("", 1<<63, 0)} {
		if err := page(a, testFork, 0); !errors.Is(err, context.DeadlineExceeded) && fault.CodeOf(err) != fault.WaitTimeout {
			t.Errorf("read of %s, %s, which do not come: %v", a.LSN, a.MinLSN, err)
		}
	}
	if err := errors.Join(page(at("main", here, 0), testFork, 0), page(at("", here+0x100, 0), testFork, 0), page(at("", 0, here+0x100), testFork, 0)); err != nil {
		t.Errorf("where redo is cannot be read: %v", err)
	}
	if n, exists, _, err := r.RelSize(t.Context(), client.At{}, other); n != 0 || exists || err != nil {
		t.Errorf("size of no relation: %d %v %v", n, exists, err)
	}
	for _, s := range []struct {
		kind    slru.Kind
		segment uint32
		status  codes.Code
		code    fault.Code
	}{{slru.CLOG, 1, codes.NotFound, fault.PageMissing}, {slru.CommitTs, 0, codes.NotFound, fault.PageMissing}, {slru.CLOG, 1 << 31, codes.InvalidArgument, fault.RequestBad},
		{slru.Kinds, 0, codes.InvalidArgument, fault.RequestBad}, {255, 0, codes.InvalidArgument, fault.RequestBad}} {
		_, _, err := r.SLRUSegment(t.Context(), client.At{}, s.kind, s.segment)
		refused(t, "segment", err, s.status, s.code)
	}
	r.source.Attach(nil)
	refused(t, "no pages", page(client.At{}, testFork, 0), codes.Unavailable, fault.LakeNotRead)
}

// TestGuarded: over TLS, with a token of the file, and not else.
func TestGuarded(t *testing.T) {
	dir := t.TempDir()
	pair, err := testcert.Make(dir, "localhost", nil)
	if err != nil {
		t.Fatal(err)
	}
	const token = "a-token-of-the-page-service"
	tokens := filepath.Join(dir, "tokens")
	if err := os.WriteFile(tokens, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := listen.Open(listen.Options{Name: "pages", Cert: pair.Cert, Key: pair.Key, Tokens: tokens, Protocol: "h2"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, 10, pageapi.Options{Allow: g.AllowsHeader}, g.Listener)
	defer r.end(t)
	pem, err := os.ReadFile(pair.Cert)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	_, port, _ := net.SplitHostPort(r.addr)
	ask := func(o client.Options) (page, scan error) {
		c, err := client.Open(o)
		if err != nil {
			return err, err
		}
		defer c.Close()
		_, _, page = c.Page(t.Context(), client.At{}, testFork, 0)
		return page, c.Scan(t.Context(), client.At{}, testFork, 0, 10, func(pg.LSN, pg.BlockNumber, pg.Page) error { return nil })
	}
	trust := &tls.Config{RootCAs: roots, ServerName: "localhost"}
	if page, scan := ask(client.Options{Addr: "localhost:" + port, TLS: trust, Token: token}); page != nil || scan != nil {
		t.Errorf("with TLS and token: %v, %v", page, scan)
	}
	for _, wrong := range []string{"", "x" + token, token[1:]} {
		page, scan := ask(client.Options{Addr: r.addr, TLS: trust, Token: wrong})
		refused(t, "a page with token "+wrong, page, codes.Unauthenticated, fault.TokenNeeded)
		refused(t, "a scan with token "+wrong, scan, codes.Unauthenticated, fault.TokenNeeded)
	}
	if page, scan := ask(client.Options{Addr: r.addr, TLS: &tls.Config{ServerName: "localhost"}, Token: token}); page == nil || scan == nil {
		t.Error("a certificate of nobody's is trusted")
	}
	if page, scan := ask(client.Options{Addr: r.addr, Token: token}); page == nil || scan == nil {
		t.Error("answered in plain text")
	}
	if _, err := client.Open(client.Options{Addr: "192.0.2.1:1", Token: token}); err == nil {
		t.Error("the token may cross the network as plain text")
	}
}
