package pageserver

import (
	"runtime"
	"sync"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// run is records applied together: all of them are begun, then their pages are redone. Apply's has one.
type run struct {
	recs    []wal.Record
	before  pg.LSN // where the record before them ended
	need    int    // pages kept free for the blocks they name
	touched []touch
	from    int // where the touches of the record being begun start
	vm      []redo.VMChange
	made    []*relation // relations the record being begun has brought into being

	parts  []part
	landed sync.WaitGroup
}

// reset makes it the run of a single record, of Apply.
func (r *run) reset() { r.touched, r.from, r.made, r.vm = r.touched[:0], 0, r.made[:0], r.vm[:0] }

// part is one worker's share of a run.
type part struct {
	list []uint32 // touches, in order: all of the pages it has
	bad  *wal.Record
	err  error // of bad
}

// workersMax bounds DefaultWorkers: more of them wait for the goroutine that reads and begins.
const workersMax = 2

// DefaultWorkers is what Options.Workers should be for a server that may use all processors: none if there is one.
func DefaultWorkers() int { return min(workersMax, runtime.GOMAXPROCS(0)-1) }

// workers redo the pages of runs. A page is always the same worker's.
type workers struct {
	todo []chan *run
	wg   sync.WaitGroup
}

// start makes n workers, once.
func (w *workers) start(t *Timeline, n int) {
	for i := len(w.todo); i < n; i++ {
		todo := make(chan *run, 1)
		w.todo = append(w.todo, todo)
		w.wg.Go(func() {
			for r := range todo {
				p := &r.parts[i]
				p.bad, p.err = t.redoTouches(r, p.list)
				r.landed.Done()
			}
		})
	}
}

func (w *workers) stop() {
	for _, todo := range w.todo {
		close(todo)
	}
	w.todo = nil
	w.wg.Wait()
}

// workersFrom is how many touches a run has before it is worth waking a worker for: a server that keeps up has short runs.
const workersFrom = 128

// launch has the pages of a run redone. When it returns false they are.
func (t *Timeline) launch(r *run) (flying bool) {
	t.flight = r
	n := t.opts.Workers
	if flying = n > 0 && len(r.touched) >= workersFrom; !flying {
		n = 1
	}
	for len(r.parts) < n {
		r.parts = append(r.parts, part{})
	}
	for i := range r.parts {
		r.parts[i] = part{list: r.parts[i].list[:0]}
	}
	for i := range r.touched {
		p := &r.parts[int(r.touched[i].id)%n]
		p.list = append(p.list, uint32(i))
	}
	if !flying {
		r.parts[0].bad, r.parts[0].err = t.redoTouches(r, r.parts[0].list)
		return false
	}
	t.workers.start(t, n)
	r.landed.Add(n)
	for _, todo := range t.workers.todo {
		todo <- r
	}
	return true
}

// land waits for the run in flight.
func (t *Timeline) land() {
	r := t.flight
	r.landed.Wait()
	t.flight = nil
	var first *part
	for i := range r.parts {
		if p := &r.parts[i]; p.bad != nil && (first == nil || p.bad.LSN < first.bad.LSN) {
			first = p
		}
	}
	if first == nil {
		return
	}
	t.redoLSN = r.before
	for i := 0; &r.recs[i] != first.bad; i++ {
		t.redoLSN = r.recs[i].End
	}
	t.failed = t.at(first.bad, first.err)
}

// redoTouches redoes the touches that list names.
func (t *Timeline) redoTouches(r *run, list []uint32) (*wal.Record, error) {
	for _, i := range list {
		tc := &r.touched[i]
		if err := t.redoOne(tc, true); err != nil {
			return tc.rec, err
		}
		t.copyImage(tc)
	}
	return nil, nil
}
