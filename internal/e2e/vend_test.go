package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/connect"
	"github.com/tarn-db/tarn/internal/demo"
	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

const vendToken = "0123456789abcdef-canary"

// newVendRig is a tarn on minio whose catalog hands out credentials, with two tables of which the one in Shop has 4711 rows.
func newVendRig(t *testing.T) *s3Rig {
	t.Helper()
	if os.Getenv("TARN_MINIO") == "" {
		t.Skip("versitygw has no AssumeRole: make test-minio runs this")
	}
	r := &s3Rig{rig: &rig{t: t, journal: demo.NewJournal(), seed: pgtest.Seed(t)}}
	r.s3 = s3test.New(t, "lake")
	r.proxy = s3test.NewProxy(t, r.s3.URL)
	r.pg = pgtest.NewTestServer(t, pgtest.Options{Major: 18, Databases: []string{database}})
	r.exec(`CREATE SCHEMA "Shop"`, `CREATE TABLE "Shop"."Or""der's" (id int)`, `INSERT INTO "Shop"."Or""der's" SELECT generate_series(1, 4711)`,
		`CREATE TABLE other AS SELECT generate_series(1, 815) AS id`)
	r.tarn = newTarnOn(t, r.pg.ReplConnString(database), t.TempDir(), "s3://lake/some/prefix")
	tokens := filepath.Join(r.tarn.dir, "tokens")
	text, err := os.ReadFile(r.tarn.config)
	if err != nil {
		t.Fatal(err)
	}
	yaml := strings.Replace(string(text), "catalog: {", fmt.Sprintf("catalog: {tokens_file: %q, ", tokens), 1) +
		fmt.Sprintf("s3: {vend: sts, vend_duration: 15m, endpoint: %q, region: %s}\n", r.proxy.URL, s3test.Region)
	for path, content := range map[string]string{tokens: vendToken + "\n", r.tarn.config: yaml} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.tarn.env = []string{"AWS_ACCESS_KEY_ID=" + s3test.AccessKeyID, "AWS_SECRET_ACCESS_KEY=" + s3test.SecretAccessKey}
	r.tarn.startReady()
	r.publish()
	return r
}

// Each snippet that `tarn connect` prints is run with the catalog's token and no key of the store.
func TestS3VendedConnect(t *testing.T) {
	r := newVendRig(t)
	r.tarn.env = []string{connect.TokenVariable + "=" + vendToken, "AWS_EC2_METADATA_DISABLED=true", "AWS_CONFIG_FILE=/none", "AWS_SHARED_CREDENTIALS_FILE=/none"}
	for _, engine := range connect.Engines() {
		if engine == "psql" {
			continue // it does not read the store
		}
		t.Run(engine, func(t *testing.T) { runSnippet(t, r.tarn, engine, `Shop.`+oddTable, "", "4711") })
	}
}
