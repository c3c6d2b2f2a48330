package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tarn-db/tarn/cmd/tarn/doctor"
	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/listen"
)

// checkGuard reads a listener's certificate and tokens: what is wrong with them is a matter of configuration.
func checkGuard(name string, l config.Listener) error {
	_, err := listen.Open(listen.Options{Name: name, Cert: l.TLS.Cert, Key: l.TLS.Key, ClientCA: l.TLS.ClientCA, Tokens: l.TokensFile})
	if err != nil {
		return usagef("%v", err)
	}
	return nil
}

// sourceWithin bounds what a starting server gives the source to answer: the attach that follows is more patient.
const sourceWithin = 2500 * time.Millisecond

// preflight has the doctor look before the server touches the source, and locks the data directory. What it returns holds
// that until closed. What does not end the start is logged where somebody operates the server and can be advised.
func preflight(ctx context.Context, cfg *config.Config, log *slog.Logger, advise bool) (io.Closer, error) {
	for name, at := range map[string]config.Listener{"http": cfg.HTTP, "catalog": cfg.Catalog, "pages": cfg.Pages} {
		if err := checkGuard(name, at); err != nil {
			return nil, err
		}
	}
	held, err := holdDataDir(cfg.DataDir)
	if err != nil && fault.CodeOf(err) == fault.DataDirInUse {
		return nil, err
	}
	report := doctor.Run(ctx, doctor.Options{Config: cfg, Serving: true, SourceWithin: sourceWithin})
	for _, c := range report.Failed() {
		if err == nil && ends(&c, report.Attached) {
			err = c.Err()
		}
	}
	if err == nil && advise {
		tell(log, report)
	}
	if err != nil && held != nil {
		return nil, errors.Join(err, held.Close())
	}
	return held, err
}

// tell logs what was found and does not end the start.
func tell(log *slog.Logger, report doctor.Report) {
	for _, c := range report.Checks {
		switch c.State {
		case doctor.Warn:
			log.Warn("preflight: "+c.Found, "check", c.Name, "fix", c.Fix)
		case doctor.Fail:
			log.Warn("preflight: "+c.Found, "check", c.Name, "fix", c.Fix, "code", c.Code.String()) // attaching says what it means
		}
	}
}

// ends says whether a failed check ends a start. What stands in the way of the source does at the first attach; later the
// lake is served on, and attaching says in the status what it means.
func ends(c *doctor.Check, attached bool) bool {
	var ae *receive.AttachError
	if !doctor.OfSource(c.Name) {
		return true
	}
	return !attached && (!errors.As(c.Err(), &ae) || !ae.Temporary())
}

// holdDataDir makes the data directory if need be and locks it: two servers in one would tear each other's log.
func holdDataDir(dir string) (io.Closer, error) {
	const fix = "give the user tarn runs as the right to write there, or name another with --data-dir"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Errorf(fault.DataDirUnusable, "data_dir %s cannot be made (%w): %s", dir, fault.Cause(err), fix)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Errorf(fault.DataDirUnusable, "data_dir %s cannot be written (%w): %s", dir, fault.Cause(err), fix)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.Errorf(fault.DataDirInUse, "data_dir %s is in use by another tarn: stop that one, or give this one its own with --data-dir", dir)
	}
	return f, nil
}
