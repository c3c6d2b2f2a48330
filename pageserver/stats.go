package pageserver

import (
	"sync/atomic"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// counters are written by the goroutine that applies records, but for merges.
type counters struct {
	records [256]uint64
	pages   uint64
	images  uint64
	loaded  uint64
	commits uint64
	stalls  uint64
	flushes uint64
	opaque  int
	merges  atomic.Uint64
}

func (c *counters) record(rec *wal.Record) { c.records[rec.RMID]++ }

// Stats are counters since Open, and what memory and store hold.
type Stats struct {
	Records       map[string]uint64 // by resource manager, as pg_waldump names them
	Pages         uint64            // changed by redo
	Images        uint64            // full-page images restored
	PagesLoaded   uint64            // read back from layers for redo
	Commits       uint64
	Flushes       uint64
	Merges        uint64
	Stalls        uint64 // times redo waited because memory was full of changes
	ResidentBytes int64
	DirtyBytes    int64 // changed since the last flush
	CacheBytes    int64 // of layers, cached
	LayerBytes    int64 // in the store
	DeltaBytes    int64 // in the store, of delta layers
	Layers        int
	Relations     int
	Opaque        int // relations whose pages are not known
	Invalid       int // blocks of the base backup still unexplained
	OpenXIDs      int
	DirtyBlocks   uint64 // to be looked at by the next publication
	RedoLSN       pg.LSN
	ResumeLSN     pg.LSN
	FlushError    error // of the last flush or merge
}

// Stats describes the timeline at a barrier.
func (t *Timeline) Stats() Stats {
	c := &t.stats
	s := Stats{
		Records: map[string]uint64{}, Pages: c.pages, Images: c.images, PagesLoaded: c.loaded, Commits: c.commits, Flushes: c.flushes,
		Merges: c.merges.Load(), Stalls: c.stalls,
		ResidentBytes: t.arena.residentBytes(), DirtyBytes: int64(t.arena.dirty) * pg.BlockSize, CacheBytes: t.reader.cache.size(),
		Relations: len(t.rels), Opaque: c.opaque, Invalid: len(t.invalid), OpenXIDs: len(t.open),
		RedoLSN: t.redoLSN, ResumeLSN: t.ResumeLSN(),
	}
	for id, n := range c.records {
		if n > 0 {
			s.Records[wal.RMID(id).String()] = n
		}
	}
	for _, l := range *t.layers.Load() {
		s.LayerBytes += l.Size
		s.Layers++
	}
	t.flusher.mu.Lock()
	for _, d := range t.flusher.authority.deltas {
		s.DeltaBytes += d.Size
	}
	t.flusher.mu.Unlock()
	for _, d := range t.dirty {
		s.DirtyBlocks += d.Blocks.GetCardinality()
	}
	if err := t.flusher.lastError.Load(); err != nil {
		s.FlushError = *err
	}
	return s
}
