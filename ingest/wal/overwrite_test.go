package wal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// appendRecord puts a record on one page: short main data and no blocks.
func appendRecord(dst []byte, prev pg.LSN, rmid RMID, info uint8, main []byte) []byte {
	from, le := len(dst), binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(recordHeaderSize+2+len(main)))
	dst = le.AppendUint32(dst, 0)
	dst = le.AppendUint64(dst, uint64(prev))
	dst = append(dst, info, uint8(rmid), 0, 0, 0, 0, 0, 0, 255, byte(len(main)))
	dst = append(dst, main...)
	return stampCRC(dst, from)
}

func stampCRC(b []byte, from int) []byte {
	crc := crc32.Update(0, castagnoli, b[from+recordHeaderSize:])
	crc = crc32.Update(crc, castagnoli, b[from:from+20])
	binary.LittleEndian.PutUint32(b[from+20:], crc)
	return b
}

// longRecord finds the record over most pages within a segment, and the one before it.
func longRecord(t *testing.T, w *walfixture.WAL) (lsn, end, prev pg.LSN) {
	t.Helper()
	r, most := newReader(t, Options{Source: w, Start: w.Start}), pg.LSN(0)
	for {
		rec, err := r.Next()
		if err != nil {
			break
		}
		pages := pageStart(rec.End-1) - pageStart(rec.LSN)
		if isSwitch := rec.RMID == RMXLog && rec.Op() == 0x40; !isSwitch && pages > most && rec.LSN.SegmentStart(w.SegmentLen) == (rec.End-1).SegmentStart(w.SegmentLen) {
			most, lsn, end, prev = pages, rec.LSN, rec.End, rec.Prev
		}
	}
	if end == 0 {
		t.Fatal("no record spans pages")
	}
	return lsn, end, prev
}

// TestOverwrittenWhileFollowed: a walsender has sent the first pages of a record when the primary goes down. The primary's recovery keeps
// them, as they were flushed, and writes on at the page that is missing (CreateOverwriteContrecordRecord). A reader of what was received,
// which holds half a record, must pass over it, and refuse all else in its place.
func TestOverwrittenWhileFollowed(t *testing.T) {
	for _, m := range majors {
		w := fixture(t, m)
		cut, end, prev := longRecord(t, w)
		for missing := pageStart(cut) + PageSize; missing < end; missing += PageSize {
			next := func(flags uint16, named pg.LSN) (*Record, *tail, error) {
				grown := &walfixture.WAL{Start: w.Start, Bytes: bytes.Clone(w.Bytes[:missing-w.Start]), SegmentLen: w.SegmentLen}
				src := &tail{WAL: grown, limit: missing, chunk: PageSize}
				r := newReader(t, Options{Source: src, Start: prev})
				all, err := readAll(r)
				if err != ErrNoMoreYet || len(all) != 1 || r.Position().Partial != cut {
					t.Fatalf("PostgreSQL %d: %d records, then %v at %+v", m, len(all), err, r.Position())
				}
				page := bytes.Clone(w.Bytes[missing-w.Start:][:ShortPageHeaderSize])
				binary.LittleEndian.PutUint16(page[2:], flags)
				binary.LittleEndian.PutUint32(page[16:], 0)
				page = appendRecord(page, prev, RMXLog, 0xD0, binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, uint64(named)), 1))
				grown.Bytes = append(grown.Bytes, append(page, make([]byte, PageSize-len(page))...)...)
				src.limit = grown.End()
				rec, err := r.Next()
				return rec, src, err
			}
			rec, src, err := next(PageFirstIsOverwriteContrecord, cut)
			if err != nil || rec.RMID != RMXLog || rec.Op() != 0xD0 || rec.LSN != missing+ShortPageHeaderSize || rec.End > src.limit {
				t.Errorf("PostgreSQL %d, cut at %s: %+v, %v", m, missing, rec, err)
			}
			for name, want := range map[string]struct {
				flags uint16
				named pg.LSN
				text  string
			}{
				"without the flag": {0, cut, "does not continue the record"},
				"of another":       {PageFirstIsOverwriteContrecord, prev, "OVERWRITE_CONTRECORD names"},
			} {
				if _, _, err := next(want.flags, want.named); !errors.Is(err, pg.ErrCorrupt) || !strings.Contains(err.Error(), want.text) {
					t.Errorf("PostgreSQL %d, %s: %v", m, name, err)
				}
			}
		}
	}
}

// TestChecksumOfServer: the error says which checksums the server may have got wrong itself.
func TestChecksumOfServer(t *testing.T) {
	w := fixture(t, pg.PG18)
	page := bytes.Clone(w.Bytes[:LongPageHeaderSize])
	binary.LittleEndian.PutUint16(page[2:], PageLongHeader)
	for _, c := range []struct {
		rmid   RMID
		info   uint8
		server bool
	}{
		{RMHash, 0x92, true}, {RMHash, 0x72, true}, {RMHash, 0x82, true}, {RMHash, 0x90, false}, {RMHash, 0x22, false}, {RMBtree, 0x92, false},
	} {
		b := appendRecord(bytes.Clone(page), 0, c.rmid, c.info, make([]byte, 2))
		b[len(b)-1] ^= 1
		bad := &walfixture.WAL{Start: w.Start, Bytes: append(b, make([]byte, PageSize-len(b))...), SegmentLen: w.SegmentLen}
		_, err := newReader(t, Options{Source: bad, Start: w.Start}).Next()
		if !errors.Is(err, pg.ErrCorrupt) || !strings.Contains(err.Error(), "incorrect checksum") || strings.Contains(err.Error(), "PostgreSQL itself") != c.server {
			t.Errorf("%s %#x: %v", c.rmid, c.info, err)
		}
	}
}
