package engines

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/lakecheck"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

const database = "app"

const readyTimeout = 3 * time.Minute // engines that start beside it take the processors

// rig is a Postgres, a tarn that publishes it to the store, and every engine.
type rig struct {
	t       *testing.T
	pg      *pgtest.Server
	conn    *pgx.Conn
	catalog string // URL
	http    string // address
	dir     string
	s3      *s3test.Server
	readers map[string]*lakecheck.Reader
	store   string // URL
	rules   string // of tables in tarn.yaml; empty for none
	stop    func() // ends tarn

	warehouses []string            // after each step
	recorded   map[string]recorded // by table and step
}

// newRig starts Postgres and tarn; engines start meanwhile, if they do not run yet. setup is SQL before tarn attaches.
func newRig(t *testing.T, major int, setup ...string) *rig {
	t.Helper()
	return newRigOn(t, major, bucketStore(t), "", setup...)
}

// bucketStore is a store in the engines' bucket that is the test's own.
func bucketStore(t *testing.T) string {
	return "s3://" + bucket + "/" + filepath.Base(filepath.Dir(t.TempDir()))
}

// newRigOn is newRig with a store of its own, and rules of tables.
func newRigOn(t *testing.T, major int, store, rules string, setup ...string) *rig {
	t.Helper()
	e := startEngines(t)
	r := &rig{t: t, dir: t.TempDir(), s3: e.s3, recorded: map[string]recorded{}, store: store, rules: rules}
	r.pg = pgtest.NewTestServer(t, pgtest.Options{Major: major, Databases: []string{database}})
	r.exec(setup...)
	r.startTarn()
	var err error
	if r.conn, err = pgx.Connect(t.Context(), r.pg.ConnString(database)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.conn.Close(context.Background()) })
	r.readers = e.await(t)
	return r
}

func (r *rig) startTarn() {
	r.t.Helper()
	bin := os.Getenv("TARN_BIN")
	if bin == "" {
		bin = filepath.Join(r.dir, "tarn")
		if out, err := exec.Command("go", "build", "-o", bin, "github.com/tarn-db/tarn/cmd/tarn").CombinedOutput(); err != nil {
			r.t.Fatalf("build tarn: %v: %s", err, out)
		}
	}
	r.http = freeAddr(r.t)
	catalog := freeAddr(r.t)
	r.catalog = "http://" + catalog
	config := filepath.Join(r.dir, "tarn.yaml")
	yaml := fmt.Sprintf("store: %s\ndata_dir: %s\nsource: {url: %q, slot: tarn}\ncatalog: {listen: %q}\nhttp: {listen: %q}\nsql: {listen: %q}\npublish: {interval: 200ms}\n%s",
		r.store, filepath.Join(r.dir, "data"), r.pg.ReplConnString(database), catalog, r.http, freeAddr(r.t), r.rules)
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		r.t.Fatal(err)
	}
	cmd := exec.Command(bin, "serve", "--config", config)
	cmd.Env = append(os.Environ(), r.s3.Environ("")...)
	r.stop = r.run(cmd, "tarn.log", func() bool {
		resp, err := http.Get("http://" + r.http + "/readyz")
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

// run starts a server, waits until it is ready, and ends it with the test. What it returns ends it sooner.
func (r *rig) run(cmd *exec.Cmd, logName string, ready func() bool) (stop func()) {
	r.t.Helper()
	path := filepath.Join(r.dir, logName)
	log, err := os.Create(path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	stop = sync.OnceFunc(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-exited
	})
	r.t.Cleanup(func() {
		stop()
		if r.t.Failed() {
			r.t.Logf("end of %s:\n%s", logName, tail(path))
		}
	})
	for deadline := time.Now().Add(readyTimeout); !ready(); time.Sleep(50 * time.Millisecond) {
		select {
		case err := <-exited:
			exited <- err
			r.t.Fatalf("%s ended: %v", cmd.Path, err)
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("%s is not ready after %v", cmd.Path, readyTimeout)
		}
	}
	return stop
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

func freeAddr(t *testing.T) string {
	port, err := pgtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func (r *rig) exec(statements ...string) {
	r.t.Helper()
	if err := r.pg.Exec(r.t.Context(), database, statements...); err != nil {
		r.t.Fatal(err)
	}
}

// publish waits until what is committed now is in the lake, and says under which warehouse it stays readable.
func (r *rig) publish() string {
	r.t.Helper()
	lsn, err := demo.FlushLSN(r.t.Context(), r.pg)
	if err != nil {
		r.t.Fatal(err)
	}
	client := &admin.Client{Addr: r.http}
	if _, err := client.Wait(r.t.Context(), admin.StagePublished, lsn, time.Minute); err != nil {
		r.t.Fatalf("wait for %s: %v", lsn, err)
	}
	publications, err := client.Publications(r.t.Context())
	if err != nil || len(publications) == 0 {
		r.t.Fatalf("publications: %v, %v", publications, err)
	}
	return database + "@" + publications[len(publications)-1].LSN.String()
}

// names are the rig's engines in order.
func (r *rig) names() (names []string) {
	for _, name := range lakecheck.Engines {
		if r.readers[name] != nil {
			names = append(names, name)
		}
	}
	return slices.Clip(names)
}
