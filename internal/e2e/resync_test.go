package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/lakecheck"
)

// state is what the status says of a table of database app; its State is empty if it says nothing.
func (r *rig) state(table string) admin.Table {
	r.t.Helper()
	status, err := r.tarn.client().Status(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, t := range status.Tables {
		if t.Name == database+"."+table {
			return t
		}
	}
	return admin.Table{}
}

// mustBe waits until a table is in a state; word is part of what the status says beside it.
func (r *rig) mustBe(table string, want admin.TableState, word string) {
	r.t.Helper()
	r.caughtUp()
	var got admin.Table
	for range 200 {
		if got = r.state(table); got.State == want && strings.Contains(got.Error, word) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	r.t.Fatalf("%s is %q: %q; want %q and %q", table, got.State, got.Error, want, word)
}

// verb runs a verb that has to succeed.
func (r *rig) verb(args ...string) {
	r.t.Helper()
	if out, code := r.tarn.run(args...); code != 0 {
		r.t.Fatalf("tarn %s: exit %d: %s", strings.Join(args, " "), code, out)
	}
}

const dims = "'{{1,2},{3,4}}'" // no list of int holds this

// A table with a row that the lake cannot hold stops, keeps its last good rows, and is whole again when the row is gone and
// a resync was asked for. What was written meanwhile, out of line too, is there.
func TestResyncOfOneTable(t *testing.T) {
	r := newRig(t, 15, []string{
		`CREATE TABLE t (id int, a int[], big text)`, `ALTER TABLE t ALTER big SET STORAGE EXTERNAL`,
		`INSERT INTO t SELECT i, ARRAY[i], repeat(md5(i::text), 200) FROM generate_series(1, 50) i`,
		`CREATE TABLE never (id int, a int[], big text)`, `ALTER TABLE never ALTER big SET STORAGE EXTERNAL`,
		`INSERT INTO never SELECT i, CASE WHEN i = 9 THEN ` + dims + `::int[] END, repeat(md5(i::text), 200) FROM generate_series(1, 20) i`,
	})
	r.tarn.addRule(strict)
	r.tarn.startReady()
	r.exec(`UPDATE t SET big = big || 'x' WHERE id < 9`)
	r.mustBe("public.t", admin.TableLive, "")
	r.mustBe("public.never", admin.TableError, "out_of_range")
	r.exec(`UPDATE t SET a = ` + dims + ` WHERE id = 7`)
	r.mustBe("public.t", admin.TableError, "out_of_range")
	r.exec(`UPDATE t SET big = repeat(md5('later'), 300) WHERE id % 2 = 0`, `UPDATE never SET big = repeat(md5('later'), 300)`)
	r.caughtUp()
	r.exec(`UPDATE t SET a = NULL WHERE id = 7`, `DELETE FROM never WHERE id = 9`)
	r.mustBe("public.t", admin.TableError, "out_of_range") // only a resync ends it
	r.verb("resync", "app.public.t")
	r.verb("resync", "app.public.never")
	r.mustBe("public.t", admin.TableLive, "")
	r.mustBe("public.never", admin.TableLive, "")
	r.mustBeEqual()
	r.verb("resync", "app.public.t") // one that is live, without any change
	r.exec(`INSERT INTO t (id) VALUES (1000)`)
	r.mustBeEqual()
	if out, code := r.tarn.run("resync", "app.public.nothing"); code != 1 || !strings.Contains(out, "nothing") {
		t.Fatalf("resync of no table: exit %d: %s", code, out)
	}
}

// A table in error follows its name, so that another may have it.
func TestTableInErrorIsRenamed(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE t (id int, a int[])`, `INSERT INTO t VALUES (1)`})
	r.tarn.addRule(strict)
	r.tarn.startReady()
	r.exec(`INSERT INTO t VALUES (2, ` + dims + `)`)
	r.mustBe("public.t", admin.TableError, "out_of_range")
	r.exec(`BEGIN; ALTER TABLE t RENAME TO old; CREATE TABLE t (id int); INSERT INTO t VALUES (3); COMMIT`)
	r.mustBe("public.old", admin.TableError, "out_of_range")
	r.mustBe("public.t", admin.TableLive, "")
	if report := r.compare(database, lakecheck.TableName{Namespace: "public", Table: "t"}); !report.Equal() {
		t.Fatal(report)
	}
	r.exec(`ALTER TABLE old RENAME TO older`, `DELETE FROM older WHERE id = 2`)
	r.tarn.kill9()
	r.tarn.startReady()
	r.mustBe("public.older", admin.TableError, "out_of_range")
	r.exec(`DROP TABLE t`, `ALTER TABLE older RENAME TO t`)
	r.verb("resync", "app.public.t")
	r.mustBe("public.t", admin.TableLive, "")
	r.mustBeEqual()
}

// A new base backup begins everything anew, tables in error as well.
func TestResyncAll(t *testing.T) {
	r := newDemoRig(t, 15)
	r.tarn.addRule(strict)
	r.tarn.kill9()
	r.tarn.startReady()
	r.exec(`CREATE TABLE bad (a int[])`, `INSERT INTO bad VALUES ('{1}')`)
	r.caughtUp()
	r.exec(`INSERT INTO bad VALUES (` + dims + `)`)
	r.mustBe("public.bad", admin.TableError, "out_of_range")
	r.exec(`DELETE FROM bad WHERE array_ndims(a) = 2`)
	stop := r.write(nil)
	time.Sleep(time.Second)
	r.verb("resync", "--all")
	time.Sleep(2 * time.Second)
	stop()
	r.tarn.waitReady()
	r.mustBe("public.bad", admin.TableLive, "")
	r.mustBeEqual()
	r.ledgerMustHold()
	r.exec(`INSERT INTO bad VALUES ('{2}')`)
	r.mustBeEqual()
}

// A column of a type that the lake has no place for comes in whole when its type changes to one it has, though no row is
// written again.
func TestColumnComesIn(t *testing.T) {
	r := newRig(t, 18, []string{`CREATE TABLE t (id int, c regclass, d regclass)`, `INSERT INTO t SELECT i, 'pg_class', 'pg_type' FROM generate_series(1, 100) i`})
	r.tarn.startReady()
	r.mustBeEqual()
	before, err := r.pg.QueryText(t.Context(), database, `SELECT relfilenode::text FROM pg_class WHERE relname = 't'`)
	if err != nil {
		t.Fatal(err)
	}
	r.mustBe("public.t", admin.TableLive, "c (") // the status names the columns that are left out
	r.exec(`ALTER TABLE t ADD COLUMN e regclass`)
	r.mustBe("public.t", admin.TableLive, "e (") // also new ones, though no row has changed
	r.exec(`ALTER TABLE t ALTER c TYPE oid`)
	r.mustBeEqual()
	r.tarn.kill9()
	r.tarn.startReady()
	r.exec(`ALTER TABLE t ALTER d TYPE oid`, `UPDATE t SET id = -id WHERE id = 5`)
	r.mustBeEqual()
	after, err := r.pg.QueryText(t.Context(), database, `SELECT relfilenode::text FROM pg_class WHERE relname = 't'`)
	if err != nil || after != before {
		t.Fatalf("relfilenode %s, then %s, %v: the rows were written again, so this showed nothing", before, after, err)
	}
}
