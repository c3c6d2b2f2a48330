package verify

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
)

// The last two bytes of an index page tell its kind: access methods keep an id there for pg_filedump, or what is never one
// (a btree's cycle id is at most 0xFF7F, gin's flags are few).
const (
	hashPageID   = 0xFF80 // HASHO_PAGE_ID
	gistPageID   = 0xFF81 // GIST_PAGE_ID
	spgistPageID = 0xFF82 // SPGIST_PAGE_ID
	brinMeta     = 0xF091 // BRIN_PAGETYPE_META
	brinRegular  = 0xF093 // BRIN_PAGETYPE_REGULAR
	cycleIDMax   = 0xFF7F // MAX_BT_CYCLE_ID
	ginFlagsMax  = 0x01FF
	seqMagic     = 0x1717 // SEQ_MAGIC
)

// managerOf tells which resource manager a relation's pages belong to from its first page that is initialised. Pages of an
// extension's access method are Generic's.
//
// Invariant: it is asked of block 0 unless that is new: a sequence's page looks like one of gin's but for gin's first.
func managerOf(p pg.Page) wal.RMID {
	special := int(p.Special())
	if special > pg.BlockSize-8 || special < pg.PageHeaderSize {
		return wal.RMHeap
	}
	last := binary.LittleEndian.Uint16(p[pg.BlockSize-2:])
	switch size := pg.BlockSize - special; {
	case size == 16 && last == hashPageID:
		return wal.RMHash
	case size == 16 && last == gistPageID:
		return wal.RMGist
	case size == 16 && last <= cycleIDMax:
		return wal.RMBtree
	case size == 8 && last == spgistPageID:
		return wal.RMSpgist
	case size == 8 && last >= brinMeta && last <= brinRegular:
		return wal.RMBrin
	case size == 8 && binary.LittleEndian.Uint64(p[special:]) == seqMagic:
		return wal.RMSeq
	case size == 8 && last <= ginFlagsMax:
		return wal.RMGin
	}
	return wal.RMGeneric
}
