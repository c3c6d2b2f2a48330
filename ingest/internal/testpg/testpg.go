// Package testpg runs real Postgres servers for the tests of ingest.
package testpg

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// Options of a server. The zero value is the newest major there is, 16 MiB segments and the settings of a test.
type Options struct {
	Major     int      // 15-18; 0 means 15
	SegmentMB int      // WAL segment size; 0 means 1
	Conf      []string // lines for postgresql.conf, after the defaults
	HBA       string   // pg_hba.conf; empty trusts everybody on loopback
	Fresh     bool     // a cluster of its own rather than a copy of the shared one: another system identifier
}

// Server is a running cluster.
type Server struct {
	t    testing.TB
	bin  string
	Dir  string // data directory
	Port int
	cmd  *exec.Cmd
	done chan struct{}
	log  *os.File
}

// Bin finds the binaries of a major; ok is false where they are not installed.
func Bin(major int) (dir string, ok bool) {
	candidates := []string{fmt.Sprintf("/usr/lib/postgresql/%d/bin", major)}
	if root, err := filepath.Abs("."); err == nil {
		for d := root; d != "/"; d = filepath.Dir(d) {
			candidates = append(candidates, filepath.Join(d, ".cache", "pg", strconv.Itoa(major), "bin"))
		}
	}
	for _, c := range candidates {
		if _, err := os.Stat(filepath.Join(c, "postgres")); err == nil {
			return c, true
		}
	}
	return "", false
}

// Start runs a server until the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Major == 0 {
		o.Major = 15
	}
	if o.SegmentMB == 0 {
		o.SegmentMB = 1
	}
	bin, ok := Bin(o.Major)
	if !ok {
		if os.Getenv("CI") == "true" {
			t.Fatalf("Postgres %d is not installed", o.Major)
		}
		t.Skipf("Postgres %d is not installed", o.Major)
	}
	s := &Server{t: t, bin: bin, Dir: filepath.Join(ownedDir(t), "data"), Port: freePort(t)}
	if o.Fresh {
		s.initdb(s.Dir, o.SegmentMB)
	} else {
		s.run("cp", "-a", s.template(o), s.Dir)
	}
	conf := append([]string{
		fmt.Sprintf("port = %d", s.Port), "listen_addresses = '127.0.0.1'", "unix_socket_directories = ''",
		"shared_buffers = 16MB", "fsync = off", "autovacuum = off", "max_connections = 30", "logging_collector = off",
		"wal_keep_size = 0", "min_wal_size = " + strconv.Itoa(2*o.SegmentMB) + "MB", "checkpoint_timeout = 1h", "lc_messages = 'C'",
	}, o.Conf...)
	s.appendFile("postgresql.conf", strings.Join(conf, "\n")+"\n")
	if o.HBA != "" {
		if err := os.WriteFile(filepath.Join(s.Dir, "pg_hba.conf"), []byte(o.HBA), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(s.Kill)
	s.Run()
	return s
}

var (
	templateMu sync.Mutex
	templates  = map[string]string{}
)

// template is an initialised cluster that others are copied from; it lives as long as the test process.
func (s *Server) template(o Options) string {
	templateMu.Lock()
	defer templateMu.Unlock()
	key := fmt.Sprintf("%d-%d", o.Major, o.SegmentMB)
	if d, ok := templates[key]; ok {
		return d
	}
	dir, err := os.MkdirTemp("", "tarn-testpg-")
	if err != nil {
		s.t.Fatal(err)
	}
	chown(s.t, dir)
	d := filepath.Join(dir, key)
	s.initdb(d, o.SegmentMB)
	templates[key] = d
	return d
}

// RemoveTemplates deletes what template made; a TestMain calls it last.
func RemoveTemplates() {
	for _, d := range templates {
		_ = os.RemoveAll(filepath.Dir(d))
	}
}

func (s *Server) initdb(dir string, segmentMB int) {
	s.run(filepath.Join(s.bin, "initdb"), "-D", dir, "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C",
		"--wal-segsize="+strconv.Itoa(segmentMB))
}

// Run starts the server, again after Kill or Stop, and waits until it accepts connections.
func (s *Server) Run() {
	s.t.Helper()
	s.RunNoWait()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := pgconn.Connect(context.Background(), s.URL("postgres"))
		if err == nil {
			_ = c.Close(context.Background())
			return
		}
		// A server that lets nobody in but replication roles is up too.
		if strings.Contains(err.Error(), "28P01") || strings.Contains(err.Error(), "28000") {
			return
		}
		select {
		case <-s.done:
			s.t.Fatalf("the server ended:\n%s", s.Log())
		default:
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server does not answer: %v\n%s", err, s.Log())
		}
	}
}

