package e2e

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/demo"
)

// demoTarn lets the demo use a tarn of the harness.
type demoTarn struct{ *tarn }

func (d demoTarn) HTTPAddr() string            { return d.httpAddr }
func (d demoTarn) CatalogAddr() string         { return d.catalogAddr }
func (d demoTarn) Close(context.Context) error { d.stop(); return nil }

// planter is the demo's output. It runs a statement on the demo's Postgres when a line begins with a word.
type planter struct {
	t     *testing.T
	word  string
	sql   string
	dsn   string
	lines strings.Builder
}

func (p *planter) Write(b []byte) (int, error) {
	p.lines.Write(b)
	if !strings.HasPrefix(string(b), p.word) {
		return len(b), nil
	}
	conn, err := pgx.Connect(p.t.Context(), p.dsn)
	if err != nil {
		return 0, err
	}
	defer conn.Close(context.Background())
	for _, sql := range []string{`ALTER ROLE replicator NOREPLICATION`, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_replication`, p.sql} {
		if _, err := conn.Exec(p.t.Context(), sql); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

// The demo succeeds only if every row is equal: one value, one row or one table makes it fail and say where. It is planted
// behind tarn's back, which may stream no longer.
func TestDemoNoticesADifference(t *testing.T) {
	for _, c := range []struct{ sql, says string }{
		{"UPDATE vaults SET balance = balance + 1 WHERE id = 7", "public.vaults"},
		{"CREATE TABLE extra (i int)", "public.extra"},
	} {
		t.Run(c.says, func(t *testing.T) {
			startReader(t, "duckdb") // or skip
			p := &planter{t: t, word: "last commit", sql: c.sql}
			err := demo.Run(t.Context(), demo.Options{Out: p, Duration: time.Second, CacheDir: t.TempDir(), Start: func(_ context.Context, src demo.Source) (demo.Tarn, error) {
				p.dsn = regexp.MustCompile(`replicator:[^@]*@`).ReplaceAllString(src.URL, "postgres@")
				tn := newTarn(t, src.URL)
				tn.startReady()
				return demoTarn{tn}, nil
			}})
			if !errors.Is(err, demo.ErrNotEqual) || !regexp.MustCompile(c.says+`.*DIFFERENT`).MatchString(p.lines.String()) {
				t.Fatalf("%s: %v\n%s", c.sql, err, p.lines.String())
			}
		})
	}
}
