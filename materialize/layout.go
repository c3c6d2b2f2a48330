package materialize

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/transform"
)

// Layout: hidden partitioning. A table's partition spec comes from the configuration at each plan. Another one holds for files written from
// then on; older files stay under theirs until a compaction writes their rows again.

// TableLayout is how the configuration wants a table's files laid out.
type TableLayout struct {
	PartitionBy []PartitionBy
	FileBytes   int64 // at which data files are ended, if memory allows; 0: as memory allows
}

// PartitionBy is a partition field by the name of its column.
type PartitionBy struct {
	Transform string // as Iceberg writes it
	Column    string
}

// layoutPlan is a table's layout at a cut.
type layoutPlan struct {
	lake.Layout
	fields          []partitionPlan // beside Spec.Fields
	specs           []lake.Spec     // all that readers are told of from the cut on
	lastPartitionID int
	// renew: a column that some spec is about is gone, or has another type. Rows are written again under a spec that can be read, and
	// the former specs go.
	renew     bool
	notes     []string // what of the rule cannot be followed
	fileBytes int64    // TableLayout.FileBytes
}

// partitionPlan is how the value of a partition field is made.
type partitionPlan struct {
	column    int // of the plan
	source    lake.Type
	result    lake.Type
	transform transform.Transform
}

// planLayout gives a table a spec: one that it had if it is the same, else a new one. A field whose column is not in the lake, or is of a
// type that the transform does not take, is left out, and users are told.
//
// Invariant: a spec id, and the id of a partition field, is never given a second meaning.
func (e *Engine) planLayout(p *tablePlan) layoutPlan {
	l := layoutPlan{lastPartitionID: lake.PartitionIDMin - 1}
	t := e.tables[p.key]
	if t != nil {
		l.specs, l.lastPartitionID = slices.Clone(t.specs), max(l.lastPartitionID, t.lastPartitionID)
		l.renew = slices.ContainsFunc(t.specs, func(s lake.Spec) bool { return unreadableSpec(s, t.schema, p.cols.schema) })
	}
	var want TableLayout
	if e.opts.Layout != nil {
		want = e.opts.Layout(p.name)
	}
	l.fileBytes = want.FileBytes
	for _, by := range want.PartitionBy {
		if why := l.addField(&p.cols, by); why != "" {
			l.notes = append(l.notes, "not partitioned by "+by.String()+": "+why)
		}
	}
	l.number()
	return l
}

// unreadableSpec says whether a field's column is gone in schema now, or has another type than it had.
func unreadableSpec(s lake.Spec, had, now lake.Schema) bool {
	return slices.ContainsFunc(s.Fields, func(f lake.PartitionField) bool {
		before, after := had.Field(f.SourceID), now.Field(f.SourceID)
		return after == nil || before != nil && !before.Type.Equal(after.Type)
	})
}

// addField adds a partition field without its id, or says why it cannot be.
func (l *layoutPlan) addField(c *columns, by PartitionBy) (why string) {
	tr, err := transform.Parse(by.Transform)
	if err != nil {
		return err.Error()
	}
	i := slices.IndexFunc(c.states, func(s columnState) bool { return s.Field.Name == by.Column })
	if i < 0 {
		return "the table has no such column in the lake"
	}
	f := c.states[i].Field
	result, ok := tr.Result(f.Type)
	if !ok {
		return "the column is of a type that cannot be"
	}
	l.Spec.Fields = append(l.Spec.Fields, lake.PartitionField{SourceID: f.ID, Transform: tr.String()})
	l.fields = append(l.fields, partitionPlan{column: i, source: f.Type, result: result, transform: tr})
	return ""
}

// number gives the spec and its fields their ids: those of an equal one, else new ones.
func (l *layoutPlan) number() {
	for i := range l.Spec.Fields {
		f := &l.Spec.Fields[i]
		if f.FieldID = fieldID(l.specs, *f); f.FieldID == 0 {
			l.lastPartitionID++
			f.FieldID = l.lastPartitionID
		}
	}
	known := slices.IndexFunc(l.specs, l.Spec.Equal)
	switch {
	case known >= 0:
		l.Spec.ID = l.specs[known].ID
	case len(l.specs) > 0:
		l.Spec.ID = slices.MaxFunc(l.specs, func(a, b lake.Spec) int { return a.ID - b.ID }).ID + 1
	}
	if l.renew {
		l.specs = []lake.Spec{l.Spec}
	} else if known < 0 {
		l.specs = append(l.specs, l.Spec)
	}
}

