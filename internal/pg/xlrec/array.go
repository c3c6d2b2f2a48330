package xlrec

import (
	"encoding/binary"

	"github.com/tarn-db/tarn/internal/pg"
)

// The arrays below are views of the record: At costs a load and nothing is allocated. At panics, as a slice does,
// when i is not in [0, Len()).

// XIDs is an array of TransactionId.
type XIDs []byte

func (a XIDs) Len() int { return len(a) / 4 }

// At is element i, which must be below Len.
func (a XIDs) At(i int) pg.XID { return pg.XID(binary.LittleEndian.Uint32(a[4*i:])) }

// OIDs is an array of Oid.
type OIDs []byte

func (a OIDs) Len() int { return len(a) / 4 }

// At is element i, which must be below Len.
func (a OIDs) At(i int) pg.OID { return pg.OID(binary.LittleEndian.Uint32(a[4*i:])) }

// Rels is an array of RelFileLocator.
type Rels []byte

func (a Rels) Len() int { return len(a) / 12 }

// At is element i, which must be below Len.
func (a Rels) At(i int) pg.RelFileLocator {
	b := a[12*i : 12*i+12]
	return pg.RelFileLocator{
		Spc: pg.OID(binary.LittleEndian.Uint32(b)),
		DB:  pg.OID(binary.LittleEndian.Uint32(b[4:])),
		Rel: pg.OID(binary.LittleEndian.Uint32(b[8:])),
	}
}

// Invals is an array of SharedInvalidationMessage, 16 bytes each.
type Invals []byte

// InvalSize is sizeof(SharedInvalidationMessage), bytes.
const InvalSize = 16

func (a Invals) Len() int { return len(a) / InvalSize }

// At is element i, which must be below Len.
func (a Invals) At(i int) []byte { return a[InvalSize*i : InvalSize*(i+1)] }

// StatsItem names a statistics entry dropped with a transaction (xl_xact_stats_item).
type StatsItem struct {
	Kind  int32
	DB    pg.OID
	Objid uint64 // an Oid until 17
}

// StatsItems is an array of xl_xact_stats_item: 12 bytes each until 17, 16 from 18.
type StatsItems struct {
	raw  []byte
	size int
}

func (a StatsItems) Len() int {
	if a.size == 0 {
		return 0
	}
	return len(a.raw) / a.size
}

// At is element i, which must be below Len.
func (a StatsItems) At(i int) StatsItem {
	b := a.raw[a.size*i : a.size*(i+1)]
	it := StatsItem{
		Kind:  int32(binary.LittleEndian.Uint32(b)),
		DB:    pg.OID(binary.LittleEndian.Uint32(b[4:])),
		Objid: uint64(binary.LittleEndian.Uint32(b[8:])),
	}
	if a.size == 16 {
		it.Objid |= uint64(binary.LittleEndian.Uint32(b[12:])) << 32
	}
	return it
}

func statsItemSize(major pg.Major) int {
	if major >= pg.PG18 {
		return 16
	}
	return 12
}

func (c *cursor) stats(major pg.Major, n int32) StatsItems {
	size := statsItemSize(major)
	return StatsItems{raw: c.Array(n, size), size: size}
}
