package wal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/tarn-db/tarn/internal/pg"
)

// Record header (XLogRecord in access/xlogrecord.h). Records begin at multiples of 8, so that xl_tot_len never
// crosses a page; the rest of the header may.
//
//	0 xl_tot_len uint32   4 xl_xid uint32   8 xl_prev uint64   16 xl_info uint8   17 xl_rmid uint8   18 padding
//	20 xl_crc uint32: CRC32C of what follows the header, then of the header's first 20 bytes   24 end
const recordHeaderSize = 24

// recordSizeMax bounds xl_tot_len, bytes (XLogRecordMaxSize is 1020 MiB from 16; 15 allocates up to 1 GiB).
const recordSizeMax = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// corruptf is a *pg.CorruptError at an LSN.
func corruptf(lsn pg.LSN, format string, args ...any) error {
	return &pg.CorruptError{LSN: lsn, What: fmt.Sprintf(format, args...)}
}

// nextRaw returns the next record's bytes with its page headers cut out, and moves pos to the record's end. When a
// source has no more for now it returns the source's error and the next call goes on where this one stopped.
func (r *Reader) nextRaw() (raw []byte, lsn pg.LSN, err error) {
	for {
		done := false
		switch r.phase {
		case skipping:
			err = r.skipRest()
		case atRecord:
			raw, err = r.beginRecord()
			done = raw != nil
		case inRecord:
			raw, err = r.continueRecord()
			done = raw != nil
		case inSwitch:
			// The rest of the segment is never looked at: it may be zeros without page headers.
			raw, err = r.finishSwitch()
			done = raw != nil
		}
		if err != nil {
			return nil, 0, err
		}
		if done {
			return raw, r.recLSN, nil
		}
	}
}

// beginRecord takes the record at pos if it lies on one page; of a longer one it takes the first page's part.
func (r *Reader) beginRecord() ([]byte, error) {
	if err := r.enterPage(); err != nil {
		return nil, err
	}
	if r.phase != atRecord {
		return nil, nil
	}
	rest := PageSize - int(r.pos%PageSize)
	b, err := r.peek(r.pos, 4)
	if err != nil {
		return nil, err
	}
	total := int(binary.LittleEndian.Uint32(b))
	if total < recordHeaderSize || total > recordSizeMax {
		return nil, corruptf(r.pos, "invalid record length: expected at least %d, got %d", recordHeaderSize, total)
	}
	if rest >= recordHeaderSize {
		h, err := r.peek(r.pos, recordHeaderSize)
		if err != nil {
			return nil, err
		}
		if err := r.checkRecordHeader(r.pos, h); err != nil {
			return nil, err
		}
	}
	if total > rest {
		if r.batched > 0 && total > cap(r.arena)-len(r.arena) {
			return nil, errBatchFull
		}
		if b, err = r.peek(r.pos, rest); err != nil {
			return nil, err
		}
		r.newArena()
		r.arena = append(r.arena, b...)
		r.recLSN, r.total, r.phase = r.pos, total, inRecord
		r.pos += pg.LSN(rest)
		return nil, nil
	}
	// The padding belongs to the record: its end is not claimed before the bytes up to it are there.
	if b, err = r.peek(r.pos, pg.MaxAlign(total)); err != nil {
		return nil, err
	}
	raw := b[:total]
	if err := r.checkCRC(r.pos, raw); err != nil {
		return nil, err
	}
	r.recLSN = r.pos
	r.pos += pg.LSN(len(b))
	if isSwitch(raw) {
		r.newArena()
		r.arena = append(r.arena, raw...)
		r.phase = inSwitch
		return nil, nil
	}
	return raw, nil
}

// enterPage validates the header of pos's page unless that was done, and moves pos behind it when it is at its start.
// It may set phase to skipping, at Start only.
func (r *Reader) enterPage() error {
	start := pageStart(r.pos)
	if r.hasPage && r.pageLSN == start && r.pos != start {
		return nil
	}
	if err := r.readPageHeader(start); err != nil {
		return err
	}
	size := pg.LSN(r.page.Size())
	contrecord := r.page.Info&PageFirstIsContrecord != 0
	switch off := r.pos - start; {
	case off == 0 && contrecord && !r.started:
		r.phase = skipping
	case off == 0 && contrecord, off == size && contrecord:
		return corruptf(start, "page continues a record where a new one was expected")
	case off == 0:
		r.pos += size
	case off < size || off%8 != 0:
		return corruptf(r.pos, "no record can start %d bytes into a page", off)
	}
	return nil
}

// skipRest passes over the part of a record that began before Start; pos is at a page's start
// (XLogFindNextRecord).
func (r *Reader) skipRest() error {
	if err := r.readPageHeader(r.pos); err != nil {
		return err
	}
	room := PageSize - r.page.Size()
	rest := pg.MaxAlign(int(r.page.RemLen))
	switch {
	case r.page.Info&PageFirstIsContrecord == 0:
		r.phase = atRecord
	case rest >= room:
		r.pos += PageSize
		if rest == room {
			r.phase = atRecord
		}
	default:
		r.pos += pg.LSN(r.page.Size() + rest)
		r.phase = atRecord
	}
	return nil
}

