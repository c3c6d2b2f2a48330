package xlrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// AppendCheckPoint appends c in the major's layout (see CheckPoint), as a checkpoint record or pg_control holds it.
func AppendCheckPoint(dst []byte, major pg.Major, c CheckPoint) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, uint64(c.Redo))
	dst = le.AppendUint32(dst, uint32(c.TimelineID))
	dst = le.AppendUint32(dst, uint32(c.PrevTimelineID))
	fpw, level := uint32(0), uint32(0)
	if c.FullPageWrites {
		fpw = 1
	}
	if major >= pg.PG17 {
		level = uint32(c.WALLevel)
	}
	dst = le.AppendUint32(dst, fpw)
	dst = le.AppendUint32(dst, level)
	dst = le.AppendUint64(dst, uint64(c.NextXID))
	for _, v := range [...]uint32{
		uint32(c.NextOID), uint32(c.NextMulti), c.NextMultiOffset, uint32(c.OldestXID), uint32(c.OldestXIDDB),
		uint32(c.OldestMulti), uint32(c.OldestMultiDB), 0,
	} {
		dst = le.AppendUint32(dst, v)
	}
	dst = le.AppendUint64(dst, uint64(c.Time))
	for _, v := range [...]uint32{uint32(c.OldestCommitTsXID), uint32(c.NewestCommitTsXID), uint32(c.OldestActiveXID), 0} {
		dst = le.AppendUint32(dst, v)
	}
	return dst
}
