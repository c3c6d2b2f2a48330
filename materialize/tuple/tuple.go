// Package tuple takes heap tuples apart into datums. It is pure: bytes in, values out; the datums are slices of the
// page the tuple lies on.
package tuple

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// Attr is what pg_attribute says about one column, as far as its bytes go.
type Attr struct {
	Num        int16  // attnum, from 1
	Len        int16  // attlen: bytes; -1 varlena, -2 C string
	Align      byte   // attalign: 'c' 1, 's' 2, 'i' 4, 'd' 8 bytes
	ByVal      bool   // attbyval
	Dropped    bool   // attisdropped: given as null whatever the tuple holds
	HasMissing bool   // atthasmissing
	Missing    []byte // value of tuples older than the column, as a tuple would store it
}

// Datum is one column of one tuple. Data of a varlena is the whole value as it lies on disk, header included: short,
// plain, compressed or a pointer to TOAST (see Kind). Data aliases the page or the descriptor.
type Datum struct {
	Null bool
	Data []byte
}

// Desc is how tuples of one relation are laid out (TupleDesc). It is immutable and safe for concurrent use.
type Desc struct {
	attrs []attr
	fixed int // attributes before this one lie at their offset whenever the tuple has no nulls up to them
}

// attr is Attr made ready for the loop of Deform.
type attr struct {
	off     int // offset from t_hoff if no earlier value is null or of variable length; else -1 (attcacheoff)
	len     int
	mask    int // alignment in bytes - 1
	dropped bool
	missing Datum
}

// Error says where in a tuple the bytes made no sense. It unwraps to pg.ErrCorrupt.
type Error struct {
	Attnum int16 // 0: the header
	What   string
}

func (e *Error) Error() string {
	if e.Attnum == 0 {
		return "tuple: " + e.What
	}
	return fmt.Sprintf("tuple: column %d: %s", e.Attnum, e.What)
}

// Unwrap lets errors.Is(err, pg.ErrCorrupt) find it.
func (e *Error) Unwrap() error { return pg.ErrCorrupt }

// NewDesc lays out tuples of these columns, which are all of the relation's in attnum order, dropped ones included.
func NewDesc(attrs []Attr) *Desc {
	d := &Desc{attrs: make([]attr, len(attrs))}
	off := 0
	for i, a := range attrs {
		t := attr{off: -1, len: int(a.Len), mask: AlignOf(a.Align) - 1, dropped: a.Dropped, missing: Datum{Null: true}}
		if a.HasMissing && !a.Dropped {
			t.missing = Datum{Data: a.Missing}
		}
		if off >= 0 {
			switch {
			case t.len > 0:
				t.off = (off + t.mask) &^ t.mask
				off = t.off + t.len
				d.fixed = i + 1
			default:
				off = -1 // its own start depends on its header's form
			}
		}
		d.attrs[i] = t
	}
	return d
}

// Len is the number of columns, dropped ones included.
func (d *Desc) Len() int { return len(d.attrs) }

// AlignOf gives the bytes of an alignment code of pg_type.typalign (TYPALIGN_*).
func AlignOf(align byte) int {
	switch align {
	case 's':
		return 2
	case 'i':
		return 4
	case 'd':
		return 8
	}
	return 1
}

// Deform fills out[:d.Len()] with t's columns (heap_deform_tuple). Columns the tuple is too old to have get their
// missing value, dropped columns are null. On an error the contents of out are undefined.
func (d *Desc) Deform(t pg.HeapTuple, out []Datum) error {
	if len(t) < pg.HeapTupleHeaderSize {
		return &Error{What: fmt.Sprintf("%d bytes are shorter than a tuple header", len(t))}
	}
	out = out[:len(d.attrs)]
	hoff, natts := t.Hoff(), t.Natts()
	hasNull := t.Infomask()&pg.HeapHasNull != 0
	need := pg.HeapTupleHeaderSize
	if hasNull {
		need += (natts + 7) / 8
	}
	if hoff < need || hoff > len(t) {
		return &Error{What: fmt.Sprintf("t_hoff is %d in a tuple of %d bytes and %d columns", hoff, len(t), natts)}
	}
	if natts > len(d.attrs) {
		return &Error{What: fmt.Sprintf("it has %d columns, its relation %d", natts, len(d.attrs))}
	}
	var nulls []byte
	if hasNull {
		nulls = t[pg.HeapTupleHeaderSize:hoff]
	}
	return d.deform(natts, nulls, t[hoff:], out)
}

// deform takes natts columns off body. nulls is the null bitmap, nil if there is none.
func (d *Desc) deform(natts int, nulls, body []byte, out []Datum) error {
	i, off := 0, 0
	if nulls == nil {
		for n := min(natts, d.fixed); i < n; i++ {
			a := &d.attrs[i]
			end := a.off + a.len
			if end > len(body) {
				return overrun(i, end, len(body))
			}
			out[i] = Datum{Null: a.dropped, Data: body[a.off:end:end]}
			off = end
		}
	}
	for ; i < natts; i++ {
		if nulls != nil && nulls[i>>3]&(1<<(i&7)) == 0 {
			out[i] = Datum{Null: true}
			continue
		}
		a := &d.attrs[i]
		// A varlena with a short header is not aligned; the byte at hand tells, since padding is always zero
		// (att_align_pointer).
		if a.len != -1 || off < len(body) && body[off] == 0 {
			off = (off + a.mask) &^ a.mask
		}
		n := a.len
		if n < 0 {
			if off > len(body) {
				return overrun(i, off, len(body))
			}
			var err error
			if n, err = VarSize(body[off:], int16(a.len)); err != nil {
				return &Error{Attnum: int16(i + 1), What: err.Error()}
			}
		}
		end := off + n
		if end > len(body) {
			return overrun(i, end, len(body))
		}
		out[i] = Datum{Null: a.dropped, Data: body[off:end:end]}
		off = end
	}
	for ; i < len(out); i++ {
		out[i] = d.attrs[i].missing
	}
	return nil
}

func overrun(i, end, have int) error {
	return &Error{Attnum: int16(i + 1), What: fmt.Sprintf("it ends at byte %d of %d", end, have)}
}
