package materialize

import (
	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

// TimelinePages lets an Engine read a page server's timeline at a barrier.
func TimelinePages(t *pageserver.Timeline) Pages { return timelinePages{t} }

type timelinePages struct{ *pageserver.Timeline }

func (p timelinePages) RelationCreated(rel pg.RelFileLocator) (pg.LSN, bool) {
	r, ok := p.Relation(rel)
	return r.Created, ok
}

func (p timelinePages) TakeDirty() map[pg.RelFileLocator]*roaring.Bitmap {
	set := p.Timeline.TakeDirty()
	m := make(map[pg.RelFileLocator]*roaring.Bitmap, len(set))
	for rel, d := range set {
		m[rel] = d.Blocks
	}
	return m
}
