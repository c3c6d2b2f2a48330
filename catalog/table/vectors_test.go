package table

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/tarn-db/tarn/materialize/lake"
)

// vectors are of the data files with these numbers, in the n-th object.
func vectors(n int, rows int64, files ...int) (out []lake.Vector) {
	for i, f := range files {
		out = append(out, lake.Vector{
			Data: testFile(f).Key, Key: fmt.Sprintf("%s/data/%05d%s", testID.Root(), n, lake.VectorsSuffix), Offset: int64(4 + 50*i), Size: 50, Positions: rows, FileBytes: 1000,
		})
	}
	return out
}

func newCommitterV3(t *testing.T, files ...lake.File) *committer {
	c := newCommitter(t)
	c.commit(lake.TableChange{Create: true, Format: lake.FormatV3, AddData: files})
	return c
}

// TestVectorGarbage: an object stays as long as one of its vectors does, and is garbage once none is.
func TestVectorGarbage(t *testing.T) {
	for _, restart := range []bool{false, true} {
		c := newCommitterV3(t, testFile(10), testFile(11), testFile(12))
		c.most = 2
		dead := map[string]int{}
		for i, ch := range []lake.TableChange{
			{AddVectors: vectors(1, 1, 10, 11, 12)},
			{AddVectors: vectors(2, 2, 10, 11)},
			{AddVectors: vectors(3, 3, 10)},
			{RemoveData: []string{testFile(12).Key}}, // the last of object 1
			{AddData: []lake.File{testFile(13)}},
			{AddVectors: vectors(4, 4, 11, 13)}, // the last of object 2
			{AddData: []lake.File{testFile(14)}},
			{AddData: []lake.File{testFile(15)}},
			{AddData: []lake.File{testFile(16)}},
		} {
			if restart {
				c.tbl = c.same()
			}
			g := c.commit(ch)
			keys := g.Keys
			if g.Later != nil {
				more, err := g.Later(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, more...)
			}
			for _, k := range keys {
				dead[k]++
			}
			refs, err := c.same().References().Resolve(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range c.tbl.Vectors() {
				if dead[v.Key] > 0 || !refs[v.Key] {
					t.Errorf("restart %v, commit %d: the vector of %s lies in %s, which is garbage or not referred to", restart, i, v.Data, v.Key)
				}
			}
		}
		for n, want := range map[int]int{1: 1, 2: 1, 3: 0, 4: 0} {
			if got := dead[vectors(n, 1, 10)[0].Key]; got != want {
				t.Errorf("restart %v: object %d is garbage %d times, want %d", restart, n, got, want)
			}
		}
		if dead[testFile(12).Key] != 1 {
			t.Errorf("restart %v: the data file that left is garbage %d times", restart, dead[testFile(12).Key])
		}
		live := map[string]int64{}
		for _, v := range c.tbl.Vectors() {
			live[v.Data] = v.Positions
		}
		want := map[string]int64{testFile(10).Key: 3, testFile(11).Key: 4, testFile(13).Key: 4}
		if n := c.tbl.Totals(); !maps.Equal(live, want) || n.DeleteFiles != 3 || n.PositionDeletes != 11 || n.DeleteFileBytes != 150 {
			t.Errorf("%v, %+v", live, n)
		}
	}
}

// lastSnapshot is the newest snapshot as readers see it.
func (c *committer) lastSnapshot() (s struct {
	Summary    map[string]string `json:"summary"`
	FirstRowID *int64            `json:"first-row-id"`
	AddedRows  *int64            `json:"added-rows"`
}) {
	c.t.Helper()
	if err := json.Unmarshal(c.tbl.meta.current().raw, &s); err != nil {
		c.t.Fatal(err)
	}
	return s
}

// TestVectorSummaries: what a snapshot says it did, to readers of increments.
func TestVectorSummaries(t *testing.T) {
	c := newCommitter(t)
	c.commit(lake.TableChange{Create: true, AddData: []lake.File{testFile(10), testFile(11)}})
	c.commit(lake.TableChange{AddDeletes: []lake.PositionDeletes{{File: testFile(2)}}, RowsDeleted: 3})
	for _, step := range []struct {
		ch                       lake.TableChange
		operation, added, former string
	}{
		{lake.TableChange{Format: lake.FormatV3, AddVectors: vectors(1, 3, 10), RemoveDeletes: []string{testFile(2).Key}}, "replace", "1", ""},
		{lake.TableChange{AddVectors: vectors(2, 4, 10), RowsDeleted: 1}, "delete", "1", "1"},
		{lake.TableChange{AddVectors: vectors(3, 5, 10), AddData: []lake.File{testFile(12)}, RowsDeleted: 1}, "overwrite", "1", "1"},
		{lake.TableChange{AddData: []lake.File{testFile(13)}}, "append", "", ""},
		{lake.TableChange{RemoveData: []string{testFile(10).Key}, RowsDeleted: 6}, "delete", "", "1"},
	} {
		c.commit(step.ch)
		s := c.lastSnapshot().Summary
		if s["operation"] != step.operation || s["added-dvs"] != step.added || s["removed-dvs"] != step.former || s["added-position-delete-files"] != "" {
			t.Errorf("%+v: %v", step.ch, s)
		}
	}
}

// TestNextRowID: it moves by what the manifests may give out, also over a restart and a schema change, and an upgrade begins at 0 with
// what is there.
func TestNextRowID(t *testing.T) {
	c := newCommitter(t)
	var files []lake.File
	for i := range 250 { // the first manifest is sealed before the upgrade
		files = append(files, testFile(i))
	}
	c.commit(lake.TableChange{Create: true, AddData: files[:200]})
	c.commit(lake.TableChange{AddData: files[200:220]})
	given, next := map[string]int64{}, int64(0)
	assigned := func(key string, l lake.Lineage) {
		if _, ok := given[key]; ok {
			t.Errorf("%s gets row ids twice", key)
		}
		given[key] = l.FirstRowID
	}
	commit := func(ch lake.TableChange) {
		t.Helper()
		was := c.tbl.meta.NextRowID
		c.assigned = assigned
		c.commit(ch)
		read := c.same()
		s := c.lastSnapshot()
		if s.FirstRowID == nil || *s.FirstRowID != next || *read.meta.NextRowID != next+*s.AddedRows || was != nil && *read.meta.NextRowID < *was {
			t.Errorf("first-row-id %v, added-rows %v, next-row-id %d after %d", s.FirstRowID, s.AddedRows, *read.meta.NextRowID, next)
		}
		next = *read.meta.NextRowID
		for _, f := range read.Data() {
			if f.Lineage == nil || f.Lineage.FirstRowID != given[f.Key] || f.Lineage.FirstRowID+f.Rows > next {
				t.Errorf("%s: %+v, given %d", f.Key, f.Lineage, given[f.Key])
			}
		}
		c.tbl = read
	}
	commit(lake.TableChange{Format: lake.FormatV3, AddData: files[220:221]})
	if len(given) != 221 || next != 221*222/2 {
		t.Errorf("the upgrade gave row ids to %d files, %d in all", len(given), next)
	}
	for _, f := range files[221:] {
		commit(lake.TableChange{AddData: []lake.File{f}})
	}
	commit(lake.TableChange{RemoveData: []string{files[3].Key, files[230].Key}}) // a sealed manifest is written again
	ids := slices.Sorted(maps.Values(given))
	if len(ids) != len(slices.Compact(ids)) {
		t.Error("two files begin with one row id")
	}
}
