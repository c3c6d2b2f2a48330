package catalog_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/laketest"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/materialize/lake"
)

// scene is a lake at one publication and the next one, which is to be interrupted.
type scene struct {
	store   *objstore.Mem
	a, b, c *laketest.Table
	next    lake.Publication
	before  map[string][]int64 // rows by table name
	after   map[string][]int64
}

func newScene(t *testing.T) *scene {
	ctx := t.Context()
	store := objstore.NewMem()
	s := &scene{store: store, a: laketest.New(store, 100, name("a")), b: laketest.New(store, 101, name("b")), c: laketest.New(store, 102, name("b"))}
	cat := open(t, store, nil)
	begin(t, cat)
	ca, cb := s.a.Change(), s.b.Change()
	ca.Create, cb.Create = true, true
	ca.AddData = []lake.File{must(s.a.Insert(ctx, 1, 2, 3))(t)}
	cb.AddData = []lake.File{must(s.b.Insert(ctx, 9))(t)}
	publish(t, cat, publication(0x100, ca, cb))
	s.before = map[string][]int64{"a": s.a.Rows(), "b": s.b.Rows()}
	ca, cb = s.a.Change(), s.b.Change()
	ca.Name = name("renamed")
	ca.AddData = []lake.File{must(s.a.Insert(ctx, 4))(t)}
	ca.AddDeletes = []lake.PositionDeletes{must(s.a.Delete(ctx, 1, 4))(t)}
	cb.Drop = true
	cc := s.c.Change()
	cc.Create = true
	cc.AddData = []lake.File{must(s.c.Insert(ctx, 77, 78))(t)}
	s.next = publication(0x200, ca, cb, cc)
	s.next.State = slices.Repeat([]byte{7}, 100_000) // an object of its own
	s.after = map[string][]int64{"renamed": s.a.Rows(), "b": s.c.Rows()}
	return s
}

// check reads the store as a new process and returns the head's LSN: everything must be as it was before or after.
func (s *scene) check(t *testing.T, what string) uint64 {
	t.Helper()
	c := open(t, s.store, nil)
	h := begin(t, c)
	want := s.before
	if h.LSN == 0x200 {
		want = s.after
	} else if h.LSN != 0x100 {
		t.Fatalf("%s: head at %s", what, h.LSN)
	}
	if h.LSN == 0x200 && len(h.State) != 100_000 {
		t.Fatalf("%s: state of %d bytes", what, len(h.State))
	}
	models := map[lake.TableID]*laketest.Table{s.a.ID: s.a, s.b.ID: s.b, s.c.ID: s.c}
	cut := must(c.View().Newest("app"))(t)
	got := map[string][]int64{}
	for _, n := range cut.Tables("public") {
		tv, _ := cut.Table("public", n)
		if tv.LSN > h.LSN {
			t.Fatalf("%s: table %s is ahead of the head", what, n)
		}
		got[n] = readRows(t, s.store, c.View(), tv, models[tv.ID].Files)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: at %s read %v, want %v", what, h.LSN, got, want)
	}
	publish(t, c, publication(0x300))
	return uint64(h.LSN)
}

// TestCrashAnywhere stops a process at every operation of Open, Begin and Publish: before it is applied, after it, and,
// for writes, with the answer of just that one lost while the process goes on.
func TestCrashAnywhere(t *testing.T) {
	modes := map[string]func(f *objstore.Faulty, n int) (hits func() int){
		"dies before": func(f *objstore.Faulty, n int) func() int {
			return f.Inject(objstore.Fault{Skip: n, Err: objstore.ErrInjected})
		},
		"dies after": func(f *objstore.Faulty, n int) func() int {
			hits := f.Inject(objstore.Fault{Skip: n, Times: 1, LoseReply: true})
			f.Inject(objstore.Fault{Skip: n, Err: objstore.ErrInjected})
			return hits
		},
		"answer lost": func(f *objstore.Faulty, n int) func() int {
			return f.Inject(objstore.Fault{Op: objstore.OpAnyPut, Skip: n, Times: 1, LoseReply: true})
		},
		"lost as precondition": func(f *objstore.Faulty, n int) func() int {
			return f.Inject(objstore.Fault{Op: objstore.OpPutIfAbsent, Skip: n, Times: 1, LoseReply: true, Err: objstore.ErrPrecondition})
		},
	}
	for mode, inject := range modes {
		t.Run(mode, func(t *testing.T) {
			outcomes := map[uint64]int{}
			for n := 0; ; n++ {
				s := newScene(t)
				faulty := objstore.NewFaulty(s.store)
				hits := inject(faulty, n)
				err := interrupted(t.Context(), faulty, s.next)
				lsn := s.check(t, fmt.Sprintf("%s, operation %d", mode, n))
				if err == nil && lsn != 0x200 {
					t.Fatalf("%s, operation %d: published, and the head is %x", mode, n, lsn)
				}
				if err != nil && (mode == "answer lost" || mode == "lost as precondition") {
					t.Errorf("%s, operation %d: one lost answer was not survived: %v", mode, n, err)
				}
				outcomes[lsn]++
				if hits() == 0 {
					break
				}
			}
			t.Logf("%v", outcomes)
			if mode != "answer lost" && mode != "lost as precondition" && (outcomes[0x100] == 0 || outcomes[0x200] == 0) {
				t.Errorf("not both outcomes were met: %v", outcomes)
			}
		})
	}
}

func interrupted(ctx context.Context, store objstore.Store, p lake.Publication) error {
	c, err := catalog.Open(ctx, catalog.Options{Store: store, MaintainEvery: -1, Retries: []time.Duration{0, 0}})
	if err != nil {
		return err
	}
	if _, err := c.Begin(ctx); err != nil {
		return err
	}
	return c.Publish(ctx, p)
}

// TestTwoWriters: many writers take the lake from each other; whatever each of them was told is what the log says.
func TestTwoWriters(t *testing.T) {
	ctx := t.Context()
	store := objstore.NewMem()
	var mu sync.Mutex
	var told []uint64 // LSNs that were published
	lsn := uint64(0)
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			c, err := catalog.Open(ctx, catalog.Options{Store: store, MaintainEvery: -1, CheckpointEvery: 5})
			if err != nil {
				t.Error(err)
				return
			}
			for range 15 {
				if _, err := c.Begin(ctx); err != nil {
					if !errors.Is(err, lake.ErrFenced) {
						t.Error(err)
					}
					continue
				}
				for range 3 {
					mu.Lock()
					lsn++
					mine := lsn
					mu.Unlock()
					err := c.Publish(ctx, publication(pgLSN(mine)))
					if err == nil {
						mu.Lock()
						told = append(told, mine)
						mu.Unlock()
						err = c.Maintain(ctx)
					}
					if errors.Is(err, lake.ErrFenced) || errors.Is(err, catalog.ErrNotBegun) {
						break
					}
				}
			}
		}()
	}
	wg.Wait()
	c := open(t, store, nil)
	var pubs []uint64
	for _, p := range c.View().Publications() {
		pubs = append(pubs, uint64(p.LSN))
	}
	for _, l := range told {
		if !slices.Contains(pubs, l) {
			t.Errorf("LSN %x was acknowledged and is not in the log", l)
		}
	}
	if !slices.IsSorted(pubs) || len(pubs) == 0 {
		t.Errorf("publications out of order: %v", pubs)
	}
	t.Logf("%d acknowledged, %d in the log", len(told), len(pubs))
}
