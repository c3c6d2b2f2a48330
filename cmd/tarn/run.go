package main

import (
	"context"
	"log/slog"
	"os"

	"github.com/tarn-db/tarn/cmd/tarn/server"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/progress"
)

// runServer runs every part of the server until the context ends.
func runServer(ctx context.Context, cfg *config.Config, log *slog.Logger, sink progress.Sink, reload <-chan os.Signal) error {
	return server.Run(ctx, server.Options{Config: cfg, Logger: log, Progress: sink, Version: versionString(), Reload: reload})
}
