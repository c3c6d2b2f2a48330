package lakecheck

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

//go:embed readers/*.py
var readerFiles embed.FS

// The readers there are.
const (
	PyIceberg = "pyiceberg"
	DuckDB    = "duckdb"
	Spark     = "spark"
	Trino     = "trino"
	Polars    = "polars"
)

// Engines are all readers, the quick ones first.
var Engines = []string{PyIceberg, DuckDB, Polars, Spark, Trino}

const (
	readerStartTimeout = 3 * time.Minute // a Java server on a busy machine
	readerReplyTimeout = 10 * time.Minute
)

// Reader is a long-lived process of one foreign engine. It is safe for concurrent use; requests are answered one at a time.
type Reader struct {
	name   string
	dir    string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	stderr tailBuffer
	mu     sync.Mutex // held over one request and its answer
}

// ErrReader is wrapped by every error of a reader process.
var ErrReader = errors.New("foreign reader")

// StartReader starts a reader in a Python that has it (FindPython). The process lives until Close. For a lake in an S3 store it
// needs AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, from env or its own environment.
func StartReader(ctx context.Context, python, name string, env ...string) (*Reader, error) {
	java, err := javaEnv(name, nil)
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrReader, name, err)
	}
	dir, err := os.MkdirTemp("", "lakecheck")
	if err != nil {
		return nil, err
	}
	r := &Reader{name: name, dir: dir}
	if err := r.start(ctx, python, append(java, env...)); err != nil {
		return nil, errors.Join(fmt.Errorf("%w %s: %w", ErrReader, name, err), r.Close())
	}
	return r, nil
}

func (r *Reader) start(ctx context.Context, python string, env []string) error {
	if err := os.CopyFS(r.dir, readerFiles); err != nil {
		return err
	}
	r.cmd = exec.Command(python, "-u", filepath.Join(r.dir, "readers", "serve.py"), r.name)
	r.cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "HOME="+r.dir, "TZ=UTC")
	r.cmd.Env = append(r.cmd.Env, env...)
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Stderr = &r.stderr
	in, err := r.cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.cmd.Start(); err != nil {
		r.cmd = nil
		return err
	}
	r.in, r.out = in, bufio.NewReaderSize(out, 1<<20)
	ctx, cancel := context.WithTimeout(ctx, readerStartTimeout)
	defer cancel()
	_, err = r.receive(ctx)
	return err
}

// Name is one of Engines.
func (r *Reader) Name() string { return r.name }

// request is what readers/serve.py takes.
type request struct {
	Op        string   `json:"op"`
	Catalog   string   `json:"catalog"`
	Warehouse string   `json:"warehouse"`
	Namespace string   `json:"namespace,omitempty"`
	Table     string   `json:"table,omitempty"`
	Columns   []string `json:"columns"`
	Keep      int      `json:"keep,omitempty"`
	SQL       string   `json:"sql,omitempty"`
	Where     []Term   `json:"where,omitempty"`
	At        *At      `json:"at,omitempty"`
}

type reply struct {
	Error  string      `json:"error"`
	Tables []TableName `json:"tables"`
	// of describe
	Columns []struct {
		Name string `json:"name"`
		Type string `json:"type"`
	} `json:"columns"`
	LSN string `json:"lsn"`
	// of read
	Count    int64      `json:"count"`
	Checksum string     `json:"checksum"`
	Rows     [][]string `json:"rows"`

	LSNs      []string    `json:"lsns"`
	Snapshots []Snapshot  `json:"snapshots"`
	Result    [][]*string `json:"result"`
}

func (r *Reader) do(ctx context.Context, req request) (reply, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if req.Columns == nil {
		req.Columns = []string{}
	}
	line, err := json.Marshal(req)
	if err != nil {
		return reply{}, err
	}
	if _, err := r.in.Write(append(line, '\n')); err != nil {
		return reply{}, fmt.Errorf("%w %s: %w: %s", ErrReader, r.name, err, r.stderr.String())
	}
	ctx, cancel := context.WithTimeout(ctx, readerReplyTimeout)
	defer cancel()
	rep, err := r.receive(ctx)
	if err != nil {
		return reply{}, fmt.Errorf("%w %s, %s %s.%s in %s: %w", ErrReader, r.name, req.Op, req.Namespace, req.Table, req.Warehouse, err)
	}
	return rep, nil
}

// receive kills the process when ctx ends: a late answer would be taken for the next request's.
func (r *Reader) receive(ctx context.Context) (reply, error) {
	stop := context.AfterFunc(ctx, func() { _ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) })
	line, err := r.out.ReadBytes('\n')
	if !stop() {
		return reply{}, ctx.Err()
	}
	if err != nil {
		return reply{}, fmt.Errorf("it ended: %w: %s", err, r.stderr.String())
	}
	var rep reply
	if err := json.Unmarshal(line, &rep); err != nil {
		return reply{}, fmt.Errorf("answer %.200q: %w", line, err)
	}
	if rep.Error != "" {
		return reply{}, errors.New(rep.Error)
	}
	return rep, nil
}

// Tables lists what the reader finds in a warehouse.
func (r *Reader) Tables(ctx context.Context, catalogURL, warehouse string) ([]TableName, error) {
	rep, err := r.do(ctx, request{Op: "tables", Catalog: catalogURL, Warehouse: warehouse})
	return rep.Tables, err
}

// LSNs are the tarn.lsn of the snapshots a table still has, oldest first; only PyIceberg shows them. A table that is not
// there has none.
func (r *Reader) LSNs(ctx context.Context, catalogURL, warehouse string, table TableName) ([]string, error) {
	rep, err := r.do(ctx, request{Op: "lsns", Catalog: catalogURL, Warehouse: warehouse, Namespace: table.Namespace, Table: table.Table})
	return rep.LSNs, err
}

// Query runs SQL on tables named lake.namespace.table and returns the rows as text, nil for NULL; only DuckDB can.
func (r *Reader) Query(ctx context.Context, catalogURL, warehouse, sql string) ([][]*string, error) {
	rep, err := r.do(ctx, request{Op: "query", Catalog: catalogURL, Warehouse: warehouse, SQL: sql})
	return rep.Result, err
}

// Close ends the process and removes its files.
func (r *Reader) Close() error {
	if r.cmd != nil {
		_ = r.in.Close()
		killer := time.AfterFunc(5*time.Second, func() { _ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) })
		_ = r.cmd.Wait()
		killer.Stop()
		_ = syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) // a server of its that is left
	}
	return os.RemoveAll(r.dir)
}

// tailBuffer keeps the last bytes written to it.
type tailBuffer struct {
	mu  sync.Mutex
	buf []byte
}

const tailBytesMax = 4096

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf = append(t.buf, p...)
	if extra := len(t.buf) - tailBytesMax; extra > 0 {
		t.buf = append(t.buf[:0], t.buf[extra:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.buf))
}