// fieldID is the id that a partition field of the same source and transform has; 0 if none has.
func fieldID(specs []lake.Spec, f lake.PartitionField) int {
	for _, s := range specs {
		for _, g := range s.Fields {
			if g.SourceID == f.SourceID && g.Transform == f.Transform {
				return g.FieldID
			}
		}
	}
	return 0
}

// same says whether the table is laid out so already.
func (l *layoutPlan) same(t *table) bool {
	return l.fileBytes == t.state.FileBytes && l.Spec.ID == t.layout.Spec.ID && l.Spec.Equal(t.layout.Spec)
}

// adopt makes a published layout the table's.
func (l *layoutPlan) adopt(t *table) {
	t.layout, t.specs, t.lastPartitionID = l.Layout, l.specs, l.lastPartitionID
}

// String writes a partition field as a rule has it.
func (b PartitionBy) String() string {
	switch kind, n, ok := strings.Cut(strings.TrimSuffix(b.Transform, "]"), "["); {
	case ok:
		return fmt.Sprintf("%s(%s, %s)", kind, n, b.Column)
	case kind == "identity":
		return b.Column
	default:
		return kind + "(" + b.Column + ")"
	}
}

// partitionBy writes the table's partition fields as a rule has them.
func (t *table) partitionBy() (out []string) {
	for _, f := range t.layout.Spec.Fields {
		if c := t.schema.Field(f.SourceID); c != nil {
			out = append(out, PartitionBy{Transform: f.Transform, Column: c.Name}.String())
		}
	}
	return out
}

// fileBytesOf is the size at which a data file of a table is ended.
func (e *Engine) fileBytesOf(copyOnWrite bool, wanted int64) int64 {
	size := e.fileBytes
	if copyOnWrite {
		size = min(size, overwriteFileBytes)
	}
	if wanted > 0 {
		size = min(e.fileBytes, wanted)
	}
	return size
}

// fileBytes is the size at which the table's data files are ended.
func (p *tablePlan) fileBytes(e *Engine) int64 {
	return e.fileBytesOf(p.format.CopyOnWrite, p.layout.fileBytes)
}

// writeSize is the table property (Iceberg, "Write properties") that tells engines how large files are meant to be; Iceberg's default for
// a table of which nothing is said any more.
func writeSize(wanted int64) map[string]string {
	if wanted == 0 {
		wanted = 512 << 20
	}
	return map[string]string{"write.target-file-size-bytes": strconv.FormatInt(wanted, 10)}
}

// copyBlocksOrdered is copyBlocks of a table whose rows are put in order: each range has a file for each of its partitions, and its rows
// may take as much of the local disk.
const copyBlocksOrdered = 8 * copyBlocks

func (w *tableWork) copyBlocks() int {
	if len(w.plan.layout.fields) > 0 {
		return copyBlocksOrdered
	}
	return copyBlocks
}

// dataKey names a new data file of a partition. What the name says of the partition is for people: no reader goes by it.
func (w *tableWork) dataKey(p lake.Partition) string {
	var dir strings.Builder
	if w.plan.format.Parquet { // readers of bare Parquet take the folders for columns
		return w.objectKey("", "rows", ".parquet")
	}
	for i, f := range w.plan.layout.fields {
		name := w.plan.cols.states[f.column].Field.Name
		if f.transform.Kind != transform.Identity {
			name += "_" + strings.TrimRight(f.transform.String(), "[]0123456789")
		}
		dir.WriteString(safe(name) + "=" + safe(transform.Text(f.result, f.transform, p.Values[i])) + "/")
	}
	return w.objectKey(dir.String(), "rows", ".parquet")
}

// objectKey names a new object of the table; names are never used twice.
func (w *tableWork) objectKey(dir, what, suffix string) string {
	return objectKey(w.id, w.c.at.LSN, dir, what, suffix)
}

func objectKey(id lake.TableID, lsn pg.LSN, dir, what, suffix string) string {
	return fmt.Sprintf("%s/data/%s%016X-%s-%s%s", id.Root(), dir, uint64(lsn), what, newUUID(), suffix)
}

// pathMax is how many characters of a name or value a path has.
const pathMax = 40

// safe has nothing in it that a file system or a client of S3 could take for something else.
func safe(s string) string {
	out := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' {
			return r
		}
		return '_'
	}, s)
	return out[:min(len(out), pathMax)]
}
