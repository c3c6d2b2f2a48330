package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// tarn is a running `tarn serve`, built from this tree.
type tarn struct {
	client  *admin.Client
	catalog string // URL
	cmd     *exec.Cmd
	log     string
	exited  chan struct{}
}

// buildTarn builds the binary of this tree.
func buildTarn(ctx context.Context, o options) (string, error) {
	binary := filepath.Join(o.dir, "tarn.bin")
	_, err := command(ctx, "go", "build", "-o", binary, "github.com/tarn-db/tarn/cmd/tarn")
	return binary, err
}

// startTarn attaches tarn to a server. dir holds its store, its data and its log.
func startTarn(ctx context.Context, binary, dir string, srv *pgtest.Server, memory int64) (*tarn, error) {
	return startTarnOn(ctx, binary, dir, "file://"+dir+"/lake", srv, memory, "")
}

// startTarnOn is startTarn with a store elsewhere, more lines for tarn.yaml and additions to the environment.
func startTarnOn(ctx context.Context, binary, dir, store string, srv *pgtest.Server, memory int64, more string, env ...string) (*tarn, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	var addrs [3]string
	for i := range addrs {
		port, err := pgtest.FreePort()
		if err != nil {
			return nil, err
		}
		addrs[i] = fmt.Sprintf("127.0.0.1:%d", port)
	}
	config := filepath.Join(dir, "tarn.yaml")
	text := fmt.Sprintf("store: %s\ndata_dir: %s/data\nsource: {url: %q}\nhttp: {listen: %q}\ncatalog: {listen: %q}\nsql: {listen: %q}\nmemory: %dMiB\n%s",
		store, dir, srv.ReplConnString("app"), addrs[0], addrs[1], addrs[2], memory>>20, more)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, err
	}
	t := &tarn{client: &admin.Client{Addr: addrs[0]}, catalog: "http://" + addrs[1], log: filepath.Join(dir, "tarn.log"), exited: make(chan struct{})}
	log, err := os.Create(t.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	t.cmd = exec.Command(binary, "serve", "--config", config)
	t.cmd.Env = append(os.Environ(), env...)
	t.cmd.Stdout, t.cmd.Stderr = log, log
	if err := t.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = t.cmd.Wait()
		close(t.exited)
	}()
	return t, nil
}

// awaitPublished waits until the lake is at an LSN.
func (t *tarn) awaitPublished(ctx context.Context, lsn pg.LSN, limit time.Duration) error {
	for deadline := time.Now().Add(limit); ; {
		_, err := t.client.Wait(ctx, admin.StagePublished, lsn, time.Minute)
		if err == nil {
			return nil
		}
		select {
		case <-t.exited:
			return t.failed(errors.New("tarn has ended"))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			return t.failed(err)
		}
	}
}

// failed adds the end of the log.
func (t *tarn) failed(err error) error {
	text, _ := os.ReadFile(t.log)
	return fmt.Errorf("%w: %s", err, text[max(0, len(text)-3000):])
}

// stop ends tarn as an operator would.
func (t *tarn) stop() {
	_ = t.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-t.exited:
	case <-time.After(20 * time.Second):
		_ = t.cmd.Process.Kill()
		<-t.exited
	}
}

// attachOnce times a whole attach to a running server that has the recording's base.
func attachOnce(ctx context.Context, o options, r *recording) (wall float64, err error) {
	dir := filepath.Join(o.dir, "attach")
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	srv, err := startOn(ctx, filepath.Join(dir, "pg"), r)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, srv.Remove()) }()
	lsn, err := demo.FlushLSN(ctx, srv)
	if err != nil {
		return 0, err
	}
	binary, err := buildTarn(ctx, o)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	t, err := startTarn(ctx, binary, filepath.Join(dir, "tarn"), srv, o.memory)
	if err != nil {
		return 0, err
	}
	defer t.stop()
	if err := t.awaitPublished(ctx, lsn, 10*time.Minute); err != nil {
		return 0, err
	}
	return seconds(time.Since(began)), nil
}

// scene is a server on a recording's base, and the binary to attach to it.
type scene struct {
	dir    string // scratch, removed by close
	binary string
	srv    *pgtest.Server
}

func newScene(ctx context.Context, o options, name string, made spec) (_ *scene, err error) {
	r, err := record(ctx, o.dir, made)
	if err != nil {
		return nil, err
	}
	s := &scene{dir: filepath.Join(o.dir, name)}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.RemoveAll(s.dir); err != nil {
		return nil, err
	}
	if s.binary, err = buildTarn(ctx, o); err != nil {
		return nil, err
	}
	s.srv, err = startOn(ctx, filepath.Join(s.dir, "pg"), r)
	return s, err
}

// attach starts tarn with a store on disk; more are lines for tarn.yaml.
func (s *scene) attach(ctx context.Context, memory int64, more string) (*tarn, error) {
	dir := filepath.Join(s.dir, "tarn")
	return startTarnOn(ctx, s.binary, dir, "file://"+dir+"/lake", s.srv, memory, more)
}

func (s *scene) close() error {
	var err error
	if s.srv != nil {
		err = s.srv.Remove()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// startOn starts a server on a copy of a recording's base, as it was when it was stopped.
func startOn(ctx context.Context, dir string, r *recording) (*pgtest.Server, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	data := filepath.Join(dir, "data")
	if err := copyTree(ctx, r.Base, data); err != nil {
		return nil, err
	}
	port, err := pgtest.FreePort()
	if err != nil {
		return nil, err
	}
	conf, err := os.OpenFile(filepath.Join(data, "postgresql.auto.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(conf, "port = %d\nunix_socket_directories = ''\nsynchronous_commit = on\n", port) // the last one counts
	if err := errors.Join(err, conf.Close()); err != nil {
		return nil, err
	}
	return pgtest.Start(ctx, pgtest.Options{Major: 15, Dir: dir, KeepData: true, Port: port})
}
