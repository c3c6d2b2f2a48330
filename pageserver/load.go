package pageserver

import (
	"context"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/key"
)

func (t *Timeline) load(ctx context.Context, load func(*authority, context.Context) error) error {
	a := &t.flusher.authority
	if err := load(a, ctx); err != nil {
		return err
	}
	t.major, t.systemID = a.index.Major, a.index.SystemID
	t.layers.Store(newLayerSet(a.layers))
	s, err := readState(ctx, t.opts.Store, t.reader.prefix, a.index.point)
	if err != nil {
		return err
	}
	if err := t.loadDirectory(ctx); err != nil {
		return err
	}
	if err := t.restore(ctx, &s); err != nil {
		return err
	}
	t.resumeLSN.Store(uint64(s.LSN))
	t.noteHistory()
	t.updateEnv()
	t.beginDeltas()
	return nil
}

// loadDirectory reads the relation directory and the small values.
func (t *Timeline) loadDirectory(ctx context.Context) error {
	set := t.layers.Load()
	first := key.Make(key.Relation, pg.RelFileLocator{}, 0, 0)
	last := key.Make(key.Relation, pg.RelFileLocator{Spc: 1<<32 - 1, DB: 1<<32 - 1, Rel: 1<<32 - 1}, pg.InitFork, key.SizeBlock)
	err := t.reader.each(ctx, set, first, last, func(k key.Key, value []byte, _ pg.LSN) error {
		if len(value) == 0 {
			return nil
		}
		d, err := decodeDirectoryEntry(k, value)
		if err != nil {
			return err
		}
		rel := &relation{loc: k.Rel(), created: d.created, opaque: d.opaque}
		if rel.opaque {
			t.stats.opaque++
		}
		for i := range d.cuts {
			if len(d.cuts[i]) > 0 {
				rel.cuts = &d.cuts
			}
		}
		t.rels[rel.loc] = rel
		return nil
	})
	if err != nil {
		return err
	}
	first = key.Make(key.RelMap, pg.RelFileLocator{}, 0, 0)
	last = key.Make(key.Control, pg.RelFileLocator{Spc: 1<<32 - 1, DB: 1<<32 - 1, Rel: 1<<32 - 1}, pg.InitFork, key.SizeBlock)
	return t.reader.each(ctx, set, first, last, func(k key.Key, value []byte, _ pg.LSN) error {
		if len(value) == 0 {
			return nil
		}
		return t.loadSmall(k, append([]byte(nil), value...))
	})
}

// loadSmall takes over a value that is not a page and what follows from it.
func (t *Timeline) loadSmall(k key.Key, value []byte) error {
	switch k.Kind() {
	case key.RelMap:
		if err := t.parseRelMap(k.Rel().DB, value); err != nil {
			return err
		}
	case key.TwoPhase:
		p, err := xlrec.DecodePrepare(t.major, value)
		if err != nil {
			return err
		}
		t.notePrepared(p)
	}
	t.small[k], t.storedSmall[k] = value, true
	return nil
}

// setSmall changes such a value; nil removes it.
func (t *Timeline) setSmall(k key.Key, value []byte) {
	if value == nil {
		delete(t.small, k)
		if !t.storedSmall[k] {
			t.noteValue(k, nil)
			delete(t.changedSmall, k) // prepared and ended between two flushes
			return
		}
	} else {
		t.small[k] = value
	}
	t.noteValue(k, value)
	t.changedSmall[k] = true
}

func (t *Timeline) parseRelMap(db pg.OID, file []byte) error {
	entries, err := control.ParseRelMap(t.major, file)
	if err != nil {
		return fmt.Errorf("database %d: %w", db, err)
	}
	m := make(map[pg.OID]pg.OID, len(entries))
	for _, e := range entries {
		m[e.OID] = e.File
	}
	t.relMaps[db] = m
	return nil
}
