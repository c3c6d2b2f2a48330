package xlrec

import "github.com/tarn-db/tarn/internal/pg"

// SeqLog is the one record type of RM_SEQ_ID (XLOG_SEQ_LOG in commands/sequence.h).
const SeqLog = 0x00

// Sequence is xl_seq_rec: the sequence's only tuple as it is from now on.
//
//	0 locator, 12 bytes   12 the tuple with its header, to the record's end
type Sequence struct {
	Rel   pg.RelFileLocator
	Tuple []byte
}

// DecodeSeqLog decodes XLOG_SEQ_LOG.
func DecodeSeqLog(main []byte) (Sequence, error) {
	c := newCursor("Sequence LOG", main)
	r := Sequence{Rel: c.rel()}
	r.Tuple = c.Bytes(len(c.Rest()))
	if !c.Short() && len(r.Tuple) < pg.HeapTupleHeaderSize {
		c.Fail("a tuple of %d bytes", len(r.Tuple))
	}
	return r, c.Done()
}
