package demo

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/lakecheck"
)

const heartbeatEvery = 100 * time.Millisecond

// probe measures freshness as a user of the lake would: rows are committed at known times, and a foreign reader asks
// again and again for the newest it can see. What it measures includes the reader's own time for a query.
type probe struct {
	connString string
	reader     *lakecheck.Reader
	catalogURL string

	mu        sync.Mutex
	committed []time.Time // of heartbeat i+1
	seen      int         // heartbeats the reader has seen
	samples   []time.Duration
}

// run beats and looks until ctx ends.
func (p *probe) run(ctx context.Context) error {
	conn, err := pgx.Connect(context.WithoutCancel(ctx), p.connString)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		for ctx.Err() == nil {
			p.look()
		}
	}()
	for ctx.Err() == nil && err == nil {
		p.mu.Lock()
		id := len(p.committed) + 1
		p.mu.Unlock()
		if _, err = conn.Exec(context.Background(), "INSERT INTO heartbeats VALUES ($1)", id); err == nil {
			p.mu.Lock()
			p.committed = append(p.committed, time.Now())
			p.mu.Unlock()
			sleep(ctx, heartbeatEvery)
		}
	}
	<-looked
	return err
}

// look asks once. A heartbeat is visible no later than when the answer is here. The reader is not interrupted: that would
// end its process.
func (p *probe) look() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	rows, err := p.reader.Query(ctx, p.catalogURL, database, "SELECT coalesce(max(id), 0) FROM lake.public.heartbeats")
	now := time.Now()
	if err != nil || len(rows) != 1 || rows[0][0] == nil {
		time.Sleep(10 * time.Millisecond)
		return
	}
	newest, err := strconv.Atoi(*rows[0][0])
	if err != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for ; p.seen < min(newest, len(p.committed)); p.seen++ {
		p.samples = append(p.samples, now.Sub(p.committed[p.seen]))
	}
}

// percentiles of what was measured; n is the number of samples, 0 = nothing measured.
func (p *probe) percentiles() (p50, p99 time.Duration, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n = len(p.samples)
	if n == 0 {
		return 0, 0, 0
	}
	sorted := slices.Sorted(slices.Values(p.samples))
	return sorted[n/2], sorted[min(n-1, n*99/100)], n
}
