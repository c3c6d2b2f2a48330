package btreerec

import (
	"math"

	"github.com/tarn-db/tarn/internal/pg"
)

// None is P_NONE, "no sibling": block 0 is the meta page and nobody's sibling.
const None pg.BlockNumber = 0

// MetaBlock is BTREE_METAPAGE.
const MetaBlock pg.BlockNumber = 0

// Flags of a page (BTP_*).
const (
	FlagLeaf            = 1 << 0
	FlagRoot            = 1 << 1
	FlagDeleted         = 1 << 2
	FlagMeta            = 1 << 3
	FlagHalfDead        = 1 << 4
	FlagSplitEnd        = 1 << 5
	FlagHasGarbage      = 1 << 6
	FlagIncompleteSplit = 1 << 7
	FlagHasFullXID      = 1 << 8
)

// OpaqueSize is the size of a B-tree page's special space, bytes.
const OpaqueSize = 16

// Opaque is BTPageOpaqueData, the last bytes of the page.
//
//	0 btpo_prev uint32   4 btpo_next uint32   8 btpo_level uint32   12 btpo_flags uint16   14 btpo_cycleid uint16
type Opaque []byte

// IsPage says that the page has a B-tree page's special space, which is where OpaqueOf looks.
func IsPage(p pg.Page) bool {
	_, ok := p.SpecialArea(OpaqueSize)
	return ok
}

// OpaqueOf is the page's own (BTPageGetOpaque).
func OpaqueOf(p pg.Page) Opaque { return Opaque(p[pg.BlockSize-OpaqueSize : pg.BlockSize]) }

func (o Opaque) SetPrev(b pg.BlockNumber) { le.PutUint32(o, uint32(b)) }
func (o Opaque) Next() pg.BlockNumber     { return block(o[4:]) }
func (o Opaque) SetNext(b pg.BlockNumber) { le.PutUint32(o[4:], uint32(b)) }
func (o Opaque) SetLevel(l uint32)        { le.PutUint32(o[8:], l) }
func (o Opaque) Flags() uint16            { return le.Uint16(o[12:]) }
func (o Opaque) SetFlags(f uint16)        { le.PutUint16(o[12:], f) }
func (o Opaque) SetCycleID(c uint16)      { le.PutUint16(o[14:], c) }

// SetLinks sets both siblings.
func (o Opaque) SetLinks(prev, next pg.BlockNumber) { o.SetPrev(prev); o.SetNext(next) }

// FirstDataKey is P_FIRSTDATAKEY: a page that has a right sibling begins with its high key.
func (o Opaque) FirstDataKey() pg.OffsetNumber {
	if o.Next() == None {
		return 1
	}
	return 2
}

// Meta is xl_btree_metadata, as it comes with several records as the meta page's block data, and what of BTMetaPageData
// it does not hold by itself.
//
//	0 version uint32   4 root uint32   8 level uint32   12 fastroot uint32   16 fastlevel uint32
//	20 last_cleanup_num_delpages uint32   24 allequalimage bool   25 3 bytes of padding
type Meta struct {
	Version             uint32
	Root                pg.BlockNumber
	Level               uint32
	FastRoot            pg.BlockNumber
	FastLevel           uint32
	LastCleanupDelPages uint32
	AllEqualImage       bool
}

// Versions of the meta page that a record can bring (BTREE_NOVAC_VERSION, BTREE_VERSION).
const (
	VersionMin = 3
	VersionMax = 4
)

// DecodeMeta reads the meta page's block data.
func DecodeMeta(data []byte) (Meta, error) {
	if len(data) != 28 {
		return Meta{}, pg.BadLength("xl_btree_metadata", len(data), 28)
	}
	return Meta{
		Version: le.Uint32(data), Root: block(data[4:]), Level: le.Uint32(data[8:]), FastRoot: block(data[12:]),
		FastLevel: le.Uint32(data[16:]), LastCleanupDelPages: le.Uint32(data[20:]), AllEqualImage: data[24] != 0,
	}, nil
}

const (
	metaMagic = 0x053162 // BTREE_MAGIC
	metaSize  = 48       // sizeof(BTMetaPageData)
)

// Put writes BTMetaPageData at the start of an empty page's contents and sets pd_lower behind it, so that it is not taken for
// free space.
//
//	 0 btm_magic uint32   4 btm_version uint32   8 btm_root uint32   12 btm_level uint32   16 btm_fastroot uint32
//	20 btm_fastlevel uint32   24 btm_last_cleanup_num_delpages uint32   32 btm_last_cleanup_num_heap_tuples float64
//	40 btm_allequalimage bool
func (m Meta) Put(p pg.Page) {
	b := p[pg.PageHeaderSize : pg.PageHeaderSize+metaSize]
	le.PutUint32(b, metaMagic)
	le.PutUint32(b[4:], m.Version)
	le.PutUint32(b[8:], uint32(m.Root))
	le.PutUint32(b[12:], m.Level)
	le.PutUint32(b[16:], uint32(m.FastRoot))
	le.PutUint32(b[20:], m.FastLevel)
	le.PutUint32(b[24:], m.LastCleanupDelPages)
	le.PutUint64(b[32:], math.Float64bits(-1)) // no longer in use
	if m.AllEqualImage {
		b[40] = 1
	}
	p.SetLower(pg.PageHeaderSize + metaSize)
}

// SetDeleted makes an empty page a tombstone: its contents are BTDeletedPageData, the transaction from which on nobody
// can be on the way to it (BTPageSetDeleted).
func SetDeleted(p pg.Page, safe pg.FullXID) {
	o := OpaqueOf(p)
	o.SetFlags(o.Flags()&^FlagHalfDead | FlagDeleted | FlagHasFullXID)
	p.SetLower(pg.PageHeaderSize + 8)
	p.SetUpper(p.Special())
	le.PutUint64(p[pg.PageHeaderSize:], uint64(safe))
}
