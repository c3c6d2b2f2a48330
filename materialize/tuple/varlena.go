package tuple

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/pierrec/lz4/v4"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/pglz"
)

// A varlena's first byte tells its form (varatt.h), little-endian:
//
//	xxxxxx00  plain: uint32 >> 2 is the length, these 4 bytes included; then the value
//	xxxxxx10  compressed: the same length word; uint32 of 30 bits raw size and 2 bits method; then compressed bytes
//	xxxxxxx1  short: the byte >> 1 is the length, this byte included (at least 2 bytes with a value); then the value
//	00000001  pointer: a tag byte; for tag 18 (on disk) varatt_external:
//	          rawsize int32 (plain header's 4 bytes included), extinfo uint32 (30 bits external size, 2 bits method),
//	          value id uint32, TOAST relation uint32

// Form is one of the forms of a varlena.
type Form uint8

// The forms.
const (
	Short      Form = iota // 1-byte header
	Plain                  // 4-byte header (4B_U)
	Compressed             // 4-byte header, compressed in line (4B_C)
	External               // pointer to TOAST (1B_E)
)

// ValueMax bounds any value, decompressed, in bytes (MaxAllocSize rounded up).
const ValueMax = 1 << 30

const (
	tagOnDisk    = 18 // VARTAG_ONDISK
	externalSize = 2 + 16
)

// FormOf classifies a varlena by its first byte.
func FormOf(b byte) Form {
	switch {
	case b == 1:
		return External
	case b&1 == 1:
		return Short
	case b&3 == 2:
		return Compressed
	}
	return Plain
}

// VarSize is the length in bytes, header included, of the varlena (typlen -1) or C string (typlen -2) that b starts
// with (VARSIZE_ANY, strlen + 1). It is an error if b is shorter than that.
func VarSize(b []byte, typlen int16) (int, error) {
	if typlen == -2 {
		n := bytes.IndexByte(b, 0)
		if n < 0 {
			return 0, corrupt("C string of %d bytes has no end", len(b))
		}
		return n + 1, nil
	}
	if len(b) == 0 {
		return 0, corrupt("no byte left for a varlena")
	}
	var n int
	switch h := b[0]; {
	case h == 1:
		if len(b) < 2 || b[1] != tagOnDisk {
			return 0, corrupt("TOAST pointer is cut or not of a kind that is kept on disk")
		}
		n = externalSize
	case h&1 == 1:
		n = int(h >> 1)
	default:
		if len(b) < 4 {
			return 0, corrupt("varlena header of 4 bytes in %d", len(b))
		}
		n = int(binary.LittleEndian.Uint32(b) >> 2)
		if n < 4 || h&3 == 2 && n < 8 {
			return 0, corrupt("varlena of %d bytes", n)
		}
	}
	if n > len(b) {
		return 0, corrupt("varlena of %d bytes in %d", n, len(b))
	}
	return n, nil
}

// Inline is the value of a short or plain varlena without its header (VARDATA_ANY). Compressed and external ones are
// an error: a Reader reads those too.
func Inline(varlena []byte) ([]byte, error) {
	n, err := VarSize(varlena, -1)
	if err != nil {
		return nil, err
	}
	switch FormOf(varlena[0]) {
	case Short:
		return varlena[1:n:n], nil
	case Plain:
		return varlena[4:n:n], nil
	}
	return nil, corrupt("varlena is compressed or in TOAST where only inline values can be")
}

// Pointer is where a value is kept out of line (varatt_external).
type Pointer struct {
	RawSize  int // bytes of the value, no header
	Size     int // bytes in TOAST: less than RawSize when compressed; the compression's raw-size word is counted
	Method   uint8
	ValueID  pg.OID
	ToastRel pg.OID
}

// ParsePointer reads an external varlena.
func ParsePointer(varlena []byte) (Pointer, error) {
	if len(varlena) < externalSize || varlena[0] != 1 || varlena[1] != tagOnDisk {
		return Pointer{}, corrupt("not a TOAST pointer")
	}
	b := varlena[2:]
	raw, ext := int64(int32(binary.LittleEndian.Uint32(b)))-4, binary.LittleEndian.Uint32(b[4:])
	p := Pointer{
		RawSize: int(raw), Size: int(ext & (1<<30 - 1)), Method: uint8(ext >> 30),
		ValueID: pg.OID(binary.LittleEndian.Uint32(b[8:])), ToastRel: pg.OID(binary.LittleEndian.Uint32(b[12:])),
	}
	if raw < 0 || raw > ValueMax || int64(p.Size) > raw {
		return Pointer{}, corrupt("TOAST pointer to %d bytes stored as %d", raw, p.Size)
	}
	return p, nil
}

// Detoaster fetches out-of-line values.
type Detoaster interface {
	// Fetch appends the size bytes of a value, as they are stored (maybe compressed), to dst[:0] and returns it.
	Fetch(toastRel pg.OID, valueID pg.OID, size int, dst []byte) ([]byte, error)
}

