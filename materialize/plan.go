package materialize

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/schema"
	"github.com/tarn-db/tarn/materialize/toast"
	"github.com/tarn-db/tarn/materialize/types"
)

// tableKey names a table across cuts.
type tableKey struct{ db, rel pg.OID }

// leafPlan is one relation file whose rows belong in a table at the cut.
type leafPlan struct {
	leafState
	rel      *schema.Relation
	toast    toast.Relation
	toastOID pg.OID // 0: the relation has no TOAST relation
}

// tablePlan is a table as the catalogs at the cut want it.
type tablePlan struct {
	key    tableKey
	name   lake.TableName
	rel    *schema.Relation
	cat    *schema.Catalogs
	leaves []leafPlan
	cols   columns
	policy types.OutOfRange
	format TableFormat
	layout layoutPlan
	// history is filled in once all tables are planned
	history historyPlan
	err     error // why it cannot be published at this cut
}

// excluded is a table that is meant not to be in the lake.
type excluded struct {
	name   lake.TableName
	reason string
}

// plan decides which of a database's relations are lake tables and what they look like.
func (e *Engine) plan(cat *schema.Catalogs) (plans []*tablePlan, out []excluded) {
	twins, histories := e.twins(cat), e.historyNames(cat)
	for _, rel := range e.candidates(cat) {
		name := nameOf(cat, rel)
		reason := e.excludes(cat, rel, name)
		if other, ok := twins[rel.OID]; ok {
			reason = fmt.Sprintf("its name differs from that of %s only in case: engines that ignore case would take one for the other", other)
		}
		if table, ok := histories[foldedName(name)]; ok && reason == "" {
			reason = fmt.Sprintf("its name is that of the history of table %s", table)
		}
		if reason != "" {
			out = append(out, excluded{name, reason})
			continue
		}
		p := &tablePlan{key: tableKey{cat.Database.OID, rel.OID}, name: name, rel: rel, cat: cat, format: e.format(name)}
		p.err = e.planTable(p)
		if p.err == nil && len(p.cols.states) == 0 {
			out = append(out, excluded{name, "no column has a type that the lake can hold"})
			continue
		}
		plans = append(plans, p)
	}
	e.planHistories(plans)
	slices.SortFunc(plans, func(a, b *tablePlan) int { return strings.Compare(a.name.String(), b.name.String()) })
	return plans, out
}

// userTable says whether a relation is of a kind that users would look for in the lake.
func userTable(rel *schema.Relation) bool {
	if rel.OID < pg.FirstNormalOID || rel.Partition || rel.Persistence == 't' {
		return false
	}
	switch rel.Namespace {
	case "", "pg_catalog", "information_schema", "pg_toast":
		return false
	}
	return rel.Kind == 'r' || rel.Kind == 'p' || rel.Kind == 'm'
}

func (e *Engine) excludes(cat *schema.Catalogs, rel *schema.Relation, name lake.TableName) string {
	switch {
	case e.opts.Exclude != nil && e.opts.Exclude(name):
		return "excluded by the configuration"
	case e.byLeaf(rel, name):
		return "partitioned: each of its partitions is a table, as the configuration has it"
	case rel.Persistence == 'u':
		return "unlogged: its rows are not in the WAL"
	case rel.Kind != 'p' && rel.AM != schema.HeapAM:
		return fmt.Sprintf("its access method (oid %d) is not heap", rel.AM)
	case !utf8.ValidString(name.String()):
		return "its name is not valid UTF-8"
	case cat.Database.Encoding != 6 && cat.Database.Encoding != 0:
		return "its database's encoding is not UTF8"
	}
	return ""
}

var errNoFile = errors.New("its file is not in the page store")

// planTable fills in leaves and columns.
func (e *Engine) planTable(p *tablePlan) error {
	rels := []*schema.Relation{p.rel}
	if p.rel.Kind == 'p' {
		var foreign []*schema.Relation
		if rels, foreign = p.cat.Leaves(p.rel.OID); len(foreign) > 0 {
			return fmt.Errorf("partition %q is not an ordinary table (relkind %c), so its rows are not in the WAL", foreign[0].Name, foreign[0].Kind)
		}
	}
	for _, rel := range rels {
		switch {
		case rel.Persistence != 'p':
			return fmt.Errorf("partition %q is unlogged, so its rows are not in the WAL", rel.Name)
		case rel.AM != schema.HeapAM:
			return fmt.Errorf("the access method (oid %d) of partition %q is not heap", rel.AM, rel.Name)
		}
		l := leafPlan{leafState: leafState{Rel: rel.OID, leafFile: leafFile{File: rel.File}, Attrs: attrsOf(p.rel, rel)}, rel: rel}
		created, ok := e.pages.RelationCreated(rel.File)
		if !ok {
			return fmt.Errorf("relation %q (%s): %w", rel.Name, rel.File, errNoFile)
		}
		l.Created = created
		if t := p.cat.Relations[rel.Toast]; t != nil {
			created, _ := e.pages.RelationCreated(t.File)
			l.toast, l.toastOID = toast.Relation{File: t.File, Created: created}, t.OID
		}
		p.leaves = append(p.leaves, l)
	}
	var prev published
	if t := e.tables[p.key]; t != nil {
		prev = published{t.state.Columns, t.state.LeftOut, t.schema.LastColumnID}
	}
	var err error
	var o types.Options
	if e.opts.Types != nil {
		o = e.opts.Types(p.name)
	}
	o.LCMonetary, p.policy = e.lcMonetary, o.OutOfRange
	if p.cols, err = planColumns(p.cat, p.rel, prev, o, func(name string) []byte { return missingIn(rels, name) }); err == nil {
		p.layout = e.planLayout(p)
	}
	return err
}

