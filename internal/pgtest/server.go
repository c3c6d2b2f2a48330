package pgtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Password of the role "replicator".
const Password = "replicator-secret"

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
	// An immediate shutdown kills what has not ended after 5 s (SIGKILL_CHILDREN_AFTER_SECS).
	removeTimeout = 15 * time.Second
)

// Options say which server to start and where. The zero value of each field has a meaning.
type Options struct {
	Major      int               // Postgres major version; 0 = 15. Used only if Release and Bin are empty
	Release    string            // a minor release such as 15.1, one of Releases. Used only if Bin is empty
	Bin        string            // folder of initdb and postgres; empty = ReleaseBin(Release) or Bin(Major)
	Dir        string            // parent folder: Dir/data is the data directory, Dir the socket folder; empty = a new temporary one, removed by Remove
	Port       int               // 0 = a free one, kept over Restart
	Settings   map[string]string // written to postgresql.conf, values unquoted
	InitdbArgs []string          // e.g. --data-checksums, --wal-segsize=1
	User       string            // account to run as when we are root; empty = postgres, else nobody
	Databases  []string          // created at first start
	KeepData   bool              // start on what is in Dir/data, without initdb
	HBA        string            // text of pg_hba.conf; empty = what tarn asks a user for

	fromTemplate bool // the data directory may be a copy of one that was made before
}

// StopMode is how a server is asked to go; the names are pg_ctl's.
type StopMode syscall.Signal

const (
	Smart     = StopMode(syscall.SIGTERM) // waits for clients to leave
	Fast      = StopMode(syscall.SIGINT)  // disconnects clients, writes a shutdown checkpoint after every walsender has got all WAL
	Immediate = StopMode(syscall.SIGQUIT) // no checkpoint: the next start recovers
)

// Server is one running (or stopped) Postgres. Its methods are not safe for concurrent use.
type Server struct {
	opts      Options
	owner     *owner
	found     string       // folder of the programs as Options or Bin name it
	bin       string       // the same or a copy, where the owner can get at it
	removeBin func() error // deletes the copy
	dir       string
	port      int
	ownDir    bool
	cmd       *exec.Cmd
	exited    chan struct{} // closed when cmd has been waited for
	saved     datadir       // what Save kept
	left      sharedMemory  // of the server that Kill9 killed
}

