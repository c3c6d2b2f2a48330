package btreerec

import "github.com/tarn-db/tarn/internal/pg"

// Delete is xl_btree_delete and xl_btree_vacuum: tuples that go from a leaf, and tuples that lose some TIDs of their posting
// lists.
//
// Main data, DELETE's last byte since 16:
//
//	DELETE  0 snapshotConflictHorizon uint32   4 ndeleted uint16   6 nupdated uint16   8 isCatalogRel bool
//	VACUUM  0 ndeleted uint16   2 nupdated uint16
//
// Block 0's data, both: ndeleted offsets, nupdated offsets, then nupdated xl_btree_update, each
//
//	0 ndeletedtids uint16   2 ndeletedtids indexes into the posting list, uint16 each
type Delete struct {
	HasHorizon bool
	Horizon    pg.XID // DELETE only (15: latestRemovedXid)
	CatalogRel bool
	Deleted    pg.Offsets
	Updates    Updates
}

// Updates yields the tuples that lose TIDs. The zero Updates yields none.
//
// Invariant: there are as many entries as offsets, and nothing behind the last (checked when decoded).
type Updates struct {
	offsets pg.Offsets
	entries []byte
}

// Len is how many are left.
func (u *Updates) Len() int { return u.offsets.Len() }

// Next hands out the next tuple and the indexes of the TIDs it loses, from 0; ok is false behind the last.
func (u *Updates) Next() (off pg.OffsetNumber, gone pg.Offsets, ok bool) {
	if len(u.offsets) == 0 {
		return 0, nil, false
	}
	off = u.offsets.At(0)
	end := 2 + 2*int(le.Uint16(u.entries))
	gone = pg.Offsets(u.entries[2:end])
	u.offsets, u.entries = u.offsets[2:], u.entries[end:]
	return off, gone, true
}

// DecodeDelete reads an OpDelete record; data is block 0's.
func DecodeDelete(major pg.Major, main, data []byte) (d Delete, err error) {
	want := 8
	if major >= pg.PG16 {
		want = 9
	}
	if len(main) != want {
		return d, pg.BadLength("xl_btree_delete", len(main), want)
	}
	d.HasHorizon, d.Horizon, d.CatalogRel = true, pg.XID(le.Uint32(main)), want == 9 && main[8] != 0
	return d, d.decodeItems(main[4:], data)
}

// DecodeVacuum reads an OpVacuum record; data is block 0's.
func DecodeVacuum(main, data []byte) (d Delete, err error) {
	if len(main) != 4 {
		return d, pg.BadLength("xl_btree_vacuum", len(main), 4)
	}
	return d, d.decodeItems(main, data)
}

// decodeItems takes block 0's data apart by the two counts.
func (d *Delete) decodeItems(counts, data []byte) error {
	deleted, updated := 2*int(le.Uint16(counts)), 2*int(le.Uint16(counts[2:]))
	if len(data) < deleted+updated {
		return pg.BadLength("the offsets of deleted and updated tuples", len(data), deleted+updated)
	}
	u := Updates{offsets: data[deleted : deleted+updated], entries: data[deleted+updated:]}
	rest := u.entries
	for range u.Len() {
		if len(rest) < 2 {
			return pg.BadLength("xl_btree_update", len(rest), 2)
		}
		n := 2 + 2*int(le.Uint16(rest))
		if len(rest) < n {
			return pg.BadLength("xl_btree_update", len(rest), n)
		}
		rest = rest[n:]
	}
	if len(rest) != 0 {
		return pg.BadLength("the deleted and updated tuples", len(data), len(data)-len(rest))
	}
	d.Deleted, d.Updates = data[:deleted], u
	return nil
}
