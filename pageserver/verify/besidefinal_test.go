package verify

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// serverDir is a data directory with these files beside its relations.
func serverDir(t *testing.T, files map[string][]byte) *datadir.Dir {
	t.Helper()
	root := t.TempDir()
	files["PG_VERSION"] = []byte("15\n")
	files["global/pg_control"] = nil
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := datadir.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	return dir
}

// TestOriginsAtTheEnd: the progress of each origin is the server's, which has a file if there are any.
func TestOriginsAtTheEnd(t *testing.T) {
	one, other := []cluster.Origin{{ID: 1, RemoteLSN: 7}}, []cluster.Origin{{ID: 1, RemoteLSN: 8}}
	for name, c := range map[string]struct {
		ours   []cluster.Origin
		theirs []byte
		differ int64
	}{
		"none":                      {nil, nil, 0},
		"none, and a file":          {nil, cluster.AppendOrigins(nil, nil), 0},
		"the same":                  {one, cluster.AppendOrigins(nil, one), 0},
		"further":                   {one, cluster.AppendOrigins(nil, other), 1},
		"the server has one more":   {nil, cluster.AppendOrigins(nil, one), 1},
		"the server has none":       {one, cluster.AppendOrigins(nil, nil), 1},
		"the server has not a file": {one, nil, 1},
	} {
		files := map[string][]byte{}
		if c.theirs != nil {
			files["pg_logical/replorigin_checkpoint"] = c.theirs
		}
		b, final := beside{state: cluster.State{Origins: c.ours}}, Final{}
		if err := b.compareOrigins(serverDir(t, files), &final); err != nil || final.Differ != c.differ {
			t.Errorf("%s: %+v, %v", name, final, err)
		}
	}
}

// TestPreparedAtTheEnd: the server's prepared transactions are those the WAL leaves.
func TestPreparedAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		ours   map[pg.XID][]byte
		theirs string // state
		differ int64
	}{
		"the same":          {map[pg.XID][]byte{7: []byte("state")}, "state", 0},
		"otherwise":         {map[pg.XID][]byte{7: []byte("STATE")}, "state", 1},
		"not in the WAL":    {nil, "state", 1},
		"not at the server": {map[pg.XID][]byte{7: []byte("state"), 8: nil}, "state", 1},
		"another":           {map[pg.XID][]byte{8: []byte("state")}, "state", 2},
	} {
		dir := serverDir(t, map[string][]byte{"pg_twophase/00000007": cluster.AppendTwoPhase(nil, []byte(c.theirs))})
		b, final := beside{prepared: c.ours}, Final{}
		if err := b.comparePrepared(dir, &final); err != nil || final.Differ != c.differ {
			t.Errorf("%s: %+v, %v", name, final, err)
		}
	}
}

// TestLogsAtTheEnd: the server has the pages of transaction logs that the WAL leaves, and no others.
func TestLogsAtTheEnd(t *testing.T) {
	page := make([]byte, pg.BlockSize)
	page[100] = 1
	for name, c := range map[string]struct {
		ours, theirs []byte // whole pages
		differ       int64
	}{
		"the same":         {page, page, 0},
		"otherwise":        {page, make([]byte, pg.BlockSize), 1},
		"one more":         {page, append(page[:len(page):len(page)], page...), 1},
		"one page missing": {append(page[:len(page):len(page)], page...), page, 1},
	} {
		dir := serverDir(t, map[string][]byte{"pg_xact/0000": c.theirs})
		b, err := newBeside(serverDir(t, map[string][]byte{"pg_xact/0000": c.ours}), &control.Control{Major: pg.PG15})
		if err != nil {
			t.Fatal(err)
		}
		sets, err := logSets(dir)
		if err != nil {
			t.Fatal(err)
		}
		final := Final{}
		if err := b.compareLog(dir, slru.CLOG, &sets[slru.CLOG], &control.Control{}, &final); err != nil || final.Differ != c.differ {
			t.Errorf("%s: %+v, %v", name, final, err)
		}
	}
}

// TestControlAtTheEnd: the control file has the last checkpoint, which has what the records before it come to, and the settings.
func TestControlAtTheEnd(t *testing.T) {
	for name, c := range map[string]struct {
		alter  func(b *beside, c *control.Control)
		differ bool
	}{
		"the same":                       {func(*beside, *control.Control) {}, false},
		"another place":                  {func(_ *beside, c *control.Control) { c.CheckPointLSN++ }, true},
		"another checkpoint":             {func(b *beside, _ *control.Control) { b.checkpoint.Time++ }, true},
		"transactions before it":         {func(b *beside, _ *control.Control) { b.before.NextXID = 1001 }, true},
		"a transaction not in WAL":       {func(b *beside, _ *control.Control) { b.before.NextXID = 999 }, false},
		"OIDs it has not":                {func(b *beside, _ *control.Control) { b.before.NextOID-- }, true},
		"OIDs logged ahead":              {func(b *beside, _ *control.Control) { b.before.NextOID++ }, false},
		"OIDs it has not, after a crash": {func(b *beside, c *control.Control) { b.before.NextOID--; c.State = control.InProduction }, false},
		"multixacts":                     {func(b *beside, _ *control.Control) { b.before.NextMulti++ }, true},
		"their members":                  {func(b *beside, _ *control.Control) { b.before.NextMultiOffset++ }, true},
		"the oldest commit time":         {func(b *beside, _ *control.Control) { b.before.OldestCommitTsXID++ }, true},
		"the newest commit time":         {func(b *beside, _ *control.Control) { b.before.NewestCommitTsXID++ }, true},
		"a setting":                      {func(_ *beside, c *control.Control) { c.MaxConnections++ }, true},
		"hints":                          {func(b *beside, _ *control.Control) { b.state.Settings.WALLogHints = true }, true},
	} {
		cp := xlrec.CheckPoint{NextXID: 1000, NextOID: 20000, NextMulti: 5, NextMultiOffset: 9}
		ctl := control.Control{State: control.ShutDown, CheckPoint: cp, CheckPointLSN: 0x100, MaxConnections: 100}
		b := beside{checkpoint: cp, checkpointLSN: 0x100, before: cp}
		b.state.Settings.MaxConnections = 100
		c.alter(&b, &ctl)
		if what := b.controlDiffers(&ctl); (what != "") != c.differ {
			t.Errorf("%s: %q", name, what)
		}
	}
}
