package doctor

import (
	"fmt"
	"strings"

	"github.com/tarn-db/tarn/internal/admin"
)

// engines says what readers must be told that they do not find out for themselves.
func (x *examiner) engines() (c checks) {
	c.advise("engines.spark", "Spark keeps what it has loaded of a table for 30 s",
		"spark.sql.catalog.<name>.cache-enabled=false shows each publication at once; tarn connect spark prints the rest")
	if x.Config.S3.Vend {
		c.advise("engines.jvm_io", "the files are in S3: Spark and Trino need an S3 client of their own; the catalog hands out credentials for it",
			"Spark: io-impl=org.apache.iceberg.aws.s3.S3FileIO with iceberg-aws-bundle, and header.X-Iceberg-Access-Delegation=vended-credentials; Trino: fs.native-s3.enabled=true and iceberg.rest-catalog.vended-credentials-enabled=true; tarn connect prints both")
	} else if strings.HasPrefix(x.Config.Store, "s3:") {
		c.advise("engines.jvm_io", "the files are in S3: Spark and Trino need an S3 client of their own, and credentials",
			"Spark: io-impl=org.apache.iceberg.aws.s3.S3FileIO with iceberg-aws-bundle; Trino: fs.native-s3.enabled=true; tarn connect prints both")
	} else {
		c.advise("engines.jvm_io", "the files are in a folder: engines must run where they see it under the same path",
			"Spark reads file: paths as it is; Trino: fs.hadoop.enabled=true; for engines elsewhere use an s3:// store")
	}
	return c
}

// tables says which tables are not published, if a tarn runs to ask.
func (x *examiner) tables() (c checks) {
	const name = "tables.error"
	if x.running == nil {
		if !x.Serving {
			c.unknown(name, "not asked: no tarn runs on "+x.Config.HTTP.Listen)
		}
		return c
	}
	var bad []string
	for _, t := range x.running.Tables {
		if t.State == admin.TableError {
			bad = append(bad, t.Name)
		}
	}
	switch {
	case len(bad) > 0:
		const most = 5
		c.warn(name, fmt.Sprintf("%d of %d tables are not published any more: %s", len(bad), len(x.running.Tables), strings.Join(bad[:min(most, len(bad))], ", ")),
			"tarn tables says why; put that right, then tarn resync TABLE")
	default:
		c.ok(name, fmt.Sprintf("%d tables, none in error", len(x.running.Tables)))
	}
	state := "tarn " + string(x.running.State)
	if x.running.Error != "" {
		c.warn("tarn.state", strings.TrimPrefix(state+": "+x.running.Error, " "), "tarn errors "+x.running.Code+" explains it")
		return c
	}
	c.ok("tarn.state", state)
	return c
}
