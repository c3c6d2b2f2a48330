package pageserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
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
	indexVersion = 1
	indexName    = "index.json"
)

// timelineIndex is the object timelines/<branch>/index.json: the sole authority on what a timeline consists of. It is
// JSON, replaced by conditional put; everything it names was written before and never changes.
//
//	format            "tarn-timeline"
//	version           1
//	nonce             of this write: tells a writer whether a put whose answer it lost was its own
//	postgres_version  major; system_id, as text: it needs all 64 bits
//	lsn               all layers and the state are as of here; WAL is resumed from here
//	state             object with everything that is not a page, as of lsn
//	layers            objects with their size, LSN, first and last key (hex) and number of values, the newest first
//
// Object names are relative to timelines/<branch>/.
type timelineIndex struct {
	Format   string       `json:"format"`
	Version  int          `json:"version"`
	Nonce    string       `json:"nonce"`
	Major    pg.Major     `json:"postgres_version"`
	SystemID uint64       `json:"system_id,string"`
	LSN      pg.LSN       `json:"lsn"`
	State    string       `json:"state"`
	Layers   []indexLayer `json:"layers"`
}

type indexLayer struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	LSN    pg.LSN `json:"lsn"`
	First  string `json:"first"`
	Last   string `json:"last"`
	Values uint64 `json:"values"`
}

// newNonce names an object or a write as no other is named.
func newNonce() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// decodeIndex reads index.json.
func decodeIndex(data []byte) (x timelineIndex, layers []*layerObject, err error) {
	if err := json.Unmarshal(data, &x); err != nil || x.Format != indexFormat {
		return x, nil, &pg.CorruptError{What: fmt.Sprintf("timeline index: not one, or damaged: %v", err)}
	}
	if x.Version != indexVersion {
		return x, nil, fmt.Errorf("%w: version %d, this tarn reads %d: use a newer tarn", ErrVersion, x.Version, indexVersion)
	}
	for _, l := range x.Layers {
		first, err1 := decodeKey(l.First)
		last, err2 := decodeKey(l.Last)
		if err := errors.Join(err1, err2); err != nil || l.Size <= 0 || first.Compare(last) > 0 {
			return x, nil, &pg.CorruptError{What: fmt.Sprintf("timeline index: layer %q: %v", l.Name, err)}
		}
		layers = append(layers, &layerObject{Name: l.Name, Size: l.Size, LSN: l.LSN, First: first, Last: last, Values: l.Values, id: layerIDs.Add(1)})
	}
	return x, layers, nil
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
	layers []*layerObject
	lost   map[string]bool // nonces of writes that may have happened without our hearing of it
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
	x, layers, err := decodeIndex(data)
	if err != nil {
		return err
	}
	a.etag, a.index, a.layers = info.ETag, x, layers
	return nil
}

// How often and how patiently an index is written before the flush is given up.
const (
	indexAttempts = 4
	indexPause    = 50 * time.Millisecond
)

// replace makes next with layers the timeline's index. When it returns nil the new index is durable. ErrFenced says that
// another process has written; after any other error the index may be the old or the new one, and the next replace finds
// out which.
func (a *authority) replace(ctx context.Context, next timelineIndex, layers []*layerObject) error {
	next.Format, next.Version, next.Nonce = indexFormat, indexVersion, newNonce()
	next.Layers = make([]indexLayer, 0, len(layers))
	for _, l := range *newLayerSet(layers) {
		next.Layers = append(next.Layers, indexLayer{l.Name, l.Size, l.LSN, hex.EncodeToString(l.First[:]), hex.EncodeToString(l.Last[:]), l.Values})
	}
	data, err := json.MarshalIndent(next, "", " ")
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
			a.settle(info.ETag, next, layers)
			return nil
		}
		// It may have happened all the same: ask the store.
		switch etag, nonce, readErr := a.current(ctx); {
		case readErr != nil:
			err = errors.Join(err, readErr)
		case nonce == next.Nonce:
			a.settle(etag, next, layers)
			return nil
		case a.lost[nonce]:
			a.etag = etag // an earlier write of ours, given up then; this one replaces it
		case etag != a.etag:
			return fmt.Errorf("%w: %s", ErrFenced, a.object)
		}
	}
	return fmt.Errorf("write the timeline's index: %w", err)
}

func (a *authority) settle(etag string, x timelineIndex, layers []*layerObject) {
	a.etag, a.index, a.layers = etag, x, layers
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