// RunNoWait starts the server in a process group of its own.
func (s *Server) RunNoWait() {
	s.t.Helper()
	var err error
	if s.log == nil {
		if s.log, err = os.OpenFile(filepath.Join(filepath.Dir(s.Dir), "log"), os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644); err != nil {
			s.t.Fatal(err)
		}
	}
	s.cmd = asPostgres(filepath.Join(s.bin, "postgres"), "-D", s.Dir)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr.Setpgid = true
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait()
		close(done)
	}(s.cmd, s.done)
}

// Kill ends every process of the server at once, as a power cut would. Each backend leads a session of its own, so the
// whole tree is listed first and killed from the postmaster down.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGSTOP) // starts no more of them
	pids := children(s.cmd.Process.Pid)
	for _, p := range pids {
		_ = syscall.Kill(p, syscall.SIGKILL)
	}
	_ = s.cmd.Process.Kill()
	for _, p := range pids {
		for alive(p) {
			time.Sleep(time.Millisecond) // one that is left would keep the shared memory
		}
	}
	<-s.done
	s.cmd = nil
}

// Stop shuts the server down: SIGINT is a fast shutdown. It fails the test after the time given.
func (s *Server) Stop(within time.Duration) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.done:
		s.cmd = nil
	case <-time.After(within):
		s.t.Fatalf("a fast shutdown took longer than %s:\n%s", within, s.Log())
	}
}

// URL is a connection string for a role.
func (s *Server) URL(user string) string {
	return fmt.Sprintf("postgres://%s@127.0.0.1:%d/postgres?sslmode=disable", user, s.Port)
}

// Exec runs SQL as the superuser and returns the first column of the last result's rows.
func (s *Server) Exec(sql string) []string {
	s.t.Helper()
	out, err := s.TryExec(context.Background(), sql)
	if err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
	return out
}

// One is Exec for a single value.
func (s *Server) One(sql string) string {
	s.t.Helper()
	out := s.Exec(sql)
	if len(out) != 1 {
		s.t.Fatalf("%s: %d rows", sql, len(out))
	}
	return out[0]
}

// TryExec is Exec that returns its error.
func (s *Server) TryExec(ctx context.Context, sql string) ([]string, error) {
	c, err := pgconn.Connect(ctx, s.URL("postgres"))
	if err != nil {
		return nil, err
	}
	defer c.Close(context.Background())
	results, err := c.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var out []string
	if len(results) > 0 {
		for _, r := range results[len(results)-1].Rows {
			out = append(out, string(r[0]))
		}
	}
	return out, nil
}

// Log is what the server printed.
func (s *Server) Log() string {
	b, _ := os.ReadFile(s.log.Name())
	return string(b)
}

// Configure appends lines to postgresql.conf; the caller reloads or restarts.
func (s *Server) Configure(lines ...string) {
	s.appendFile("postgresql.conf", strings.Join(lines, "\n")+"\n")
}

func (s *Server) appendFile(name, text string) {
	s.t.Helper()
	f, err := os.OpenFile(filepath.Join(s.Dir, name), os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		err = errorsFirst(err, f.Close())
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func errorsFirst(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	if out, err := asPostgres(name, args...).CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// asPostgres makes a command that runs as user postgres where the test runs as root, which the server refuses.
func asPostgres(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Dir = "/"
	if uid, gid, ok := postgresIDs(); ok {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uid, Gid: gid}
	}
	return cmd
}

func postgresIDs() (uid, gid uint32, ok bool) {
	if os.Getuid() != 0 {
		return 0, 0, false
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return 0, 0, false
	}
	id, _ := strconv.Atoi(u.Uid)
	group, _ := strconv.Atoi(u.Gid)
	return uint32(id), uint32(group), true
}

func chown(t testing.TB, dir string) {
	t.Helper()
	if uid, gid, ok := postgresIDs(); ok {
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
}

func ownedDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tarn-testpg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	chown(t, dir)
	return dir
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// alive says whether a process still runs; a zombie does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	i := bytes.LastIndexByte(b, ')')
	return err == nil && i >= 0 && i+2 < len(b) && b[i+2] != 'Z' && b[i+2] != 'X'
}

// children lists the direct children of a process.
func children(pid int) (out []int) {
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		for _, w := range bytes.Fields(b) {
			if n, err := strconv.Atoi(string(w)); err == nil {
				out = append(out, n)
			}
		}
	}
	return out
}

// Save keeps a copy of the stopped server's data directory for Restore.
func (s *Server) Save() {
	s.t.Helper()
	s.run("cp", "-a", s.Dir, s.Dir+".saved")
}

// Restore puts the copy in the place of the stopped server's data directory.
func (s *Server) Restore() {
	s.t.Helper()
	s.run("rm", "-rf", s.Dir)
	s.run("mv", s.Dir+".saved", s.Dir)
}