// Start makes the data directory (unless KeepData), starts the server and waits until it takes connections. On an error
// nothing is left running; the message carries the end of the server's log.
func Start(ctx context.Context, opts Options) (_ *Server, err error) {
	s := &Server{opts: opts, dir: opts.Dir, port: opts.Port}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Remove())
		}
	}()
	if s.owner, err = ownerFor(opts.User); err != nil {
		return nil, err
	}
	if err := s.findPrograms(); err != nil {
		return nil, err
	}
	if err := s.prepareDir(); err != nil {
		return nil, fmt.Errorf("prepare %s: %w", s.dir, err)
	}
	if s.port == 0 {
		if s.port, err = FreePort(); err != nil {
			return nil, err
		}
	}
	if !opts.KeepData {
		if err := s.prepareData(ctx); err != nil {
			return nil, err
		}
	}
	if err := s.launch(ctx); err != nil {
		return nil, err
	}
	if !opts.KeepData {
		if err := s.createRolesAndDatabases(ctx); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// programs is the folder of the programs that are asked for.
func (o *Options) programs() (string, error) {
	switch {
	case o.Bin != "":
		return o.Bin, nil
	case o.Release != "":
		return ReleaseBin(o.Release)
	case o.Major != 0:
		return Bin(o.Major)
	}
	return Bin(15)
}

// findPrograms sets bin to programs that the owner can run.
func (s *Server) findPrograms() (err error) {
	if s.found, err = s.opts.programs(); err != nil {
		return err
	}
	if s.owner == nil {
		s.bin, err = resolve(s.found)
		return err
	}
	s.bin, s.removeBin, err = Reachable(s.found, s.owner.uid, s.owner.gid)
	return err
}

func (s *Server) prepareDir() error {
	if s.dir == "" {
		dir, err := os.MkdirTemp("", "pgtest")
		if err != nil {
			return err
		}
		s.dir, s.ownDir = dir, true
	}
	abs, err := filepath.Abs(s.dir)
	if err != nil {
		return err
	}
	s.dir = abs
	// sun_path holds 107 bytes; long test names make long folders.
	if len(s.socketDir())+len("/.s.PGSQL.65535") > 107 {
		return fmt.Errorf("the path is too long for a Unix socket: %s", s.socketDir())
	}
	return s.owner.own(s.dir)
}

func (s *Server) socketDir() string { return s.dir }

func (s *Server) prepareData(ctx context.Context) error {
	if err := s.makeData(ctx); err != nil {
		return err
	}
	text := s.opts.HBA
	if text == "" {
		text = hba
	}
	if err := os.WriteFile(filepath.Join(s.DataDir(), "pg_hba.conf"), []byte(text), 0o600); err != nil {
		return err
	}
	return s.WriteSettings(s.opts.Settings)
}

func (s *Server) initdb(ctx context.Context) error {
	args := append([]string{"-D", s.DataDir(), "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8", "-N"}, s.opts.InitdbArgs...)
	out, err := s.command(ctx, "initdb", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w: %s", err, tail(string(out)))
	}
	return nil
}

// The replicator may open replication connections and nothing else, exactly what tarn asks a user for.
const hba = `local   all         postgres                     trust
local   replication postgres                     trust
host    all         postgres   127.0.0.1/32      trust
host    replication postgres   127.0.0.1/32      trust
host    replication replicator 127.0.0.1/32      scram-sha-256
local   replication replicator                   scram-sha-256
host    all         replicator 127.0.0.1/32      scram-sha-256
host    all         all        127.0.0.1/32      scram-sha-256
`

// WriteSettings replaces the settings of the server; they hold from the next start, or for some settings from Reload.
func (s *Server) WriteSettings(settings map[string]string) error {
	conf := map[string]string{
		"listen_addresses": "127.0.0.1", "unix_socket_directories": s.socketDir(), "port": fmt.Sprint(s.port),
		"max_connections": "50", "shared_buffers": "64MB", "logging_collector": "off", "log_line_prefix": "%m [%p] %u@%d ",
		"password_encryption": "scram-sha-256", "timezone": "UTC", "log_timezone": "UTC", "max_wal_senders": "10",
	}
	for k, v := range settings {
		conf[k] = v
	}
	keys := make([]string, 0, len(conf))
	for k := range conf {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%s = '%s'\n", k, strings.ReplaceAll(conf[k], "'", "''"))
	}
	path := filepath.Join(s.DataDir(), "postgresql.auto.conf")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return s.owner.own(s.DataDir())
}

// launch starts the postmaster directly rather than through pg_ctl, so that it is our child.
func (s *Server) launch(ctx context.Context) error {
	logFile, err := os.OpenFile(s.LogPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer logFile.Close()
	// Not CommandContext: the server outlives the context of its start.
	s.cmd = s.command(context.Background(), "postgres", "-D", s.DataDir())
	s.cmd.Stdout, s.cmd.Stderr = logFile, logFile
	s.left = sharedMemory{} // the new postmaster removes it
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("start postgres: %w", err)
	}
	exited := make(chan struct{})
	s.exited = exited
	go func(cmd *exec.Cmd) {
		_ = cmd.Wait()
		close(exited)
	}(s.cmd)
	if err := s.waitReady(ctx); err != nil {
		log := s.logTail()
		return errors.Join(fmt.Errorf("postgres did not start: %w: %s", err, log), s.Kill9())
	}
	return nil
}

func (s *Server) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"LC_ALL=C", "TZ=UTC", "PATH=" + s.bin + ":/usr/bin:/bin", "HOME=" + s.dir}
	cmd.SysProcAttr = s.owner.sysProcAttr()
	return cmd
}

func (s *Server) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.ConnString("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.exited:
			return errors.New("the process ended")
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func (s *Server) createRolesAndDatabases(ctx context.Context) error {
	statements := []string{"CREATE ROLE replicator LOGIN REPLICATION PASSWORD '" + Password + "'"}
	for _, db := range s.opts.Databases {
		statements = append(statements, "CREATE DATABASE "+pgx.Identifier{db}.Sanitize())
	}
	return s.Exec(ctx, "postgres", statements...)
}

// Where FreePort looks: below the ports that kernels give to connections of their own accord (ip_local_port_range), so that none of those
// takes it until a server listens there.
const (
	portMin = 12000
	portMax = 30000
)

// FreePort finds a TCP port on 127.0.0.1 that is free now.
func FreePort() (port int, err error) {
	for range 100 {
		port = portMin + rand.IntN(portMax-portMin)
		var l net.Listener
		if l, err = net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			return port, l.Close()
		}
	}
	return 0, err
}
