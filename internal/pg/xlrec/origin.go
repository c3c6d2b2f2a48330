package xlrec

import "github.com/tarn-db/tarn/internal/pg"

// Record types of RM_REPLORIGIN_ID (replication/origin.h).
const (
	ReplOriginSet  = 0x00
	ReplOriginDrop = 0x10
)

// OriginSet moves a replication origin's progress (xl_replorigin_set).
type OriginSet struct {
	RemoteLSN pg.LSN
	ID        uint16
	Force     bool
}

// DecodeReplOriginSet decodes XLOG_REPLORIGIN_SET.
func DecodeReplOriginSet(main []byte) (OriginSet, error) {
	c := newCursor("ReplicationOrigin SET", main)
	r := OriginSet{RemoteLSN: c.lsn(), ID: c.u16(), Force: c.bool()}
	c.skip(5)
	return r, c.done()
}

// DecodeReplOriginDrop decodes XLOG_REPLORIGIN_DROP.
func DecodeReplOriginDrop(main []byte) (id uint16, err error) {
	c := newCursor("ReplicationOrigin DROP", main)
	id = c.u16()
	return id, c.done()
}

// LogicalMessage is what pg_logical_emit_message wrote (xl_logical_message).
type LogicalMessage struct {
	DB            pg.OID
	Transactional bool
	Prefix        []byte // without its NUL
	Message       []byte
}

// DecodeLogicalMessage decodes XLOG_LOGICAL_MESSAGE.
func DecodeLogicalMessage(main []byte) (LogicalMessage, error) {
	c := newCursor("LogicalMessage MESSAGE", main)
	r := LogicalMessage{DB: c.oid(), Transactional: c.bool()}
	c.skip(3)
	prefix, size := c.u64(), c.u64()
	if prefix == 0 || prefix > uint64(len(c.rest)) || size != uint64(len(c.rest))-prefix {
		c.fail("prefix of %d and message of %d bytes", prefix, size)
		return LogicalMessage{}, c.done()
	}
	p := c.bytes(int(prefix))
	if p[len(p)-1] != 0 {
		c.fail("prefix is not terminated")
	}
	r.Prefix = p[: len(p)-1 : len(p)-1]
	r.Message = c.bytes(int(size))
	return r, c.done()
}

// LogicalMessageOp is the only record type of RM_LOGICALMSG_ID (XLOG_LOGICAL_MESSAGE).
const LogicalMessageOp = 0x00
