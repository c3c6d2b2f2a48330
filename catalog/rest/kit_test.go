package rest_test

import (
	"context"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// kitPasses are the tests of Iceberg's compatibility kit that ask for nothing but reading. All others make a namespace or a table first.
var kitPasses = []string{
	"testListNonExistingNamespace()", "testLoadMissingTable()", "testLoadTableWithNonExistingNamespace()", "testRemoveNamespacePropertiesNamespaceDoesNotExist()",
	"testRenameTableMissingSourceTable()", "testReplaceTransactionRequiresTableExists()", "testSetNamespacePropertiesNamespaceDoesNotExist()",
}

// kitCase is a test as JUnit reports it.
type kitCase struct {
	Name    string    `xml:"name,attr"`
	Skipped *struct{} `xml:"skipped"`
	Failure *kitError `xml:"failure"`
	Error   *kitError `xml:"error"`
}

type kitError struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
}

// TestCompatibilityKit runs Iceberg's REST compatibility kit (iceberg-open-api): what the catalog offers passes, and whatever does not
// is refused in the error model's words as what a catalog derived from Postgres does not do. Nothing fails in another way.
func TestCompatibilityKit(t *testing.T) {
	home, err := filepath.Abs("../../.cache/rest-kit")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(home, ".stamp")); err != nil {
		pgtest.Missing(t, fmt.Errorf("Iceberg's REST compatibility kit: run internal/tools/install-rest-client (%w)", err))
	}
	f := newFixture(t)
	f.clientLake()
	var said exchange
	url := said.serve(t, f.c.View())
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	reports := t.TempDir()
	cmd := exec.CommandContext(ctx, "java", "-Xmx512m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Drck.local=false", "-Duri="+url, "-Dtoken="+clientToken,
		"-Dwarehouse=app", "-cp", filepath.Join(home, "lib", "*"), "org.junit.platform.console.ConsoleLauncher", "execute",
		"--select-class=org.apache.iceberg.rest.RESTCompatibilityKitCatalogTests", "--reports-dir="+reports, "--details=none", "--disable-banner")
	out, err := cmd.CombinedOutput()
	data, readErr := os.ReadFile(filepath.Join(reports, "TEST-junit-jupiter.xml"))
	if readErr != nil {
		t.Fatalf("%v: %v\n%s", err, readErr, out)
	}
	var report struct {
		Cases []kitCase `xml:"testcase"`
	}
	if err := xml.Unmarshal(data, &report); err != nil {
		t.Fatal(err)
	}
	var passed []string
	refused, skipped := 0, 0
	for _, c := range report.Cases {
		failed := c.Failure
		if failed == nil {
			failed = c.Error
		}
		switch {
		case c.Skipped != nil:
			skipped++
		case failed == nil:
			passed = append(passed, c.Name)
		case strings.HasSuffix(failed.Type, ".ForbiddenException") && strings.Contains(failed.Message, "tarn derives this catalog from PostgreSQL"):
			refused++
		default:
			t.Errorf("%s: %s: %s", c.Name, failed.Type, failed.Message)
		}
	}
	t.Logf("%d passed, %d refused, %d skipped", len(passed), refused, skipped)
	if slices.Sort(passed); !slices.Equal(passed, kitPasses) {
		t.Errorf("passed: %q\nwant: %q", passed, kitPasses)
	}
	if refused < 80 {
		t.Errorf("the kit has only %d tests that want to write: is it whole?", refused)
	}
}
