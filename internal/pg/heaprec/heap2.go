package heaprec

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// Visible is xl_heap_visible. Block 0 is the visibility map's page, block 1 the heap's.
//
//	0 snapshotConflictHorizon uint32   4 flags uint8
type Visible struct {
	Horizon pg.XID
	Flags   uint8 // VMValidBits, and since 16 VISIBILITYMAP_XLOG_CATALOG_REL (0x04)
}

// DecodeVisible reads an Op2Visible record's main data.
func DecodeVisible(main []byte) (Visible, error) {
	if len(main) != 5 {
		return Visible{}, pg.BadLength("xl_heap_visible", len(main), 5)
	}
	return Visible{Horizon: pg.XID(le.Uint32(main)), Flags: main[4]}, nil
}

// MultiInsert is xl_heap_multi_insert. Block 0 carries the tuples, read by Tuple.
//
//	0 flags uint8   2 ntuples uint16   4 offsets uint16 each, left out with InitPage
type MultiInsert struct {
	Flags   uint8
	N       int        // tuples
	Offsets pg.Offsets // nil with InitPage: the tuples are 1..N
}

// DecodeMultiInsert reads an Op2MultiInsert record's main data; info is its xl_info.
func DecodeMultiInsert(main []byte, info uint8) (MultiInsert, error) {
	if len(main) < 4 {
		return MultiInsert{}, pg.BadLength("xl_heap_multi_insert", len(main), 4)
	}
	m := MultiInsert{Flags: main[0], N: int(le.Uint16(main[2:]))}
	want := 4
	if info&InitPage == 0 {
		want += 2 * m.N
		m.Offsets = pg.Offsets(main[4:])
	}
	if len(main) != want {
		return MultiInsert{}, pg.BadLength("xl_heap_multi_insert", len(main), want)
	}
	return m, nil
}

// Offset is where tuple i, from 0, goes.
func (m MultiInsert) Offset(i int) pg.OffsetNumber {
	if m.Offsets == nil {
		return pg.OffsetNumber(1 + i)
	}
	return m.Offsets.At(i)
}

// MultiTuple is xl_multi_insert_tuple and the tuple after it, from its null bitmap on. Each starts at an even distance
// from the start of the block's data.
//
//	0 datalen uint16   2 t_infomask2 uint16   4 t_infomask uint16   6 t_hoff uint8   7 tuple
type MultiTuple struct {
	Header TupleHeader
	Data   []byte
}

// DecodeMultiTuple reads the tuple at position at of block 0's data and returns the position behind it.
func DecodeMultiTuple(data []byte, at int) (t MultiTuple, next int, err error) {
	at += at & 1
	if at+7 > len(data) {
		return t, 0, pg.BadLength("xl_multi_insert_tuple", len(data)-at, 7)
	}
	n := int(le.Uint16(data[at:]))
	next = at + 7 + n
	if next > len(data) {
		return t, 0, pg.BadLength("xl_multi_insert_tuple", len(data)-at, 7+n)
	}
	t.Header = TupleHeader{Infomask2: le.Uint16(data[at+2:]), Infomask: le.Uint16(data[at+4:]), Hoff: data[at+6]}
	t.Data = data[at+7 : next]
	return t, next, nil
}

// Prune is what one pruning, vacuuming or freezing record does to its page, for every major: xl_heap_prune,
// xl_heap_vacuum and xl_heap_freeze_page of 15 and 16, the one xl_heap_prune since 17.
//
// 15, 16 main data, with the last byte of PRUNE and FREEZE_PAGE since 16:
//
//	PRUNE        0 horizon uint32   4 nredirected uint16   6 ndead uint16   8 isCatalogRel bool
//	VACUUM       0 nunused uint16
//	FREEZE_PAGE  0 horizon uint32   4 ntuples (15) or nplans (16) uint16   6 isCatalogRel bool
//
// and block 0's data:
//
//	PRUNE        nredirected pairs of offsets, ndead offsets, then offsets now unused to the end
//	VACUUM       nunused offsets
//	FREEZE_PAGE  freeze entries (15: one a tuple; 16: plans, then all plans' offsets)
//
// 17+ main data: 0 reason uint8   1 flags uint8   2 horizon uint32 if flags & 0x08, and block 0's data as flagged:
//
//	0x10 nplans uint16, 2 bytes of padding, plans;  0x20 n uint16, n pairs;  0x40 n uint16, n offsets now dead;
//	0x80 n uint16, n offsets now unused;  then the plans' offsets to the end
type Prune struct {
	Reason     uint8 // 17+, for people only
	CatalogRel bool
	HasHorizon bool
	Horizon    pg.XID // snapshotConflictHorizon (15: latestRemovedXid or cutoff_xid)
	// Repack says that the page's tuples are moved together after the line pointers changed (PageRepairFragmentation);
	// without it only trailing line pointers go (PageTruncateLinePointerArray).
	Repack     bool
	Redirected pg.Offsets // pairs: from, to
	Dead       pg.Offsets
	Unused     pg.Offsets
	Freeze     Freeze
}

// flags of 17+'s xl_heap_prune (XLHP_*).
const (
	xlhpCatalogRel   = 1 << 1
	xlhpCleanupLock  = 1 << 2
	xlhpHorizon      = 1 << 3
	xlhpFreezePlans  = 1 << 4
	xlhpRedirections = 1 << 5
	xlhpDead         = 1 << 6
	xlhpUnused       = 1 << 7
	xlhpKnown        = 0xFE
)

