package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/progress"
)

func serveCommand() *cobra.Command {
	var flags settingFlags
	logs := logOptions{level: "info"}
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: attach to the source and keep the lake up to date",
		Long: "Runs everything in one process: receives WAL, applies it to pages, publishes tables and serves the catalog.\n" +
			"Settings come from defaults, the file, TARN_* variables and flags; the later wins.",
		Example: "  tarn serve --config tarn.yaml\n" +
			"  tarn serve --source postgres://replicator@localhost/app --store file:///srv/lake --data-dir /var/lib/tarn",
		Args: exactly(),
	}
	flags.register(cmd)
	logs.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(flags.options())
		if err != nil {
			return err
		}
		log, sink, err := logs.open(cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		// SIGHUP is what asks a daemon to read its files again.
		hup := make(chan os.Signal, 1)
		signal.Notify(hup, syscall.SIGHUP)
		defer signal.Stop(hup)
		return serve(cmd.Context(), cfg, log, sink, hup)
	}
	return cmd
}

// serve runs the server until the context ends; ending it so is no failure.
func serve(ctx context.Context, cfg *config.Config, log *slog.Logger, sink progress.Sink, reload <-chan os.Signal) error {
	held, err := preflight(ctx, cfg, log, reload != nil)
	if err != nil {
		return err
	}
	defer held.Close()
	log.Info("tarn starts", "version", versionString(), "store", cfg.Store, "data_dir", cfg.DataDir, "source", config.Redact(cfg.Source.URL))
	err = runServer(ctx, cfg, log, sink, reload)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		log.Info("tarn has stopped")
		return nil
	}
	return err
}

// logOptions are the flags of commands that log; level holds the command's default first.
type logOptions struct{ level, format string }

func (o *logOptions) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.level, "log-level", o.level, "debug, info, warn or error")
	cmd.Flags().StringVar(&o.format, "log-format", "text", "text or json")
	completeFlag(cmd, "log-level", "debug", "info", "warn", "error")
	completeFlag(cmd, "log-format", "text", "json")
}

// open makes the log and the progress display that share stderr: bars with the log above them on a terminal, log lines
// elsewhere.
func (o *logOptions) open(stderr io.Writer) (*slog.Logger, progress.Sink, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.level)); err != nil {
		return nil, nil, usagef("--log-level %q: write debug, info, warn or error", o.level)
	}
	var bars *progress.Bars
	if o.format == "text" && isTerminal(stderr) {
		bars = progress.NewBars(stderr)
		stderr = bars
	}
	opts := &slog.HandlerOptions{Level: level}
	var log *slog.Logger
	switch o.format {
	case "text":
		log = slog.New(fault.Handler(slog.NewTextHandler(stderr, opts)))
	case "json":
		log = slog.New(fault.Handler(slog.NewJSONHandler(stderr, opts)))
	default:
		return nil, nil, usagef("--log-format %q: write text or json", o.format)
	}
	if bars != nil {
		return log, bars, nil
	}
	return log, progress.Lines(log), nil
}

// isTerminal says whether w is a terminal that may be drawn on.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && os.Getenv("TERM") != "dumb" && term.IsTerminal(int(f.Fd()))
}

// colors says whether text on w may be coloured (https://no-color.org).
func colors(w io.Writer) bool { return os.Getenv("NO_COLOR") == "" && isTerminal(w) }
