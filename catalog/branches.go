package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// ErrNoBranch: there is no branch of that name, or none that the catalog was told of.
var ErrNoBranch = fault.New(fault.BranchUnknown, "no such branch")

// NotReadyError: the branch is there, and its lake is not, or not yet.
type NotReadyError struct {
	Branch string
	Err    error // why; nil: it is being made
}

func (e *NotReadyError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("the lake of branch %s could not be made, which is tried again: %s", e.Branch, e.Err)
	}
	return fmt.Sprintf("the lake of branch %s is being made: try again in a moment", e.Branch)
}

func (e *NotReadyError) Unwrap() error { return e.Err }

// BranchID is a branch of the page store. Created tells it from a former one of that name.
type BranchID struct {
	Name    string
	LSN     pg.LSN
	Created time.Time
}

// Equal says whether two are the same branch.
func (b BranchID) Equal(o BranchID) bool {
	return b.Name == o.Name && b.LSN == o.LSN && b.Created.Equal(o.Created)
}

// branchLakes are the lakes of branches that there are, and what was let go of with those that are no more.
type branchLakes struct {
	making int // lakes under way; maintainMu guards it

	mu       sync.RWMutex // guards what follows
	lakes    map[string]*branchLake
	pending  map[string]error // branches whose lakes are not ready, and why; nil: they are being made
	released []released
}

// branchLake is one of them.
type branchLake struct {
	id    BranchID
	state *state
	keys  map[string]bool
}

// released is what a branch's lake named. It may be removed, unless others need it, once the lake is gone for the grace time.
type released struct {
	at   time.Time
	keys map[string]bool
}

func newBranchLake(b *journal.Branch) *branchLake {
	l := &branchLake{id: BranchID{b.Name, b.LSN, b.Created}, keys: make(map[string]bool, len(b.Keys)), state: newState()}
	for _, key := range b.Keys {
		l.keys[key] = true
	}
	s := l.state
	s.systemID, s.timeline = b.SystemID, b.Timeline
	s.pubs = []Publication{{Seq: 1, LSN: b.LSN, CommitTime: b.CommitTime, Time: b.Time}}
	for _, rec := range b.Tables {
		t := &tableState{rec: rec, versions: []version{versionOf(&rec.Version, nil)}}
		s.tables[rec.ID()], s.names[rec.TableName()] = t, t
		s.index(rec.Database, rec.ID(), t)
	}
	return l
}

// loadBranches reads which lakes there are. A damaged description is as none: the lake is made anew.
func (c *Catalog) loadBranches(ctx context.Context) error {
	all, bad, err := c.log.ReadBranches(ctx)
	if err != nil {
		return err
	}
	for _, err := range bad {
		c.opts.Logger.Error("the lake of a branch is lost; it is made anew from its pages", "error", err)
	}
	c.branches.lakes = map[string]*branchLake{}
	for i := range all {
		c.branches.lakes[all[i].Name] = newBranchLake(&all[i])
	}
	return nil
}

// without are the keys that no branch's lake needs, and that none has needed within the grace time.
func (b *branchLakes) without(keys []string) []string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, l := range b.lakes {
		keys = without(keys, l.keys)
	}
	for _, r := range b.released {
		keys = without(keys, r.keys)
	}
	return keys
}

// BranchLakes lists the branches whose lakes are ready; in a process that does not write, those that were so at Open.
func (v View) BranchLakes() []BranchID {
	b := &v.c.branches
	b.mu.RLock()
	defer b.mu.RUnlock()
	list := make([]BranchID, 0, len(b.lakes))
	for _, l := range b.lakes {
		list = append(list, l.id)
	}
	slices.SortFunc(list, func(a, b BranchID) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Branch is a database at the LSN of a branch: ErrNoBranch, *NotReadyError or ErrNoDatabase if there is none.
func (v View) Branch(database, name string) (Cut, error) {
	b := &v.c.branches
	b.mu.RLock()
	defer b.mu.RUnlock()
	if err, ok := b.pending[name]; ok {
		return Cut{}, &NotReadyError{name, err}
	}
	l := b.lakes[name]
	if l == nil {
		return Cut{}, fmt.Errorf("%w: %q", ErrNoBranch, name)
	}
	if len(l.state.databases[database]) == 0 {
		return Cut{}, fmt.Errorf("%w: %q", ErrNoDatabase, database)
	}
	return Cut{Publication: l.state.head(), Database: database, c: v.c, branch: l.state}, nil
}

// Pending says which branches have no lake yet, and why; nil is that it is being made. Readers who ask for one are told so.
func (c *Catalog) Pending(branches map[string]error) {
	c.branches.mu.Lock()
	defer c.branches.mu.Unlock()
	c.branches.pending = branches
}

// DeleteBranch forgets the lake of a branch. The files that it alone needs are removed once that is the grace time ago.
func (c *Catalog) DeleteBranch(ctx context.Context, name string) error {
	b := &c.branches
	b.mu.RLock()
	l := b.lakes[name]
	b.mu.RUnlock()
	if l == nil {
		return nil
	}
	if err := c.log.RemoveBranch(ctx, name); err != nil {
		return fmt.Errorf("forget the lake of branch %s: %w", name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lakes[name] == l {
		delete(b.lakes, name)
		b.released = append(b.released, released{at: c.opts.Now(), keys: l.keys})
	}
	return nil
}

// removeReleased removes what branches that are no more needed alone. As sweepOrphans does, it waits for the grace time after Begin:
// what was superseded before is not remembered.
func (c *Catalog) removeReleased(ctx context.Context, now time.Time) error {
	c.writeMu.Lock()
	w := c.writer
	c.writeMu.Unlock()
	if w == nil || now.Sub(w.begun) < c.opts.Grace {
		return nil
	}
	for {
		r, ok := c.branches.due(now.Add(-c.opts.Grace))
		if !ok {
			return nil
		}
		byRoot := map[string][]string{}
		for key := range r.keys {
			byRoot[rootOf(key)] = append(byRoot[rootOf(key)], key)
		}
		roots := c.roots()
		for root, keys := range byRoot {
			if err := c.sweepTable(ctx, root, roots, keys); err != nil {
				c.branches.putBack(r)
				return err
			}
		}
	}
}

// due takes out what was released longest ago if that is at or before the cutoff.
func (b *branchLakes) due(cutoff time.Time) (r released, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.released) == 0 || b.released[0].at.After(cutoff) {
		return r, false
	}
	r, b.released = b.released[0], b.released[1:]
	return r, true
}

func (b *branchLakes) putBack(r released) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.released = append([]released{r}, b.released...)
}
