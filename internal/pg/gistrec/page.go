package gistrec

import "github.com/tarn-db/tarn/internal/pg"

// RootBlock is GIST_ROOT_BLKNO: the root stays where it is when it is split.
const RootBlock = pg.BlockNumber(0)

// BuildLSN is GistBuildLSN: before 17 an index that is built by sorting goes to disk with this LSN on its pages, which were logged as
// images.
const BuildLSN = pg.LSN(1)

// Flags of a page's special area (F_*).
const (
	PageLeaf          = 1 << 0
	PageDeleted       = 1 << 1
	PageTuplesDeleted = 1 << 2
	PageFollowRight   = 1 << 3 // the right neighbour has no downlink yet
	PageHasGarbage    = 1 << 4
)

// OpaqueSize is sizeof(GISTPageOpaqueData), bytes.
const OpaqueSize = 16

// pageID is GIST_PAGE_ID.
const pageID = 0xFF81

// DeletedSize is how much of a deleted page is in use, bytes: the header and GISTDeletedPageContents, which is one FullTransactionId.
const DeletedSize = pg.PageHeaderSize + 8

// Opaque is the special area of a GiST page (GISTPageOpaqueData).
//
//	0 nsn, upper and lower half uint32 each   8 rightlink uint32   12 flags uint16   14 gist_page_id uint16
type Opaque []byte

// PageOpaque returns the special area; ok is false when the page has none of that size.
func PageOpaque(p pg.Page) (o Opaque, ok bool) {
	return p.SpecialArea(OpaqueSize)
}

// InitPage makes an empty page (gistinitpage).
func InitPage(p pg.Page, flags uint16) Opaque {
	p.Init(OpaqueSize)
	o, _ := PageOpaque(p)
	o.SetRightLink(pg.InvalidBlock)
	o.SetFlags(flags)
	le.PutUint16(o[14:], pageID)
	return o
}

// SetDeleted marks an empty page as deleted (GistPageSetDeleted).
func SetDeleted(p pg.Page, o Opaque, xid uint64) {
	o.SetFlags(o.Flags() | PageDeleted)
	p.SetLower(DeletedSize)
	le.PutUint64(p[pg.PageHeaderSize:], xid)
}

// NSN is the end of the record that last split the page, once that split is complete.
func (o Opaque) NSN() pg.LSN { return pg.LSN(le.Uint32(o))<<32 | pg.LSN(le.Uint32(o[4:])) }

// SetNSN is GistPageSetNSN.
func (o Opaque) SetNSN(l pg.LSN) {
	le.PutUint32(o, uint32(l>>32))
	le.PutUint32(o[4:], uint32(l))
}

// RightLink is the page to the right, pg.InvalidBlock if there is none.
func (o Opaque) RightLink() pg.BlockNumber     { return pg.BlockNumber(le.Uint32(o[8:])) }
func (o Opaque) SetRightLink(b pg.BlockNumber) { le.PutUint32(o[8:], uint32(b)) }
func (o Opaque) Flags() uint16                 { return le.Uint16(o[12:]) }
func (o Opaque) SetFlags(f uint16)             { le.PutUint16(o[12:], f) }