// continueRecord takes one more page's part of the record in arena; pos is at the page's start.
func (r *Reader) continueRecord() ([]byte, error) {
	if err := r.readPageHeader(r.pos); err != nil {
		return nil, err
	}
	if r.page.Info&PageFirstIsOverwriteContrecord != 0 {
		// The server crashed before this record was whole and writes on from here (CreateOverwriteContrecordRecord).
		r.overwritten = r.recLSN
		r.arena, r.phase = r.arena[:0], atRecord
		return nil, nil
	}
	if r.page.Info&PageFirstIsContrecord == 0 {
		return nil, corruptf(r.pos, "page does not continue the record at %s", r.recLSN)
	}
	missing := r.total - len(r.arena)
	if int64(r.page.RemLen) != int64(missing) {
		return nil, corruptf(r.pos, "page continues a record by %d bytes, the record at %s lacks %d", r.page.RemLen, r.recLSN, missing)
	}
	take := min(missing, PageSize-r.page.Size())
	taken := pg.MaxAlign(take)
	b, err := r.peek(r.pos+pg.LSN(r.page.Size()), taken)
	if err != nil {
		return nil, err
	}
	before := len(r.arena)
	r.arena = append(r.arena, b[:take]...)
	if before < recordHeaderSize && len(r.arena) >= recordHeaderSize {
		if err := r.checkRecordHeader(r.recLSN, r.arena); err != nil {
			return nil, err
		}
	}
	r.pos += pg.LSN(r.page.Size() + taken)
	if len(r.arena) < r.total {
		return nil, nil
	}
	if err := r.checkCRC(r.recLSN, r.arena); err != nil {
		return nil, err
	}
	if isSwitch(r.arena) {
		r.phase = inSwitch
		return nil, nil
	}
	return r.arena, nil
}

// isSwitch says raw is an XLOG_SWITCH record, which the rest of its segment belongs to.
func isSwitch(raw []byte) bool {
	return raw[17] == uint8(RMXLog) && raw[16]&0xF0 == 0x40
}

// finishSwitch waits until the source has the whole segment of the XLOG_SWITCH in arena.
func (r *Reader) finishSwitch() ([]byte, error) {
	size := pg.LSN(r.opts.SegmentSize)
	end := (r.pos + size - 1) / size * size
	for r.pos < end {
		next := min(end, pageStart(r.pos)+PageSize)
		if _, err := r.peek(r.pos, int(next-r.pos)); err != nil {
			return nil, err
		}
		r.pos = next
	}
	return r.arena, nil
}

// checkRecordHeader is ValidXLogRecordHeader.
func (r *Reader) checkRecordHeader(lsn pg.LSN, h []byte) error {
	prev := pg.LSN(binary.LittleEndian.Uint64(h[8:]))
	// The record before the first one began before Start, also when its rest was skipped.
	if r.started && prev != r.prev || !r.started && prev >= r.opts.Start || prev >= lsn {
		return corruptf(lsn, "record with incorrect prev-link %s", prev)
	}
	if rmid := RMID(h[17]); rmid > RMLogicalMsg && rmid < RMCustomMin {
		return corruptf(lsn, "invalid resource manager ID %d", rmid)
	}
	return nil
}

// checkCRC is ValidXLogRecord.
func (r *Reader) checkCRC(lsn pg.LSN, raw []byte) error {
	crc := crc32.Update(0, castagnoli, raw[recordHeaderSize:])
	crc = crc32.Update(crc, castagnoli, raw[:20])
	if crc != binary.LittleEndian.Uint32(raw[20:]) && !r.skipCRC {
		id, info := RMID(raw[17]), raw[16]
		return corruptf(lsn, "incorrect checksum in a record of %d bytes, by its header %s/%s%s", len(raw), id, RecordName(r.page.Major, id, info), ofServer(id, info))
	}
	return nil
}

// ofServer is what to add about a record whose checksum the server may have got wrong itself. VACUUM of a hash index names the bucket's
// first page in a record when it no longer has it locked, only so that a standby waits for its readers (hashbucketcleanup,
// _hash_squeezebucket, _hash_freeovflpage). With wal_consistency_checking the record gets an image of that page all the same, and another
// backend may change it between the checksum and the copy (XLogRecordAssemble, CopyXLogRecordToWAL). The server's own recovery, and
// its standbys, end at such a record too.
func ofServer(id RMID, info uint8) string {
	const checkConsistency = 0x02 // XLR_CHECK_CONSISTENCY
	const movePageContents, squeezePage, hashDelete = 0x70, 0x80, 0x90
	if op := info & 0xF0; id != RMHash || info&checkConsistency == 0 || op != movePageContents && op != squeezePage && op != hashDelete {
		return ""
	}
	return ": PostgreSQL itself writes such records when wal_consistency_checking has hash and a page changes while VACUUM logs an image of it"
}

// checkOverwrite ties the first record after a cut one to it (VerifyOverwriteContrecord).
func (r *Reader) checkOverwrite(rec *Record) error {
	if r.overwritten == 0 {
		return nil
	}
	if rec.RMID != RMXLog || rec.Op() != 0xD0 || len(rec.Main) < 8 {
		return corruptf(rec.LSN, "no OVERWRITE_CONTRECORD follows the record at %s, which was cut off", r.overwritten)
	}
	if named := pg.LSN(binary.LittleEndian.Uint64(rec.Main)); named != r.overwritten {
		return corruptf(rec.LSN, "OVERWRITE_CONTRECORD names %s, the record cut off is at %s", named, r.overwritten)
	}
	r.overwritten = 0
	return nil
}
