// Package control reads the small files a Postgres data directory keeps beside its relations: pg_control,
// pg_filenode.map and backup_label. It is pure: bytes in, values out.
package control

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// FileSize is PG_CONTROL_FILE_SIZE, bytes; the structure fills the first 292 or 296 of them.
const FileSize = 8192

// State is what the server was doing when it last wrote pg_control (DBState).
type State uint32

// The states (catalog/pg_control.h).
const (
	Startup            State = 0
	ShutDown           State = 1 // cleanly, as a primary
	ShutDownInRecovery State = 2
	ShuttingDown       State = 3
	InCrashRecovery    State = 4
	InArchiveRecovery  State = 5
	InProduction       State = 6
)

// String gives pg_controldata's wording.
func (s State) String() string {
	names := [...]string{"starting up", "shut down", "shut down in recovery", "shutting down", "in crash recovery", "in archive recovery", "in production"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// Control is pg_control (ControlFileData in catalog/pg_control.h):
//
//	  0 system_identifier uint64   8 pg_control_version uint32   12 catalog_version_no uint32   16 state uint32
//	 24 time int64   32 checkPoint uint64   40 checkPointCopy, 88 bytes   128 unloggedLSN   136 minRecoveryPoint
//	144 minRecoveryPointTLI uint32   152 backupStartPoint   160 backupEndPoint   168 backupEndRequired bool
//	172 wal_level int32   176 wal_log_hints bool   180 MaxConnections   184 max_worker_processes
//	188 max_wal_senders   192 max_prepared_xacts   196 max_locks_per_xact   200 track_commit_timestamp bool
//	204 maxAlign   208 floatFormat float64   216 blcksz   220 relseg_size   224 xlog_blcksz   228 xlog_seg_size
//	232 nameDataLen   236 indexMaxKeys   240 toast_max_chunk_size   244 loblksize   248 float8ByVal bool
//	252 data_checksum_version   256 default_char_signedness bool (18 only)   mock_authentication_nonce, 32 bytes
//	288 crc uint32, CRC32C of what precedes it (292 in 18)
type Control struct {
	Major          pg.Major
	SystemID       uint64
	ControlVersion uint32 // PG_CONTROL_VERSION
	CatalogVersion uint32 // CATALOG_VERSION_NO
	State          State
	Time           int64  // seconds since 1970-01-01 UTC
	CheckPointLSN  pg.LSN // start of the last checkpoint record
	CheckPoint     xlrec.CheckPoint
	UnloggedLSN    pg.LSN

	MinRecoveryPoint    pg.LSN
	MinRecoveryTimeline pg.TimelineID
	BackupStart         pg.LSN
	BackupEnd           pg.LSN
	BackupEndRequired   bool

	WALLevel             xlrec.WALLevel
	WALLogHints          bool
	MaxConnections       int32
	MaxWorkerProcesses   int32
	MaxWALSenders        int32
	MaxPreparedXacts     int32
	MaxLocksPerXact      int32
	TrackCommitTimestamp bool

	BlockSize       uint32 // bytes
	SegmentBlocks   uint32 // blocks per relation segment file
	WALBlockSize    uint32 // bytes
	WALSegmentSize  int64  // bytes
	ToastChunkSize  uint32 // bytes
	ChecksumVersion uint32 // 0: data pages have no checksums
	CharSigned      bool   // default_char_signedness; true before 18, as on x86-64

}

// FirstUnloggedLSN is FirstNormalUnloggedLSN: where the LSNs of unlogged pages begin when there are none.
const FirstUnloggedLSN pg.LSN = 1000

// HintsLogged says that changes of hint bits reach the WAL (XLogHintBitIsNeeded).
func (c *Control) HintsLogged() bool { return c.ChecksumVersion != 0 || c.WALLogHints }

// Catalog versions of the two majors that share pg_control version 1300.
const (
	catalogVersion15 = 202209061
	catalogVersion16 = 202307071
)

// major tells the major from the two version numbers.
func major(control, catalog uint32) (pg.Major, error) {
	switch {
	case control == 1300 && catalog == catalogVersion15:
		return pg.PG15, nil
	case control == 1300 && catalog == catalogVersion16:
		return pg.PG16, nil
	case control == 1700:
		return pg.PG17, nil
	case control == 1800:
		return pg.PG18, nil
	}
	return 0, fmt.Errorf("pg_control version %d, catalog version %d: not PostgreSQL 15-18", control, catalog)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcAt(m pg.Major) int {
	if m >= pg.PG18 {
		return 292
	}
	return 288
}

func corruptf(format string, args ...any) error {
	return &pg.CorruptError{What: fmt.Sprintf(format, args...)}
}

// Parse reads pg_control and checks its CRC, versions and build options. The error is a *pg.CorruptError, or says
// which version or build it is that tarn does not read.
func Parse(b []byte) (Control, error) {
	if len(b) < 296 {
		return Control{}, corruptf("pg_control has %d bytes", len(b))
	}
	m, err := major(binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[12:]))
	if err != nil {
		return Control{}, err
	}
	at := crcAt(m)
	if got := crc32.Checksum(b[:at], castagnoli); got != binary.LittleEndian.Uint32(b[at:]) {
		return Control{}, corruptf("pg_control: incorrect checksum")
	}
	c := fields(m, b)
	if c.CheckPoint, err = xlrec.DecodeCheckPoint(m, b[40:40+xlrec.CheckPointSize]); err != nil {
		return Control{}, fmt.Errorf("pg_control: %w", err)
	}
	return c, c.checkBuild(b)
}

func fields(m pg.Major, b []byte) Control {
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	u64 := func(at int) uint64 { return binary.LittleEndian.Uint64(b[at:]) }
	return Control{
		Major: m, SystemID: u64(0), ControlVersion: u32(8), CatalogVersion: u32(12),
		State: State(u32(16)), Time: int64(u64(24)), CheckPointLSN: pg.LSN(u64(32)), UnloggedLSN: pg.LSN(u64(128)),
		MinRecoveryPoint: pg.LSN(u64(136)), MinRecoveryTimeline: pg.TimelineID(u32(144)),
		BackupStart: pg.LSN(u64(152)), BackupEnd: pg.LSN(u64(160)), BackupEndRequired: b[168] != 0,
		WALLevel: xlrec.WALLevel(u32(172)), WALLogHints: b[176] != 0,
		MaxConnections: int32(u32(180)), MaxWorkerProcesses: int32(u32(184)), MaxWALSenders: int32(u32(188)),
		MaxPreparedXacts: int32(u32(192)), MaxLocksPerXact: int32(u32(196)), TrackCommitTimestamp: b[200] != 0,
		BlockSize: u32(216), SegmentBlocks: u32(220), WALBlockSize: u32(224), WALSegmentSize: int64(u32(228)),
		ToastChunkSize: u32(240), ChecksumVersion: u32(252),
		CharSigned: m < pg.PG18 || b[256] != 0,
	}
}

// checkBuild refuses servers whose pages tarn would misread (ReadControlFile).
func (c *Control) checkBuild(b []byte) error {
	float := math.Float64frombits(binary.LittleEndian.Uint64(b[208:]))
	switch {
	case c.BlockSize != pg.BlockSize || c.WALBlockSize != 8192:
		return fmt.Errorf("server built with blocks of %d and WAL blocks of %d bytes: only 8192 is read", c.BlockSize, c.WALBlockSize)
	case c.SegmentBlocks != pg.SegmentBlocks:
		return fmt.Errorf("server built with %d blocks per relation segment: only %d is read", c.SegmentBlocks, pg.SegmentBlocks)
	case binary.LittleEndian.Uint32(b[204:]) != 8 || float != 1234567.0 || b[248] != 1:
		return fmt.Errorf("server built for another architecture: only 64-bit little-endian is read")
	case !pg.ValidWALSegmentSize(c.WALSegmentSize):
		return corruptf("pg_control: WAL segment size %d", c.WALSegmentSize)
	}
	return nil
}
