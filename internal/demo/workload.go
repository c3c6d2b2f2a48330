package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// Workload is a number of clients that write into the tables of CreateSchema.
type Workload struct {
	ConnString string
	Writers    int           // 0 = 4
	Pause      time.Duration // of each writer between two transactions
	Seed       uint64
	Run        int  // distinguishes runs on one database: transaction ids start at Run << 48
	DDL        bool // run the DDL steps too, spread over DDLSpread
	DDLSpread  time.Duration
	Reconnect  bool // a lost connection is part of the test, not a failure
	Journal    *Journal

	commits, rollbacks, rows atomic.Int64
}

// Stats are the counts of a workload so far.
type Stats struct{ Commits, Rollbacks, Rows int64 }

// Stats reads the counters; it may be called while the workload runs.
func (w *Workload) Stats() Stats {
	return Stats{Commits: w.commits.Load(), Rollbacks: w.rollbacks.Load(), Rows: w.rows.Load()}
}

// Write runs until the context ends and all writers have finished their transaction. That the context ended is no error.
func (w *Workload) Write(ctx context.Context) error {
	if w.Writers == 0 {
		w.Writers = 4
	}
	if w.Journal == nil {
		w.Journal = NewJournal()
	}
	g, gctx := errgroup.WithContext(ctx)
	for i := range w.Writers {
		g.Go(func() error { return w.writer(gctx, i) })
	}
	if w.DDL {
		g.Go(func() error { return w.ddl(gctx) })
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// writer runs transactions one after the other. A transaction that has begun is finished whatever becomes of ctx, so that
// its outcome is known.
func (w *Workload) writer(ctx context.Context, number int) error {
	c := &client{w: w, number: number, rng: rand.New(rand.NewPCG(w.Seed, uint64(number)+1))}
	defer c.close()
	for ctx.Err() == nil {
		if err := c.transaction(); err != nil {
			c.close()
			if !w.Reconnect || !isLostConnection(err) {
				return fmt.Errorf("writer %d: %w", number, err)
			}
			sleep(ctx, 50*time.Millisecond)
		}
		sleep(ctx, w.Pause)
	}
	return nil
}

func (w *Workload) ddl(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, w.ConnString)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())
	for _, sql := range ddlSteps {
		sleep(ctx, w.DDLSpread/time.Duration(len(ddlSteps)+1))
		// A step that was begun is finished; a table locked for long would be a deadlock of our own making.
		stepCtx, cancel := context.WithTimeout(context.Background(), time.Minute)
		_, err := conn.Exec(stepCtx, sql)
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// isLostConnection tells a server that went away, is starting or shutting down from one that refused a statement.
func isLostConnection(err error) bool {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return strings.HasPrefix(pgErr.Code, "57P") || strings.HasPrefix(pgErr.Code, "08")
	}
	return true
}
