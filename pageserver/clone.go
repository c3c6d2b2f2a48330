package pageserver

import (
	"context"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
)

// copyDatabase gives a new database every page its template has now: the record stands for a copy of files, and no page
// of them follows in the WAL. The pages go straight into a layer of their own, so that memory stays bounded; the next
// flush's index names it.
func (t *Timeline) copyDatabase(ctx context.Context, rec *wal.Record, r xlrec.DBCreateFileCopy) error {
	var sources []*relation
	for loc, rel := range t.rels {
		if loc.Spc == r.SrcSpc && loc.DB == r.SrcDB {
			sources = append(sources, rel)
		}
	}
	slices.SortFunc(sources, func(a, b *relation) int { return int(int64(a.loc.Rel) - int64(b.loc.Rel)) })
	made, cloned, err := t.copyPages(ctx, rec.End, r, sources)
	if err != nil {
		return fmt.Errorf("copy database %d: %w", r.SrcDB, err)
	}
	t.dropDatabase(r.Spc, r.DB)
	if file := t.small[key.OfRelMap(r.SrcSpc, r.SrcDB)]; file != nil {
		if err := t.setRelMap(r.Spc, r.DB, file); err != nil {
			return err
		}
	}
	for _, c := range made {
		rel := c.relation
		t.rels[rel.loc] = rel
		t.relationChanged(rel)
		if rel.opaque {
			t.stats.opaque++
		}
		for i := range rel.forks {
			if f := rel.forks[i].Load(); f.exists {
				t.resized(f)
			}
		}
		if c.rows {
			t.dirtyOf(rel).Blocks.AddRange(0, uint64(rel.forks[pg.MainFork].Load().size))
		}
	}
	if cloned != nil {
		cloned.copied = true
		t.layerMu.Lock()
		t.pending = append(t.pending, cloned)
		t.layers.Store(newLayerSet(append(slices.Clone(*t.layers.Load()), cloned)))
		t.layerMu.Unlock()
	}
	return nil
}

// copiedRelation is a relation of a database that was copied.
type copiedRelation struct {
	*relation
	rows bool // it is a heap
}

// copyPages writes the layer, nil if there is not one page, and returns the new relations, which are not in the
// directory yet.
func (t *Timeline) copyPages(ctx context.Context, lsn pg.LSN, r xlrec.DBCreateFileCopy, sources []*relation) (made []copiedRelation, l *layerObject, err error) {
	l, err = t.writeLayer(ctx, lsn, func(w *layer.Writer) error {
		for _, src := range sources {
			loc := pg.RelFileLocator{Spc: r.Spc, DB: r.DB, Rel: src.loc.Rel}
			dst := copiedRelation{relation: &relation{loc: loc, created: lsn, opaque: src.opaque}}
			for num := pg.MainFork; num <= pg.InitFork; num++ {
				if err := t.copyFork(ctx, w, src, &dst, num); err != nil {
					return err
				}
			}
			made = append(made, dst)
		}
		if w.Empty() {
			return errNothingLeft
		}
		return nil
	})
	return made, l, ignoreNothing(err)
}

func (t *Timeline) copyFork(ctx context.Context, w *layer.Writer, src *relation, dst *copiedRelation, num pg.ForkNumber) error {
	to := &fork{rel: dst.relation, num: num}
	dst.forks[num].Store(to)
	if src.opaque {
		return nil
	}
	from, err := t.fork(ctx, src, num)
	if err != nil {
		return err
	}
	to.exists, to.size = from.exists, from.size
	return t.scanFork(ctx, from, 0, from.size, func(blk pg.BlockNumber, page pg.Page) error {
		dst.rows = dst.rows || num == pg.MainFork && isHeap(page)
		return w.Add(to.key(blk), page)
	})
}
