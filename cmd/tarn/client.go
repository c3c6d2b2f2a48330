package main

import (
	"encoding/json"
	"io"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/config"
)

// clientFlags are how verbs that talk to a running server find it.
type clientFlags struct{ file, addr string }

func (f *clientFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "config", "", "settings `FILE` of the server, for its http.listen")
	cmd.Flags().StringVar(&f.addr, "http", "", "`ADDR` of the server's HTTP port, as host:port (default TARN_HTTP, else "+config.DefaultHTTPListen+")")
}

// client finds the server: --config FILE, else --http ADDR, else TARN_HTTP, else the default.
func (f *clientFlags) client() (*admin.Client, error) {
	addr, from := config.DefaultHTTPListen, "default"
	if v := os.Getenv("TARN_HTTP"); v != "" {
		addr, from = v, "TARN_HTTP"
	}
	if f.addr != "" {
		addr, from = f.addr, "--http"
	}
	if f.file != "" {
		listen, err := config.HTTPListen(config.Options{File: f.file})
		if err != nil {
			return nil, err
		}
		addr, from = listen, f.file
	}
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, usagef("%s is %q: write host:port, such as %s", from, addr, config.DefaultHTTPListen)
	}
	return &admin.Client{Addr: addr}, nil
}

// writeJSON prints one value for scripts.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
