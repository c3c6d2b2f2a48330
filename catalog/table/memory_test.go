package table

import (
	"runtime"
	"testing"

	"github.com/tarn-db/tarn/materialize/lake"
)

// TestMemoryIsFlat: a table that is published again and again holds what its metadata lists and no more. A parent's id kept as a pointer
// into the slice of the snapshots before it held that slice, which held the one before: 17 KiB for each publication of each table.
func TestMemoryIsFlat(t *testing.T) {
	c := newCommitter(t)
	commits := func(n int) uint64 {
		for range n {
			g := c.commit(lake.TableChange{Create: c.n == 0, ReplaceAll: c.n > 0, AddData: []lake.File{testFile(c.n)}})
			for _, key := range g.Keys {
				if err := c.store.Delete(t.Context(), key); err != nil {
					t.Fatal(err)
				}
			}
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := commits(150)
	after := commits(400)
	runtime.KeepAlive(c)
	if grown := int64(after) - int64(before); grown > 2<<20 {
		t.Errorf("400 publications of a table with %d snapshots left %d KiB in memory", len(c.tbl.meta.Snapshots), grown>>10)
	} else {
		t.Logf("%d KiB more after 400 publications", grown>>10)
	}
}
