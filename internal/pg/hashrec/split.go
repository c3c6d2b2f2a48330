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
	const record = "xl_hash_split_allocate_page"
	f, err := fixed(record, main, 9)
	if err != nil {
		return r, err
	}
	r = SplitAllocatePage{NewBucket: f.u32(), OldFlag: f.u16(), NewFlag: f.u16(), flags: f.u8()}
	if r.flags&^(splitMetaMasks|splitMetaSplitPoint) != 0 {
		return r, pg.Corruptf("%s: unknown flags %#x", record, r.flags)
	}
	return r, nil
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
	size := 0
	if m.HasMasks {
		size += 8
	}
	if m.HasSplitPoint {
		size += 8
	}
	f, err := fixed("xl_hash_split_allocate_page's metapage", data, size)
	if err != nil {
		return m, err
	}
	if m.HasMasks {
		m.LowMask, m.HighMask = f.u32(), f.u32()
	}
	if m.HasSplitPoint {
		m.SplitPoint, m.Spares = f.u32(), f.u32()
	}
	return m, nil
}

// SplitComplete is xl_hash_split_complete. Block 0 is the old bucket's first page, 1 the new bucket's.
//
//	0 old_bucket_flag uint16   2 new_bucket_flag uint16
type SplitComplete struct {
	OldFlag, NewFlag uint16 // hasho_flag of the two pages
}

// DecodeSplitComplete reads an OpSplitComplete record's main data.
func DecodeSplitComplete(main []byte) (r SplitComplete, err error) {
	f, err := fixed("xl_hash_split_complete", main, 4)
	if err != nil {
		return r, err
	}
	return SplitComplete{OldFlag: f.u16(), NewFlag: f.u16()}, nil
}
