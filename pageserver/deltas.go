package pageserver

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/delta"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
	"github.com/tarn-db/tarn/pageserver/redo"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// imageEvery is the default of Options.ImageEvery, imageEveryMax what frames can count to.
const (
	imageEvery    = 64
	imageEveryMax = 1<<16 - 2
	deltaBytesMin = memoryMin / 16
)

// deltaBytes is the size of Timeline.deltas from which on a flush is wanted, bytes. Another log may grow as big while that one is written.
func (o *Options) deltaBytes() int64 { return max(o.MemoryBytes/32, deltaBytesMin) }

// deltasFull says that nothing can be noted before a flush has ended.
func (t *Timeline) deltasFull() bool {
	return t.deltas != nil && (t.deltas.Bytes() > 2*t.opts.deltaBytes() || t.redoLSN-t.deltas.From() > delta.SpanMax/2)
}

// clusterSettings is the value of key.OfSettings: what redo must know of the cluster, and which pages SLRUs have.
type clusterSettings struct {
	HintsLogged bool      `json:"hints_logged"`
	SLRUs       slru.Sets `json:"slru_pages"`
}

// beginDeltas begins to note what leads on from redoLSN.
//
// Invariant: a log begins with the settings, so that a delta layer can be read without those before it.
func (t *Timeline) beginDeltas() {
	t.deltas = nil
	if t.opts.History.Window <= 0 {
		return
	}
	applying := t.applying // a record that the flush makes room for is noted behind it
	t.deltas, t.applying = delta.NewLog(t.redoLSN), t.redoLSN
	t.noteSettings()
	t.applying = applying
}

// returnDeltas takes back what a flush could not write.
func (t *Timeline) returnDeltas(earlier *delta.Log) {
	if earlier == nil || t.deltas == nil {
		return
	}
	shift := t.deltas.Prepend(earlier)
	for i := range t.arena.frames { // dirtyFrames may name one twice
		if fr := &t.arena.frames[i]; fr.noted != 0 {
			fr.noted += shift
		}
	}
}

// noteRedo notes that a record changes a page.
func (t *Timeline) noteRedo(tc *touch, rec *wal.Record) {
	if t.deltas == nil {
		return
	}
	if tc.again {
		s := t.run
		for i := s.from; i < len(s.touched); i++ {
			if s.touched[i].id == tc.id {
				tc.image = s.touched[i].image
				return
			}
		}
	}
	fr := t.noted(tc.id)
	init := tc.ref != nil && (tc.ref.WillInit || tc.ref.HasImage && tc.ref.ApplyImage)
	t.deltas.Redo(fr.noted, rec.LSN, init)
	if init {
		fr.chain = 0
	} else if fr.chain++; int(fr.chain) >= t.opts.ImageEvery {
		fr.chain = 0
		tc.image = (*[pg.BlockSize]byte)(t.deltas.Image(fr.noted, rec.End))
	}
}

// noted is a frame that has a number in the log.
func (t *Timeline) noted(id frameID) *frame {
	fr := &t.arena.frames[id]
	if fr.noted == 0 {
		fr.noted, fr.chain = t.deltas.Key(fr.fork.key(fr.blk)), 0
	}
	return fr
}

// copyImage copies what a page has become, if the log is to have it.
func (t *Timeline) copyImage(tc *touch) {
	if tc.image != nil {
		copy(tc.image[:], t.arena.page(tc.id))
	}
}

// noteImage notes a page that the record being applied has changed in a way that the page's redo does not know of.
func (t *Timeline) noteImage(id frameID) {
	if t.deltas == nil {
		return
	}
	fr := t.noted(id)
	fr.chain = 0
	copy(t.deltas.Image(fr.noted, t.applying), t.arena.page(id))
}

// noteValue notes what the record being applied makes of a key that is no page; an empty value ends it.
func (t *Timeline) noteValue(k key.Key, value []byte) {
	if t.deltas != nil {
		t.deltas.Value(k, t.applying, value, true)
	}
}

func (t *Timeline) noteSettings() {
	if t.deltas == nil {
		return
	}
	value, err := json.Marshal(clusterSettings{t.env.HintsLogged, t.slruSets})
	if err != nil {
		panic("BUG: settings that cannot be written: " + err.Error())
	}
	t.noteValue(key.OfSettings(), value)
}

// noteSLRUs notes the changes of SLRUs that the record being applied is about to make. others says that it changes which pages exist.
func (t *Timeline) noteSLRUs() (others bool) {
	if t.deltas == nil {
		return false
	}
	sets := t.slruSets
	for i := range t.apply.changes {
		c := &t.apply.changes[i]
		if c.CutsSegments() {
			others = true
			continue
		}
		if !sets[c.Kind].Has(c.Page) {
			others = true
			for no := sets[c.Kind].Add(c.Page); no <= c.Page; no++ {
				t.noteSLRU(&slru.Change{Kind: c.Kind, Op: slru.Zero, Page: no})
			}
		}
		t.noteSLRU(c)
	}
	return others
}

func (t *Timeline) noteSLRU(c *slru.Change) {
	k := key.OfSLRU(pg.OID(c.Kind), pg.BlockNumber(c.Page))
	t.scratch = c.Append(t.scratch[:0])
	t.deltas.Value(k, t.applying, t.scratch, c.Op == slru.Zero)
}

// writeDeltas writes the delta layer of a flush; nil if no history is kept.
func (t *Timeline) writeDeltas(ctx context.Context, j *flushJob) (*layerObject, error) {
	if j.deltas == nil {
		return nil, nil
	}
	from := j.deltas.From()
	s, err := newLayerStream(ctx, t.reader, layer.Delta, deltasFolder, fmt.Sprintf("%016X-%016X", uint64(from), uint64(j.lsn)), j.lsn)
	if err != nil {
		return nil, err
	}
	d, err := s.fill(j.deltas.Write)
	if err != nil {
		return nil, err
	}
	d.from = from
	return d, nil
}

// env is what redo must know then.
func (s *clusterSettings) env() redo.Env { return redo.Env{HintsLogged: s.HintsLogged} }
