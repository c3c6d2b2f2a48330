package e2e

import (
	"slices"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/admin"
)

// Databases of other encodings: what is in them is not passed off as UTF-8. SQL_ASCII is any bytes: a table is in the lake
// as long as they are UTF-8.
func TestEncodings(t *testing.T) {
	r := newRig(t, 18, []string{
		`CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0`, `CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0`,
	})
	c := &cellRig{rig: r}
	c.execIn("latin", `CREATE TABLE t (i int, s text)`, `INSERT INTO t VALUES (1, 'für')`)
	c.execIn("ascii", `SET client_encoding = 'SQL_ASCII'`, `CREATE TABLE good (i int, s text)`, `INSERT INTO good VALUES (1, 'plain'), (2, 'für')`,
		`CREATE TABLE bad (i int, s text)`, `INSERT INTO bad VALUES (1, convert_from('\x66fc72', 'SQL_ASCII'))`)
	r.tarn.startReady()
	r.caughtUp()
	status, err := r.tarn.client().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		state admin.TableState
		why   string
	}{
		"latin.public.t": {admin.TableExcluded, "UTF8"}, "ascii.public.good": {admin.TableLive, ""}, "ascii.public.bad": {admin.TableError, "UTF-8"},
	} {
		i := slices.IndexFunc(status.Tables, func(t admin.Table) bool { return t.Name == name })
		if i < 0 || status.Tables[i].State != want.state || !strings.Contains(status.Tables[i].Error, want.why) {
			t.Errorf("%s: want %s because of %s: %+v", name, want.state, want.why, status.Tables)
		}
	}
}
