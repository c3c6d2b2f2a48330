package types

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// OIDs of built-in types (catalog/pg_type.dat).
const (
	oidBool       pg.OID = 16
	oidBytea      pg.OID = 17
	oidChar       pg.OID = 18
	oidName       pg.OID = 19
	oidInt8       pg.OID = 20
	oidInt2       pg.OID = 21
	oidInt4       pg.OID = 23
	oidText       pg.OID = 25
	oidOID        pg.OID = 26
	oidTID        pg.OID = 27
	oidXID        pg.OID = 28
	oidCID        pg.OID = 29
	oidJSON       pg.OID = 114
	oidXML        pg.OID = 142
	oidPoint      pg.OID = 600
	oidLseg       pg.OID = 601
	oidPath       pg.OID = 602
	oidBox        pg.OID = 603
	oidPolygon    pg.OID = 604
	oidLine       pg.OID = 628
	oidCidr       pg.OID = 650
	oidFloat4     pg.OID = 700
	oidFloat8     pg.OID = 701
	oidCircle     pg.OID = 718
	oidMacaddr8   pg.OID = 774
	oidMoney      pg.OID = 790
	oidMacaddr    pg.OID = 829
	oidInet       pg.OID = 869
	oidBpchar     pg.OID = 1042
	oidVarchar    pg.OID = 1043
	oidDate       pg.OID = 1082
	oidTime       pg.OID = 1083
	oidTimestamp  pg.OID = 1114
	oidTimestampz pg.OID = 1184
	oidInterval   pg.OID = 1186
	oidTimetz     pg.OID = 1266
	oidBit        pg.OID = 1560
	oidVarbit     pg.OID = 1562
	oidNumeric    pg.OID = 1700
	oidUUID       pg.OID = 2950
	oidTxidSnap   pg.OID = 2970
	oidPgLSN      pg.OID = 3220
	oidTSVector   pg.OID = 3614
	oidJSONB      pg.OID = 3802
	oidPgSnapshot pg.OID = 5038
	oidXID8       pg.OID = 5069
)

// fixed is a codec of a type of width bytes.
func fixed(width int, fn func(v []byte, b *column.Builder)) *codec {
	return &codec{width: width, value: func(_ *Env, v []byte, b *column.Builder) error { fn(v, b); return nil }}
}

// fixedText is a codec of a type of width bytes that is given as text.
func fixedText(width int, fn func(dst, v []byte) []byte) *codec {
	return fixed(width, func(v []byte, b *column.Builder) { b.EndBytes(fn(b.Buf(), v)) })
}

// varText is a codec of a varlena type that is given as text which is always UTF-8.
func varText(fn func(dst, v []byte) ([]byte, error)) *codec {
	return &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
		dst, err := fn(b.Buf(), v)
		if err != nil {
			return err
		}
		b.EndBytes(dst)
		return nil
	}}
}

// verbatim is a codec of a varlena type whose bytes are its text.
var verbatim = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
	if !utf8.Valid(v) {
		return errNotUTF8
	}
	b.AppendBytes(v)
	return nil
}}

// errNotUTF8: a SQL_ASCII database keeps whatever bytes its clients sent; Iceberg's string is UTF-8.
var errNotUTF8 = &ValueError{Reason: "text is not valid UTF-8"}

var (
	boolCodec = fixed(1, func(v []byte, b *column.Builder) { b.AppendBool(v[0] != 0) })
	int2Codec = fixed(2, func(v []byte, b *column.Builder) { b.AppendInt32(int32(int16(le.Uint16(v)))) })
	int4Codec = fixed(4, func(v []byte, b *column.Builder) { b.AppendInt32(int32(le.Uint32(v))) })
	int8Codec = fixed(8, func(v []byte, b *column.Builder) { b.AppendInt64(int64(le.Uint64(v))) })
	// oidCodec is for unsigned 32-bit numbers.
	oidCodec    = fixed(4, func(v []byte, b *column.Builder) { b.AppendInt64(int64(le.Uint32(v))) })
	float4Codec = fixed(4, func(v []byte, b *column.Builder) { b.AppendFloat(math.Float32frombits(le.Uint32(v))) })
	float8Codec = fixed(8, func(v []byte, b *column.Builder) { b.AppendDouble(math.Float64frombits(le.Uint64(v))) })
	uuidCodec   = fixed(16, func(v []byte, b *column.Builder) { b.AppendFixed(v[:16]) })
	xid8Codec   = fixed(8, func(v []byte, b *column.Builder) {
		if x := le.Uint64(v); x <= math.MaxInt64 || b.Clamped() {
			b.AppendInt64(int64(min(x, math.MaxInt64)))
		}
	})
	byteaCodec = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error { b.AppendBytes(v); return nil }}
	nameCodec  = &codec{width: 64, value: func(_ *Env, v []byte, b *column.Builder) error {
		n := 0
		for n < 64 && v[n] != 0 {
			n++
		}
		if !utf8.Valid(v[:n]) {
			return errNotUTF8
		}
		b.AppendBytes(v[:n])
		return nil
	}}
)

