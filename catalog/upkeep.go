package catalog

import (
	"maps"
	"sync"
	"time"

	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Upkeep counts what was done since this process began so that metadata stays small and the store holds what is needed.
type Upkeep struct {
	table.Effort
	ObjectsRemoved int64         // that nobody could need any more
	OrphansRemoved int64         // that earlier writers had left
	ObjectsWaiting int64         // for their time of removal
	Rounds         int64         // of Maintain
	Failures       int64         // of them
	Took           time.Duration // over all of them
}

// TableUpkeep is one table's part.
type TableUpkeep struct {
	table.Effort
	table.Measures
}

// upkeep is the running count. It has a lock of its own: who asks must not wait for a publication.
type upkeep struct {
	mu     sync.Mutex
	all    Upkeep
	tables map[lake.TableID]TableUpkeep // of tables there are, as this process last published or loaded them
}

// measure notes a table as it is now, and what was done to it.
func (u *upkeep) measure(t *table.Table, e table.Effort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.tables == nil {
		u.tables = map[lake.TableID]TableUpkeep{}
	}
	u.all.Add(e)
	n := u.tables[t.ID()]
	n.Add(e)
	n.Measures = t.Measures()
	u.tables[t.ID()] = n
}

func (u *upkeep) forget(id lake.TableID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.tables, id)
}

func (u *upkeep) removed(objects, orphans int) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all.ObjectsRemoved += int64(objects)
	u.all.OrphansRemoved += int64(orphans)
}

func (u *upkeep) round(began time.Time, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.all.Rounds++
	u.all.Took += time.Since(began)
	if err != nil {
		u.all.Failures++
	}
}

// Upkeep is what this process has done, in sum and by table. A process that only reads has done nothing.
func (c *Catalog) Upkeep() (Upkeep, map[lake.TableID]TableUpkeep) {
	c.garbage.mu.Lock()
	waiting := int64(c.garbage.keys)
	c.garbage.mu.Unlock()
	c.upkeep.mu.Lock()
	defer c.upkeep.mu.Unlock()
	all := c.upkeep.all
	all.ObjectsWaiting = waiting
	return all, maps.Clone(c.upkeep.tables)
}
