package server

import (
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
)

// TestCommitTimes: the first commit of an interval is always timed, the sample is bounded and even, and commits that are
// published already are not timed again when WAL is redone after a restart.
func TestCommitTimes(t *testing.T) {
	start := time.Unix(1_700_000_000, 0)
	c := commitTimes{after: 100}
	for lsn := pg.LSN(1); lsn <= 100; lsn++ {
		c.note(lsn, start)
	}
	if !c.first().IsZero() {
		t.Error("a published commit waits")
	}
	const n = 100_000
	for i := range n {
		c.note(pg.LSN(101+i), start.Add(time.Duration(i)*time.Millisecond))
		c.note(pg.LSN(101+i), start.Add(time.Duration(i)*time.Millisecond)) // seen again with the next record
	}
	if !c.first().Equal(start) {
		t.Errorf("first is %s", c.first())
	}
	times := c.take()
	if len(times) < commitTimesMax/2 || len(times) > commitTimesMax {
		t.Errorf("%d times", len(times))
	}
	stride := times[1].Sub(times[0])
	for i := 1; i < len(times); i++ {
		if d := times[i].Sub(times[i-1]); d != stride {
			t.Fatalf("sample %d is %s after the one before, others %s", i, d, stride)
		}
	}
	if last := times[len(times)-1].Sub(start); last < (n-2*n/commitTimesMax*2)*time.Millisecond {
		t.Errorf("the sample ends at %s", last)
	}
	if !c.first().IsZero() {
		t.Error("what was taken still waits")
	}
}
