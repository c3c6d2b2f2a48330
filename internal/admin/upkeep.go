package admin

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarn-db/tarn/internal/pg"
)

// TableUpkeep counts what was done to a table, or to all, so that it stays quick to read, since the server began.
type TableUpkeep struct {
	Compactions        int64   `json:"compactions"`         // publications that wrote data files again
	CompactedFiles     int64   `json:"compacted_files"`     // data files that left for it
	WrittenFiles       int64   `json:"written_files"`       // data files that came with it, new rows included
	CompactedRows      int64   `json:"compacted_rows"`      // rows written again
	CompactionSeconds  float64 `json:"compaction_seconds"`  // finding and encoding those publications' part
	MergedDeleteFiles  int64   `json:"merged_delete_files"` // delete files that left because others say the same
	RewrittenManifests int64   `json:"rewritten_manifests"`
	ExpiredSnapshots   int64   `json:"expired_snapshots"`
	OverwrittenFiles   int64   `json:"overwritten_files"` // data files that left because they lost rows, in copy-on-write mode
	CarriedRows        int64   `json:"carried_rows"`      // rows of theirs that were written again
}

// Upkeep is that of all tables, and of the store.
type Upkeep struct {
	TableUpkeep
	RemovedObjects int64   `json:"removed_objects"` // that nobody could need any more
	RemovedOrphans int64   `json:"removed_orphans"` // that earlier writers had left
	WaitingObjects int64   `json:"waiting_objects"` // for their time of removal, an hour after they were superseded
	SweepSeconds   float64 `json:"sweep_seconds"`   // checkpoints of the catalog, and removals
	SweepFailures  int64   `json:"sweep_failures"`  // rounds of it that failed and are tried again
}

// tableSeriesMax bounds the tables that have series of their own: the first by name.
const tableSeriesMax = 1000

var tableLabels = []string{"database", "schema", "table"}

var (
	descSmallFiles    = desc("tarn_lake_small_files", "Live data files of all tables that are written again once there are many.")
	descSnapshots     = desc("tarn_lake_snapshots", "Snapshots that the metadata of all tables lists.")
	descManifests     = desc("tarn_lake_manifests", "Current manifests of all tables.")
	descMetadataBytes = desc("tarn_lake_metadata_bytes", "Bytes of metadata.json and current manifests of all tables.")

	descTableRows        = desc("tarn_table_rows", "Rows of a table in the lake.", tableLabels...)
	descTableDataFiles   = desc("tarn_table_data_files", "Live data files of a table.", tableLabels...)
	descTableSmallFiles  = desc("tarn_table_small_files", "Live data files of a table that are written again once there are many.", tableLabels...)
	descTableDeleteFiles = desc("tarn_table_delete_files", "Live delete files of a table.", tableLabels...)
	descTableSnapshots   = desc("tarn_table_snapshots", "Snapshots that a table's metadata lists.", tableLabels...)
	descTableManifests   = desc("tarn_table_manifests", "Current manifests of a table.", tableLabels...)
	descTableMetadata    = desc("tarn_table_metadata_bytes", "Bytes of a table's metadata.json and current manifests.", tableLabels...)
	descTableCompactions = desc("tarn_table_compactions_total", "Publications that wrote a table's data files again.", tableLabels...)
)

