package xlrec

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// build lays out fields in order: uint16, uint32, uint64, int32, string (its bytes) and []byte.
func build(fields ...any) (b []byte) {
	le := binary.LittleEndian
	for _, f := range fields {
		switch v := f.(type) {
		case byte:
			b = append(b, v)
		case uint16:
			b = le.AppendUint16(b, v)
		case uint32:
			b = le.AppendUint32(b, v)
		case uint64:
			b = le.AppendUint64(b, v)
		case string:
			b = append(b, v...)
		case []byte:
			b = append(b, v...)
		default:
			panic("BUG: field of another type")
		}
	}
	return b
}

// fullCommit has each part a commit record can have.
func fullCommit(m pg.Major) []byte {
	stats := build(uint32(1), uint32(2), uint32(5), uint32(30)) // one item
	if m >= pg.PG18 {
		stats = append(stats, build(uint32(0))...)
	}
	xinfo := uint32(XInfoHasDBInfo | XInfoHasSubxacts | XInfoHasRels | XInfoHasDroppedStats | XInfoHasInvals | XInfoHasTwophase | XInfoHasGID |
		XInfoHasOrigin | XInfoForceSyncCommit)
	return build(uint64(777), xinfo,
		uint32(5), uint32(1663),
		uint32(2), uint32(801), uint32(802),
		uint32(1), uint32(1663), uint32(5), uint32(16400),
		stats,
		uint32(1), "0123456789abcdef",
		uint32(800), "gid 1\x00",
		uint64(0x1_0000_0000), uint64(778))
}

func TestDecodeCommitInAllItsParts(t *testing.T) {
	for m := pg.PG15; m <= pg.PG18; m++ {
		main := fullCommit(m)
		c, err := DecodeCommit(m, main, XactCommitPrepared|XactHasInfo)
		if err != nil {
			t.Fatalf("PostgreSQL %d: %v", m, err)
		}
		if c.Time != 777 || c.DB != 5 || c.Spc != 1663 || c.Subxacts.Len() != 2 || c.Subxacts.At(1) != 802 ||
			c.DroppedRels.Len() != 1 || c.DroppedRels.At(0) != (pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16400}) ||
			c.DroppedStats.Len() != 1 || c.DroppedStats.At(0) != (StatsItem{Kind: 2, DB: 5, Objid: 30}) ||
			c.Invals.Len() != 1 || string(c.Invals.At(0)) != "0123456789abcdef" ||
			c.PreparedXID != 800 || string(c.GID) != "gid 1" || c.OriginLSN != 0x1_0000_0000 || c.OriginTime != 778 {
			t.Errorf("PostgreSQL %d: %+v", m, c)
		}
		for n := range main {
			if _, err := DecodeCommit(m, main[:n], XactCommitPrepared|XactHasInfo); !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("PostgreSQL %d: %d of %d bytes: %v", m, n, len(main), err)
			}
		}
		other := pg.PG15 + pg.PG18 - m // one side of the change in 18 on the other
		if (m >= pg.PG18) != (other >= pg.PG18) {
			if _, err := DecodeCommit(other, main, XactCommitPrepared|XactHasInfo); !errors.Is(err, pg.ErrCorrupt) {
				t.Errorf("record of %d read as of %d: %v", m, other, err)
			}
		}
	}
}

func TestDecodeCommitRefuses(t *testing.T) {
	for name, main := range map[string][]byte{
		"unknown xinfo":      build(uint64(1), uint32(1<<12)),
		"negative count":     build(uint64(1), uint32(XInfoHasSubxacts), uint32(0xFFFFFFFF)),
		"huge count":         build(uint64(1), uint32(XInfoHasRels), uint32(0x7FFFFFFF)),
		"gid without end":    build(uint64(1), uint32(XInfoHasTwophase|XInfoHasGID), uint32(9), "abc"),
		"trailing bytes":     build(uint64(1), uint32(0), uint32(0)),
		"invalidations":      build(uint64(1), uint32(XInfoHasInvals), uint32(1), "short"),
		"huge invalidations": build(uint64(1), uint32(XInfoHasInvals), uint32(0x10000001), "0123456789abcdef"),
	} {
		if _, err := DecodeCommit(pg.PG17, main, XactCommit|XactHasInfo); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := DecodeCommit(pg.PG17, build(uint64(1)), XactCommitPrepared); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("COMMIT PREPARED of no transaction: %v", err)
	}
	if c, err := DecodeCommit(pg.PG17, build(uint64(1)), XactCommit); err != nil || c.Time != 1 {
		t.Errorf("plain commit: %+v, %v", c, err)
	}
}

