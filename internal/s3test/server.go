// Package s3test runs a real S3 server for tests: versitygw, over a folder whose files can be looked at, or minio where TARN_MINIO
// names its program, as a second opinion. Between it and a client a Proxy can make requests slow, fail, or lose their answers.
package s3test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// The server's account and region.
const (
	AccessKeyID     = "tarn-test"
	SecretAccessKey = "tarn-test-secret"
	Region          = "us-east-1"
)

// version is what internal/tools/install-versitygw installs.
const version = "v1.8.0"

// Server is a running versitygw or minio.
type Server struct {
	URL  string // http://127.0.0.1:port
	Root string // folder of the buckets
	cmd  *exec.Cmd
	done chan error
}

// TB is what is used of testing.TB.
type TB interface {
	pgtest.TB
	TempDir() string
}

// New starts a server for a test with one bucket, and stops it at the test's end. Without the program the test is skipped,
// or fails under CI=true.
func New(t TB, bucket string) *Server {
	t.Helper()
	s, err := Start(t.TempDir(), bucket)
	if errors.Is(err, ErrNoServer) {
		pgtest.Missing(t, err)
	}
	if err != nil {
		t.Fatalf("start the S3 server: %v", err)
	}
	t.Cleanup(s.Stop)
	return s
}

// ErrNoServer: the program is not on this machine.
var ErrNoServer = errors.New("no versitygw: run internal/tools/install-versitygw")

// minio is the program TARN_MINIO names, or "".
func minio() string { return os.Getenv("TARN_MINIO") }

// health is where a server says that it is ready; versitygw is when it answers.
func health() string {
	if minio() != "" {
		return "/minio/health/ready"
	}
	return "/"
}

// find looks for the program in .cache/bin of the module, and on the PATH.
func find() (string, error) {
	if p := minio(); p != "" {
		if !executable(p) {
			return "", fmt.Errorf("TARN_MINIO names %s, which is no program: name minio's, or unset it", p)
		}
		return p, nil
	}
	if root := pgtest.ModuleRoot(); root != "" {
		if p := filepath.Join(root, ".cache", "bin", "versitygw-"+version); executable(p) {
			return p, nil
		}
	}
	if p, err := exec.LookPath("versitygw"); err == nil {
		return p, nil
	}
	return "", ErrNoServer
}

func executable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// Start starts a server with one bucket, its files and its log in dir.
func Start(dir, bucket string) (*Server, error) {
	bin, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{Root: filepath.Join(dir, "buckets")}
	if err := os.MkdirAll(filepath.Join(s.Root, bucket), 0o755); err != nil {
		return nil, err
	}
	for range 3 { // the port may be taken between its choice and its use
		if err = s.run(bin, dir); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func (s *Server) run(bin, dir string) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	addr := l.Addr().String()
	l.Close()
	log, err := os.Create(filepath.Join(dir, "s3.log"))
	if err != nil {
		return err
	}
	defer log.Close()
	if minio() != "" {
		s.cmd = exec.Command(bin, "server", "--address", addr, "--console-address", "127.0.0.1:0", s.Root)
		s.cmd.Env = append(os.Environ(), "MINIO_ROOT_USER="+AccessKeyID, "MINIO_ROOT_PASSWORD="+SecretAccessKey, "MINIO_REGION="+Region, "MINIO_BROWSER=off")
	} else {
		s.cmd = exec.Command(bin, "--port", addr, "--region", Region, "--quiet", "posix", s.Root)
		s.cmd.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKeyID, "ROOT_SECRET_KEY="+SecretAccessKey)
	}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	dieWithParent(s.cmd)
	if err := s.cmd.Start(); err != nil {
		return err
	}
	s.URL, s.done = "http://"+addr, make(chan error, 1)
	go func() { s.done <- s.cmd.Wait() }()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case err := <-s.done:
			out, _ := os.ReadFile(log.Name())
			return fmt.Errorf("it ended (%v): %s", err, strings.TrimSpace(string(out)))
		default:
		}
		if resp, err := http.Get(s.URL + health()); err == nil {
			resp.Body.Close()
			if minio() == "" || resp.StatusCode == http.StatusOK {
				return nil
			}
		}
	}
	s.Stop()
	return errors.New("it does not answer")
}

// Stop ends the server; its files stay until the test's folder goes.
func (s *Server) Stop() {
	if s.cmd.Process != nil {
		_ = s.cmd.Process.Kill() // it may have ended
	}
	select {
	case err := <-s.done:
		s.done <- err // for a second Stop
	case <-time.After(10 * time.Second):
	}
}

// Options are those with which the store is opened, at endpoint or, if that is empty, at the server itself.
func (s *Server) Options(endpoint string) objstore.S3Options {
	if endpoint == "" {
		endpoint = s.URL
	}
	return objstore.S3Options{Endpoint: endpoint, Region: Region, AccessKeyID: AccessKeyID, SecretAccessKey: SecretAccessKey}
}

// Open opens s3://bucket/prefix.
func (s *Server) Open(t TB, bucket, prefix string) *objstore.S3 {
	t.Helper()
	store, err := objstore.OpenS3(context.Background(), bucket, prefix, s.Options(""))
	if err != nil {
		t.Fatalf("open s3://%s/%s: %v", bucket, prefix, err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

// Environ is the AWS environment of a client of endpoint.
func (s *Server) Environ(endpoint string) []string {
	o := s.Options(endpoint)
	return []string{"AWS_ENDPOINT_URL=" + o.Endpoint, "AWS_REGION=" + Region, "AWS_ACCESS_KEY_ID=" + AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + SecretAccessKey}
}
