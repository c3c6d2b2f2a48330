package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// BranchPrefix is where the lakes of branches are described.
const BranchPrefix = "catalog/branch/"

// Branch is the lake of a branch: every table as it was at the branch's LSN. It is written once, whole, and never changed.
//
// Invariant: Keys are all objects that a reader of Tables needs, the metadata.json objects included.
type Branch struct {
	Name       string        `json:"name"`
	Created    time.Time     `json:"created"` // the branch, which tells it from a former one of that name
	LSN        pg.LSN        `json:"lsn"`
	Base       pg.LSN        `json:"base,omitempty"` // of the publication whose files it began with; 0: it has none of another lake's
	Time       time.Time     `json:"time"`           // when this was made
	SystemID   uint64        `json:"system_id,string"`
	Timeline   pg.TimelineID `json:"timeline"`
	CommitTime time.Time     `json:"commit_time,omitzero"`
	Tables     []Table       `json:"tables"` // without State and Prev; Seq is 1
	Keys       []string      `json:"keys"`
}

func branchKey(name string) string { return BranchPrefix + name }

// WriteBranch describes a branch's lake in place of a former one of that name. When it returns nil the description is durable.
func (l *Log) WriteBranch(ctx context.Context, b *Branch) error {
	_, err := l.store.Put(ctx, branchKey(b.Name), encodePacked(magicBranch, b))
	return err
}

// RemoveBranch forgets a branch's lake; that there is none is no error.
func (l *Log) RemoveBranch(ctx context.Context, name string) error {
	return l.store.Delete(ctx, branchKey(name))
}

// ReadBranches reads the descriptions of all branches' lakes. Those that are damaged are left out, and named by the error of
// each of them in bad: what they said can be worked out anew from pages.
func (l *Log) ReadBranches(ctx context.Context) (all []Branch, bad []error, err error) {
	var keys []string
	err = l.store.List(ctx, BranchPrefix, func(o objstore.ObjectInfo) error {
		keys = append(keys, o.Key)
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	for _, key := range keys {
		b, err := l.readBranch(ctx, key)
		switch {
		case errors.Is(err, objstore.ErrNotFound):
		case errors.Is(err, ErrCorrupt):
			bad = append(bad, err)
		case err != nil:
			return nil, nil, err
		default:
			all = append(all, b)
		}
	}
	return all, bad, nil
}

func (l *Log) readBranch(ctx context.Context, key string) (b Branch, err error) {
	data, _, err := l.store.Get(ctx, key)
	if err != nil {
		return b, err
	}
	if err = decodePacked(key, magicBranch, data, &b); err != nil {
		return b, err
	}
	names := map[lake.TableName]bool{}
	for i := range b.Tables {
		names[b.Tables[i].TableName()] = true
	}
	if branchKey(b.Name) != key || len(names) != len(b.Tables) {
		err = fmt.Errorf("%w: %s describes branch %q with %d tables of %d names", ErrCorrupt, key, b.Name, len(b.Tables), len(names))
	}
	return b, err
}
