package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/scrub"
)

// TestScrub: a store is found whole while it is written to and after; each kind of object that is taken away or changed is found and
// named; what nothing names is told from that.
func TestScrub(t *testing.T) {
	r := newDemoRig(t, 15)
	stop := r.write(nil)
	check := func(what string, deep bool) scrub.Report {
		t.Helper()
		args := []string{"scrub", "--json"}
		if deep {
			args = append(args, "--deep")
		}
		out, code := r.tarn.run(args...)
		out, _, _ = strings.Cut(out, "\ntarn: ") // the error's line, behind the data
		var rep scrub.Report
		if err := json.Unmarshal([]byte(out), &rep); err != nil {
			t.Fatalf("%s: %v: %s", what, err, out)
		}
		if want := map[bool]int{true: 0, false: 1}[rep.OK()]; code != want {
			t.Errorf("%s: exit code %d, %+v", what, code, rep)
		}
		return rep
	}
	for range 3 {
		time.Sleep(700 * time.Millisecond)
		if rep := check("running", true); !rep.OK() || rep.Orphans != 0 || rep.Objects == 0 {
			t.Fatalf("while it is written to: %+v", rep)
		}
	}
	stop()
	r.exec("SELECT pg_switch_wal()", "UPDATE accounts SET holder = holder || id", "DELETE FROM vaults WHERE id = (SELECT min(id) FROM vaults)")
	r.caughtUp()
	r.tarn.stop()
	whole := check("stopped", true)
	if !whole.OK() || whole.Orphans != 0 || whole.Bytes < 1<<20 {
		t.Fatalf("stopped: %+v", whole)
	}
	names := r.objects() // the newest first: nothing has taken its place yet
	first := func(part string) string {
		t.Helper()
		i := slices.IndexFunc(names, func(name string) bool {
			return strings.HasSuffix(name, part) || part[0] != '.' && strings.Contains(name, part)
		})
		if i < 0 {
			t.Fatalf("no object named %s in %v", part, names)
		}
		return names[i]
	}
	for _, part := range []string{"timelines/main/index.json", "/layers/", "timelines/main/state/", "wal/00000001/000000010000000000000003", "wal/base/", ".parquet", ".tids", ".puffin", ".metadata.json", ".avro", "catalog/log/"} {
		path := filepath.Join(r.tarn.storeDir(), first(part))
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if rep := check(part+" taken away", false); rep.OK() && part != "catalog/log/" && part != ".metadata.json" { // a former one may be it
			t.Errorf("%s was taken away and not missed: %+v", first(part), rep)
		}
		short := data[:len(data)-1]
		if err := os.WriteFile(path, short, 0o600); err != nil {
			t.Fatal(err)
		}
		if rep := check(part+" cut short", part == ".tids"); rep.OK() && part != ".metadata.json" && part != "catalog/log/" {
			t.Errorf("%s was cut short and not missed: %+v", first(part), rep)
		}
		flipped := append([]byte(nil), data...)
		at := min(len(data)/3, 3000) // a segment may end in zeros
		if part == ".puffin" {
			at = 20 // its footer has no checksum, nor is it needed
		}
		flipped[at] ^= 0x10
		if err := os.WriteFile(path, flipped, 0o600); err != nil {
			t.Fatal(err)
		}
		if rep := check(part+" flipped", true); rep.OK() && (strings.Contains(part, "/layers/") || strings.Contains(part, "wal/") || strings.Contains(part, "/state/") || part == ".tids" || part == ".puffin") {
			t.Errorf("a bit of %s was flipped and not found: %+v", first(part), rep)
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, old := range map[string]bool{"timelines/main/layers/dead": true, "lake/1/2-0000000000000003/data/dead.parquet": true, "wal/00000001/junk": true, "timelines/main/layers/fresh": false} {
		path := filepath.Join(r.tarn.storeDir(), name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("dead"), 0o600); err != nil {
			t.Fatal(err)
		}
		if old {
			if err := os.Chtimes(path, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rep := check("with orphans", false); !rep.OK() || rep.Orphans != 3 || rep.OrphanBytes != 12 {
		t.Errorf("three orphans: %+v", rep)
	}
}

// objects lists the store's objects, the newest first.
func (r *rig) objects() (names []string) {
	r.t.Helper()
	root := r.tarn.storeDir()
	age := map[string]time.Time{}
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			name := strings.TrimPrefix(path, root+"/")
			names = append(names, name)
			var info fs.FileInfo
			if info, err = e.Info(); err == nil {
				age[name] = info.ModTime()
			}
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.SortFunc(names, func(a, b string) int { return age[b].Compare(age[a]) })
	return names
}
