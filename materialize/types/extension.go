package types

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// mapExtension maps a base type that came after initdb by the C function that reads its text (typinput): who makes the
// bytes knows what they mean. A type that has no more than the name of an extension's has another function.
func (m *mapper) mapExtension(t PGType, prev *lake.Type) (lake.Type, *codec, error) {
	if t.Len != -1 {
		return lake.Type{}, nil, unsupported("type %s comes from an extension and is not supported", t.name())
	}
	m.shape = fmt.Appendf(m.shape, "x%s.%s:", t.Input.Library, t.Input.Symbol)
	switch t.Input {
	case Func{Symbol: "textin"}: // citext, and whatever else is text with operators of its own
		return stringType(), verbatim, nil
	case Func{Library: "hstore", Symbol: "hstore_in"}:
		key, value := m.field("key", member(prev, lake.Map, 0)), m.field("value", member(prev, lake.Map, 1))
		key.Type, value.Type = stringType(), stringType()
		return lake.Type{Kind: lake.Map, Key: &key, Elem: &value}, hstoreCodec, nil
	case Func{Library: "cube", Symbol: "cube_in"}:
		return stringType(), cubeCodec, nil
	case Func{Library: "ltree", Symbol: "ltree_in"}:
		return stringType(), ltreeCodec, nil
	case Func{Library: "vector", Symbol: "vector_in"}:
		return m.mapVector(prev, vectorCodec)
	case Func{Library: "vector", Symbol: "halfvec_in"}:
		return m.mapVector(prev, halfvecCodec)
	}
	if strings.HasPrefix(t.Input.Library, "postgis-") && (t.Input.Symbol == "LWGEOM_in" || t.Input.Symbol == "geography_in") {
		return lake.Type{Kind: lake.Binary}, geometryCodec, nil
	}
	return lake.Type{}, nil, unsupported("type %s comes from an extension and is not supported", t.name())
}

func (m *mapper) mapVector(prev *lake.Type, c *codec) (lake.Type, *codec, error) {
	f := m.field("element", member(prev, lake.List, 0))
	f.Type = lake.Type{Kind: lake.Float}
	return lake.Type{Kind: lake.List, Elem: &f}, c, nil
}

// vectorCodec reads pgvector's Vector (src/vector.h): dim int16, unused int16, then dim float4.
var vectorCodec = vector(4, func(v []byte) float32 { return math.Float32frombits(le.Uint32(v)) })

// halfvecCodec reads pgvector's HalfVector (src/halfvec.h), the same of IEEE 754 binary16.
var halfvecCodec = vector(2, func(v []byte) float32 { return half(le.Uint16(v)) })

func vector(width int, value func([]byte) float32) *codec {
	return &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
		if len(v) < 4 || len(v) != 4+width*int(le.Uint16(v)) {
			return corrupt("vector of %d bytes", len(v))
		}
		list := b.AppendList(int(le.Uint16(v)))
		for v = v[4:]; len(v) > 0; v = v[width:] {
			list.AppendFloat(value(v))
		}
		return nil
	}}
}

// half is an IEEE 754 binary16 number.
func half(h uint16) float32 {
	sign, exponent, fraction := uint32(h>>15)<<31, int(h>>10&0x1F), uint32(h&0x3FF)
	switch exponent {
	case 0x1F:
		return math.Float32frombits(sign | 0xFF<<23 | fraction<<13)
	case 0:
		f := float32(fraction) / (1 << 24)
		return math.Float32frombits(sign | math.Float32bits(f))
	}
	return math.Float32frombits(sign | uint32(exponent-15+127)<<23 | fraction<<13)
}

// hstoreCodec reads HStore (contrib/hstore/hstore.h):
//
//	0  top bit set; 28 bits count
//	4  count pairs of entries uint32, of a key and its value: 30 bits of where its bytes end; bit 30 set if it is null; bit 31
//	   set on the very first entry, whose bytes begin at 0
//	   bytes of keys and values, in the order of their entries
//
// Values that pg_upgrade brought from before 9.0 have the top bit clear.
var hstoreCodec = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
	if len(v) < 4 {
		return corrupt("hstore of %d bytes", len(v))
	}
	size := le.Uint32(v)
	n := int(size & 0x0FFFFFFF)
	switch {
	case size>>31 == 0 && n > 0:
		return &ValueError{Reason: "hstore written before 9.0"}
	case n > (len(v)-4)/8:
		return corrupt("hstore of %d pairs in %d bytes", n, len(v))
	}
	entries, data := v[4:4+8*n], v[4+8*n:]
	from := 0
	next := func() (text []byte, null bool, err error) {
		e := le.Uint32(entries)
		entries = entries[4:]
		end := int(e & 0x3FFFFFFF)
		if end < from || end > len(data) {
			return nil, false, corrupt("text of an hstore from byte %d to %d of %d", from, end, len(data))
		}
		text, from = data[from:end], end
		if !utf8.Valid(text) {
			return nil, false, errNotUTF8
		}
		return text, e&(1<<30) != 0, nil
	}
	keys, values := b.AppendMap(n)
	for range n {
		key, null, err := next()
		if err != nil {
			return err
		}
		if null {
			return corrupt("hstore with a key that is null")
		}
		keys.AppendBytes(key)
		value, null, err := next()
		switch {
		case err != nil:
			return err
		case null:
			values.AppendNull()
		default:
			values.AppendBytes(value)
		}
	}
	return nil
}}
