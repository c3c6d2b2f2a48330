package admin

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/tarn-db/tarn/internal/pg"
)

// newRegistry makes the server's own registry: nothing that a library registers globally shows up in it.
func newRegistry(o Options) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		o.Freshness.histogram,
		&statusCollector{source: o.Source, version: o.Version},
	)
	return r
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descBuild  = desc("tarn_build_info", "The running version; always 1.", "version", "goversion")
	descState  = desc("tarn_state", "1 for the state the server is in, 0 for the others.", "state")
	descReady  = desc("tarn_ready", "1 if readers are served current data.")
	descSource = desc("tarn_source_info", "The cluster tarn is attached to; always 1.", "version", "system_id", "timeline")
	descFPW    = desc("tarn_source_full_page_writes", "1 if full_page_writes is on at the source, as of the last redone record.")

	descSourceLSN = desc("tarn_wal_source_lsn_bytes", "End of WAL on the source as last heard.")
	descReceived  = desc("tarn_wal_received_lsn_bytes", "End of received WAL.")
	descFlushed   = desc("tarn_wal_flushed_lsn_bytes", "End of WAL that is durable on the quorum.")
	descArchived  = desc("tarn_wal_archived_lsn_bytes", "End of WAL in the object store.")
	descApplied   = desc("tarn_wal_applied_lsn_bytes", "End of WAL applied to pages.")
	descCut       = desc("tarn_wal_cut_lsn_bytes", "LSN of the last cut.")
	descPublished = desc("tarn_wal_published_lsn_bytes", "LSN of the last publication.")

	descLagBytes   = desc("tarn_lag_bytes", "WAL between the source's end and the stage.", "stage")
	descLagSeconds = desc("tarn_lag_seconds", "Age of the oldest commit that has not reached the stage.", "stage")

	descLeases      = desc("tarn_page_leases", "LSNs that clients of the page service hold, whatever the window of history.")
	descOpenTx      = desc("tarn_open_transactions", "Transactions open on the source at the last redone record.")
	descMemoryUsed  = desc("tarn_memory_used_bytes", "Page memory in use.")
	descMemoryLimit = desc("tarn_memory_limit_bytes", "Page memory allowed.")
	descRewinds     = desc("tarn_rewinds_total", "How often the lake was taken back to a fork of the source's history.")
	descCacheHits   = desc("tarn_cache_hits_total", "Blocks of layers and WAL read from the local cache.")
	descCacheMisses = desc("tarn_cache_misses_total", "Blocks of layers and WAL read from the store.")
	descCacheEvict  = desc("tarn_cache_evictions_total", "Blocks removed from the cache to make room.")
	descCacheDamage = desc("tarn_cache_damaged_total", "Blocks in the cache whose checksum was wrong.")
	descCacheErrors = desc("tarn_cache_errors_total", "Errors of the cache's disk.")
	descCacheBytes  = desc("tarn_cache_bytes", "Bytes of the cache's files.")
	descCacheLimit  = desc("tarn_cache_limit_bytes", "Bytes the cache's files may have; 0 if nothing is cached.")
	descTables      = desc("tarn_tables", "Tables by state.", "state")
	descRows        = desc("tarn_lake_rows", "Rows of all tables in the lake.")
	descDataFiles   = desc("tarn_lake_data_files", "Live data files of all tables.")
	descDeleteFiles = desc("tarn_lake_delete_files", "Live delete files of all tables.")
	descOutOfRange  = desc("tarn_lake_values_out_of_range", "Values of all tables that Iceberg's types cannot hold, since each was last written whole.")
	descLastPublish = desc("tarn_last_publication_timestamp_seconds", "When the last publication was made, as Unix time; 0 before the first.")
)

// statusCollector reads one Status per scrape, so that all figures of a scrape belong to one moment and a lag is never
// the difference of two.
type statusCollector struct {
	source  Source
	version string
}

// Describe is empty on purpose: the collector is unchecked, its series are those above.
func (*statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect sends the figures of one Status.
func (c *statusCollector) Collect(out chan<- prometheus.Metric) {
	s := c.source.Status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(descBuild, 1, c.version, runtime.Version())
	for _, st := range States {
		gauge(descState, truth(s.State == st), string(st))
	}
	ready, _ := c.source.Ready()
	gauge(descReady, truth(ready))
	if s.Source.SystemID != 0 {
		gauge(descSource, 1, s.Source.Version, itoa(s.Source.SystemID), itoa(uint64(s.Source.Timeline)))
	}
	if on := s.Source.FullPageWrites; on != nil {
		gauge(descFPW, truth(*on))
	}
	for _, l := range []struct {
		desc  *prometheus.Desc
		stage string
		lsn   pg.LSN
	}{
		{descSourceLSN, "", s.SourceLSN}, {descReceived, "receive", s.ReceiveLSN}, {descFlushed, "commit", s.CommitLSN},
		{descArchived, "archived", s.ArchivedLSN}, {descApplied, "redo", s.RedoLSN}, {descCut, "cut", s.CutLSN},
		{descPublished, "published", s.PublishedLSN},
	} {
		gauge(l.desc, float64(l.lsn))
		// Before a stage has any position its lag is unknown, not the whole WAL since the cluster's birth.
		if l.stage != "" && l.lsn != 0 {
			gauge(descLagBytes, float64(max(s.SourceLSN, l.lsn)-l.lsn), l.stage)
		}
	}
	gauge(descLagSeconds, float64(s.LagMS)/1000, string(StagePublished))
	gauge(descLeases, float64(s.History.Leases))
	gauge(descOpenTx, float64(s.OpenTransactions))
	gauge(descMemoryUsed, float64(s.Memory.UsedBytes))
	gauge(descMemoryLimit, float64(s.Memory.LimitBytes))
	last := 0.0
	if !s.LastPublication.IsZero() {
		last = float64(s.LastPublication.UnixMilli()) / 1000
	}
	gauge(descLastPublish, last)
	collectTables(s.Tables, gauge)
	collectUpkeep(&s, out, gauge)
	collectCache(s.Cache, out)
	out <- prometheus.MustNewConstMetric(descRewinds, prometheus.CounterValue, float64(s.Rewinds))
}

func collectCache(c Cache, out chan<- prometheus.Metric) {
	for _, m := range []struct {
		desc  *prometheus.Desc
		kind  prometheus.ValueType
		value int64
	}{
		{descCacheHits, prometheus.CounterValue, c.Hits}, {descCacheMisses, prometheus.CounterValue, c.Misses},
		{descCacheEvict, prometheus.CounterValue, c.Evictions}, {descCacheDamage, prometheus.CounterValue, c.Damaged},
		{descCacheErrors, prometheus.CounterValue, c.Errors},
		{descCacheBytes, prometheus.GaugeValue, c.Bytes}, {descCacheLimit, prometheus.GaugeValue, c.LimitBytes},
	} {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, float64(m.value))
	}
}

func collectTables(tables []Table, gauge func(*prometheus.Desc, float64, ...string)) {
	states := map[TableState]int{TableCopying: 0, TableLive: 0, TableExcluded: 0, TableError: 0}
	var rows, outOfRange int64
	var data, deletes int
	for _, t := range tables {
		states[t.State]++
		rows += t.Rows
		data += t.DataFiles
		deletes += t.DeleteFiles
		for _, n := range t.OutOfRange {
			outOfRange += n
		}
	}
	for st, n := range states {
		gauge(descTables, float64(n), string(st))
	}
	gauge(descRows, float64(rows))
	gauge(descDataFiles, float64(data))
	gauge(descDeleteFiles, float64(deletes))
	gauge(descOutOfRange, float64(outOfRange))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