// Reader gives varlenas' values whatever their form, with buffers of its own. One goroutine uses it.
type Reader struct {
	Toast Detoaster // nil: an external value is an error
	// Most bounds one value in bytes; 0 is no bound but Postgres's own. A larger one is a TooLargeError, before memory is
	// asked for it.
	Most    int
	fetched []byte
	raw     []byte
}

// TooLargeError says that a value is larger than the Reader may hold. Nothing is wrong with it.
type TooLargeError struct{ Bytes, Most int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a value of %d bytes is more than memory allows at once (%d): raise memory and resync the table", e.Bytes, e.Most)
}

func (r *Reader) admit(size int) error {
	if r.Most > 0 && size > r.Most {
		return &TooLargeError{Bytes: size, Most: r.Most}
	}
	return nil
}

// Value is the value of a varlena without its header, decompressed (pg_detoast_datum_packed). It aliases the varlena
// or a buffer that the next call overwrites.
func (r *Reader) Value(varlena []byte) ([]byte, error) {
	if len(varlena) > 0 {
		switch h := varlena[0]; {
		case h == 1:
			return r.external(varlena)
		case h&1 == 1:
			if n := int(h >> 1); n <= len(varlena) {
				return varlena[1:n:n], nil
			}
		case h&3 == 2:
			n, err := VarSize(varlena, -1)
			if err != nil {
				return nil, err
			}
			return r.decompress(varlena[4:n])
		}
	}
	return Inline(varlena)
}

func (r *Reader) external(varlena []byte) ([]byte, error) {
	p, err := ParsePointer(varlena)
	if err != nil {
		return nil, err
	}
	if err := r.admit(p.RawSize); err != nil {
		return nil, err
	}
	if r.Toast == nil {
		return nil, corrupt("value %d is in TOAST relation %d, and there is none to read", p.ValueID, p.ToastRel)
	}
	b, err := r.Toast.Fetch(p.ToastRel, p.ValueID, p.Size, r.fetched[:0])
	if err != nil {
		return nil, fmt.Errorf("value %d of TOAST relation %d: %w", p.ValueID, p.ToastRel, err)
	}
	if r.fetched = b; len(b) != p.Size {
		return nil, corrupt("value %d of TOAST relation %d is %d bytes, its pointer says %d", p.ValueID, p.ToastRel, len(b), p.Size)
	}
	if p.Size == p.RawSize { // VARATT_EXTERNAL_IS_COMPRESSED
		return b, nil
	}
	v, err := r.decompress(b)
	if err != nil {
		return nil, fmt.Errorf("value %d of TOAST relation %d: %w", p.ValueID, p.ToastRel, err)
	}
	if len(v) != p.RawSize {
		return nil, corrupt("value %d of TOAST relation %d decompresses to %d bytes, its pointer says %d", p.ValueID, p.ToastRel, len(v), p.RawSize)
	}
	return v, nil
}

// Compression methods (ToastCompressionId).
const (
	methodPGLZ = 0
	methodLZ4  = 1
)

// ratioMax bounds what one compressed byte can stand for, so that a damaged size is refused before memory is
// asked for it: pglz's longest match is 273 bytes in 3; lz4's run lengths grow by 255 per byte.
const ratioMax = 256

// decompress reads b: a word of raw size (30 bits) and method (2 bits), then compressed bytes.
func (r *Reader) decompress(b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, corrupt("compressed value of %d bytes", len(b))
	}
	info := binary.LittleEndian.Uint32(b)
	size, src := int(info&(1<<30-1)), b[4:]
	if size == 0 { // too short for Postgres to compress, and lz4's assembly reads through dst even if it is empty
		return nil, corrupt("compressed value of no bytes")
	}
	if size > ratioMax*(len(src)+1) {
		return nil, corrupt("compressed value of %d bytes claims to be %d", len(src), size)
	}
	if err := r.admit(size); err != nil {
		return nil, err
	}
	if cap(r.raw) < size {
		r.raw = make([]byte, size+size/4)
	}
	dst := r.raw[:size]
	var n int
	var err error
	switch info >> 30 {
	case methodPGLZ:
		n, err = pglz.Decompress(src, dst)
	case methodLZ4:
		n, err = lz4.UncompressBlock(src, dst)
	default:
		return nil, corrupt("unknown compression method %d", info>>30)
	}
	if err != nil {
		return nil, corrupt("compressed value: %v", err)
	}
	if n != size {
		return nil, corrupt("compressed value is %d bytes, its header says %d", n, size)
	}
	return dst[:size:size], nil
}

// valueError is a varlena that makes no sense; it unwraps to pg.ErrCorrupt.
type valueError string

func (e valueError) Error() string { return string(e) }
func (e valueError) Unwrap() error { return pg.ErrCorrupt }

func corrupt(format string, args ...any) error { return valueError(fmt.Sprintf(format, args...)) }
