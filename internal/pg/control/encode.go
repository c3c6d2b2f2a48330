package control

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// Patch writes c's state, recovery points, checkpoint and settings over file, a pg_control of the same cluster, and
// renews its CRC: what identifies the cluster and its build stays as it is in file.
func Patch(file []byte, c Control) error {
	old, err := Parse(file)
	if err != nil {
		return err
	}
	if old.SystemID != c.SystemID || old.Major != c.Major {
		return fmt.Errorf("pg_control of system %d, PostgreSQL %d, patched with system %d, PostgreSQL %d",
			old.SystemID, old.Major, c.SystemID, c.Major)
	}
	u32 := func(at int, v uint32) { binary.LittleEndian.PutUint32(file[at:], v) }
	u64 := func(at int, v uint64) { binary.LittleEndian.PutUint64(file[at:], v) }
	flag := func(at int, v bool) {
		file[at] = 0
		if v {
			file[at] = 1
		}
	}
	u32(16, uint32(c.State))
	u64(24, uint64(c.Time))
	u64(32, uint64(c.CheckPointLSN))
	copy(file[40:], xlrec.AppendCheckPoint(nil, c.Major, c.CheckPoint))
	u64(128, uint64(c.UnloggedLSN))
	u64(136, uint64(c.MinRecoveryPoint))
	u32(144, uint32(c.MinRecoveryTimeline))
	u64(152, uint64(c.BackupStart))
	u64(160, uint64(c.BackupEnd))
	flag(168, c.BackupEndRequired)
	u32(172, uint32(c.WALLevel))
	flag(176, c.WALLogHints)
	for i, v := range []int32{c.MaxConnections, c.MaxWorkerProcesses, c.MaxWALSenders, c.MaxPreparedXacts, c.MaxLocksPerXact} {
		u32(180+4*i, uint32(v))
	}
	flag(200, c.TrackCommitTimestamp)
	at := crcAt(c.Major)
	u32(at, crc32.Checksum(file[:at], castagnoli))
	return nil
}

// RelMapping ties a mapped catalog to its file (RelMapping in utils/cache/relmapper.c).
type RelMapping struct {
	OID  pg.OID // the catalog
	File pg.OID // its relfilenumber
}

// relMapMagic is RELMAPPER_FILEMAGIC.
const relMapMagic = 0x592717

// ParseRelMap reads pg_filenode.map (RelMapFile):
//
//	0 magic uint32   4 num_mappings int32   8 mappings, 8 bytes each, 62 slots in 15 and 64 from 16
//	then crc uint32, CRC32C of what precedes it, and in 15 4 bytes of padding
func ParseRelMap(m pg.Major, b []byte) ([]RelMapping, error) {
	if len(b) != m.RelMapFileSize() {
		return nil, corruptf("relation map has %d bytes, want %d", len(b), m.RelMapFileSize())
	}
	slots := 64
	if m <= pg.PG15 {
		slots = 62
	}
	crcAt := 8 + 8*slots
	if magic := binary.LittleEndian.Uint32(b); magic != relMapMagic {
		return nil, corruptf("relation map has magic %#x", magic)
	}
	if crc32.Checksum(b[:crcAt], castagnoli) != binary.LittleEndian.Uint32(b[crcAt:]) {
		return nil, corruptf("relation map: incorrect checksum")
	}
	n := int32(binary.LittleEndian.Uint32(b[4:]))
	if n < 0 || int(n) > slots {
		return nil, corruptf("relation map of %d entries", n)
	}
	r := make([]RelMapping, n)
	for i := range r {
		at := 8 + 8*i
		r[i] = RelMapping{pg.OID(binary.LittleEndian.Uint32(b[at:])), pg.OID(binary.LittleEndian.Uint32(b[at+4:]))}
	}
	return r, nil
}
