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
	r := OriginSet{RemoteLSN: c.lsn(), ID: c.U16(), Force: c.Bool()}
	c.Skip(5)
	return r, c.Done()
}

// DecodeReplOriginDrop decodes XLOG_REPLORIGIN_DROP.
func DecodeReplOriginDrop(main []byte) (id uint16, err error) {
	c := newCursor("ReplicationOrigin DROP", main)
	id = c.U16()
	return id, c.Done()
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
	r := LogicalMessage{DB: c.oid(), Transactional: c.Bool()}
	c.Skip(3)
	prefix, size := c.U64(), c.U64()
	if prefix == 0 || prefix > uint64(len(c.Rest())) || size != uint64(len(c.Rest()))-prefix {
		c.Fail("prefix of %d and message of %d bytes", prefix, size)
		return LogicalMessage{}, c.Done()
	}
	p := c.Bytes(int(prefix))
	if p[len(p)-1] != 0 {
		c.Fail("prefix is not terminated")
	}
	r.Prefix = p[: len(p)-1 : len(p)-1]
	r.Message = c.Bytes(int(size))
	return r, c.Done()
}

// LogicalMessageOp is the only record type of RM_LOGICALMSG_ID (XLOG_LOGICAL_MESSAGE).
const LogicalMessageOp = 0x00
