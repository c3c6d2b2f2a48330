package pageserver

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// MainBranch is the timeline that follows the source.
const MainBranch = "main"

// Branch is a name for what a timeline is at an LSN. As long as it exists, what leads there is kept, whatever the history's window.
type Branch struct {
	Name    string    `json:"name"`
	Parent  string    `json:"parent"` // branch it was made from
	LSN     pg.LSN    `json:"lsn"`
	Created time.Time `json:"created"`
}

// IsBranchName says whether a branch could have that name. None of them could be an LSN.
func IsBranchName(name string) bool { return branchName.MatchString(name) }

func checkBranchName(name string) error {
	if !IsBranchName(name) {
		return fault.Errorf(fault.BranchName, "%q cannot be a branch's name: use lower-case letters, digits, - and _, at most 63, and begin with a letter or digit", name)
	}
	return nil
}

// Branches lists the branches by name, without main. It may be called at any time.
func (t *Timeline) Branches() []Branch { return *t.branches.Load() }

// CreateBranch names what parent is at lsn, which the WAL has reached; 0 is the end of a parent other than main. When it returns nil the
// branch is durable. It costs one small write, whatever the size of the cluster, and may be called at any time.
func (t *Timeline) CreateBranch(ctx context.Context, name, parent string, lsn pg.LSN) (Branch, error) {
	f := &t.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	b := Branch{Name: name, Parent: parent, LSN: lsn, Created: f.now().UTC()}
	c := f.authority.contents
	if err := cmp.Or(f.ctx.Err(), checkBranchName(name)); err != nil {
		return b, err
	}
	if _, ok := findBranch(c.branches, name); ok || name == MainBranch {
		return b, fault.Errorf(fault.BranchExists, "branch %s exists already: choose another name, or delete it first", name)
	}
	if parent != MainBranch {
		from, ok := findBranch(c.branches, parent)
		if !ok {
			return b, unknownBranch(parent)
		}
		if b.LSN == 0 {
			b.LSN = from.LSN
		}
		if b.LSN > from.LSN {
			return b, fmt.Errorf("%w: branch %s ends at %s, %s was asked for", ErrBeyondWAL, parent, from.LSN, b.LSN)
		}
	}
	if oldest, _ := t.HistoryFrom(); b.LSN < oldest {
		return b, fmt.Errorf("%w: %s was asked for, the oldest LSN is %s", ErrBeforeHistory, b.LSN, oldest)
	}
	c.branches = append(slices.Clone(c.branches), b)
	slices.SortFunc(c.branches, func(a, b Branch) int { return strings.Compare(a.Name, b.Name) })
	return b, t.replaceBranches(ctx, c)
}

// DeleteBranch forgets a branch. What is kept for it alone goes with the next flushes.
func (t *Timeline) DeleteBranch(ctx context.Context, name string) error {
	f := &t.flusher
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.authority.contents
	if err := f.ctx.Err(); err != nil {
		return err
	}
	if name == MainBranch {
		return fault.Errorf(fault.BranchInUse, "branch %s follows the source: it cannot be deleted", name)
	}
	if _, ok := findBranch(c.branches, name); !ok {
		return unknownBranch(name)
	}
	for _, b := range c.branches {
		if b.Parent == name {
			return fault.Errorf(fault.BranchInUse, "branch %s was made from %s: delete that one first", b.Name, name)
		}
	}
	c.branches = slices.DeleteFunc(slices.Clone(c.branches), func(b Branch) bool { return b.Name == name })
	return t.replaceBranches(ctx, c)
}

// replaceBranches makes the contents with other branches the index. Under flusher.mu.
func (t *Timeline) replaceBranches(ctx context.Context, c contents) error {
	if err := t.flusher.authority.replace(ctx, t.flusher.authority.index, c); err != nil {
		return err
	}
	t.noteHistory()
	return nil
}

func findBranch(branches []Branch, name string) (Branch, bool) {
	i := slices.IndexFunc(branches, func(b Branch) bool { return b.Name == name })
	if i < 0 {
		return Branch{}, false
	}
	return branches[i], true
}

func unknownBranch(name string) error {
	return fault.Errorf(fault.BranchUnknown, "there is no branch %s: `tarn branch list` shows them", name)
}
