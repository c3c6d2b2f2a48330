package basebackup

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
)

// placeTablespaces decides where tablespaces go: where the options say, else where they were. One whose location is not known, or
// that was in place, is a folder below pg_tblspc, which every server of 15 and later takes as such.
func (b *backup) placeTablespaces(target Target) error {
	unused := maps.Clone(b.o.Tablespaces)
	if len(unused) > 0 && !target.links() {
		return fault.Errorf(fault.Usage, "a tar stream holds tablespaces in place: it cannot put %s elsewhere", anyOf(unused))
	}
	for _, ts := range b.t.Cluster().Tablespaces {
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

func anyOf(m map[string]string) string { return slices.Sorted(maps.Keys(m))[0] }
