package engines

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

const bucket = "lake"

// engineSet is the S3 server and the engines, which all tests share: they take longer to start than to answer.
type engineSet struct {
	dir     string
	s3      *s3test.Server
	group   sync.WaitGroup
	mu      sync.Mutex
	readers map[string]*lakecheck.Reader
	failed  []error
	took    []string
}

var engines *engineSet // nil until a test needs it

func TestMain(m *testing.M) {
	code := m.Run()
	if engines != nil {
		engines.close()
	}
	os.Exit(code)
}

// startEngines has all engines starting, side by side; await waits for them.
func startEngines(t *testing.T) *engineSet {
	t.Helper()
	if engines != nil {
		return engines
	}
	pythons := map[string]string{}
	for _, name := range lakecheck.Engines {
		python, err := lakecheck.FindPython(t.Context(), name)
		if err != nil {
			pgtest.Missing(t, err)
		}
		pythons[name] = python
	}
	dir, err := os.MkdirTemp("", "tarn-engines")
	if err != nil {
		t.Fatal(err)
	}
	e := &engineSet{dir: dir, readers: map[string]*lakecheck.Reader{}}
	if e.s3, err = s3test.Start(dir, bucket); err != nil {
		_ = os.RemoveAll(dir)
		if errors.Is(err, s3test.ErrNoServer) {
			pgtest.Missing(t, err)
		}
		t.Fatal(err)
	}
	engines = e
	for name, python := range pythons {
		e.group.Go(func() { e.start(name, python) })
	}
	return e
}

func (e *engineSet) start(name, python string) {
	began := time.Now()
	env := e.s3.Environ("")
	if name == lakecheck.Spark {
		env = append(env, "TARN_SPARK_JARS="+jdbcDriver())
	}
	reader, err := lakecheck.StartReader(context.Background(), python, name, env...)
	e.mu.Lock()
	defer e.mu.Unlock()
	if err != nil {
		e.failed = append(e.failed, err)
		return
	}
	e.readers[name] = reader
	e.took = append(e.took, fmt.Sprintf("%s in %.1f s", name, time.Since(began).Seconds()))
}

func (e *engineSet) await(t *testing.T) map[string]*lakecheck.Reader {
	t.Helper()
	e.group.Wait()
	if err := errors.Join(e.failed...); err != nil {
		t.Fatal(err)
	}
	t.Logf("started: %v", e.took)
	return e.readers
}

func (e *engineSet) close() {
	e.group.Wait()
	for _, reader := range e.readers {
		_ = reader.Close() // its end is the end of the tests
	}
	e.s3.Stop()
	_ = os.RemoveAll(e.dir)
}
