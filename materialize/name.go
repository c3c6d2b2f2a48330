package materialize

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/schema"
	"github.com/tarn-db/tarn/materialize/types"
)

// names are a table's columns as engines look them up: in lower case, members of a column as "column.member". PyIceberg
// and Java refuse a table with two fields of one such name, DuckDB and Spark one with two that differ in case.
type names map[string]string

// take adds a column, or says which one is in its way.
func (n names) take(f lake.Field) error {
	paths := fieldPaths(nil, "", f)
	own := map[string]bool{}
	for _, p := range paths {
		p = strings.ToLower(p)
		if other, ok := n[p]; ok {
			return &types.Unsupported{Reason: fmt.Sprintf("engines cannot tell it from column %q", other)}
		}
		if own[p] {
			return &types.Unsupported{Reason: fmt.Sprintf("two of its members are %q to engines, which ignore case", p)}
		}
		own[p] = true
	}
	for _, p := range paths {
		n[strings.ToLower(p)] = f.Name
	}
	return nil
}

func fieldPaths(paths []string, prefix string, f lake.Field) []string {
	paths = append(paths, prefix+f.Name)
	for _, m := range f.Type.Members() {
		paths = fieldPaths(paths, prefix+f.Name+".", m)
	}
	return paths
}

// twins are the relations whose names another one has too when case is ignored, by OID, with the other's name. Engines
// that ignore case answer with one table's rows where the other was asked for: DuckDB does so without a word. The one that
// is in the lake under its name stays, else the older.
func (e *Engine) twins(cat *schema.Catalogs) map[pg.OID]lake.TableName {
	byName := map[string][]*schema.Relation{}
	for _, rel := range e.candidates(cat) {
		if name := nameOf(cat, rel); e.excludes(cat, rel, name) == "" {
			key := strings.ToLower(name.Namespace + "\x00" + name.Name)
			byName[key] = append(byName[key], rel)
		}
	}
	lost := map[pg.OID]lake.TableName{}
	for _, rels := range byName {
		if len(rels) == 1 {
			continue
		}
		slices.SortFunc(rels, func(a, b *schema.Relation) int {
			return cmp.Or(cmp.Compare(e.absent(cat, a), e.absent(cat, b)), cmp.Compare(a.OID, b.OID))
		})
		for _, rel := range rels[1:] {
			lost[rel.OID] = nameOf(cat, rels[0])
		}
	}
	return lost
}

// absent is 0 if a relation is in the lake under its name, else 1.
func (e *Engine) absent(cat *schema.Catalogs, rel *schema.Relation) int {
	if t := e.tables[tableKey{cat.Database.OID, rel.OID}]; t != nil && t.name == nameOf(cat, rel) {
		return 0
	}
	return 1
}

func nameOf(cat *schema.Catalogs, rel *schema.Relation) lake.TableName {
	return lake.TableName{Database: cat.Database.Name, Namespace: rel.Namespace, Name: rel.Name}
}

// validUTF8 is a name to show: a SQL_ASCII database keeps whatever bytes its clients sent.
func validUTF8(name string) string { return strings.ToValidUTF8(name, string(utf8.RuneError)) }
