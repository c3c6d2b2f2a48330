package basebackup

import (
	"context"
	"fmt"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver"
)

// folders are what initdb makes besides those of databases. Most are empty in the directory of a server that was shut down, or it
// empties them when it starts.
var folders = []string{
	"global", "base", "pg_commit_ts", "pg_dynshmem", "pg_logical", "pg_logical/mappings", "pg_logical/snapshots",
	"pg_multixact", "pg_multixact/members", "pg_multixact/offsets", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat",
	"pg_stat_tmp", "pg_subtrans", "pg_tblspc", "pg_twophase", "pg_xact", "pg_wal", "pg_wal/archive_status",
}

// plan finds out what the directory holds, in the order it is written, and refuses what cannot be whole.
func (b *backup) plan(ctx context.Context, target Target) error {
	t := b.t
	if t.RedoLSN() < t.ConsistentLSN() {
		return fmt.Errorf("%w: it is from %s on", pageserver.ErrNotConsistent, t.ConsistentLSN())
	}
	file := t.ControlFile()
	c, err := control.Parse(file)
	if err != nil {
		return err
	}
	tail := b.finalCheckPoint(&c)
	b.report.LSN, b.report.Timeline, b.report.Previous = t.RedoLSN(), tail.timeline, tail.previous
	b.report.CheckPoint, b.report.End = tail.start, tail.end()
	if err := control.Patch(file, c); err != nil {
		return err
	}
	for _, name := range folders {
		b.folder(name)
	}
	if t.Major().HasWALSummaries() {
		b.folder("pg_wal/summaries")
	}
	if err := b.placeTablespaces(target); err != nil {
		return err
	}
	if err := b.relations(ctx, &c); err != nil {
		return err
	}
	if err := b.logs(&c); err != nil {
		return err
	}
	b.smallFiles(&c)
	b.wal(tail)
	b.bytes("global/pg_control", file)
	for i := range b.items {
		if b.items[i].write != nil {
			b.report.Files++
		}
		b.total += b.items[i].size
	}
	b.report.Bytes = b.total
	return nil
}

func (b *backup) folder(name string)     { b.items = append(b.items, item{name: name}) }
func (b *backup) link(name, to string)   { b.items = append(b.items, item{name: name, link: to}) }
func (b *backup) text(name, text string) { b.bytes(name, []byte(text)) }

func (b *backup) bytes(name string, data []byte) {
	b.file(name, int64(len(data)), func(context.Context) error { return b.put(data) })
}

func (b *backup) file(name string, size int64, write func(ctx context.Context) error) {
	b.items = append(b.items, item{name: name, size: size, write: write})
}

// finalCheckPoint turns pg_control into that of a server that was shut down at the timeline's LSN, and says what its WAL ends with
// (CreateCheckPoint with CHECKPOINT_IS_SHUTDOWN).
func (b *backup) finalCheckPoint(c *control.Control) walTail {
	t, live := b.t, b.t.Cluster()
	at := b.o.Time.Unix()
	tail := walTail{
		major: t.Major(), systemID: t.SystemID(), timeline: live.Timeline, segmentSize: c.WALSegmentSize,
		start: recordStart(t.RedoLSN(), c.WALSegmentSize), previous: t.LastRecord(),
	}
	cp := live.CheckPoint
	cp.Redo, cp.TimelineID, cp.PrevTimelineID, cp.Time, cp.OldestActiveXID = tail.start, live.Timeline, live.Timeline, at, 0
	if cp.WALLevel != xlrec.WALLevelUnknown {
		cp.WALLevel = live.Settings.WALLevel
	}
	tail.checkPoint = cp

	c.State, c.Time, c.CheckPointLSN, c.CheckPoint = control.ShutDown, at, tail.start, cp
	c.UnloggedLSN = control.FirstUnloggedLSN
	c.MinRecoveryPoint, c.MinRecoveryTimeline, c.BackupStart, c.BackupEnd, c.BackupEndRequired = 0, 0, 0, 0, false
	s := &live.Settings
	c.WALLevel, c.WALLogHints, c.TrackCommitTimestamp = s.WALLevel, s.WALLogHints, s.TrackCommitTimestamp
	c.MaxConnections, c.MaxWorkerProcesses, c.MaxWALSenders = s.MaxConnections, s.MaxWorkerProcesses, s.MaxWALSenders
	c.MaxPreparedXacts, c.MaxLocksPerXact = s.MaxPreparedXacts, s.MaxLocksPerXact
	return tail
}

// wal adds the history of the WAL timeline and the segments of pg_wal.
func (b *backup) wal(tail walTail) {
	if tail.timeline > 1 {
		text := b.o.History
		if text == "" {
			text = "# From where this timeline came is not known to the base backup it was written by.\n"
		}
		b.text("pg_wal/"+pg.HistoryFileName(tail.timeline), text)
	}
	for _, s := range tail.segments() {
		b.file("pg_wal/"+pg.WALFileName(tail.timeline, s.start, tail.segmentSize), tail.segmentSize, func(ctx context.Context) error {
			at := s.start
			for _, p := range s.pages {
				if err := b.zeros(ctx, int64(p.addr-at)); err != nil {
					return err
				}
				if err := b.put(p.data); err != nil {
					return err
				}
				at = p.addr + pg.LSN(len(p.data))
			}
			return b.zeros(ctx, tail.segmentSize-int64(at-s.start))
		})
	}
}

// version is the content of PG_VERSION.
func (b *backup) version() string { return fmt.Sprintf("%d\n", int(b.t.Major())) }

// databaseFolder is where a database's relations of a tablespace are (GetDatabasePath).
func databaseFolder(spc, db pg.OID, c *control.Control) string {
	switch spc {
	case pg.GlobalTablespace:
		return "global"
	case pg.DefaultTablespace:
		return fmt.Sprintf("base/%d", db)
	}
	return fmt.Sprintf("%s/%d", tablespaceFolder(spc, c), db)
}

// tablespaceFolder is a tablespace's part for the major version (TABLESPACE_VERSION_DIRECTORY).
func tablespaceFolder(spc pg.OID, c *control.Control) string {
	return fmt.Sprintf("pg_tblspc/%d/PG_%d_%d", spc, int(c.Major), c.CatalogVersion)
}

// forkFile is a segment file's name in its database's folder (GetRelationPath, _mdfd_segpath).
func forkFile(rel pg.OID, fork pg.ForkNumber, segment int) string {
	var s strings.Builder
	fmt.Fprintf(&s, "%d", rel)
	if fork != pg.MainFork {
		fmt.Fprintf(&s, "_%s", fork)
	}
	if segment > 0 {
		fmt.Fprintf(&s, ".%d", segment)
	}
	return s.String()
}
