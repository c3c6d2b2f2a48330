// Package pg holds Postgres's own on-disk facts: numbers with types, pages, heap tuples and what differs between
// majors. It is pure: bytes in, values out; no I/O, clock, goroutine or global state.
//
// Everything is little-endian x86-64 layout with 8 KiB blocks, the only build options tarn attaches to.
package pg

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/fault"
)

// BlockSize is the page size in bytes (BLCKSZ). Servers built with another size are refused at attach.
const BlockSize = 8192

// SegmentBlocks is the number of blocks in one relation segment file (RELSEG_SIZE): 1 GiB.
const SegmentBlocks = 131072

// LSN is a byte position in the WAL stream of one cluster (XLogRecPtr). Zero is invalid.
type LSN uint64

// String gives the server's notation X/Y (pg_lsn_out).
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint32(l>>32), uint32(l)) }

// MarshalText writes X/Y.
func (l LSN) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText reads X/Y.
func (l *LSN) UnmarshalText(b []byte) (err error) { *l, err = ParseLSN(string(b)); return err }

// ParseLSN reads the server's notation X/Y (pg_lsn_in).
func ParseLSN(s string) (LSN, error) {
	hi, lo, ok := strings.Cut(s, "/")
	if ok {
		h, err1 := strconv.ParseUint(hi, 16, 32)
		l, err2 := strconv.ParseUint(lo, 16, 32)
		if err1 == nil && err2 == nil {
			return LSN(h<<32 | l), nil
		}
	}
	return 0, fmt.Errorf("%q is not an LSN: want X/Y in hexadecimal, such as 0/16B3740", s)
}

// OID is a Postgres object identifier (Oid). Zero is invalid.
type OID uint32

// XID is a 32-bit transaction id as stored in tuples and WAL (TransactionId).
type XID uint32

// Special transaction ids (access/transam.h).
const (
	InvalidXID     XID = 0
	BootstrapXID   XID = 1
	FrozenXID      XID = 2
	FirstNormalXID XID = 3
)

// Precedes compares modulo 2^32 (TransactionIdPrecedes); special ids are older than all others.
func (x XID) Precedes(y XID) bool {
	if x < FirstNormalXID || y < FirstNormalXID {
		return x < y
	}
	return int32(x-y) < 0
}

// FullXID is a transaction id with its epoch in the upper half (FullTransactionId).
type FullXID uint64

// MultiXactID numbers a set of lockers and updaters (MultiXactId).
type MultiXactID uint32

// TimelineID numbers a WAL timeline (TimeLineID), the "tli" of a segment file's name; not one of tarn's branches.
type TimelineID uint32

// BlockNumber counts 8 KiB blocks from the start of a fork (BlockNumber).
type BlockNumber uint32

// InvalidBlock is InvalidBlockNumber.
const InvalidBlock BlockNumber = 0xFFFFFFFF

// OffsetNumber is a line pointer's index within a page, from 1 (OffsetNumber).
type OffsetNumber uint16

// MaxHeapTuplesPerPage bounds line pointers on one heap page (MaxHeapTuplesPerPage for 8 KiB pages).
const MaxHeapTuplesPerPage = 291

// ForkNumber names one of a relation's files (ForkNumber).
type ForkNumber uint8

// The forks (common/relpath.h).
const (
	MainFork ForkNumber = 0
	FSMFork  ForkNumber = 1
	VMFork   ForkNumber = 2
	InitFork ForkNumber = 3
)

func (f ForkNumber) String() string {
	switch f {
	case MainFork:
		return "main"
	case FSMFork:
		return "fsm"
	case VMFork:
		return "vm"
	case InitFork:
		return "init"
	}
	return "fork" + strconv.Itoa(int(f))
}

// RelFileLocator names a relation's files: tablespace, database (0 = shared) and file number
// (RelFileLocator; RelFileNode before 16).
type RelFileLocator struct {
	Spc, DB, Rel OID
}

// String gives pg_waldump's notation spc/db/rel.
func (r RelFileLocator) String() string { return fmt.Sprintf("%d/%d/%d", r.Spc, r.DB, r.Rel) }

// Tablespaces that exist in each cluster (catalog/pg_tablespace.dat).
const (
	DefaultTablespace OID = 1663
	GlobalTablespace  OID = 1664
)

// FirstNormalOID is the first OID given to user objects (FirstNormalObjectId).
const FirstNormalOID OID = 16384

// Major is a Postgres major version.
type Major int

// The majors tarn reads.
const (
	PG15 Major = 15
	PG16 Major = 16
	PG17 Major = 17
	PG18 Major = 18
)

// WALMagic is the xlp_magic of the major's WAL pages (XLOG_PAGE_MAGIC).
func (m Major) WALMagic() uint16 {
	switch m {
	case PG15:
		return 0xD110
	case PG16:
		return 0xD113
	case PG17:
		return 0xD116
	case PG18:
		return 0xD118
	}
	return 0
}

// MajorOfWALMagic is the inverse of WALMagic; ok is false for a version tarn does not read.
func MajorOfWALMagic(magic uint16) (m Major, ok bool) {
	for m = PG15; m <= PG18; m++ {
		if m.WALMagic() == magic {
			return m, true
		}
	}
	return 0, false
}

// ErrCorrupt is the sentinel every CorruptError unwraps to.
var ErrCorrupt = fault.New(fault.Corrupt, "corrupt")

// CorruptError says what could not be read, and where. Fields that are not known are zero.
type CorruptError struct {
	LSN   LSN
	Rel   RelFileLocator
	Fork  ForkNumber
	Block BlockNumber
	What  string // what was being read and what is wrong with it
}

func (e *CorruptError) Error() string {
	var b strings.Builder
	if e.LSN != 0 {
		fmt.Fprintf(&b, "at %s: ", e.LSN)
	}
	if e.Rel.Rel != 0 {
		fmt.Fprintf(&b, "relation %s fork %s block %d: ", e.Rel, e.Fork, e.Block)
	}
	return b.String() + e.What
}

// Unwrap lets errors.Is(err, ErrCorrupt) find it.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

// Corruptf is a CorruptError that says what is wrong and not where, which the caller knows. Decoders of records refuse with nothing
// else.
func Corruptf(format string, args ...any) error {
	return &CorruptError{What: fmt.Sprintf(format, args...)}
}

// BadLength refuses a record, or a part of one, that does not have the length its own fields give it. got and want are bytes.
func BadLength(what string, got, want int) error {
	return Corruptf("%s: %d bytes, want %d", what, got, want)
}
