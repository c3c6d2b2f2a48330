package pg

// HasWALSummaries says that initdb makes a folder pg_wal/summaries.
func (m Major) HasWALSummaries() bool { return m >= PG17 }

// OriginsSetting is the setting that bounds how many replication origins a server keeps the progress of.
func (m Major) OriginsSetting() string {
	if m >= PG18 {
		return "max_active_replication_origins"
	}
	return "max_replication_slots"
}
