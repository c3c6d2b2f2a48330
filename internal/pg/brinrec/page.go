package brinrec

import "github.com/tarn-db/tarn/internal/pg"

// PageType is what a page is (BRIN_PAGETYPE_*); its last two bytes.
type PageType uint16

// The types of pages.
const (
	MetaPage    PageType = 0xF091
	RevmapPage  PageType = 0xF092 // a page of the range map
	RegularPage PageType = 0xF093 // tuples
)

const (
	specialSize = 8 // sizeof(BrinSpecialSpace), bytes
	flagsAt     = pg.BlockSize - 4
	typeAt      = pg.BlockSize - 2

	metaMagic = 0xA8109CFA // BRIN_META_MAGIC
)

// MetaEnd is where the metapage's data ends (BrinMetaPageData).
const MetaEnd = pg.PageHeaderSize + 16

// EvacuatePage is BRIN_EVACUATE_PAGE: tuples are leaving the page, so that the range map can have it.
const EvacuatePage = 1 << 0

// RevmapItems is how many ranges a page of the range map holds (REVMAP_PAGE_MAXITEMS).
const RevmapItems = (pg.BlockSize - pg.PageHeaderSize - specialSize) / pg.TIDSize

// Type returns what the page is; ok is false when it has no special area of BRIN's size.
func Type(p pg.Page) (t PageType, ok bool) {
	_, ok = p.SpecialArea(specialSize)
	return PageType(le.Uint16(p[typeAt:])), ok
}

// SpecialFlags are the flags of a page that Type knows.
func SpecialFlags(p pg.Page) uint16 { return le.Uint16(p[flagsAt:]) }

// SetSpecialFlags stores them.
func SetSpecialFlags(p pg.Page, f uint16) { le.PutUint16(p[flagsAt:], f) }

// Init makes an empty page (brin_page_init).
func Init(p pg.Page, t PageType) {
	p.Init(specialSize)
	le.PutUint16(p[typeAt:], uint16(t))
}

// InitMeta makes the metapage of a new index (brin_metapage_init). After the page's header (BrinMetaPageData):
//
//	0 brinMagic uint32   4 brinVersion uint32   8 pagesPerRange uint32   12 lastRevmapPage uint32
func InitMeta(p pg.Page, r CreateIndex) {
	Init(p, MetaPage)
	m := p[pg.PageHeaderSize:]
	le.PutUint32(m, metaMagic)
	le.PutUint32(m[4:], uint32(r.Version))
	le.PutUint32(m[8:], r.PagesPerRange)
	p.SetLower(MetaEnd)
}

// LastRevmapPage is the last block of the range map, which begins after the metapage.
func LastRevmapPage(p pg.Page) pg.BlockNumber {
	return pg.BlockNumber(le.Uint32(p[pg.PageHeaderSize+12:]))
}

// SetLastRevmapPage stores it and sets pd_lower behind the metapage's data: before 11 that was not done when the page was made.
func SetLastRevmapPage(p pg.Page, b pg.BlockNumber) {
	le.PutUint32(p[pg.PageHeaderSize+12:], uint32(b))
	p.SetLower(MetaEnd)
}

// Place is where the range map holds the range's tuple: block and index (HEAPBLK_TO_REVMAP_BLK, HEAPBLK_TO_REVMAP_INDEX, revmap_get_blkno).
// It is not called with PagesPerRange 0.
func (r Range) Place() (blk pg.BlockNumber, index int) {
	n := uint32(r.HeapBlock) / r.PagesPerRange
	return 1 + pg.BlockNumber(n/RevmapItems), int(n % RevmapItems)
}

// SetTID stores in the range map at index, which is below RevmapItems, where the range's tuple is, or with Offset 0 that it has none
// (brinSetHeapBlockItemptr).
func SetTID(p pg.Page, index int, t pg.TID) {
	if t.Offset == 0 {
		t.Block = pg.InvalidBlock
	}
	t.Put(p[pg.PageHeaderSize+pg.TIDSize*index:])
}
