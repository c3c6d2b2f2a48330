package pageserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
)

var (
	// ErrNoTimeline: the store has no timeline of that branch.
	ErrNoTimeline = errors.New("no timeline in the store")
	// ErrFenced: another process has taken the timeline over. This one must stop.
	ErrFenced = fault.New(fault.StoreTaken, "timeline was taken over by another process")
	// ErrVersion: the store was written by a newer tarn.
	ErrVersion = fault.New(fault.StoreNewer, "timeline format version is not supported")
)

const (
	indexFormat  = "tarn-timeline"
	indexVersion = 3 // 1 and 2 are read too: neither had deltas, and 1 had neither points nor what belongs to them
	indexName    = "index.json"
)

// timelineIndex is the object timelines/<branch>/index.json: the sole authority on what a timeline consists of. It is
// JSON, replaced by conditional put; everything it names was written before and never changes.
//
//	format            "tarn-timeline"
//	version           3
//	nonce             of this write: tells a writer whether a put whose answer it lost was its own
//	postgres_version  major; system_id, as text: it needs all 64 bits
//	lsn               all layers and the state are as of here; WAL is resumed from here
//	state             object with everything that is not a page, as of lsn
//	commit_time       of the last commit before lsn, by the primary's clock; made: when it was written, by tarn's
//	layers            objects with their size, LSN, first and last key (hex), number of values and since, the newest first
//	points            lsn, state, commit_time and made as the index had them formerly, the oldest first
//	retired           layers that only points still need; until is where they are no longer part of the timeline. Those that are copied, of
//	                  a database made by a copy of files, stay with the delta layer that leads over their LSN
//	deltas            delta layers, the oldest first: each leads from an LSN to its own, and the next begins there
//	branches          names of LSNs, with their parent and when they were created; the points that lead there are kept
//
// A point at an LSN consists of its state and of the layers with since <= LSN that have no until, or one above it. Object names
// are relative to timelines/<branch>/.
type timelineIndex struct {
	Format   string   `json:"format"`
	Version  int      `json:"version"`
	Nonce    string   `json:"nonce"`
	Major    pg.Major `json:"postgres_version"`
	SystemID uint64   `json:"system_id,string"`
	point
	Layers   []indexLayer `json:"layers"`
	Points   []point      `json:"points,omitempty"`
	Retired  []indexLayer `json:"retired,omitempty"`
	Deltas   []indexLayer `json:"deltas,omitempty"`
	Branches []Branch     `json:"branches,omitempty"`
}

// point is an LSN at which the store has the timeline whole.
type point struct {
	LSN        pg.LSN    `json:"lsn"`
	State      string    `json:"state"`
	CommitTime time.Time `json:"commit_time,omitzero"`
	Made       time.Time `json:"made,omitzero"`
}

type indexLayer struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	LSN    pg.LSN `json:"lsn"`
	First  string `json:"first"`
	Last   string `json:"last"`
	Values uint64 `json:"values"`
	Since  pg.LSN `json:"since,omitempty"`
	Until  pg.LSN `json:"until,omitempty"`
	From   pg.LSN `json:"from,omitempty"`
	Copied bool   `json:"copied,omitempty"`
}

// newNonce names an object or a write as no other is named.
func newNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// decodeIndex reads index.json.
func decodeIndex(data []byte) (x timelineIndex, err error) {
	if err := json.Unmarshal(data, &x); err != nil || x.Format != indexFormat {
		return x, &pg.CorruptError{What: fmt.Sprintf("timeline index: not one, or damaged: %v", err)}
	}
	if x.Version < 1 || x.Version > indexVersion {
		return x, fmt.Errorf("%w: version %d, this tarn reads %d: use a newer tarn", ErrVersion, x.Version, indexVersion)
	}
	for i := range x.Layers {
		if x.Version == 1 {
			x.Layers[i].Since = x.LSN
		}
		if x.Layers[i].Until != 0 {
			return x, &pg.CorruptError{What: fmt.Sprintf("timeline index: layer %q has an end", x.Layers[i].Name)}
		}
	}
	for i, d := range x.Deltas {
		if d.From >= d.LSN || d.LSN > x.LSN || i > 0 && d.From < x.Deltas[i-1].LSN {
			return x, &pg.CorruptError{What: fmt.Sprintf("timeline index: delta layer %q is out of order", d.Name)}
		}
	}
	last := pg.LSN(0)
	for _, p := range x.Points {
		if p.LSN <= last || p.LSN >= x.LSN || p.State == "" {
			return x, &pg.CorruptError{What: fmt.Sprintf("timeline index: point at %s is out of order", p.LSN)}
		}
		last = p.LSN
	}
	return x, nil
}

// layerObjects makes the layers of a list.
func layerObjects(list []indexLayer) (layers []*layerObject, err error) {
	for _, l := range list {
		first, err1 := decodeKey(l.First)
		last, err2 := decodeKey(l.Last)
		if err := errors.Join(err1, err2); err != nil || l.Size <= 0 || first.Compare(last) > 0 || l.Until != 0 && (l.Until < l.Since || l.Until == l.Since && !l.Copied) {
			return nil, &pg.CorruptError{What: fmt.Sprintf("timeline index: layer %q: %v", l.Name, err)}
		}
		layers = append(layers, &layerObject{
			Name: l.Name, Size: l.Size, LSN: l.LSN, First: first, Last: last, Values: l.Values,
			since: l.Since, until: l.Until, from: l.From, copied: l.Copied, id: layerIDs.Add(1),
		})
	}
	return layers, nil
}

