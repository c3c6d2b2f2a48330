package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"go.uber.org/goleak"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// stage is a Source in memory.
type stage struct {
	marks Marks
	mu    sync.Mutex
	st    Status
	asked []string
}

func (s *stage) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.PublishedLSN = s.marks.At(StagePublished)
	return st
}

func (s *stage) WaitFor(ctx context.Context, stage Stage, lsn pg.LSN) error {
	return s.marks.Wait(ctx, stage, lsn)
}

func (s *stage) Resync(_ context.Context, table string, all bool) error {
	if table == "app.public.nope" {
		return fmt.Errorf("app.public.nope: %w", ErrUnknownTable)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, fmt.Sprintf("%s/%v", table, all))
	return nil
}

func (s *stage) Branches() []Branch { return []Branch{{Name: "main", LSN: 0x3000}} }

func (s *stage) CreateBranch(_ context.Context, r BranchRequest) (Branch, error) {
	switch r.Name {
	case "taken":
		return Branch{}, fault.New(fault.BranchExists, "taken is there")
	case "early":
		return Branch{}, fault.New(fault.BeforeHistory, "too early")
	case "lost":
		return Branch{}, errors.New("the store fails")
	}
	return Branch{Name: r.Name, Parent: r.From, LSN: r.LSN, Created: r.Time}, nil
}

func (s *stage) DeleteBranch(_ context.Context, name string) error {
	if name == "main" {
		return fault.New(fault.BranchInUse, "main stays")
	}
	if name != "mine" {
		return fault.New(fault.BranchUnknown, "no such branch")
	}
	return nil
}

func (s *stage) Publications() []PublicationInfo {
	return []PublicationInfo{{Seq: 7, LSN: 0x16B3740, CommitTime: time.Unix(1, 0).UTC(), PublishedAt: time.Unix(2, 0).UTC()}}
}

func (s *stage) Ready() (bool, []string) {
	if s.Status().State == StateStreaming {
		return true, nil
	}
	return false, []string{"initial copy runs"}
}

func start(t *testing.T) (*stage, *Client, *FreshnessTracker) {
	t.Helper()
	src := &stage{st: Status{State: StateStreaming, Source: SourceInfo{Version: "18.6", SystemID: 7480000000000000001, Timeline: 1}, SourceLSN: 0x2000, RedoLSN: 0x1800}}
	fresh := NewFreshnessTracker()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	srv := New(Options{Source: src, Freshness: fresh, Version: "0.1.0", Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, l) }()
	client := &Client{Addr: l.Addr().String(), HTTP: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		client.HTTP.CloseIdleConnections()
		goleak.VerifyNone(t)
	})
	return src, client, fresh
}

