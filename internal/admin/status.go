// Package admin is the HTTP face of a running server: health, metrics, status, and the few things an operator may ask
// of it. It reads the server through Source and keeps no state of its own but the freshness window.
package admin

import (
	"context"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// State is what the server as a whole is doing.
type State string

// The states. The last four need an operator.
const (
	StateAttaching State = "attaching" // looking at the source
	StateCopying   State = "copying"   // base backup or initial copy
	StateRewinding State = "rewinding" // the source failed over below what was published: going back to the fork
	StateStreaming State = "streaming"
	StateWALGap    State = "wal_gap"  // the source no longer has WAL we need: resync
	StateCorrupt   State = "corrupt"  // a record or page could not be read
	StateDiverged  State = "diverged" // the source's history is another than what was published, and cannot be gone back to
	StateStopped   State = "stopped"
)

// States lists every state, for metrics.
var States = []State{StateAttaching, StateCopying, StateRewinding, StateStreaming, StateWALGap, StateCorrupt, StateDiverged, StateStopped}

// TableState is what becomes of one table.
type TableState string

// The table states.
const (
	TableCopying  TableState = "copying"
	TableLive     TableState = "live"
	TableExcluded TableState = "excluded" // by a rule, or a kind of relation the lake has no place for
	TableError    TableState = "error"    // stays at its last good LSN, outside the promise
)

// Status is what `tarn status --json` prints. Fields may be added, never renamed.
//
// Invariant: published <= cut <= redo <= commit <= receive, and published <= archived <= commit.
type Status struct {
	State        State      `json:"state"`
	Error        string     `json:"error"` // why the state is not streaming; empty if nothing is wrong
	Code         string     `json:"code"`  // of Error, such as TARN-0220; see docs/ERRORS.md
	Source       SourceInfo `json:"source"`
	SourceLSN    pg.LSN     `json:"source_lsn"`  // end of WAL on the source as last heard
	ReceiveLSN   pg.LSN     `json:"receive_lsn"` // received, not yet durable
	CommitLSN    pg.LSN     `json:"commit_lsn"`  // durable on the quorum
	ArchivedLSN  pg.LSN     `json:"archived_lsn"`
	RedoLSN      pg.LSN     `json:"redo_lsn"`
	CutLSN       pg.LSN     `json:"cut_lsn"`
	PublishedLSN pg.LSN     `json:"published_lsn"`

	History History `json:"history"`
	Rewinds int     `json:"rewinds"` // how often the lake was taken back to a fork of the source's history

	LagBytes  int64     `json:"lag_bytes"` // source's end of WAL minus published
	LagMS     int64     `json:"lag_ms"`    // age of the oldest commit that is not published; 0 if there is none
	Freshness Freshness `json:"freshness_ms"`
	Memory    Memory    `json:"memory"`
	Cache     Cache     `json:"cache"`

	Endpoints Endpoints `json:"endpoints"`

	OpenTransactions int       `json:"open_transactions"`
	LastPublication  time.Time `json:"last_publication"` // zero before the first
	Upkeep           Upkeep    `json:"upkeep"`
	Tables           []Table   `json:"tables"`
}

// History is how far back pages can be read.
type History struct {
	LSN    pg.LSN    `json:"lsn"`    // 0 while there is none
	Time   time.Time `json:"time"`   // of the last commit before it, zero if that is not known
	Leases int       `json:"leases"` // LSNs that clients of the page service hold, whatever the window
}

// SourceInfo says which cluster the server is attached to.
type SourceInfo struct {
	Version  string        `json:"version"`          // server_version, such as "18.6"
	SystemID uint64        `json:"system_id,string"` // a string in JSON: it does not fit a double
	Timeline pg.TimelineID `json:"timeline"`

	// FullPageWrites is the source's full_page_writes as of redo_lsn; absent before a page store has been attached.
	FullPageWrites    *bool  `json:"full_page_writes,omitempty"`
	FullPageWritesLSN pg.LSN `json:"full_page_writes_lsn"` // of the record that switched it so, 0 if it has been so since the base backup
	AtomicWrites      bool   `json:"atomic_writes"`        // source.atomic_writes of the settings
}

// Endpoints are where readers and writers connect, for `tarn connect`. There is no secret in them.
type Endpoints struct {
	Catalog         string            `json:"catalog"`          // URL of the Iceberg REST catalog
	CatalogToken    bool              `json:"catalog_token"`    // it asks for a bearer token
	CatalogVends    bool              `json:"catalog_vends"`    // it hands out credentials for the files
	Store           string            `json:"store"`            // URL of the files
	StoreProperties map[string]string `json:"store_properties"` // what engines must know of an S3 store
	Source          string            `json:"source"`           // host and port as a libpq string
}

// Freshness is the time from commit on the source to visible in the lake, in milliseconds, over the last minutes.
type Freshness struct {
	P50     float64 `json:"p50"`
	P99     float64 `json:"p99"`
	Samples int     `json:"samples"` // 0 means that p50 and p99 say nothing
}

// Memory is the page memory in use and its limit, in bytes.
type Memory struct {
	UsedBytes  int64 `json:"used_bytes"`
	LimitBytes int64 `json:"limit_bytes"`
}

// Cache is what becomes of reads of layers and WAL: how many blocks came from the local disk since the start, and how many from the store.
type Cache struct {
	Hits       int64 `json:"hits"`
	Misses     int64 `json:"misses"`
	Evictions  int64 `json:"evictions"`
	Damaged    int64 `json:"damaged"` // blocks whose checksum was wrong: they were read from the store again
	Errors     int64 `json:"errors"`  // of the cache's disk
	Bytes      int64 `json:"bytes"`
	LimitBytes int64 `json:"limit_bytes"` // 0: nothing is cached
}

// Table is one table's state in the lake.
type Table struct {
	Name        string     `json:"name"` // database.schema.table
	Database    string     `json:"database"`
	Schema      string     `json:"schema"`
	Table       string     `json:"table"`
	State       TableState `json:"state"`
	Rows        int64      `json:"rows"`
	DataFiles   int        `json:"data_files"`
	DeleteFiles int        `json:"delete_files"`
	SmallFiles  int        `json:"small_files"` // of the data files: written again once there are many
	Snapshots   int        `json:"snapshots"`
	Manifests   int        `json:"manifests"`
	// MetadataBytes are those of metadata.json and the current manifests.
	MetadataBytes int64  `json:"metadata_bytes"`
	LSN           pg.LSN `json:"lsn"` // of the publication that last changed it
	// PartitionBy is how new files are partitioned, as a rule's partition_by has it.
	PartitionBy []string `json:"partition_by"`
	// HistoryOf is the table whose changes a history has; "" of other tables.
	HistoryOf string `json:"history_of,omitempty"`
	// OutOfRange counts, by column, values that Iceberg's types cannot hold, since the table was last written whole.
	OutOfRange map[string]int64 `json:"out_of_range"`
	Error      string           `json:"error"` // why it is excluded or in error, or which columns are left out and which have values out of range
	Code       string           `json:"code"`  // of Error when the state is error

	Upkeep TableUpkeep `json:"upkeep"`
	// Parquet is where readers of bare Parquet find the table; nil unless its rule says parquet: true.
	Parquet *Parquet `json:"parquet,omitempty"`
}

// PublicationInfo is one publication as GET /api/v1/publications lists it.
type PublicationInfo struct {
	Seq         uint64    `json:"seq"`
	LSN         pg.LSN    `json:"lsn"`
	CommitTime  time.Time `json:"commit_time"` // of the last transaction at or below LSN
	PublishedAt time.Time `json:"published_at"`
}

// Stage is a position that a client can wait for.
type Stage string

// The stages, in the order WAL passes them.
const (
	StageCommit    Stage = "commit"
	StageRedo      Stage = "redo"
	StageCut       Stage = "cut"
	StagePublished Stage = "published"
)

// Stages lists every stage in order.
var Stages = []Stage{StageCommit, StageRedo, StageCut, StagePublished}

// At gives the status's LSN of a stage.
func (s *Status) At(stage Stage) pg.LSN {
	switch stage {
	case StageCommit:
		return s.CommitLSN
	case StageRedo:
		return s.RedoLSN
	case StageCut:
		return s.CutLSN
	case StagePublished:
		return s.PublishedLSN
	}
	panic("BUG: admin: no stage " + string(stage))
}

var (
	// ErrUnknownTable: Resync was asked for a table that is not there.
	ErrUnknownTable = fault.New(fault.TableUnknown, "no such table")
	// ErrRefused: the server cannot do what was asked in its present state.
	ErrRefused = fault.New(fault.ServerRefused, "refused")
)

// Source is the running server. All methods are safe for concurrent use.
type Source interface {
	Status() Status
	// WaitFor returns nil once the stage has reached lsn, the context's error if that ends first, or why the stage
	// will not move any more.
	WaitFor(ctx context.Context, stage Stage, lsn pg.LSN) error
	// Resync rebuilds one table ("database.schema.table") from pages, or everything from a new base backup. It returns
	// when the request is accepted, not when it is done. Errors wrap ErrUnknownTable or ErrRefused.
	Resync(ctx context.Context, table string, all bool) error
	// Branches lists main, where it is now, and the branches, by name.
	Branches() []Branch
	// CreateBranch makes one. When it returns nil the branch is durable.
	CreateBranch(ctx context.Context, r BranchRequest) (Branch, error)
	// DeleteBranch forgets one.
	DeleteBranch(ctx context.Context, name string) error
	// Publications lists what a reader can still pin, oldest first.
	Publications() []PublicationInfo
	// Ready says whether readers are served current data, and if not, why.
	Ready() (ready bool, reasons []string)
}