func TestDecodePrepare(t *testing.T) {
	main := build(uint32(TwophaseMagic), uint32(0), uint32(900), uint32(5), uint64(55), uint32(10),
		uint32(1), uint32(1), uint32(0), uint32(0), uint32(0), uint32(0), byte(1), byte(0), uint16(3), uint64(7), uint64(8),
		"ab\x00", make([]byte, 5),
		uint32(901), uint32(0),
		uint32(1663), uint32(5), uint32(16401), uint32(0),
		uint32(4), byte(1), byte(0), uint16(0), "lock", make([]byte, 4),
		uint32(0), byte(0), byte(0), uint16(0))
	binary.LittleEndian.PutUint32(main[4:], uint32(len(main)+4))
	p, err := DecodePrepare(pg.PG16, main)
	if err != nil {
		t.Fatal(err)
	}
	if p.XID != 900 || p.DB != 5 || p.PreparedAt != 55 || string(p.GID) != "ab" || p.Subxacts.Len() != 1 || p.Subxacts.At(0) != 901 ||
		p.CommitRels.Len() != 1 || p.CommitRels.At(0).Rel != 16401 || p.AbortRels.Len() != 0 || !p.InitFileInval || p.OriginLSN != 7 {
		t.Errorf("%+v", p)
	}
	for n := range main {
		if _, err := DecodePrepare(pg.PG16, main[:n]); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%d of %d bytes: %v", n, len(main), err)
		}
	}
}

func TestPageNumbersGrewIn17(t *testing.T) {
	small, large := build(uint32(7)), build(uint64(7))
	for m := pg.PG15; m <= pg.PG18; m++ {
		main, other := small, large
		if m >= pg.PG17 {
			main, other = large, small
		}
		if n, err := DecodeZeroPage(m, main); n != 7 || err != nil {
			t.Errorf("PostgreSQL %d: %d, %v", m, n, err)
		}
		if _, err := DecodeZeroPage(m, other); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("PostgreSQL %d: %d bytes: %v", m, len(other), err)
		}
		if _, err := DecodeClogTruncate(m, build(main, uint32(750), uint32(1))); err != nil {
			t.Errorf("PostgreSQL %d: CLOG truncate: %v", m, err)
		}
	}
}

func TestCheckPointRoundTrip(t *testing.T) {
	want := CheckPoint{
		Redo: 0x1_0203_0405, TimelineID: 3, PrevTimelineID: 2, FullPageWrites: true, NextXID: 5<<32 | 900, NextOID: 24576, NextMulti: 4,
		NextMultiOffset: 9, OldestXID: 722, OldestXIDDB: 1, OldestMulti: 1, OldestMultiDB: 1, Time: 1_700_000_000,
		OldestCommitTsXID: 730, NewestCommitTsXID: 899, OldestActiveXID: 898,
	}
	for m := pg.PG15; m <= pg.PG18; m++ {
		want.WALLevel = WALLevelUnknown
		if m >= pg.PG17 {
			want.WALLevel = WALLevelLogical
		}
		b := AppendCheckPoint(nil, m, want)
		if got, err := DecodeCheckPoint(m, b); got != want || err != nil || len(b) != CheckPointSize {
			t.Errorf("PostgreSQL %d: %d bytes, %v\n%+v\n%+v", m, len(b), err, got, want)
		}
	}
}

// TestDropsNothing: only the fate of transactions, by the flags alone.
func TestDropsNothing(t *testing.T) {
	plain, rels := build(uint64(0), uint32(XInfoHasSubxacts)), build(uint64(0), uint32(XInfoHasRels|XInfoHasSubxacts))
	for what, c := range map[string]struct {
		main []byte
		info uint8
		want bool
	}{
		"a commit": {make([]byte, 8), XactCommit, true}, "an abort": {make([]byte, 8), XactAbort, true},
		"a commit with subtransactions": {plain, XactCommit | XactHasInfo, true}, "one with files": {rels, XactCommit | XactHasInfo, false},
		"an abort with files": {rels, XactAbort | XactHasInfo, false}, "flags cut": {rels[:11], XactCommit | XactHasInfo, false},
		"PREPARE": {plain, XactPrepare, false}, "COMMIT PREPARED": {plain, XactCommitPrepared | XactHasInfo, false}, "an assignment": {nil, XactAssignment, true},
	} {
		if got := DropsNothing(c.main, c.info); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
}