// DecodePrune reads an Op2Prune, Op2Vacuum or Op2Freeze record; data is block 0's data, and info its xl_info.
func DecodePrune(major pg.Major, main, data []byte, info uint8) (Prune, error) {
	op := info & OpMask
	switch {
	case major >= pg.PG17:
		return decodePrune17(main, data)
	case op == Op2Prune:
		return decodePrune15(major, main, data)
	case op == Op2Vacuum:
		return decodeVacuum15(main, data)
	case op == Op2Freeze:
		return decodeFreezePage15(major, main, data)
	}
	return Prune{}, fmt.Errorf("BUG: DecodePrune called for record type %#x", op)
}

// decodePrune17 mirrors heap_xlog_deserialize_prune_and_freeze.
func decodePrune17(main, data []byte) (p Prune, err error) {
	if len(main) < 2 {
		return p, pg.BadLength("xl_heap_prune", len(main), 2)
	}
	flags, want := main[1], 2
	p.Reason, p.CatalogRel, p.Repack = main[0], flags&xlhpCatalogRel != 0, flags&xlhpCleanupLock != 0
	if flags&xlhpHorizon != 0 {
		want += 4
	}
	if flags&^xlhpKnown != 0 {
		return p, pg.Corruptf("xl_heap_prune: flags %#x are not known", flags)
	}
	if len(main) != want {
		return p, pg.BadLength("xl_heap_prune", len(main), want)
	}
	if p.HasHorizon = flags&xlhpHorizon != 0; p.HasHorizon {
		p.Horizon = pg.XID(le.Uint32(main[2:]))
	}
	rest := data
	if flags&xlhpFreezePlans != 0 {
		if len(rest) < 4 {
			return p, pg.BadLength("xlhp_freeze_plans", len(rest), 4)
		}
		n := int(le.Uint16(rest)) * planSize
		if rest = rest[4:]; len(rest) < n {
			return p, pg.BadLength("xlhp_freeze_plans", len(rest), n)
		}
		p.Freeze.plans, rest = rest[:n], rest[n:]
	}
	if p.Redirected, rest, err = pruneItems(rest, flags&xlhpRedirections != 0, 4); err != nil {
		return p, err
	}
	if p.Dead, rest, err = pruneItems(rest, flags&xlhpDead != 0, 2); err != nil {
		return p, err
	}
	if p.Unused, rest, err = pruneItems(rest, flags&xlhpUnused != 0, 2); err != nil {
		return p, err
	}
	p.Freeze.offsets = rest
	return p, p.Freeze.check()
}

// pruneItems reads an xlhp_prune_items of entries that many bytes long, if it is there.
func pruneItems(b []byte, present bool, size int) (pg.Offsets, []byte, error) {
	if !present {
		return nil, b, nil
	}
	if len(b) < 2 {
		return nil, nil, pg.BadLength("xlhp_prune_items", len(b), 2)
	}
	n := int(le.Uint16(b)) * size
	if b = b[2:]; len(b) < n {
		return nil, nil, pg.BadLength("xlhp_prune_items", len(b), n)
	}
	return pg.Offsets(b[:n]), b[n:], nil
}

func decodePrune15(major pg.Major, main, data []byte) (p Prune, err error) {
	want := 8
	if major >= pg.PG16 {
		want = 9
	}
	if len(main) != want {
		return p, pg.BadLength("xl_heap_prune", len(main), want)
	}
	p.HasHorizon, p.Horizon, p.Repack = true, pg.XID(le.Uint32(main)), true
	if major >= pg.PG16 {
		p.CatalogRel = main[8] != 0
	}
	redirected, dead := 4*int(le.Uint16(main[4:])), 2*int(le.Uint16(main[6:]))
	if len(data) < redirected+dead || len(data)%2 != 0 {
		return p, pg.BadLength("xl_heap_prune's offsets", len(data), redirected+dead)
	}
	p.Redirected, p.Dead, p.Unused = data[:redirected], data[redirected:redirected+dead], data[redirected+dead:]
	return p, nil
}

func decodeVacuum15(main, data []byte) (p Prune, err error) {
	if len(main) != 2 {
		return p, pg.BadLength("xl_heap_vacuum", len(main), 2)
	}
	if n := 2 * int(le.Uint16(main)); len(data) != n {
		return p, pg.BadLength("xl_heap_vacuum's offsets", len(data), n)
	}
	p.Unused = data
	return p, nil
}

func decodeFreezePage15(major pg.Major, main, data []byte) (p Prune, err error) {
	want := 6
	if major >= pg.PG16 {
		want = 7
	}
	if len(main) != want {
		return p, pg.BadLength("xl_heap_freeze_page", len(main), want)
	}
	p.HasHorizon, p.Horizon = true, pg.XID(le.Uint32(main))
	n := int(le.Uint16(main[4:])) * planSize
	if len(data) < n {
		return p, pg.BadLength("xl_heap_freeze_page's plans", len(data), n)
	}
	p.Freeze.plans = data[:n]
	if major >= pg.PG16 {
		p.CatalogRel, p.Freeze.offsets = main[6] != 0, data[n:]
		return p, p.Freeze.check()
	}
	if p.Freeze.perTuple = true; len(data) != n {
		return p, pg.BadLength("xl_heap_freeze_page's tuples", len(data), n)
	}
	return p, nil
}
