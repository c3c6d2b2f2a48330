package e2e

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"
)

// shrinkMinutes bounds how long a failure is made smaller.
const shrinkMinutes = 8

// shrink finds the fewest steps of a program that still fail, each time on a new database of the same server, and prints them.
func (s *stress) shrink(p program, why error) {
	s.t.Helper()
	end, tries := time.Now().Add(shrinkMinutes*time.Minute), 0
	small := minimal(p, func(q program) bool {
		if time.Now().After(end) {
			return false
		}
		tries++
		if errors.As(why, &stuckError{}) {
			s.newTarn()
		}
		run := s.newRun(1_000_000 + tries)
		defer run.drop()
		err := run.replay(q)
		if err != nil {
			why = err
			s.t.Logf("%d of %d steps fail too", len(q), len(p))
		}
		return err != nil
	})
	s.t.Errorf("of %d steps these %d are enough, found in %d tries:\n%s%v", len(p), len(small), tries, small, why)
}

// newTarn puts another in the place of one that is stuck, with a lake of its own.
func (s *stress) newTarn() {
	s.t.Helper()
	if s.tarn.running() {
		s.tarn.kill9()
	}
	s.tarn = newTarn(s.t, s.pg.ReplConnString(database))
	s.tarn.startReady()
}

// minimal leaves out of a list that fails what it fails without, in ever smaller pieces until no single one can go
// (Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input": ddmin). A list that does not fail again, as
// when time decided, is returned as it is.
func minimal[S ~[]T, T any](list S, fails func(S) bool) S {
	if !fails(list) {
		return list
	}
	for size := (len(list) + 1) / 2; size > 0; {
		smaller := false
		for from := 0; from < len(list); {
			without := append(slices.Clone(list[:from]), list[min(from+size, len(list)):]...)
			if fails(without) {
				list, smaller = without, true
			} else {
				from += size
			}
		}
		if !smaller || size > 1 {
			size /= 2
		}
	}
	return list
}

// What is needed together stays together, whatever lies around and between it.
func TestMinimal(t *testing.T) {
	list := make([]int, 150)
	for i := range list {
		list[i] = i
	}
	for _, need := range [][]int{{}, {0}, {149}, {3, 17, 140}, {70, 71, 72, 73}, {0, 149}} {
		tries := 0
		got := minimal(list, func(some []int) bool {
			tries++
			return !slices.ContainsFunc(need, func(n int) bool { return !slices.Contains(some, n) })
		})
		if fmt.Sprint(got) != fmt.Sprint(need) {
			t.Errorf("%v are needed, %v were left after %d tries", need, got, tries)
		}
	}
	if got := minimal(list, func([]int) bool { return false }); len(got) != len(list) {
		t.Errorf("a list that does not fail became %v", got)
	}
}
