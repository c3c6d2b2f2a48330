package xlrec

import "github.com/tarn-db/tarn/internal/pg"

// Record types of RM_SMGR_ID (catalog/storage_xlog.h).
const (
	SmgrCreate   = 0x10
	SmgrTruncate = 0x20
)

// Forks an SMGR TRUNCATE cuts (SMGR_TRUNCATE_*).
const (
	TruncateHeap = 0x1
	TruncateVM   = 0x2
	TruncateFSM  = 0x4
)

// RelCreate makes one fork's file (xl_smgr_create). It may repeat.
type RelCreate struct {
	Rel  pg.RelFileLocator
	Fork pg.ForkNumber
}

// DecodeSmgrCreate decodes XLOG_SMGR_CREATE.
func DecodeSmgrCreate(main []byte) (RelCreate, error) {
	c := newCursor("Storage CREATE", main)
	r := RelCreate{Rel: c.rel()}
	fork := c.i32()
	if fork < 0 || fork > int32(pg.InitFork) {
		c.Fail("fork number %d", fork)
	}
	r.Fork = pg.ForkNumber(fork)
	return r, c.Done()
}

// RelTruncate cuts a relation's main fork to Block blocks, and the maps that go with it (xl_smgr_truncate). VM and
// FSM lengths follow from Block.
type RelTruncate struct {
	Block pg.BlockNumber // new length of the main fork
	Rel   pg.RelFileLocator
	Flags uint32 // TruncateHeap | TruncateVM | TruncateFSM
}

// DecodeSmgrTruncate decodes XLOG_SMGR_TRUNCATE.
func DecodeSmgrTruncate(main []byte) (RelTruncate, error) {
	c := newCursor("Storage TRUNCATE", main)
	r := RelTruncate{Block: pg.BlockNumber(c.U32()), Rel: c.rel(), Flags: c.U32()}
	if r.Flags&^(TruncateHeap|TruncateVM|TruncateFSM) != 0 {
		c.Fail("unknown flags %#x", r.Flags)
	}
	return r, c.Done()
}