func indexLayers(layers []*layerObject) []indexLayer {
	list := make([]indexLayer, 0, len(layers))
	for _, l := range layers {
		list = append(list, indexLayer{l.Name, l.Size, l.LSN, hex.EncodeToString(l.First[:]), hex.EncodeToString(l.Last[:]), l.Values, l.since, l.until, l.from, l.copied})
	}
	return list
}

func decodeKey(s string) (key.Key, error) {
	b, err := hex.DecodeString(s)
	if err != nil {
		return key.Key{}, err
	}
	return key.Decode(b)
}

// authority is a timeline's index object as last read or written by this process. Its methods are not for concurrent use.
type authority struct {
	store  objstore.Store
	object string
	etag   string // "" if there is none
	index  timelineIndex
	contents
	lost map[string]bool // nonces of writes that may have happened without our hearing of it
}

// contents is the objects that an index names.
type contents struct {
	layers   []*layerObject // of the newest point
	points   []point        // former ones, the oldest first
	retired  []*layerObject // needed for them alone
	deltas   []*layerObject // the oldest first
	branches []Branch       // by name
}

// named is the names of all of them and of the newest state.
func (a *authority) named() map[string]bool {
	named := map[string]bool{a.index.State: true}
	for _, l := range slices.Concat(a.layers, a.retired, a.deltas) {
		named[l.Name] = true
	}
	for _, p := range a.points {
		named[p.State] = true
	}
	return named
}

// load reads the index, or returns ErrNoTimeline.
func (a *authority) load(ctx context.Context) error {
	data, info, err := a.store.Get(ctx, a.object)
	if errors.Is(err, objstore.ErrNotFound) {
		return fmt.Errorf("%w: %s", ErrNoTimeline, a.object)
	}
	if err != nil {
		return fmt.Errorf("read the timeline's index: %w", err)
	}
	x, err := decodeIndex(data)
	if err != nil {
		return err
	}
	c := contents{points: x.Points, branches: x.Branches}
	if c.layers, err = layerObjects(x.Layers); err != nil {
		return err
	}
	if c.retired, err = layerObjects(x.Retired); err != nil {
		return err
	}
	if c.deltas, err = layerObjects(x.Deltas); err != nil {
		return err
	}
	a.etag, a.index, a.contents = info.ETag, x, c
	return nil
}

// How often and how patiently an index is written before the flush is given up.
const (
	indexAttempts = 4
	indexPause    = 50 * time.Millisecond
)

// replace makes next with the contents c the timeline's index. When it returns nil the new index is durable. ErrFenced says that
// another process has written; after any other error the index may be the old or the new one, and the next replace finds
// out which.
func (a *authority) replace(ctx context.Context, next timelineIndex, c contents) error {
	next.Format, next.Version, next.Nonce = indexFormat, indexVersion, newNonce()
	next.Layers, next.Points, next.Retired = indexLayers(*newLayerSet(c.layers)), c.points, indexLayers(*newLayerSet(c.retired))
	next.Deltas, next.Branches = indexLayers(c.deltas), c.branches
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("timeline index: %w", err)
	}
	if a.lost == nil {
		a.lost = map[string]bool{}
	}
	a.lost[next.Nonce] = true
	for attempt := range indexAttempts {
		if attempt > 0 {
			select {
			case <-time.After(indexPause << attempt):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		var info objstore.ObjectInfo
		if a.etag == "" {
			info, err = a.store.PutIfAbsent(ctx, a.object, data)
		} else {
			info, err = a.store.PutIfMatch(ctx, a.object, data, a.etag)
		}
		if err == nil {
			a.settle(info.ETag, next, c)
			return nil
		}
		// It may have happened all the same: ask the store.
		switch etag, nonce, readErr := a.current(ctx); {
		case readErr != nil:
			err = errors.Join(err, readErr)
		case nonce == next.Nonce:
			a.settle(etag, next, c)
			return nil
		case a.lost[nonce]:
			a.etag = etag // an earlier write of ours, given up then; this one replaces it
		case etag != a.etag:
			return fmt.Errorf("%w: %s", ErrFenced, a.object)
		}
	}
	return fmt.Errorf("write the timeline's index: %w", err)
}

func (a *authority) settle(etag string, x timelineIndex, c contents) {
	a.etag, a.index, a.contents = etag, x, c
	clear(a.lost)
}

// current is the ETag and nonce of the index as it is in the store now, "" if there is none.
func (a *authority) current(ctx context.Context) (etag, nonce string, err error) {
	data, info, err := a.store.Get(ctx, a.object)
	if errors.Is(err, objstore.ErrNotFound) {
		return "", "", nil
	}
	if err != nil {
		return "", "", err
	}
	var x timelineIndex
	if err := json.Unmarshal(data, &x); err != nil {
		return "", "", &pg.CorruptError{What: "timeline index: " + err.Error()}
	}
	return info.ETag, x.Nonce, nil
}
