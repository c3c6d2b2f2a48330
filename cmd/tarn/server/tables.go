package server

import (
	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/materialize"
)

// tables are what the materializer and the catalog know of them, and what both did so that they stay quick to read.
func (s *Server) tables() ([]admin.Table, admin.Upkeep) {
	eng := s.engine()
	if eng == nil {
		return nil, admin.Upkeep{}
	}
	sum, byTable := s.cat.Upkeep()
	list, listings := eng.Status(), s.cat.Listings()
	out := make([]admin.Table, len(list))
	for i, t := range list {
		n := byTable[t.ID]
		out[i] = admin.Table{
			Name: t.Name, Database: t.Parts.Database, Schema: t.Parts.Namespace, Table: t.Parts.Name, State: admin.TableState(t.State),
			Rows: t.Rows, DataFiles: t.DataFiles, SmallFiles: t.SmallFiles, DeleteFiles: t.DeleteFiles, LSN: t.LSN, PartitionBy: append([]string{}, t.PartitionBy...), OutOfRange: map[string]int64{}, Error: tableNote(t), HistoryOf: t.HistoryOf,
			Snapshots: n.Snapshots, Manifests: n.Manifests, MetadataBytes: n.MetadataBytes, Upkeep: tableUpkeep(t.Upkeep, n),
		}
		for _, c := range t.OutOfRange {
			out[i].OutOfRange[c.Column] = c.Values
		}
		if l, ok := listings[t.ID]; ok {
			out[i].Parquet = &admin.Parquet{Folder: l.Folder, Manifest: l.Manifest, LSN: l.LSN}
		}
		if out[i].State == admin.TableError {
			out[i].Code = fault.TableError.String()
		}
	}
	return out, admin.Upkeep{
		TableUpkeep:    tableUpkeep(eng.Upkeep(), catalog.TableUpkeep{Effort: sum.Effort}),
		RemovedObjects: sum.ObjectsRemoved, RemovedOrphans: sum.OrphansRemoved, WaitingObjects: sum.ObjectsWaiting,
		SweepSeconds: sum.Took.Seconds(), SweepFailures: sum.Failures,
	}
}

func tableUpkeep(u materialize.Upkeep, n catalog.TableUpkeep) admin.TableUpkeep {
	return admin.TableUpkeep{
		Compactions: u.Compactions, CompactedFiles: u.CompactedFiles, WrittenFiles: u.WrittenFiles, CompactedRows: u.CompactedRows,
		CompactionSeconds: u.Took.Seconds(), MergedDeleteFiles: u.MergedDeleteFiles,
		RewrittenManifests: n.ManifestsRewritten, ExpiredSnapshots: n.SnapshotsExpired, OverwrittenFiles: u.OverwrittenFiles, CarriedRows: u.CarriedRows,
	}
}
