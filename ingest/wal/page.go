package wal

import (
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// PageSize is XLOG_BLCKSZ, bytes.
const PageSize = 8192

// PageHeader is the header of a WAL page (XLogPageHeaderData, XLogLongPageHeaderData in access/xlog_internal.h):
//
//	 0 xlp_magic uint16   2 xlp_info uint16   4 xlp_tli uint32   8 xlp_pageaddr uint64
//	16 xlp_rem_len uint32, bytes of the record that began before this page   20 padding   24 end of the short form
//	24 xlp_sysid uint64   32 xlp_seg_size uint32   36 xlp_xlog_blcksz uint32   40 end of the long form
//
// The long form is on the first page of each segment.
type PageHeader struct {
	Major    pg.Major
	Info     uint16
	Timeline pg.TimelineID
	Addr     pg.LSN
	RemLen   uint32 // bytes

	// Of the long form only.
	SystemID    uint64
	SegmentSize int64 // bytes
}

// Header sizes, bytes.
const (
	ShortPageHeaderSize = 24 // SizeOfXLogShortPHD
	LongPageHeaderSize  = 40 // SizeOfXLogLongPHD
)

// xlp_info bits.
const (
	PageFirstIsContrecord          = 0x0001 // XLP_FIRST_IS_CONTRECORD
	PageLongHeader                 = 0x0002 // XLP_LONG_HEADER
	PageBackupRemovable            = 0x0004 // XLP_BKP_REMOVABLE
	PageFirstIsOverwriteContrecord = 0x0008 // XLP_FIRST_IS_OVERWRITE_CONTRECORD
	pageAllFlags                   = 0x000F
)

// Long says the header has the long form.
func (h *PageHeader) Long() bool { return h.Info&PageLongHeader != 0 }

// Size is the header's length in bytes (XLogPageHeaderSize).
func (h *PageHeader) Size() int {
	if h.Long() {
		return LongPageHeaderSize
	}
	return ShortPageHeaderSize
}

// ParsePageHeader reads a header from the first bytes of a page: 24 of them, and 40 if it has the long form.
// What it checks does not depend on where the page lies; the error says what is wrong.
func ParsePageHeader(b []byte) (h PageHeader, err error) {
	if len(b) < ShortPageHeaderSize {
		return h, fmt.Errorf("WAL page header cut at %d bytes", len(b))
	}
	magic := binary.LittleEndian.Uint16(b)
	major, ok := pg.MajorOfWALMagic(magic)
	if !ok {
		return h, fmt.Errorf("invalid magic number %04X of a WAL page", magic)
	}
	h = PageHeader{
		Major:    major,
		Info:     binary.LittleEndian.Uint16(b[2:]),
		Timeline: pg.TimelineID(binary.LittleEndian.Uint32(b[4:])),
		Addr:     pg.LSN(binary.LittleEndian.Uint64(b[8:])),
		RemLen:   binary.LittleEndian.Uint32(b[16:]),
	}
	if h.Info&^pageAllFlags != 0 {
		return h, fmt.Errorf("invalid info bits %04X of a WAL page", h.Info)
	}
	if !h.Long() {
		return h, nil
	}
	if len(b) < LongPageHeaderSize {
		return h, fmt.Errorf("long WAL page header cut at %d bytes", len(b))
	}
	h.SystemID = binary.LittleEndian.Uint64(b[24:])
	h.SegmentSize = int64(binary.LittleEndian.Uint32(b[32:]))
	if !pg.ValidWALSegmentSize(h.SegmentSize) {
		return h, fmt.Errorf("invalid segment size %d in a WAL page header", h.SegmentSize)
	}
	if n := binary.LittleEndian.Uint32(b[36:]); n != PageSize {
		return h, fmt.Errorf("WAL pages of %d bytes: only servers built with 8 kB are read", n)
	}
	return h, nil
}

// pageStart rounds down to the page that holds l.
func pageStart(l pg.LSN) pg.LSN { return l &^ (PageSize - 1) }

// SystemIDError says the WAL belongs to another cluster.
type SystemIDError struct {
	LSN       pg.LSN
	Got, Want uint64
}

func (e *SystemIDError) Error() string {
	return fmt.Sprintf("at %s: WAL of system %d, want system %d", e.LSN, e.Got, e.Want)
}

// FaultCode implements fault.Coded.
func (e *SystemIDError) FaultCode() fault.Code { return fault.StoreOther }

// TimelineError says a page lies on a timeline that cannot be part of the history being read.
type TimelineError struct {
	LSN       pg.LSN
	Got, Want pg.TimelineID
}

func (e *TimelineError) Error() string {
	return fmt.Sprintf("at %s: WAL page of timeline %d while reading timeline %d", e.LSN, e.Got, e.Want)
}

// FaultCode implements fault.Coded.
func (e *TimelineError) FaultCode() fault.Code { return fault.Diverged }