// upkeepCounters are the sums, by series.
var upkeepCounters = []struct {
	desc  *prometheus.Desc
	value func(*Upkeep) float64
}{
	{desc("tarn_compactions_total", "Publications of a table that wrote data files again."), func(u *Upkeep) float64 { return float64(u.Compactions) }},
	{desc("tarn_compacted_files_total", "Data files that left because their rows were written again."), func(u *Upkeep) float64 { return float64(u.CompactedFiles) }},
	{desc("tarn_compaction_written_files_total", "Data files that came with a compaction."), func(u *Upkeep) float64 { return float64(u.WrittenFiles) }},
	{desc("tarn_compacted_rows_total", "Rows that were written again."), func(u *Upkeep) float64 { return float64(u.CompactedRows) }},
	{desc("tarn_compaction_seconds_total", "Time spent on tables' parts of publications that compacted."), func(u *Upkeep) float64 { return u.CompactionSeconds }},
	{desc("tarn_merged_delete_files_total", "Delete files that left because others say the same."), func(u *Upkeep) float64 { return float64(u.MergedDeleteFiles) }},
	{desc("tarn_overwritten_files_total", "Data files that left because they lost rows, in copy-on-write mode."), func(u *Upkeep) float64 { return float64(u.OverwrittenFiles) }},
	{desc("tarn_carried_rows_total", "Rows of such files that were written again."), func(u *Upkeep) float64 { return float64(u.CarriedRows) }},
	{desc("tarn_rewritten_manifests_total", "Manifests that were read again and written into others."), func(u *Upkeep) float64 { return float64(u.RewrittenManifests) }},
	{desc("tarn_expired_snapshots_total", "Snapshots that left their tables' metadata."), func(u *Upkeep) float64 { return float64(u.ExpiredSnapshots) }},
	{desc("tarn_removed_objects_total", "Objects removed that nobody could need any more."), func(u *Upkeep) float64 { return float64(u.RemovedObjects) }},
	{desc("tarn_removed_orphans_total", "Objects removed that earlier writers had left."), func(u *Upkeep) float64 { return float64(u.RemovedOrphans) }},
	{desc("tarn_sweep_seconds_total", "Time spent on checkpoints of the catalog and on removals."), func(u *Upkeep) float64 { return u.SweepSeconds }},
	{desc("tarn_sweep_failures_total", "Rounds of it that failed and are tried again."), func(u *Upkeep) float64 { return float64(u.SweepFailures) }},
}

var descWaitingObjects = desc("tarn_waiting_objects", "Objects that wait for their time of removal.")

func collectUpkeep(s *Status, out chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string)) {
	for _, c := range upkeepCounters {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, c.value(&s.Upkeep))
	}
	gauge(descWaitingObjects, float64(s.Upkeep.WaitingObjects))
	var small, snapshots, manifests int
	var bytes int64
	for i := range s.Tables {
		t := &s.Tables[i]
		small, snapshots, manifests, bytes = small+t.SmallFiles, snapshots+t.Snapshots, manifests+t.Manifests, bytes+t.MetadataBytes
	}
	gauge(descSmallFiles, float64(small))
	gauge(descSnapshots, float64(snapshots))
	gauge(descManifests, float64(manifests))
	gauge(descMetadataBytes, float64(bytes))
	series := 0
	for i := range s.Tables {
		t := &s.Tables[i]
		if t.State == TableExcluded {
			continue
		}
		if series++; series > tableSeriesMax {
			return
		}
		collectTable(t, out, gauge)
	}
}

func collectTable(t *Table, out chan<- prometheus.Metric, gauge func(*prometheus.Desc, float64, ...string)) {
	labels := []string{t.Database, t.Schema, t.Table}
	gauge(descTableRows, float64(t.Rows), labels...)
	gauge(descTableDataFiles, float64(t.DataFiles), labels...)
	gauge(descTableSmallFiles, float64(t.SmallFiles), labels...)
	gauge(descTableDeleteFiles, float64(t.DeleteFiles), labels...)
	gauge(descTableSnapshots, float64(t.Snapshots), labels...)
	gauge(descTableManifests, float64(t.Manifests), labels...)
	gauge(descTableMetadata, float64(t.MetadataBytes), labels...)
	out <- prometheus.MustNewConstMetric(descTableCompactions, prometheus.CounterValue, float64(t.Upkeep.Compactions), labels...)
}

// Parquet is where readers of bare Parquet find a table.
type Parquet struct {
	Folder   string `json:"folder"`   // location that Spark reads as one table
	Manifest string `json:"manifest"` // location of the list of files, one a line, for others
	LSN      pg.LSN `json:"lsn"`      // of the newest list
}
