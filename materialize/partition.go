package materialize

import (
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/schema"
)

// candidates are the relations that users would look for in the lake: tables, and partitions of tables that are kept by
// leaf.
func (e *Engine) candidates(cat *schema.Catalogs) (rels []*schema.Relation) {
	part := map[pg.OID]bool{} // of a table that is there
	for _, rel := range cat.Relations {
		if !userTable(rel) {
			continue
		}
		rels = append(rels, rel)
		leaves, _ := cat.Leaves(rel.OID)
		for _, leaf := range leaves {
			part[leaf.OID] = true
		}
		if e.byLeaf(rel, nameOf(cat, rel)) {
			rels = append(rels, leaves...)
		}
	}
	// DETACH CONCURRENTLY takes two transactions. Between them a partition has no table, and its own stays as it is.
	for key := range e.tables {
		if rel := cat.Relations[key.rel]; key.db == cat.Database.OID && rel != nil && rel.Partition && rel.Kind == 'r' && !part[rel.OID] {
			rels = append(rels, rel)
		}
	}
	return rels
}

// byLeaf says whether a relation is a partitioned table that is in the lake as its partitions.
func (e *Engine) byLeaf(rel *schema.Relation, name lake.TableName) bool {
	return rel.Kind == 'p' && e.opts.ByLeaf != nil && e.opts.ByLeaf(name)
}
