package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/listen"
	"github.com/tarn-db/tarn/internal/objstore"
)

// preflight checks what tarn itself needs before it touches the source: the store can be written, the data directory is
// ours alone, the ports are free. What it returns holds the data directory until closed.
func preflight(ctx context.Context, cfg *config.Config) (io.Closer, error) {
	for _, l := range []struct {
		name string
		at   config.Listener
	}{{"http", cfg.HTTP}, {"catalog", cfg.Catalog}} { // nothing listens on sql.listen yet
		if err := checkGuard(l.name, l.at); err != nil {
			return nil, err
		}
		if err := checkPort(l.name+".listen", l.at.Listen); err != nil {
			return nil, err
		}
	}
	if err := checkStore(ctx, cfg); err != nil {
		return nil, err
	}
	return holdDataDir(cfg.DataDir)
}

// checkGuard reads a listener's certificate and tokens: what is wrong with them is a matter of configuration.
func checkGuard(name string, l config.Listener) error {
	_, err := listen.Open(listen.Options{Name: name, Cert: l.TLS.Cert, Key: l.TLS.Key, ClientCA: l.TLS.ClientCA, Tokens: l.TokensFile})
	if err != nil {
		return usagef("%v", err)
	}
	return nil
}

func checkPort(key, addr string) error {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		return l.Close()
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return fault.Errorf(fault.PortTaken, "%s %s is taken by another process: stop it, or give another address with --%s", key, addr, strings.Replace(key, ".", "-", 1))
	}
	return fault.Errorf(fault.PortUnusable, "%s %s cannot be listened on (%w): give another address with --%s", key, addr, cause(err), strings.Replace(key, ".", "-", 1))
}

// checkStore tries a small object of its own, so that a store that cannot be written, or that lets two writers win, is
// known before hours of copying.
func checkStore(ctx context.Context, cfg *config.Config) error {
	url := cfg.Store
	store, err := objstore.Open(ctx, url, objstore.Options{S3: cfg.S3})
	if err != nil && strings.HasPrefix(url, "s3:") {
		return err // it names the store and the cure
	}
	if err != nil {
		return fault.Errorf(fault.StoreOpen, "store %s cannot be opened (%w): check store in tarn.yaml or --store", url, cause(err))
	}
	defer store.Close()
	err = objstore.Check(ctx, store)
	var answer *objstore.S3Error
	switch {
	case errors.Is(err, objstore.ErrNotConditional):
		return fault.Errorf(fault.StoreNotConditional, "store %s cannot be used (%w): two writers could both win there; name a store that honours them with --store, such as Amazon S3, MinIO or a folder", url, err)
	case errors.As(err, &answer) && answer.Fix() != "":
		return fault.Errorf(answer.FaultCode(), "store %s cannot be used: %w", url, err)
	case err != nil:
		return fault.Errorf(fault.StoreWrite, "store %s cannot be written (%w): give the user tarn runs as the right to write there, or name another with --store", url, cause(err))
	}
	return nil
}

// holdDataDir makes the data directory if need be and locks it: two servers in one would tear each other's log.
func holdDataDir(dir string) (io.Closer, error) {
	const fix = "give the user tarn runs as the right to write there, or name another with --data-dir"
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fault.Errorf(fault.DataDirUnusable, "data_dir %s cannot be made (%w): %s", dir, cause(err), fix)
	}
	f, err := os.OpenFile(filepath.Join(dir, "LOCK"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fault.Errorf(fault.DataDirUnusable, "data_dir %s cannot be written (%w): %s", dir, cause(err), fix)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.Errorf(fault.DataDirInUse, "data_dir %s is in use by another tarn: stop that one, or give this one its own with --data-dir", dir)
	}
	return f, nil
}

// cause strips the operation and path from a system error: our own message names them better.
func cause(err error) error {
	var pe *fs.PathError
	var ne *net.OpError
	var se *os.SyscallError
	switch {
	case errors.As(err, &pe):
		return pe.Err
	case errors.As(err, &se):
		return se.Err
	case errors.As(err, &ne):
		return ne.Err
	}
	return err
}
