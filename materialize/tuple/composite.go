package tuple

import (
	"encoding/binary"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// compositeHeader is what the header of a composite datum has beside the varlena header, which takes the first four of
// its pg.HeapTupleHeaderSize bytes.
const compositeHeader = pg.HeapTupleHeaderSize - 4

// DeformComposite fills out[:d.Len()] with the attributes of a composite value, given without its varlena header. Its
// type must be typ. Attributes that came to the type later get their missing value, dropped ones are null. On an error
// the contents of out are undefined.
//
// A composite datum is a heap tuple whose header begins otherwise (DatumTupleFields, htup_details.h). Offsets count from
// the varlena header, of which there are four bytes here whatever its form on disk:
//
//	 4  typmod int32, 8  type oid, 12  t_ctid, unused
//	18  t_infomask2, 20  t_infomask, 22  t_hoff; then the null bitmap; from t_hoff the attributes
//
// Members are short, plain or compressed; never in TOAST (toast_flatten_tuple_to_datum).
func (d *Desc) DeformComposite(v []byte, typ pg.OID, out []Datum) error {
	if len(v) < compositeHeader {
		return &Error{What: fmt.Sprintf("a composite value of %d bytes is shorter than its header", len(v))}
	}
	if got := pg.OID(binary.LittleEndian.Uint32(v[4:])); got != typ {
		return &Error{What: fmt.Sprintf("a composite value says it is of type %d, its column is of %d", got, typ)}
	}
	natts, hoff := int(binary.LittleEndian.Uint16(v[14:])&pg.HeapNattsMask), int(v[18])-4
	need := compositeHeader
	hasNull := binary.LittleEndian.Uint16(v[16:])&pg.HeapHasNull != 0
	if hasNull {
		need += (natts + 7) / 8
	}
	if hoff < need || hoff > len(v) {
		return &Error{What: fmt.Sprintf("t_hoff is %d in a composite value of %d bytes and %d attributes", hoff+4, len(v), natts)}
	}
	if natts > len(d.attrs) {
		return &Error{What: fmt.Sprintf("a composite value has %d attributes, its type %d", natts, len(d.attrs))}
	}
	var nulls []byte
	if hasNull {
		nulls = v[compositeHeader:hoff]
	}
	return d.deform(natts, nulls, v[hoff:], out[:len(d.attrs)])
}

// RawSize is how many bytes a compressed inline varlena is when it is decompressed, as it says itself; 0 of all other
// forms.
func RawSize(varlena []byte) int {
	if len(varlena) < 8 || FormOf(varlena[0]) != Compressed {
		return 0
	}
	return int(binary.LittleEndian.Uint32(varlena[4:]) & (1<<30 - 1))
}
