package ginrec

import "github.com/tarn-db/tarn/internal/pg"

// Flags of a GIN page (access/ginblock.h).
const (
	PageData            = 1 << 0 // of a posting tree; else of the entry tree
	PageLeaf            = 1 << 1
	PageDeleted         = 1 << 2
	PageMeta            = 1 << 3
	PageList            = 1 << 4 // of the pending list
	PageListFullRow     = 1 << 5
	PageIncompleteSplit = 1 << 6 // the parent has no downlink to the right sibling yet
	PageCompressed      = 1 << 7 // a posting tree's leaf in the format of 9.4 and later
)

const (
	// MetaBlock is GIN_METAPAGE_BLKNO.
	MetaBlock pg.BlockNumber = 0
	// OpaqueSize is sizeof(GinPageOpaqueData), bytes.
	OpaqueSize = 8
	// Special is where the opaque data begins on each page.
	Special = pg.BlockSize - OpaqueSize
	// MetaAt is where the metapage's data begins, and MetaSize its length (GinMetaPageData).
	MetaAt   = pg.PageHeaderSize
	MetaSize = 56
)

// Opaque is GinPageOpaqueData, the end of each GIN page.
//
//	0 rightlink uint32   4 maxoff uint16   6 flags uint16
type Opaque []byte

// PageOpaque returns the page's opaque data; ok is false if the page has no such end.
func PageOpaque(p pg.Page) (o Opaque, ok bool) {
	return p.SpecialArea(OpaqueSize)
}

// InitPage makes an empty page (GinInitPage).
func InitPage(p pg.Page, flags uint16) Opaque {
	p.Init(OpaqueSize)
	o, _ := PageOpaque(p)
	o.SetRightLink(pg.InvalidBlock)
	o.SetFlags(flags)
	return o
}

// SetRightLink stores the block of the page's right sibling.
func (o Opaque) SetRightLink(blk pg.BlockNumber) { le.PutUint32(o, uint32(blk)) }

// Count is maxoff: posting items on a page above a posting tree's leaves, heap tuples on one of the pending list.
func (o Opaque) Count() int { return int(le.Uint16(o[4:])) }

// SetCount stores maxoff.
func (o Opaque) SetCount(n int) { le.PutUint16(o[4:], uint16(n)) }

// Flags are the page's flags.
func (o Opaque) Flags() uint16 { return le.Uint16(o[6:]) }

// SetFlags stores the page's flags.
func (o Opaque) SetFlags(f uint16) { le.PutUint16(o[6:], f) }

// A page of a posting tree:
//
//	0 page header   24 right bound ItemPointerData   32 posting items, or on a leaf compressed posting lists   8184 opaque data
//
// pd_lower is the end of the items or lists, except on pages from before 9.4.
const (
	// PostingAt is where items and lists begin (GinDataPageGetData), bytes from the page's start.
	PostingAt = pg.PageHeaderSize + 8
	// PostingSizeMax is GinDataPageMaxDataSize, bytes.
	PostingSizeMax = Special - PostingAt
	// PostingItemSize is sizeof(PostingItem): child BlockIdData, key ItemPointerData.
	PostingItemSize = 10
	// PostingItemsMax is how many posting items fit on a page.
	PostingItemsMax = PostingSizeMax / PostingItemSize
)

// SetChild stores the block a posting item leads to.
func SetChild(item []byte, blk pg.BlockNumber) { pg.PutBlockID(item, blk) }

// SetDownlink makes an entry tuple lead to a block below (GinSetDownlink).
func SetDownlink(tuple []byte, blk pg.BlockNumber) {
	pg.PutBlockID(tuple, blk)
	le.PutUint16(tuple[4:], 0)
}
