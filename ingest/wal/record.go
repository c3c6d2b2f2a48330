// Package wal reads Postgres's write-ahead log: segments, pages, records, block references and page images of 15-18.
// It is pure apart from the Source it reads bytes through.
package wal

import "github.com/tarn-db/tarn/internal/pg"

// RMID is a resource manager's number (RmgrId; access/rmgrlist.h). 128-255 are custom managers of extensions.
type RMID uint8

// The resource managers, equal in 15-18.
const (
	RMXLog RMID = iota
	RMXact
	RMSmgr
	RMClog
	RMDbase
	RMTblspc
	RMMultiXact
	RMRelMap
	RMStandby
	RMHeap2
	RMHeap
	RMBtree
	RMHash
	RMGin
	RMGist
	RMSeq
	RMSpgist
	RMBrin
	RMCommitTs
	RMReplOrigin
	RMGeneric
	RMLogicalMsg
)

// Record is one WAL record, decoded as far as its container goes. A Reader reuses the Record and every slice in it:
// they are valid until its next call.
type Record struct {
	Major  pg.Major
	LSN    pg.LSN // where the record starts
	End    pg.LSN // where the next one may start: what redo stamps on pages (EndRecPtr)
	Prev   pg.LSN // start of the record before it (xl_prev)
	XID    pg.XID // transaction that wrote it, 0 if none
	TopXID pg.XID // its top-level transaction where the record names it, else 0
	Origin uint16 // replication origin, 0 if none
	RMID   RMID
	Info   uint8  // xl_info with the low 4 bits (XLR_INFO_MASK) still in place
	TotLen uint32 // xl_tot_len, bytes
	Main   []byte // main data
	Blocks []BlockRef
}

// Op is xl_info's upper half, the resource manager's own record type.
func (r *Record) Op() uint8 { return r.Info & 0xF0 }

// Block returns the reference registered under id, or nil. Minor releases add references: look them up by id and
// never by position or count.
func (r *Record) Block(id uint8) *BlockRef {
	for i := range r.Blocks {
		if r.Blocks[i].ID == id {
			return &r.Blocks[i]
		}
	}
	return nil
}

// BlockRef is one block a record names (DecodedBkpBlock).
type BlockRef struct {
	ID       uint8
	Rel      pg.RelFileLocator
	Fork     pg.ForkNumber
	Block    pg.BlockNumber
	WillInit bool   // BKPBLOCK_WILL_INIT: redo builds the page from nothing
	HasData  bool   // BKPBLOCK_HAS_DATA
	Data     []byte // the block's own data

	HasImage   bool
	ApplyImage bool   // BKPIMAGE_APPLY; clear for the oracle's images of wal_consistency_checking
	Image      []byte // as stored: hole cut out, perhaps compressed
	ImageInfo  uint8  // bimg_info
	HoleOffset uint16 // bytes
	HoleLength uint16 // bytes
}
