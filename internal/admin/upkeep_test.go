package admin

import (
	"fmt"
	"strings"
	"testing"
)

// TestUpkeepMetrics: sums, and series of each table up to a limit; excluded tables have none.
func TestUpkeepMetrics(t *testing.T) {
	src, c, _ := start(t)
	src.mu.Lock()
	src.st.Upkeep = Upkeep{TableUpkeep: TableUpkeep{Compactions: 7, CompactedFiles: 70, ExpiredSnapshots: 5}, RemovedObjects: 6, RemovedOrphans: 4, WaitingObjects: 3}
	for i := range tableSeriesMax + 5 {
		src.st.Tables = append(src.st.Tables, Table{
			Database: "app", Schema: "public", Table: fmt.Sprintf("t%04d", i), State: TableLive, DataFiles: 40, SmallFiles: 30, DeleteFiles: 2, Snapshots: 9, Manifests: 3,
			MetadataBytes: 1000, Upkeep: TableUpkeep{Compactions: 2},
		})
	}
	src.st.Tables[1].State = TableExcluded
	src.mu.Unlock()
	_, body := get(t, c, "/metrics")
	for _, want := range []string{
		"tarn_compactions_total 7", "tarn_compacted_files_total 70", "tarn_expired_snapshots_total 5", "tarn_removed_objects_total 6", "tarn_removed_orphans_total 4",
		"tarn_waiting_objects 3", "tarn_lake_small_files 30150", "tarn_lake_snapshots 9045", "tarn_lake_manifests 3015", "tarn_lake_metadata_bytes 1.005e+06",
		`tarn_table_small_files{database="app",schema="public",table="t0000"} 30`, `tarn_table_metadata_bytes{database="app",schema="public",table="t1000"} 1000`,
		`tarn_table_compactions_total{database="app",schema="public",table="t0002"} 2`,
	} {
		if !strings.Contains(body, want+"\n") {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(body, `table="t0001"`) || strings.Contains(body, `table="t1001"`) || strings.Count(body, "tarn_table_rows{") != tableSeriesMax {
		t.Errorf("%d tables have series", strings.Count(body, "tarn_table_rows{"))
	}
}
