package ginrec

import "github.com/tarn-db/tarn/internal/pg"

// UpdateMeta is ginxlogUpdateMeta. Block 0 is the metapage, built from nothing. Block 1, if any, is the pending list's tail: with
// Count it takes that many tuples, which it carries; else, with PrevTail, it gets a right link.
//
//	0 locator, 3 uint32   16 metadata, MetaSize bytes   72 prevTail uint32   76 newRightlink uint32   80 ntuples int32   84 padding
type UpdateMeta struct {
	Metadata     []byte         // MetaSize bytes
	PrevTail     pg.BlockNumber // InvalidBlock if the list did not get a new tail
	NewRightLink pg.BlockNumber
	Count        int // tuples
}

// DecodeUpdateMeta reads an OpUpdateMetaPage record's main data.
func DecodeUpdateMeta(main []byte) (UpdateMeta, error) {
	if len(main) != 88 {
		return UpdateMeta{}, pg.BadLength("ginxlogUpdateMeta", len(main), 88)
	}
	r := UpdateMeta{
		Metadata: main[16 : 16+MetaSize],
		PrevTail: pg.BlockNumber(le.Uint32(main[72:])), NewRightLink: pg.BlockNumber(le.Uint32(main[76:])), Count: int(int32(le.Uint32(main[80:]))),
	}
	if r.Count < 0 {
		return UpdateMeta{}, badValue("ginxlogUpdateMeta", "ntuples", r.Count)
	}
	return r, nil
}

// InsertListPage is ginxlogInsertListPage: block 0 becomes a page of the pending list, with the tuples it carries.
//
//	0 rightlink uint32   4 ntuples int32
type InsertListPage struct {
	RightLink pg.BlockNumber
	Count     int // tuples
}

// DecodeInsertListPage reads an OpInsertListPage record's main data.
func DecodeInsertListPage(main []byte) (InsertListPage, error) {
	if len(main) != 8 {
		return InsertListPage{}, pg.BadLength("ginxlogInsertListPage", len(main), 8)
	}
	r := InsertListPage{RightLink: pg.BlockNumber(le.Uint32(main)), Count: int(int32(le.Uint32(main[4:])))}
	if r.Count < 0 {
		return InsertListPage{}, badValue("ginxlogInsertListPage", "ntuples", r.Count)
	}
	return r, nil
}

// DeleteListPages is ginxlogDeleteListPages: block 0 is the metapage, built from nothing, and blocks 1 to Count become empty
// deleted pages.
//
//	0 metadata, MetaSize bytes   56 ndeleted int32   60 padding
type DeleteListPages struct {
	Metadata []byte // MetaSize bytes
	Count    int    // pages
}

// DecodeDeleteListPages reads an OpDeleteListPages record's main data.
func DecodeDeleteListPages(main []byte) (DeleteListPages, error) {
	if len(main) != 64 {
		return DeleteListPages{}, pg.BadLength("ginxlogDeleteListPages", len(main), 64)
	}
	r := DeleteListPages{Metadata: main[:MetaSize], Count: int(int32(le.Uint32(main[56:])))}
	if r.Count < 0 {
		return DeleteListPages{}, badValue("ginxlogDeleteListPages", "ndeleted", r.Count)
	}
	return r, nil
}