// attrsOf maps the root's columns to the leaf's of the same name where their numbers differ.
func attrsOf(root, leaf *schema.Relation) map[int16]int16 {
	if root == leaf {
		return nil
	}
	nums := map[string]int16{}
	for i := range leaf.Columns {
		if c := &leaf.Columns[i]; !c.Dropped {
			nums[c.Name] = c.Num
		}
	}
	attrs := map[int16]int16{}
	for i := range root.Columns {
		if c := &root.Columns[i]; !c.Dropped && nums[c.Name] != c.Num {
			attrs[c.Num] = nums[c.Name] // 0: it has none, which the encoder refuses
		}
	}
	return attrs
}

// missingIn is the default that rows older than a column have, in whichever leaf still has such rows.
func missingIn(rels []*schema.Relation, name string) []byte {
	for _, rel := range rels {
		for i := range rel.Columns {
			if c := &rel.Columns[i]; c.Name == name && c.HasMissing && !c.Dropped {
				return c.Missing
			}
		}
	}
	return nil
}

// refreshed says what reading a database's catalogs again gave: nothing was read, they were, or they are damaged.
type refreshed struct {
	read bool
	name string // of the database
	err  error
}

// refreshCatalogs reads again what changed of the catalogs. Databases whose catalogs are damaged or gone are not among them:
// their tables stop, the others go on.
func (e *Engine) refreshCatalogs(ctx context.Context, dirty func(pg.RelFileLocator) bool) (map[pg.OID]*schema.Catalogs, map[pg.OID]refreshed, error) {
	dbs, _, err := schema.Databases(ctx, e.pages)
	if err != nil {
		return nil, nil, err
	}
	cats, fresh := map[pg.OID]*schema.Catalogs{}, map[pg.OID]refreshed{}
	for _, db := range dbs {
		if db.Template {
			continue
		}
		old := e.catalogs[db.OID]
		if old != nil && old.Database == db && !e.catalogsChanged(old, dirty) {
			cats[db.OID] = old
			continue
		}
		c, err := schema.Read(ctx, e.pages, db)
		switch {
		// A database that is there for others and has no catalogs is being dropped by a server that removes the files
		// first, or its files are lost: its tables must not leave the lake for that.
		case errors.Is(err, pg.ErrCorrupt), errors.Is(err, schema.ErrNoCatalogs):
			fresh[db.OID] = refreshed{name: db.Name, err: fmt.Errorf("catalogs of database %q: %w", db.Name, err)}
		case err != nil:
			return nil, nil, fmt.Errorf("catalogs of database %q: %w", db.Name, err)
		default:
			cats[db.OID], fresh[db.OID] = c, refreshed{read: true}
		}
	}
	return cats, fresh, nil
}

// planUnreadable plans the tables of databases whose catalogs are damaged: they stay as they are, in error.
func (e *Engine) planUnreadable(fresh map[pg.OID]refreshed) map[pg.OID]databasePlan {
	plans := map[pg.OID]databasePlan{}
	for key, t := range e.tables {
		if db := fresh[key.db]; db.err != nil {
			p, name := plans[key.db], t.name
			name.Database = db.name // or another database that takes the old one's name would be in the way
			p.tables = append(p.tables, &tablePlan{key: key, name: name, err: db.err})
			plans[key.db] = p
		}
	}
	return plans
}

func (e *Engine) catalogsChanged(c *schema.Catalogs, dirty func(pg.RelFileLocator) bool) bool {
	relmap := e.pages.RelMap(c.Database.OID)
	for _, oid := range c.Mapped {
		if !c.Files[pg.RelFileLocator{Spc: c.Database.Tablespace, DB: c.Database.OID, Rel: relmap[oid]}] {
			return true // VACUUM FULL of a catalog
		}
	}
	for f := range c.Files {
		if dirty(f) {
			return true
		}
	}
	return false
}
