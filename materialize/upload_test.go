package materialize

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// TestUploadFails: an object of a cut that cannot be put fails the cut with the store's own error, whichever it is and
// however much is under way beside it; the lake stays as it was, and the next cut has everything.
func TestUploadFails(t *testing.T) {
	for _, what := range []string{".tids", "-rows-", "-deletes-"} {
		r, a, b := filled(t, 20)
		r.srv.do(func(x pg.XID) {
			r.srv.delete(x, a.rows[1])
			r.srv.insert(x, a, 100, "new")
			r.srv.insert(x, b, 100, "new")
		})
		before := r.lake.head.LSN
		hits := r.store.Inject(objstore.Fault{Op: objstore.OpPut, Contains: what, Times: 1, Latency: 20 * time.Millisecond, Err: objstore.ErrInjected})
		if _, err := r.tryCut(); !errors.Is(err, objstore.ErrInjected) || hits() != 1 {
			t.Errorf("%s: %v after %d faults", what, err, hits())
		}
		if r.lake.head.LSN != before {
			t.Errorf("%s: the lake moved to %s", what, r.lake.head.LSN)
		}
		r.cut()
		r.equal()
	}
}

// TestArchiveFails: WAL that is not archived holds the publication, with rows in it or without.
func TestArchiveFails(t *testing.T) {
	r, a, _ := filled(t, 5)
	var fault error
	r.eng.opts.Archive = func(context.Context, pg.LSN) error { return fault }
	for _, change := range []func(x pg.XID){func(x pg.XID) { r.srv.insert(x, a, 100, "new") }, func(pg.XID) {}} {
		r.srv.do(change)
		before := r.lake.head.LSN
		fault = errors.New("no WAL today")
		if _, err := r.tryCut(); !errors.Is(err, fault) || !errors.Is(err, ErrRetry) || r.lake.head.LSN != before {
			t.Errorf("%v, the lake at %s", err, r.lake.head.LSN)
		}
		fault = nil
		r.cut()
		r.equal()
	}
}

// meeting is a store whose puts wait for each other: none ends before so many have begun.
type meeting struct {
	objstore.Store
	mu    sync.Mutex
	want  int
	begun int
	all   chan struct{}
}

func (m *meeting) Put(ctx context.Context, key string, data []byte) (objstore.ObjectInfo, error) {
	m.mu.Lock()
	if m.begun++; m.begun == m.want {
		close(m.all)
	}
	m.mu.Unlock()
	select {
	case <-m.all:
		return m.Store.Put(ctx, key, data)
	case <-time.After(10 * time.Second):
		return objstore.ObjectInfo{}, fmt.Errorf("%s: it waits for %d puts to be under way at once", key, m.want)
	}
}

// TestUploadsMeet: the objects of all tables of a cut are put at once, however few tables are worked on at a time.
func TestUploadsMeet(t *testing.T) {
	r, a, b := filled(t, 5)
	r.srv.do(func(x pg.XID) {
		for i, tab := range []*table0{a, b} {
			r.srv.delete(x, tab.rows[1])
			r.srv.insert(x, tab, 100+i, "new")
		}
	})
	r.eng.opts.Store = &meeting{Store: r.store, want: 6, all: make(chan struct{})} // file, TID set and deletes of each
	r.cut()
	r.equal()
}
