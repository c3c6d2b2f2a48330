package hashrec

import "github.com/tarn-db/tarn/internal/pg"

// Flags of SplitAllocatePage (XLH_SPLIT_META_UPDATE_*).
const (
	splitMetaMasks      = 0x01
	splitMetaSplitPoint = 0x02
)

// SplitAllocatePage is xl_hash_split_allocate_page. Block 0 is the old bucket's first page, 1 the new bucket's, 2 the metapage with
// SplitMeta's bytes.
//
//	0 new_bucket uint32   4 old_bucket_flag uint16   6 new_bucket_flag uint16   8 flags uint8
type SplitAllocatePage struct {
	NewBucket        uint32
	OldFlag, NewFlag uint16 // hasho_flag of the two pages
	flags            uint8
}

// DecodeSplitAllocatePage reads an OpSplitAllocatePage record's main data.
func DecodeSplitAllocatePage(main []byte) (r SplitAllocatePage, err error) {
	c := pg.NewCursor("xl_hash_split_allocate_page", main)
	r = SplitAllocatePage{NewBucket: c.U32(), OldFlag: c.U16(), NewFlag: c.U16(), flags: c.U8()}
	if r.flags&^(splitMetaMasks|splitMetaSplitPoint) != 0 {
		c.Fail("unknown flags %#x", r.flags)
	}
	return r, c.Done()
}

// SplitMeta is what a split changes on the metapage besides the highest bucket.
//
//	lowmask uint32, highmask uint32 if the masks change; ovflpoint uint32, its spares uint32 if the split point changes
type SplitMeta struct {
	HasMasks, HasSplitPoint bool
	LowMask, HighMask       uint32
	SplitPoint              uint32 // hashm_ovflpoint
	Spares                  uint32 // hashm_spares at SplitPoint
}

// DecodeMeta reads block 2's data.
func (r *SplitAllocatePage) DecodeMeta(data []byte) (m SplitMeta, err error) {
	m.HasMasks, m.HasSplitPoint = r.flags&splitMetaMasks != 0, r.flags&splitMetaSplitPoint != 0
	c := pg.NewCursor("xl_hash_split_allocate_page's metapage", data)
	if m.HasMasks {
		m.LowMask, m.HighMask = c.U32(), c.U32()
	}
	if m.HasSplitPoint {
		m.SplitPoint, m.Spares = c.U32(), c.U32()
	}
	return m, c.Done()
}

// SplitComplete is xl_hash_split_complete. Block 0 is the old bucket's first page, 1 the new bucket's.
//
//	0 old_bucket_flag uint16   2 new_bucket_flag uint16
type SplitComplete struct {
	OldFlag, NewFlag uint16 // hasho_flag of the two pages
}

// DecodeSplitComplete reads an OpSplitComplete record's main data.
func DecodeSplitComplete(main []byte) (r SplitComplete, err error) {
	c := pg.NewCursor("xl_hash_split_complete", main)
	r = SplitComplete{OldFlag: c.U16(), NewFlag: c.U16()}
	return r, c.Done()
}
