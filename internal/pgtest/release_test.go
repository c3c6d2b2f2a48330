package pgtest_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// TestReleasesAreInstalled: the releases tests ask for are those that are pinned, and `make setup` installs each. They are the
// oldest and the newest of a major version, and the newest is what is downloaded for the demo.
func TestReleasesAreInstalled(t *testing.T) {
	script := read(t, "../tools/install-postgres")
	releases := pgtest.Releases()
	if !strings.Contains(script, "releases=("+strings.Join(releases, " ")+")") {
		t.Errorf("install-postgres pins others than %v", releases)
	}
	if !strings.Contains(read(t, "../../Makefile"), "\nPOSTGRES := 15 16 17 18 "+strings.Join(releases, " ")+"\n") {
		t.Errorf("make setup does not install %v", releases)
	}
	fetch := read(t, "fetch.go")
	for i, release := range releases {
		if !strings.Contains(script, "["+release+"]=") {
			t.Errorf("install-postgres has no SHA-256 of %s", release)
		}
		if newest := i%2 == 1; newest && !strings.Contains(fetch, `"`+release+`.0"`) {
			t.Errorf("fetch.go downloads another release than %s", release)
		}
	}
}

// TestEachRelease starts each of them: a folder under the wrong name would make the tests of a release those of another.
func TestEachRelease(t *testing.T) {
	for _, release := range pgtest.Releases() {
		t.Run(release, func(t *testing.T) {
			srv := pgtest.NewFixture(t, pgtest.Options{Release: release})
			if got := srv.One("SHOW server_version"); got != release {
				t.Errorf("server_version is %s", got)
			}
		})
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
