package pageserver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// TestBranches: a branch keeps what it names while everything else of the past goes, over merges and restarts, and no longer.
func TestBranches(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewFaulty(objstore.NewMem())
	o := Options{Store: store}
	tl := importPages(t, o, 4)
	change := func(version int) pg.LSN {
		apply(t, tl, fpi(tl.nextLSN(), 0, testRel, version, 2))
		flush(t, tl)
		return tl.RedoLSN()
	}
	create := func(name, parent string, lsn pg.LSN, want fault.Code) {
		t.Helper()
		b, err := tl.CreateBranch(ctx, name, parent, lsn)
		if got := fault.CodeOf(err); err == nil && want != 0 || err != nil && got != want {
			t.Errorf("branch %q of %s at %s: %+v, %v", name, parent, lsn, b, err)
		}
	}
	version := func(name string, to Target) string {
		t.Helper()
		past, _, err := OpenPast(ctx, Options{Store: store, Branch: name}, to, objstore.NewMem())
		if err != nil {
			return fault.CodeOf(err).String()
		}
		defer past.Close()
		return fmt.Sprint(pageVersion(t, past, testRel, 2))
	}
	first := change(1)
	// The answer to the put is lost; the branch is there all the same, once.
	store.Inject(objstore.Fault{Op: objstore.OpPutIfMatch, Times: 1, LoseReply: true})
	create("one", "main", first, 0)
	store.Clear()
	second := change(2)
	create("two", "main", second+8, 0) // within the WAL behind the point
	third := change(3)
	create("nested", "two", 0, 0)
	create("earlier", "two", second, 0)
	create("one", "main", third, fault.BranchExists)
	create("main", "main", third, fault.BranchExists)
	create("beyond", "one", second, fault.BeyondWAL)
	create("orphan", "none", first, fault.BranchUnknown)
	create("No", "main", third, fault.BranchName)
	create("../x", "main", third, fault.BranchName)
	create("", "main", third, fault.BranchName)
	create("old", "main", first-8, fault.BeforeHistory)
	for i := range 3 {
		change(4 + i)
	}
	mergeAll(t, tl)
	for range 2 {
		names := ""
		for _, b := range tl.Branches() {
			names += fmt.Sprintf("%s<%s@%s ", b.Name, b.Parent, b.LSN)
		}
		if want := fmt.Sprintf("earlier<two@%s nested<two@%s one<main@%s two<main@%s ", second, second+8, first, second+8); names != want {
			t.Errorf("branches %s, want %s", names, want)
		}
		for name, want := range map[string]string{"one": "1", "two": "2", "nested": "2", "earlier": "2", "main": "6", "": "6", "none": fault.BranchUnknown.String()} {
			if got := version(name, Target{}); got != want {
				t.Errorf("branch %q has version %s, want %s", name, got, want)
			}
		}
		if got := version("one", Target{LSN: second}); got != fault.BeyondWAL.String() {
			t.Errorf("behind the end of a branch: %s", got)
		}
		if got := version("two", Target{LSN: first}); got != "1" {
			t.Errorf("a branch before its end, for another one keeps that: %s", got)
		}
		tl = reopen(t, tl)
	}
	for _, c := range []struct {
		name string
		want fault.Code
	}{{"two", fault.BranchInUse}, {"main", fault.BranchInUse}, {"none", fault.BranchUnknown}, {"nested", 0}, {"earlier", 0}, {"two", 0}, {"one", 0}, {"one", fault.BranchUnknown}} {
		if err := tl.DeleteBranch(ctx, c.name); err == nil && c.want != 0 || err != nil && fault.CodeOf(err) != c.want {
			t.Errorf("delete %s: %v", c.name, err)
		}
	}
	change(7)
	if c := tl.flusher.authority.contents; len(c.points)+len(c.retired)+len(c.branches) != 0 {
		t.Errorf("%d points, %d retired layers, %d branches are left", len(c.points), len(c.retired), len(c.branches))
	}
	if err := tl.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tl.CreateBranch(ctx, "late", "main", third); !errors.Is(err, context.Canceled) {
		t.Errorf("a branch of a timeline that is closed: %v", err)
	}
}
