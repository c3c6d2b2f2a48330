package pg

import "encoding/binary"

// IndexTuples is index tuples one behind the other (IndexTupleData), each as long as its header says. The zero IndexTuples is none.
//
//	0 t_tid 6 bytes   6 t_info uint16: length in its lower 13 bits   8 null bitmap and data
type IndexTuples []byte

const (
	// IndexTupleHeaderSize is sizeof(IndexTupleData), bytes.
	IndexTupleHeaderSize = 8
	// IndexSizeMask is INDEX_SIZE_MASK: the bits of t_info that are the tuple's length.
	IndexSizeMask = 0x1FFF
)

// IndexTupleSize is the length in bytes of the index tuple that b begins with (IndexTupleSize). It is at least its header's and
// at most b's.
func IndexTupleSize(b []byte) (int, error) {
	if len(b) < IndexTupleHeaderSize {
		return 0, BadLength("an index tuple", len(b), IndexTupleHeaderSize)
	}
	n := int(binary.LittleEndian.Uint16(b[6:]) & IndexSizeMask)
	if n < IndexTupleHeaderSize || n > len(b) {
		return 0, BadLength("an index tuple", len(b), max(n, IndexTupleHeaderSize))
	}
	return n, nil
}

// DecodeIndexTuples takes b for exactly n tuples; record names them in its error.
func DecodeIndexTuples(record string, b []byte, n int) (IndexTuples, error) {
	rest := IndexTuples(b)
	for range n {
		if _, ok := rest.Next(); !ok {
			return nil, BadLength(record+"'s tuples", len(rest), IndexTupleHeaderSize)
		}
	}
	if len(rest) != 0 {
		return nil, BadLength(record+"'s tuples", len(b), len(b)-len(rest))
	}
	return b, nil
}

// Next takes the first tuple off; ok is false behind the last. Of IndexTuples from a decoder there is nothing left then.
func (t *IndexTuples) Next() (tuple []byte, ok bool) {
	if len(*t) == 0 {
		return nil, false
	}
	n, err := IndexTupleSize(*t)
	if err != nil {
		return nil, false
	}
	tuple, *t = (*t)[:n:n], (*t)[n:]
	return tuple, true
}
