package basebackup

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/cluster"
)

// placeTablespaces decides where tablespaces go: where the options say, else where they were. One whose location is not known, or
// that was in place, is a folder below pg_tblspc, which every server of 15 and later takes as such.
func (b *backup) placeTablespaces(target Target) error {
	unused := maps.Clone(b.o.Tablespaces)
	if len(unused) > 0 && !target.links() {
		return fault.Errorf(fault.Usage, "a tar stream holds tablespaces in place: it cannot put %s elsewhere", anyOf(unused))
	}
	for _, ts := range b.tablespaces() {
		placed := Tablespace{OID: ts.OID, Source: ts.Path}
		if !filepath.IsAbs(ts.Path) {
			placed.Source = "" // pg_tblspc/OID, of one that was in place
		}
		for _, name := range []string{strconv.Itoa(int(ts.OID)), placed.Source} {
			if to, ok := unused[name]; ok && name != "" {
				placed.Location = to
				delete(unused, name)
			}
		}
		if placed.Location == "" && target.links() {
			placed.Location = placed.Source
		}
		if placed.Location != "" && !filepath.IsAbs(placed.Location) {
			return fault.Errorf(fault.Usage, "the new location of tablespace %d, %q, is no absolute path", ts.OID, placed.Location)
		}
		name := fmt.Sprintf("pg_tblspc/%d", ts.OID)
		if placed.Location == "" {
			b.folder(name)
		} else {
			placed.Location = filepath.Clean(placed.Location)
			b.link(name, placed.Location)
		}
		b.report.Tablespaces = append(b.report.Tablespaces, placed)
	}
	if len(unused) > 0 {
		var known []string
		for _, ts := range b.report.Tablespaces {
			known = append(known, strings.TrimSpace(fmt.Sprintf("%d %s", ts.OID, ts.Source)))
		}
		return fault.Errorf(fault.Usage, "there is no tablespace %s; there are: %s", anyOf(unused), strings.Join(known, ", "))
	}
	return nil
}

// tablespaces lists those there are, by OID: also one that has relations and of which nothing else is known, as with a timeline
// of a release that did not follow them.
func (b *backup) tablespaces() []cluster.Tablespace {
	list := slices.Clone(b.t.Cluster().Tablespaces)
	add := func(oid pg.OID) {
		known := func(ts cluster.Tablespace) bool { return ts.OID == oid }
		if oid != pg.DefaultTablespace && oid != pg.GlobalTablespace && !slices.ContainsFunc(list, known) {
			list = append(list, cluster.Tablespace{OID: oid})
		}
	}
	for _, loc := range b.t.Relations() {
		add(loc.Spc)
	}
	for _, m := range b.t.RelMapFiles() {
		add(m.Spc)
	}
	slices.SortFunc(list, func(x, y cluster.Tablespace) int { return cmp.Compare(x.OID, y.OID) })
	return list
}

func anyOf(m map[string]string) string { return slices.Sorted(maps.Keys(m))[0] }