var le = binary.LittleEndian

// plainTypes are the types whose Iceberg type depends on nothing else.
var plainTypes = map[pg.OID]struct {
	kind  lake.Kind
	codec *codec
}{
	oidBool: {lake.Bool, boolCodec}, oidBytea: {lake.Binary, byteaCodec}, oidChar: {lake.String, fixedText(1, appendChar)},
	oidName: {lake.String, nameCodec}, oidInt8: {lake.Long, int8Codec}, oidInt2: {lake.Int, int2Codec}, oidInt4: {lake.Int, int4Codec},
	oidText: {lake.String, verbatim}, oidVarchar: {lake.String, verbatim}, oidBpchar: {lake.String, verbatim}, oidJSON: {lake.String, verbatim},
	oidOID: {lake.Long, oidCodec}, oidXID: {lake.Long, oidCodec}, oidCID: {lake.Long, oidCodec}, oidXID8: {lake.Long, xid8Codec},
	oidFloat4: {lake.Float, float4Codec}, oidFloat8: {lake.Double, float8Codec}, oidUUID: {lake.UUID, uuidCodec},
	oidDate: {lake.Date, dateCodec}, oidTime: {lake.Time, timeCodec},
	oidTimestamp: {lake.Timestamp, timestampCodec}, oidTimestampz: {lake.TimestampTZ, timestampCodec},
	oidTimetz: {lake.String, fixedText(12, appendTimetz)},
	oidJSONB:  {lake.String, jsonbCodec}, oidXML: {lake.String, xmlCodec},
	oidPoint: {lake.String, fixedText(16, appendPoint)}, oidLseg: {lake.String, fixedText(32, appendLseg)}, oidBox: {lake.String, fixedText(32, appendBox)},
	oidLine: {lake.String, fixedText(24, appendLine)}, oidCircle: {lake.String, fixedText(24, appendCircle)},
	oidPath: {lake.String, varText(appendPath)}, oidPolygon: {lake.String, varText(appendPolygon)},
	oidInet: {lake.String, varText(appendInet)}, oidCidr: {lake.String, varText(appendCidr)},
	oidMacaddr: {lake.String, fixedText(6, appendMacaddr)}, oidMacaddr8: {lake.String, fixedText(8, appendMacaddr8)},
	oidBit: {lake.String, varText(appendBits)}, oidVarbit: {lake.String, varText(appendBits)},
	oidTSVector: {lake.String, tsvectorCodec}, oidPgLSN: {lake.String, fixedText(8, appendLSN)}, oidTID: {lake.String, fixedText(6, appendTID)},
	oidTxidSnap: {lake.String, varText(appendSnapshot)}, oidPgSnapshot: {lake.String, varText(appendSnapshot)},
}

// bareTypes are those given as text to readers of bare Parquet.
var bareTypes = map[pg.OID]*codec{oidUUID: fixedText(16, appendUUID), oidTime: fixedText(8, appendTimeOfDay)}

func (m *mapper) mapBase(t PGType, typmod int32, prev *lake.Type) (lake.Type, *codec, error) {
	if p := bareTypes[t.OID]; p != nil && m.Bare {
		return stringType(), p, nil
	}
	if p, ok := plainTypes[t.OID]; ok {
		return lake.Type{Kind: p.kind}, p.codec, nil
	}
	switch t.OID {
	case oidNumeric:
		lt, c := m.mapNumeric(typmod)
		return lt, c, nil
	case oidInterval:
		return m.mapInterval(prev)
	case oidMoney:
		if !m.moneyKnown() {
			return lake.Type{}, nil, unsupported("money is printed by lc_monetary, which is not known to be C, POSIX or en_US")
		}
		return stringType(), fixedText(8, appendMoney), nil
	}
	return lake.Type{}, nil, unsupported("type %s is not supported", t.name())
}

// enumCodec gives an enum's label. The datum is the label's pg_enum.oid.
func enumCodec(r Resolver, t PGType) *codec {
	return &codec{width: 4, value: func(_ *Env, v []byte, b *column.Builder) error {
		oid := pg.OID(le.Uint32(v))
		label, ok := r.EnumLabel(oid)
		if !ok {
			return corrupt("enum %s has no label with OID %d", t.name(), oid)
		}
		if !utf8.ValidString(label) {
			return errNotUTF8
		}
		b.EndBytes(append(b.Buf(), label...))
		return nil
	}}
}