func get(t *testing.T, c *Client, path string) (int, string) {
	t.Helper()
	resp, err := c.HTTP.Get("http://" + c.Addr + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func TestHealthAndReadiness(t *testing.T) {
	src, c, _ := start(t)
	if code, body := get(t, c, "/healthz"); code != 200 || body != `{"status":"ok"}` {
		t.Error(code, body)
	}
	if code, body := get(t, c, "/readyz"); code != 200 || body != `{"ready":true,"reasons":[]}` {
		t.Error(code, body)
	}
	src.mu.Lock()
	src.st.State = StateCopying
	src.mu.Unlock()
	if code, body := get(t, c, "/readyz"); code != 503 || body != `{"ready":false,"reasons":["initial copy runs"]}` {
		t.Error(code, body)
	}
	if ready, reasons, err := c.Ready(context.Background()); ready || len(reasons) != 1 || err != nil {
		t.Error(ready, reasons, err)
	}
	if code, _ := get(t, c, "/nothing"); code != 404 {
		t.Error(code)
	}
}

// TestStatusKeys holds the JSON that scripts read to its golden shape: a renamed or lost key is a broken promise.
func TestStatusKeys(t *testing.T) {
	s := Status{State: StateStreaming, Source: SourceInfo{"18.6", 7480000000000000001, 1, new(bool), 1, true},
		SourceLSN: 9, ReceiveLSN: 8, CommitLSN: 7, ArchivedLSN: 6, RedoLSN: 5, CutLSN: 4, PublishedLSN: 3, History: History{LSN: 2, Time: time.Unix(1763000000, 0).UTC(), Leases: 3}, Rewinds: 2, LagBytes: 6, LagMS: 250,
		Freshness: Freshness{P50: 512.5, P99: 980, Samples: 12}, Memory: Memory{1, 2}, Cache: Cache{Hits: 5, Misses: 4, Evictions: 3, Damaged: 2, Errors: 1, Bytes: 6, LimitBytes: 7}, OpenTransactions: 1, LastPublication: time.Unix(1764000000, 0).UTC(),
		Endpoints: Endpoints{Catalog: "http://127.0.0.1:8181", Store: "file:///lake", Source: "host=db port=5432"},
		Tables: []Table{{Name: "app.public.orders", Database: "app", Schema: "public", Table: "orders", State: TableLive, Rows: 10, DataFiles: 2, DeleteFiles: 1, LSN: 3, PartitionBy: []string{"day(created_at)"}, HistoryOf: "app.public.parents", OutOfRange: map[string]int64{"day": 3}, Error: "",
			SmallFiles: 3, Snapshots: 4, Manifests: 5, MetadataBytes: 6, Upkeep: TableUpkeep{1, 2, 3, 4, 0.5, 6, 7, 8, 9, 10}, Parquet: &Parquet{"file:///lake/t", "file:///lake/t/manifest", 3}}},
		Upkeep: Upkeep{TableUpkeep{11, 12, 13, 14, 1.5, 16, 17, 18, 19, 20}, 21, 22, 23, 2.5, 24}}
	got, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/status.json")
	if err != nil {
		t.Fatal(err)
	}
	if strings.TrimSpace(string(want)) != string(got) {
		t.Errorf("status JSON is now:\n%s", got)
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	_, c, _ := start(t)
	if _, body := get(t, c, "/api/v1/status"); !strings.Contains(body, `"tables":[]`) || !strings.Contains(body, `"system_id":"7480000000000000001"`) {
		t.Error(body)
	}
	if _, body := get(t, c, "/api/v1/tables"); body != `{"tables":[]}` {
		t.Error(body)
	}
	p, err := c.Publications(context.Background())
	if err != nil || len(p) != 1 || p[0].LSN != 0x16B3740 {
		t.Error(p, err)
	}
}

func TestWait(t *testing.T) {
	src, c, _ := start(t)
	ctx := context.Background()
	src.marks.Advance(StagePublished, 0x1000)
	if r, err := c.Wait(ctx, StagePublished, 0x1000, time.Second); err != nil || r.Reached != 0x1000 {
		t.Error(r, err)
	}
	if _, err := c.Wait(ctx, StagePublished, 0x1001, 20*time.Millisecond); !errors.Is(err, ErrTimeout) {
		t.Error(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			if _, err := c.Wait(ctx, StagePublished, pg.LSN(0x1001+i), 10*time.Second); err != nil {
				t.Error(err)
			}
		}()
	}
	for lsn := pg.LSN(0x1001); lsn <= 0x1001+20; lsn++ {
		src.marks.Advance(StagePublished, lsn)
	}
	wg.Wait()
	src.marks.Fail(errors.New("wal_gap: WAL 0/5000 is gone on the source"))
	if _, err := c.Wait(ctx, StagePublished, 0x9000, 10*time.Second); err == nil || !strings.Contains(err.Error(), "wal_gap") {
		t.Error(err)
	}
}

// TestStopEndsWaits: a held wait does not hold up the end of the server (the clean-up of start would hang).
func TestStopEndsWaits(t *testing.T) {
	_, c, _ := start(t)
	go func() { _, _ = c.Wait(context.Background(), StagePublished, 0x9000, time.Minute) }()
	time.Sleep(50 * time.Millisecond)
}

func TestBadRequests(t *testing.T) {
	_, c, _ := start(t)
	for path, want := range map[string]string{
		"/api/v1/wait":                         "parameter lsn",
		"/api/v1/wait?lsn=zz":                  "is not an LSN",
		"/api/v1/wait?lsn=0/1&for=tea":         "parameter for",
		"/api/v1/wait?lsn=0/1&timeout=soon":    "parameter timeout",
		"/api/v1/wait?lsn=0/1&timeout=-1s":     "parameter timeout",
		"/api/v1/wait?lsn=1FFFFFFFF/0&for=cut": "is not an LSN",
	} {
		if code, body := get(t, c, path); code != 400 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

func TestResync(t *testing.T) {
	src, c, _ := start(t)
	ctx := context.Background()
	if err := c.Resync(ctx, "app.public.orders", false); err != nil {
		t.Error(err)
	}
	if err := c.Resync(ctx, "", true); err != nil {
		t.Error(err)
	}
	var se *ServerError
	if err := c.Resync(ctx, "app.public.nope", false); !errors.As(err, &se) || se.Code != 404 {
		t.Error(err)
	}
	if err := c.Resync(ctx, "", false); !errors.As(err, &se) || se.Code != 400 {
		t.Error(err)
	}
	if got := strings.Join(src.asked, " "); got != "app.public.orders/false /true" {
		t.Error(got)
	}
	// What a foreign web page could send without being asked must not start a rebuild.
	resp, err := c.HTTP.Post("http://"+c.Addr+"/api/v1/resync", "text/plain", strings.NewReader(`{"all":true}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 415 || len(src.asked) != 2 {
		t.Error(resp.StatusCode, src.asked)
	}
}

// TestBranches: what is asked for arrives, and what went wrong has its status and code.
func TestBranches(t *testing.T) {
	_, c, _ := start(t)
	ctx := context.Background()
	if list, err := c.Branches(ctx); err != nil || len(list) != 1 || list[0].LSN != 0x3000 {
		t.Errorf("%+v, %v", list, err)
	}
	at := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	if b, err := c.CreateBranch(ctx, BranchRequest{Name: "mine", From: "main", Time: at}); err != nil || b.Name != "mine" || !b.Created.Equal(at) {
		t.Errorf("%+v, %v", b, err)
	}
	if b, err := c.CreateBranch(ctx, BranchRequest{Name: "mine", LSN: 0x2000}); err != nil || b.LSN != 0x2000 {
		t.Errorf("%+v, %v", b, err)
	}
	for name, want := range map[string]struct {
		status int
		code   fault.Code
	}{"taken": {409, fault.BranchExists}, "early": {400, fault.BeforeHistory}, "lost": {500, fault.Unexpected}, "": {400, fault.RequestBad}} {
		var se *ServerError
		if _, err := c.CreateBranch(ctx, BranchRequest{Name: name}); !errors.As(err, &se) || se.Code != want.status || fault.CodeOf(err) != want.code {
			t.Errorf("branch %q: %v", name, err)
		}
	}
	for name, want := range map[string]int{"mine": 0, "main": 409, "a/b c": 404} {
		var se *ServerError
		if err := c.DeleteBranch(ctx, name); want == 0 && err != nil || want != 0 && (!errors.As(err, &se) || se.Code != want) {
			t.Errorf("delete %q: %v", name, err)
		}
	}
	resp, err := c.HTTP.Post("http://"+c.Addr+"/api/v1/branches", "text/plain", strings.NewReader(`{"name":"mine"}`))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 415 {
		t.Errorf("a branch that a web page asks for: %d", resp.StatusCode)
	}
}

func TestUnreachable(t *testing.T) {
	c := &Client{Addr: "127.0.0.1:1"}
	_, err := c.Status(context.Background())
	if err == nil || err.Error() != "no tarn at 127.0.0.1:1 (connection refused): start `tarn serve`, or give its address with --http or --config" {
		t.Error(err)
	}
}

// TestMetrics checks names by Prometheus's own linter, and a few values.
func TestMetrics(t *testing.T) {
	src, c, fresh := start(t)
	src.marks.Advance(StagePublished, 0x1000)
	src.st.Tables = []Table{{Database: "app", Schema: "public", Table: "orders", State: TableError}} // whose series are linted too
	fresh.Observe(time.Now().Add(-700*time.Millisecond), time.Now())
	_, body := get(t, c, "/metrics")
	for _, want := range []string{
		`tarn_build_info{goversion="go`, `tarn_state{state="streaming"} 1`, `tarn_state{state="wal_gap"} 0`, `tarn_ready 1`,
		`tarn_lag_bytes{stage="published"} 4096`, `tarn_lag_bytes{stage="redo"} 2048`, `tarn_wal_published_lsn_bytes 4096`,
		`tarn_freshness_seconds_bucket{le="0.75"} 1`, `tarn_tables{state="live"} 0`, "go_goroutines",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, `tarn_lag_bytes{stage="cut"}`) {
		t.Error("a stage without a position has a lag")
	}
	problems, err := promlint.New(strings.NewReader(body + "\n")).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "tarn_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestMarks(t *testing.T) {
	var m Marks
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	m.Advance(StageRedo, 10)
	m.Advance(StageRedo, 5)
	if m.At(StageRedo) != 10 || m.Wait(ctx, StageRedo, 10) != nil || !errors.Is(m.Wait(ctx, StageRedo, 11), context.Canceled) {
		t.Error("a stage moved back, or a wait did not see it")
	}
	m.Fail(errors.New("x"))
	if m.Wait(context.Background(), StageRedo, 10) != nil || m.Wait(context.Background(), StageCut, 1) == nil {
		t.Error("Fail must end open waits only")
	}
	m.Rewind()
	if m.At(StageRedo) != 0 {
		t.Error("Rewind kept a position")
	}
}

// A server that says nothing does not hold its clients: a wait ends as one that timed out does.
func TestSilentServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := &Client{Addr: l.Addr().String()}
	began := time.Now()
	if _, err := c.Wait(t.Context(), StagePublished, 1, 10*time.Millisecond); !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), c.Addr) {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 2*waitGrace {
		t.Fatalf("it took %v", took)
	}
}
