// Package journal is the catalog's log in the object store: one object per step, each put only if its sequence number is
// free, so that two writers can never both take it.
//
//	catalog/log/<16-digit seq>              one Entry; the authority
//	catalog/checkpoint/<16-digit seq>       the state after entry seq; opening reads the newest and the entries after it
//	catalog/segment/<16-digit>-<16-digit>   entries first-last once more, many in one object, for the history
//	catalog/state/<nonce>-<n>               state bytes too large for an entry
//	catalog/branch/<name>                   one Branch: the lake of a branch that is ready
//
// Invariant: entries are numbered without gaps; entry n+1 was written by someone who had read entry n.
// Invariant: epochs never fall from one entry to the next.
// Invariant: an entry at or below the newest checkpoint's sequence number counts only if the checkpoint includes it.
package journal

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// ErrCorrupt is wrapped by every error about an object whose bytes cannot be what tarn wrote.
var ErrCorrupt = fault.New(fault.StoreDamaged, "catalog object is damaged")

// VersionError refuses an object written by a newer tarn.
type VersionError struct {
	Key  string
	Got  uint32
	Want uint32 // the newest version this tarn reads
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: format version %d; this tarn reads version %d: use the newer tarn that wrote it", e.Key, e.Got, e.Want)
}

// FaultCode implements fault.Coded.
func (e *VersionError) FaultCode() fault.Code { return fault.StoreNewer }

// Kind says what an entry does.
type Kind string

// The kinds of entries.
const (
	KindEpoch   Kind = "epoch"   // a writer begins; older epochs are void from here on
	KindPublish Kind = "publish" // the head moves to LSN
)

// Entry is one step of the catalog.
type Entry struct {
	Seq        uint64        `json:"seq"`
	Epoch      uint64        `json:"epoch"`
	Nonce      uuid.UUID     `json:"nonce"` // of this one attempt to write: tells our entry from another's
	Kind       Kind          `json:"kind"`
	Time       time.Time     `json:"time"` // wall clock of the writer
	SystemID   uint64        `json:"system_id,omitempty,string"`
	Timeline   pg.TimelineID `json:"timeline,omitempty"`
	LSN        pg.LSN        `json:"lsn,omitempty"`
	CommitTime time.Time     `json:"commit_time,omitzero"`
	Tables     []Table       `json:"tables,omitempty"` // those that changed
	State      *Blob         `json:"state,omitempty"`  // nil: as before
	// TableStates says, in a segment, that Tables have their State: those of older segments were left out.
	TableStates bool `json:"table_states,omitempty"`
}

// Table is a table after the entry that holds it.
type Table struct {
	DB          pg.OID `json:"db"`
	Rel         pg.OID `json:"rel"`
	Incarnation pg.LSN `json:"incarnation"`
	Version
	UUID        string `json:"uuid"`
	Rows        int64  `json:"rows"`  // live: rows of data files less positions deleted
	Bytes       int64  `json:"bytes"` // of live data and delete files
	DataFiles   int64  `json:"data_files"`
	DeleteFiles int64  `json:"delete_files"`
	State       *Blob  `json:"state,omitempty"` // nil: as before
	// Prev is what the table was before this entry; nil when it did not exist.
	Prev *Version `json:"prev,omitempty"`
	// DroppedAt is the time of the entry that dropped it.
	DroppedAt time.Time `json:"dropped_at,omitzero"`
}

// ID is the table's identity.
func (t *Table) ID() lake.TableID {
	return lake.TableID{DB: t.DB, Rel: t.Rel, Incarnation: t.Incarnation}
}

// Version is what readers of a table need at one point of the log.
type Version struct {
	Seq       uint64   `json:"seq"` // of the entry that made it
	LSN       pg.LSN   `json:"lsn"`
	Database  string   `json:"database"`
	Namespace string   `json:"namespace"`
	Name      string   `json:"name"`
	Metadata  Metadata `json:"metadata"`
	Dropped   bool     `json:"dropped,omitempty"`
}

