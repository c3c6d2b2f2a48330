package export

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
)

// Target is where a table is exported to.
type Target struct {
	Store objstore.Store
	Root  string // key prefix of the table's location, without a slash at either end; empty for the whole store
}

// key is an object below the location.
func (t Target) key(name string) string { return path.Join(t.Root, name) }

func (t Target) location() string { return strings.TrimSuffix(t.Store.URL(t.Root), "/") }

// noteName is of the object that says that an export is under way. It is there from before the first object until after the last.
const noteName = "tarn-export.json"

// note is what it says, for whoever finds an export that was killed.
type note struct {
	Table string    `json:"table"`
	LSN   string    `json:"lsn"`
	Begun time.Time `json:"begun"`
	Nonce uuid.UUID `json:"nonce"`
}

// claim takes the target, if nothing is there.
//
// Invariant: of two that claim one target at most one succeeds, and the other has removed nothing.
func (t Target) claim(ctx context.Context, r Report) error {
	if err := t.empty(ctx); err != nil {
		return err
	}
	b, err := json.Marshal(note{Table: r.Table, LSN: r.LSN.String(), Begun: time.Now().UTC(), Nonce: uuid.New()})
	if err != nil {
		return err
	}
	if _, err := t.Store.PutIfAbsent(ctx, t.key(noteName), b); err != nil && !t.has(ctx, b) {
		if errors.Is(err, objstore.ErrPrecondition) {
			return t.taken(t.key(noteName))
		}
		return fmt.Errorf("export to %s: %w", t.location(), err)
	}
	// Another export may have ended between the look and the note.
	if err := t.empty(ctx); err != nil {
		return errors.Join(err, t.release(ctx))
	}
	return nil
}

// has says whether the note is the one we tried to put: the answer may have been lost.
func (t Target) has(ctx context.Context, note []byte) bool {
	b, _, err := t.Store.Get(ctx, t.key(noteName))
	return err == nil && bytes.Equal(b, note)
}

func (t Target) taken(key string) error {
	if strings.HasSuffix(key, noteName) {
		return fault.Errorf(fault.ExportTaken, "%s is taken: an export there is under way, or was killed (%s): name another --to, or remove the folder if none is", t.location(), key)
	}
	return fault.Errorf(fault.ExportTaken, "%s is not empty (%s): name another --to", t.location(), key)
}

// errSeen ends a list.
var errSeen = errors.New("seen")

// empty refuses a target in which there is anything but a note of ours.
func (t Target) empty(ctx context.Context) error {
	prefix, seen := "", ""
	if t.Root != "" {
		prefix = t.Root + "/"
	}
	err := t.Store.List(ctx, prefix, func(o objstore.ObjectInfo) error {
		seen = o.Key
		if seen == t.key(noteName) {
			return nil
		}
		return errSeen
	})
	if errors.Is(err, errSeen) {
		return t.taken(seen)
	}
	return err
}

// release says that the export has ended.
func (t Target) release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if err := t.Store.Delete(ctx, t.key(noteName)); err != nil {
		return fmt.Errorf("the export has ended, and its note is left: remove %s: %w", t.Store.URL(t.key(noteName)), err)
	}
	return nil
}

// undoTimeout bounds what is removed after a failure; the rest is left under a note.
const undoTimeout = time.Minute

// undo removes what was put, also when it is ctx that ended the export. The hint and metadata.json, put last, go first: without
// them nothing is a table.
func (t Target) undo(ctx context.Context, keys []string) error {
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	g, gctx := errgroup.WithContext(short)
	g.SetLimit(16)
	for i := len(keys) - 1; i >= 0; i-- {
		if i >= len(keys)-2 {
			if err := t.Store.Delete(short, keys[i]); err != nil {
				return t.left(err)
			}
			continue
		}
		g.Go(func() error { return t.Store.Delete(gctx, keys[i]) })
	}
	if err := g.Wait(); err != nil {
		return t.left(err)
	}
	return t.release(ctx)
}

func (t Target) left(err error) error {
	return fmt.Errorf("and what was copied to %s so far could not be removed: %w", t.location(), err)
}
