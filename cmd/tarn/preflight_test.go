package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/config"
)

// TestPreflightLeavesNothing: the store is as it was, and the data directory is free again after Close.
func TestPreflightLeavesNothing(t *testing.T) {
	lake := t.TempDir()
	cfg := &config.Config{
		Store: "file://" + lake, DataDir: filepath.Join(t.TempDir(), "a", "b"),
		HTTP: config.Listener{Listen: "127.0.0.1:0"}, Catalog: config.Listener{Listen: "127.0.0.1:0"}, SQL: config.Listener{Listen: "127.0.0.1:0"},
	}
	for range 2 {
		held, err := preflight(context.Background(), cfg, slog.New(slog.DiscardHandler), true)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := preflight(context.Background(), cfg, slog.New(slog.DiscardHandler), true); err == nil {
			t.Error("two servers hold one data directory")
		}
		held.Close()
	}
	err := filepath.WalkDir(lake, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.Contains(path, "preflight") {
			t.Errorf("%s was left behind", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