// TableName is the name at that version.
func (v *Version) TableName() lake.TableName {
	return lake.TableName{Database: v.Database, Namespace: v.Namespace, Name: v.Name}
}

// Metadata names a table's metadata.json: "00012-<uuid>.metadata.json". The uuid is the nonce of the entry it was
// written for.
type Metadata struct {
	Version uint32
	Nonce   uuid.UUID
}

const metadataSuffix = ".metadata.json"

// FileName is the name below the table's metadata folder.
func (m Metadata) FileName() string {
	return fmt.Sprintf("%05d-%s%s", m.Version, m.Nonce, metadataSuffix)
}

// Key is the object of a table's metadata.json.
func (m Metadata) Key(id lake.TableID) string { return id.Root() + "/metadata/" + m.FileName() }

// MarshalText writes the file name.
func (m Metadata) MarshalText() ([]byte, error) { return []byte(m.FileName()), nil }

// UnmarshalText reads a file name.
func (m *Metadata) UnmarshalText(b []byte) error {
	s := string(b)
	var id string
	if n, err := fmt.Sscanf(s, "%05d-%s", &m.Version, &id); err != nil || n != 2 || len(id) != 36+len(metadataSuffix) {
		return fmt.Errorf("%w: %q is not the name of a metadata file", ErrCorrupt, s)
	}
	var err error
	if m.Nonce, err = uuid.Parse(id[:36]); err != nil || m.FileName() != s {
		return fmt.Errorf("%w: %q is not the name of a metadata file", ErrCorrupt, s)
	}
	return nil
}

// Blob is bytes of the materializer: in the entry, or an object of their own when they are many.
type Blob struct {
	Inline []byte `json:"inline,omitempty"`
	Key    string `json:"key,omitempty"`
	Size   int64  `json:"size"`
	CRC    uint32 `json:"crc"` // CRC-32C of the bytes
}

// BlobInlineMax is the size in bytes above which a blob is an object of its own.
const BlobInlineMax = 64 << 10

// NewBlob describes b; its bytes are inline if they are few, else the caller puts them at key.
func NewBlob(b []byte, key string) *Blob {
	blob := &Blob{Size: int64(len(b)), CRC: checksum(b)}
	if len(b) <= BlobInlineMax {
		blob.Inline = b
	} else {
		blob.Key = key
	}
	return blob
}

// Same reports whether the blob holds b, by size and checksum.
func (b *Blob) Same(p []byte) bool {
	return b != nil && b.Size == int64(len(p)) && b.CRC == checksum(p)
}

// Check compares bytes read back with the description.
func (b *Blob) Check(p []byte) error {
	if int64(len(p)) != b.Size || checksum(p) != b.CRC {
		return fmt.Errorf("%w: state object %s has %d bytes with CRC %08x, its entry says %d with %08x", ErrCorrupt, b.Key, len(p), checksum(p), b.Size, b.CRC)
	}
	return nil
}

// Checkpoint is the state after entry Seq.
type Checkpoint struct {
	Seq        uint64        `json:"seq"`
	Epoch      uint64        `json:"epoch"`
	Time       time.Time     `json:"time"` // of the newest publication
	HeadSeq    uint64        `json:"head_seq"`
	SystemID   uint64        `json:"system_id,string"`
	Timeline   pg.TimelineID `json:"timeline"`
	LSN        pg.LSN        `json:"lsn"`
	CommitTime time.Time     `json:"commit_time,omitzero"`
	State      *Blob         `json:"state,omitempty"`
	Tables     []Table       `json:"tables"`   // live ones, and dropped ones whose files are still there
	Segments   []SegmentRef  `json:"segments"` // retained history up to Seq, oldest first
}

// SegmentRef names a segment.
type SegmentRef struct {
	First uint64    `json:"first"`
	Last  uint64    `json:"last"`
	Time  time.Time `json:"time"` // of entry Last
}
