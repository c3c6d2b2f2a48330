package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/progress"
)

func demoCommand() *cobra.Command {
	logs := logOptions{level: "warn"}
	var keep bool
	var duration time.Duration
	var major int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show a live Postgres and the lake side by side at one LSN",
		Long: "Starts a Postgres of its own and tarn on a directory store, runs a live workload for some seconds, then compares\n" +
			"every table's rows in Postgres with what DuckDB reads from the lake. Exits 0 only if they are equal.",
		Args: exactly(),
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "leave everything running until Ctrl-C, to look around")
	cmd.Flags().DurationVar(&duration, "duration", 10*time.Second, "how long the workload runs")
	cmd.Flags().IntVar(&major, "postgres", 0, "major `VERSION` of Postgres to run on, 15 to 18 (default 18, or what is installed)")
	logs.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if duration <= 0 {
			return usagef("--duration %s: write a duration such as 10s", duration)
		}
		if major != 0 && (major < 15 || major > 18) {
			return usagef("--postgres %d: write 15, 16, 17 or 18", major)
		}
		log, sink, err := logs.open(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		err = demo.Run(cmd.Context(), demo.Options{
			Out: cmd.OutOrStdout(), Duration: duration, Keep: keep, Major: major,
			Start: func(ctx context.Context, src demo.Source) (demo.Tarn, error) { return startTarn(ctx, src, log, sink) },
		})
		if keep && errors.Is(err, context.Canceled) {
			return nil
		}
		return err
	}
	return cmd
}

// inProcess is a server run inside the demo.
type inProcess struct {
	cfg  *config.Config
	stop context.CancelFunc
	done chan error // holds why it ended
}

// startTarn starts a server as `tarn serve` would. It does not wait until the server is ready; one that ends at once is an error.
func startTarn(ctx context.Context, src demo.Source, log *slog.Logger, sink progress.Sink) (demo.Tarn, error) {
	flags := map[string]string{"source.url": src.URL, "store": src.Store, "data_dir": src.DataDir}
	for key, addr := range map[string]string{
		"http.listen": config.DefaultHTTPListen, "catalog.listen": config.DefaultCatalogListen, "sql.listen": config.DefaultSQLListen,
	} {
		free, err := freeAddr(addr)
		if err != nil {
			return nil, err
		}
		flags[key] = free
	}
	// The demo's settings are its own: nothing of the user's environment points it at a real server.
	cfg, err := config.Load(config.Options{Flags: flags, Env: func(string) (string, bool) { return "", false }})
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	t := &inProcess{cfg: cfg, stop: stop, done: make(chan error, 1)}
	go func() { t.done <- serve(ctx, cfg, log, sink, nil) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-t.done:
			stop()
			return nil, fmt.Errorf("tarn did not start: %w", err)
		default:
		}
		if c, err := net.Dial("tcp", cfg.HTTP.Listen); err == nil {
			return t, c.Close()
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fault.New(fault.NoAnswer, "tarn did not listen on its HTTP port in 10 s"), t.Close(ctx))
		}
	}
}

// freeAddr gives the wished address if nobody listens there, else a free port of the same host.
func freeAddr(wish string) (string, error) {
	l, err := net.Listen("tcp", wish)
	if err != nil {
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return "", fault.Errorf(fault.PortUnusable, "no free port on 127.0.0.1: %w", err)
		}
	}
	return l.Addr().String(), l.Close()
}

// HTTPAddr is http.listen.
func (t *inProcess) HTTPAddr() string { return t.cfg.HTTP.Listen }

// CatalogAddr is catalog.listen.
func (t *inProcess) CatalogAddr() string { return t.cfg.Catalog.Listen }

// Close stops the server and waits for it.
func (t *inProcess) Close(ctx context.Context) error {
	t.stop()
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
		return fault.Errorf(fault.NoAnswer, "tarn did not stop: %w", ctx.Err())
	}
}
