package hashrec

import "github.com/tarn-db/tarn/internal/pg"

// Delete is xl_hash_delete. Block 0 is the bucket's first page, not changed, and there only if it is not the page deleted from; 1
// the page deleted from, with the line pointer numbers.
//
//	0 clear_dead_marking bool   1 is_primary_bucket_page bool
type Delete struct {
	ClearDeadMarking bool
	Primary          bool // the page deleted from is the bucket's first
}

// DecodeDelete reads an OpDelete record's main data.
func DecodeDelete(main []byte) (r Delete, err error) {
	c := pg.NewCursor("xl_hash_delete", main)
	r = Delete{ClearDeadMarking: c.Bool(), Primary: c.Bool()}
	return r, c.Done()
}

// VacuumOnePage is xl_hash_vacuum_one_page: tuples known dead went before an insertion. Block 0 is the page, 1 the metapage.
//
//	15:  0 latestRemovedXid uint32   4 ntuples int32    8 offsets uint16 each
//	16+: 0 snapshotConflictHorizon uint32   4 ntuples uint16   6 isCatalogRel bool   7 padding   8 offsets uint16 each
type VacuumOnePage struct {
	Horizon pg.XID
	Offsets pg.Offsets
}

// DecodeVacuumOnePage reads an OpVacuumOnePage record's main data.
func DecodeVacuumOnePage(major pg.Major, main []byte) (r VacuumOnePage, err error) {
	const record, header = "xl_hash_vacuum_one_page", 8
	if len(main) < header {
		return r, pg.Corruptf("%s: %d bytes, want %d and more", record, len(main), header)
	}
	n := le.Uint32(main[4:])
	if major >= pg.PG16 {
		n &= 0xFFFF
		if main[6] > 1 {
			return r, pg.Corruptf("%s: a bool is neither 0 nor 1", record)
		}
	}
	if uint64(len(main)) != header+2*uint64(n) {
		return r, pg.Corruptf("%s: %d bytes for %d line pointers", record, len(main), n)
	}
	return VacuumOnePage{Horizon: pg.XID(le.Uint32(main)), Offsets: pg.Offsets(main[header:])}, nil
}
