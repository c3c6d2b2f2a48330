package basebackup

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
)

// walTail is what a server that is to start without recovery must find in pg_wal: a record XLOG_CHECKPOINT_SHUTDOWN behind the last
// one, as if the server had been shut down there, and around it as much of the WAL as makes its pages valid. What is before it in its
// segment is zeros: a server does not read it, and nobody should stream it from there.
//
//	segment start       page of the record                          page it goes on in, if it does
//	| long header | 0.. | header | 0........ | record ............ | header | rest | 0..
//	                             ^ a continued record of this length ends at start
type walTail struct {
	major       pg.Major
	systemID    uint64
	timeline    pg.TimelineID
	segmentSize int64  // bytes
	start       pg.LSN // of the record
	previous    pg.LSN // of the record before it, 0 if that is not known
	checkPoint  xlrec.CheckPoint
}

// Layout of the record (XLogRecord, XLogRecordAssemble):
//
//	 0 xl_tot_len uint32   4 xl_xid uint32   8 xl_prev uint64   16 xl_info uint8   17 xl_rmid uint8   20 xl_crc uint32
//	24 XLR_BLOCK_ID_DATA_SHORT uint8   25 length uint8   26 CheckPoint, 88 bytes
const (
	recordHeaderSize  = 24
	blockIDDataShort  = 255
	checkPointRecSize = recordHeaderSize + 2 + xlrec.CheckPointSize
)

// recordStart is where the record behind one that ends at lsn starts: a record never starts in a page's header (CreateCheckPoint).
func recordStart(lsn pg.LSN, segmentSize int64) pg.LSN {
	switch {
	case lsn%pg.LSN(segmentSize) == 0:
		return lsn + wal.LongPageHeaderSize
	case lsn%wal.PageSize == 0:
		return lsn + wal.ShortPageHeaderSize
	}
	return lsn
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is the checkpoint's.
func (w *walTail) record() []byte {
	le := binary.LittleEndian
	rec := make([]byte, recordHeaderSize, checkPointRecSize)
	le.PutUint32(rec, checkPointRecSize)
	le.PutUint64(rec[8:], uint64(w.previous))
	rec[16], rec[17] = xlrec.XLogCheckpointShutdown, uint8(wal.RMXLog)
	rec = append(rec, blockIDDataShort, xlrec.CheckPointSize)
	rec = xlrec.AppendCheckPoint(rec, w.major, w.checkPoint)
	crc := crc32.Checksum(rec[recordHeaderSize:], castagnoli)
	le.PutUint32(rec[20:], crc32.Update(crc, castagnoli, rec[:20]))
	return rec
}

// walPage is a page that is not all zeros, as far as it is not.
type walPage struct {
	addr pg.LSN
	data []byte
}

// header is a page's, which continues a record by rest bytes.
func (w *walTail) header(addr pg.LSN, rest int) []byte {
	le := binary.LittleEndian
	info := uint16(0)
	if rest > 0 {
		info |= wal.PageFirstIsContrecord
	}
	if w.begins(addr) {
		info |= wal.PageLongHeader
	}
	h := le.AppendUint16(nil, w.major.WALMagic())
	h = le.AppendUint16(h, info)
	h = le.AppendUint32(h, uint32(w.timeline))
	h = le.AppendUint64(h, uint64(addr))
	h = le.AppendUint32(h, uint32(rest))
	h = le.AppendUint32(h, 0)
	if w.begins(addr) {
		h = le.AppendUint64(h, w.systemID)
		h = le.AppendUint32(h, uint32(w.segmentSize))
		h = le.AppendUint32(h, wal.PageSize)
	}
	return h
}

// begins says that a segment does at addr, where the header is a long one.
func (w *walTail) begins(addr pg.LSN) bool { return addr.SegmentStart(w.segmentSize) == addr }

// pages lays the record out, from the page it starts on.
func (w *walTail) pages() []walPage {
	rec := w.record()
	addr := w.start &^ (wal.PageSize - 1)
	// The bytes before the record are said to end one that began earlier: so a reader that begins at the page finds the record.
	before := int(w.start-addr) - len(w.header(addr, 0))
	page := append(w.header(addr, before), make([]byte, before)...)
	var pages []walPage
	for {
		n := min(len(rec), wal.PageSize-len(page))
		pages = append(pages, walPage{addr, append(page, rec[:n]...)})
		if rec = rec[n:]; len(rec) == 0 {
			return pages
		}
		addr += wal.PageSize
		page = w.header(addr, len(rec))
	}
}

// end is where the next record begins, but for a page header there.
func (w *walTail) end() pg.LSN {
	pages := w.pages()
	last := pages[len(pages)-1]
	return last.addr + pg.LSN(pg.MaxAlign(len(last.data)))
}

// walSegment is a segment that has these pages, in order, and zeros.
type walSegment struct {
	start pg.LSN
	pages []walPage
}

// preallocate is the part of a segment behind which a server makes the next one before it takes connections (PreallocXlogFiles).
const preallocate = 0.75

// segments lists the files of pg_wal: those the record is in, and one more of zeros where a server would have made it ahead.
func (w *walTail) segments() []walSegment {
	var segments []walSegment
	add := func(start pg.LSN) *walSegment {
		segments = append(segments, walSegment{start: start})
		return &segments[len(segments)-1]
	}
	now := add(w.start.SegmentStart(w.segmentSize))
	pages := w.pages()
	if first := pages[0].addr; first != now.start {
		now.pages = append(now.pages, walPage{now.start, w.header(now.start, 0)})
	}
	for _, p := range pages {
		if w.begins(p.addr) && p.addr != now.start {
			now = add(p.addr)
		}
		now.pages = append(now.pages, p)
	}
	if float64(w.end()-now.start) >= preallocate*float64(w.segmentSize) {
		add(now.start + pg.LSN(w.segmentSize))
	}
	return segments
}
