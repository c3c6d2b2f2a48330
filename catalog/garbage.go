package catalog

import (
	"bytes"
	"context"
	"encoding/binary"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"
)

// garbageKeysMax bounds the keys waiting for their removal; more are left for the next process's orphan sweep.
const garbageKeysMax = 4 << 20

// garbage is what publications of this process made superfluous, oldest first.
type garbage struct {
	mu      sync.Mutex
	batches []garbageBatch
	keys    int
	lost    bool // a batch found no room: what waits is not known any more
}

// garbageBatch may be removed once its publication is the grace time old.
type garbageBatch struct {
	at    time.Time
	keys  waitingKeys
	later []*laterKeys
}

// waitingKeys are the keys of a batch, packed: at ten publications a second of a few tables some hundred thousand wait for an hour, most of each
// of them the folder it shares with the others.
//
//	each key: length uvarint | key; all of it compressed with S2
type waitingKeys struct {
	packed []byte
	n      int
}

func packKeys(keys []string) waitingKeys {
	if len(keys) == 0 {
		return waitingKeys{}
	}
	var b []byte
	for _, key := range keys {
		b = binary.AppendUvarint(b, uint64(len(key)))
		b = append(b, key...)
	}
	return waitingKeys{packed: bytes.Clone(s2.EncodeBetter(nil, b)), n: len(keys)} // S2 leaves room behind what it wrote
}

// list unpacks them, in the order they came.
func (w waitingKeys) list() []string {
	if w.n == 0 {
		return nil
	}
	b, err := s2.Decode(nil, w.packed)
	if err != nil {
		panic("BUG: keys that we packed do not unpack: " + err.Error())
	}
	keys := make([]string, 0, w.n)
	for len(b) > 0 {
		n, size := binary.Uvarint(b)
		keys = append(keys, string(b[size:size+int(n)]))
		b = b[size+int(n):]
	}
	return keys
}

// laterKeys are keys that only the store can tell. maintainMu guards it.
type laterKeys struct {
	read func(context.Context) ([]string, error)
	keys []string
	done bool
}

func (l *laterKeys) get(ctx context.Context) ([]string, error) {
	if l.done {
		return l.keys, nil
	}
	keys, err := l.read(ctx)
	if err == nil {
		l.keys, l.done = keys, true
	}
	return keys, err
}

// add has keys wait from a publication's time on.
func (g *garbage) add(at time.Time, keys []string, later []*laterKeys) {
	if len(keys)+len(later) == 0 {
		return
	}
	b := garbageBatch{at: at, keys: packKeys(keys), later: later}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys+len(keys) > garbageKeysMax {
		g.lost = true
		return
	}
	g.keys += len(keys)
	g.batches = append(g.batches, b)
}

// due is the oldest batch if it is at or before the cutoff.
func (g *garbage) due(cutoff time.Time) (garbageBatch, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.batches) == 0 || g.batches[0].at.After(cutoff) {
		return garbageBatch{}, false
	}
	return g.batches[0], true
}

// done forgets the oldest batch.
func (g *garbage) done() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys -= g.batches[0].keys.n
	g.batches[0] = garbageBatch{}
	g.batches = g.batches[1:]
}
