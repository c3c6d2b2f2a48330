package cluster

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tarn-db/tarn/internal/pg"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// ParseTwoPhase reads a file of pg_twophase: a prepared transaction's state data, then their CRC32C (ReadTwoPhaseFile).
func ParseTwoPhase(file []byte) (state []byte, err error) {
	n := len(file) - 4
	if n < 0 || crc32.Checksum(file[:n], castagnoli) != binary.LittleEndian.Uint32(file[n:]) {
		return nil, &pg.CorruptError{What: fmt.Sprintf("two-phase state file of %d bytes: incorrect checksum", len(file))}
	}
	return file[:n:n], nil
}

// AppendTwoPhase appends the file of state data (RecreateTwoPhaseFile).
func AppendTwoPhase(dst, state []byte) []byte {
	dst = append(dst, state...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(state, castagnoli))
}

// Layout of pg_logical/replorigin_checkpoint (CheckPointReplicationOrigin):
//
//	0 magic uint32, then per origin: id uint16, 6 bytes of padding, remote LSN uint64; then CRC32C of all that uint32
const (
	originsMagic = 0x1257DADE // REPLICATION_STATE_MAGIC
	originSize   = 16         // sizeof(ReplicationStateOnDisk)
)

// ParseOrigins reads pg_logical/replorigin_checkpoint (StartupReplicationOrigin).
func ParseOrigins(file []byte) ([]Origin, error) {
	n := len(file) - 4
	if n < 4 || (n-4)%originSize != 0 || binary.LittleEndian.Uint32(file) != originsMagic ||
		crc32.Checksum(file[:n], castagnoli) != binary.LittleEndian.Uint32(file[n:]) {
		return nil, &pg.CorruptError{What: fmt.Sprintf("replorigin_checkpoint of %d bytes: not one, or damaged", len(file))}
	}
	var s State
	for at := 4; at < n; at += originSize {
		id, lsn := binary.LittleEndian.Uint16(file[at:]), pg.LSN(binary.LittleEndian.Uint64(file[at+8:]))
		if err := s.advanceOrigin(id, lsn, true); err != nil {
			return nil, err
		}
	}
	return s.Origins, nil
}

// AppendOrigins appends the file.
func AppendOrigins(dst []byte, origins []Origin) []byte {
	from := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, originsMagic)
	for _, o := range origins {
		dst = binary.LittleEndian.AppendUint64(dst, uint64(o.ID))
		dst = binary.LittleEndian.AppendUint64(dst, uint64(o.RemoteLSN))
	}
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst[from:], castagnoli))
}
