package types

import (
	"encoding/binary"
	"math/big"
	"math/bits"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// numeric is a value of type numeric (utils/adt/numeric.c). After the varlena header, little-endian uint16s:
//
//	short: 10 s dddddd wwwwwww   s negative, d dscale, w weight in two's complement; then digits
//	long:  0s dddddddddddddd     then weight int16, then digits
//	special: 1100.. NaN, 1101.. Infinity, 1111.. -Infinity
//
// digits are base 10000; the first counts 10000^weight. dscale is how many decimal digits are shown after the point.
type numeric struct {
	special  byte // 0, 'n' NaN, '+' or '-' Infinity
	negative bool
	dscale   int
	weight   int
	digits   []byte // 2 bytes each
}

func parseNumeric(v []byte) (n numeric, err error) {
	if len(v) < 2 {
		return n, corrupt("numeric of %d bytes", len(v))
	}
	h := le.Uint16(v)
	switch h & 0xC000 {
	case 0xC000:
		switch h & 0xF000 {
		case 0xC000:
			n.special = 'n'
		case 0xD000:
			n.special = '+'
		case 0xF000:
			n.special = '-'
		default:
			return n, corrupt("numeric with header %#04x", h)
		}
		return n, nil
	case 0x8000:
		n.negative = h&0x2000 != 0
		n.dscale = int(h>>7) & 0x3F
		n.weight = int(int8(h<<1)) >> 1 // sign extension of 7 bits
		n.digits = v[2:]
	default:
		if len(v) < 4 {
			return n, corrupt("numeric of %d bytes", len(v))
		}
		n.negative = h&0x4000 != 0
		n.dscale = int(h & 0x3FFF)
		n.weight = int(int16(le.Uint16(v[2:])))
		n.digits = v[4:]
	}
	if len(n.digits)%2 != 0 {
		return n, corrupt("numeric with %d bytes of digits", len(n.digits))
	}
	for i := 0; i < len(n.digits); i += 2 {
		if le.Uint16(n.digits[i:]) > 9999 {
			return n, corrupt("numeric digit %d", le.Uint16(n.digits[i:]))
		}
	}
	return n, nil
}

// digit is base-10000 digit i, zero where none is stored.
func (n *numeric) digit(i int) uint64 {
	if i < 0 || 2*i >= len(n.digits) {
		return 0
	}
	return uint64(le.Uint16(n.digits[2*i:]))
}

// appendTo prints the number with dscale digits after the point (numeric_out).
func (n *numeric) appendTo(dst []byte) []byte {
	switch n.special {
	case 'n':
		return append(dst, "NaN"...)
	case '+':
		return append(dst, "Infinity"...)
	case '-':
		return append(dst, "-Infinity"...)
	}
	if n.negative {
		dst = append(dst, '-')
	}
	if n.weight < 0 {
		dst = append(dst, '0')
	} else {
		d := n.digit(0)
		start := 0
		for p := uint64(1000); p > 1 && d < p; p /= 10 {
			start++
		}
		dst = append(dst, fourDigits(d)[start:]...)
		for i := 1; i <= n.weight; i++ {
			dst = append(dst, fourDigits(n.digit(i))...)
		}
	}
	if n.dscale > 0 {
		dst = append(dst, '.')
		for i, left := n.weight+1, n.dscale; left > 0; i, left = i+1, left-4 {
			dst = append(dst, fourDigits(n.digit(i))[:min(left, 4)]...)
		}
	}
	return dst
}

var fourDigitTable = func() (t [40000]byte) {
	for i := range 10000 {
		t[4*i], t[4*i+1], t[4*i+2], t[4*i+3] = byte('0'+i/1000), byte('0'+i/100%10), byte('0'+i/10%10), byte('0'+i%10)
	}
	return t
}()

func fourDigits(d uint64) []byte { return fourDigitTable[4*d : 4*d+4] }

// mapNumeric follows the column's numeric(precision, scale), which typmod packs (make_numeric_typmod), or what was asked for.
func (m *mapper) mapNumeric(typmod int32) (lake.Type, *codec) {
	m.numeric = true
	want := m.Numeric
	if m.as != nil {
		want = *m.as
	} else if p, s := declaredNumeric(typmod); p > 0 {
		return decimalType(p, s), decimalCodec(p, s, false)
	}
	if want.Precision == 0 {
		return stringType(), numericTextCodec
	}
	return decimalType(want.Precision, want.Scale), decimalCodec(want.Precision, want.Scale, true)
}

// declaredNumeric is the decimal that holds what a typmod allows; 0 if none does.
func declaredNumeric(typmod int32) (precision, scale int) {
	if typmod < 4 {
		return 0, 0
	}
	p := int((typmod-4)>>16) & 0xFFFF
	s := int((typmod-4)&0x7FF^1024) - 1024
	switch {
	case s < 0:
		p, s = p-s, 0
	case s > p:
		p = s
	}
	if p > precisionMax {
		return 0, 0
	}
	return p, s
}

// precisionMax is Iceberg's.
const precisionMax = 38

func decimalType(p, s int) lake.Type {
	return lake.Type{Kind: lake.Decimal, Precision: p, Scale: s}
}

var numericTextCodec = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
	n, err := parseNumeric(v)
	if err != nil {
		return err
	}
	b.EndBytes(n.appendTo(b.Buf()))
	return nil
}}

// decimalCodec gives the unscaled value in as few bytes as the precision needs. asked: the type is not the column's own, so
// that values may not fit it.
func decimalCodec(precision, scale int, asked bool) *codec {
	maxHi, maxLo := pow10(precision)
	return &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
		n, err := parseNumeric(v)
		if err != nil {
			return err
		}
		hi, lo, ok := uint64(0), uint64(0), false
		if n.special == 0 {
			hi, lo, ok = n.unscaled(scale)
			ok = ok && (hi < maxHi || hi == maxHi && lo < maxLo)
			if !ok && !asked {
				return &ValueError{Reason: "numeric " + string(n.appendTo(nil)) + " is wider than its column"}
			}
		}
		if !ok {
			if n.special == 'n' { // no number is near NaN
				b.AppendOutOfRange()
				return nil
			}
			if !b.Clamped() {
				return nil
			}
			hi, lo = n.nearest(precision, scale)
		}
		if n.negative || n.special == '-' {
			var borrow uint64
			lo, borrow = bits.Sub64(0, lo, 0)
			hi, _ = bits.Sub64(0, hi, borrow)
		}
		appendDecimal(b, precision, hi, lo)
		return nil
	}}
}

// appendDecimal adds an unscaled value in two's complement.
func appendDecimal(b *column.Builder, precision int, hi, lo uint64) {
	switch {
	case precision <= 9:
		b.AppendInt32(int32(lo))
	case precision <= 18:
		b.AppendInt64(int64(lo))
	default:
		var buf [16]byte
		binary.BigEndian.PutUint64(buf[:], hi)
		binary.BigEndian.PutUint64(buf[8:], lo)
		b.AppendFixed(buf[16-column.DecimalBytes(precision):])
	}
}

// nearest is |n| * 10^scale rounded as Postgres rounds, half away from zero, and at most what the precision holds.
func (n *numeric) nearest(precision, scale int) (hi, lo uint64) {
	hi, lo = pow10(precision)
	lo, borrow := bits.Sub64(lo, 1, 0)
	hi -= borrow
	if n.special != 0 || n.weight > precisionMax/4+1 {
		return hi, lo
	}
	ten := func(p int) *big.Int { return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(p)), nil) }
	most := new(big.Int).Sub(ten(precision), big.NewInt(1))
	sum, stored := new(big.Int), len(n.digits)/2
	for i := range stored {
		sum.Add(sum.Mul(sum, big.NewInt(10000)), new(big.Int).SetUint64(n.digit(i)))
	}
	// sum counts 10^(4*(weight+1-stored)).
	if shift := 4*(n.weight+1-stored) + scale; shift >= 0 {
		sum.Mul(sum, ten(min(shift, 2*precisionMax)))
	} else {
		unit := ten(-shift)
		sum.Add(sum, new(big.Int).Rsh(unit, 1)).Quo(sum, unit)
	}
	if sum.Cmp(most) >= 0 {
		return hi, lo
	}
	low := new(big.Int).And(sum, new(big.Int).SetUint64(^uint64(0)))
	return sum.Rsh(sum, 64).Uint64(), low.Uint64()
}

// pow10 is 10^n for n up to 38.
func pow10(n int) (hi, lo uint64) {
	lo = 1
	for range n {
		hi, lo, _ = mulAdd(hi, lo, 10, 0)
	}
	return hi, lo
}

// mulAdd is x*m + a; ok false when it needs more than 128 bits.
func mulAdd(hi, lo, m, a uint64) (rhi, rlo uint64, ok bool) {
	c1, l := bits.Mul64(lo, m)
	over, h := bits.Mul64(hi, m)
	l, carry := bits.Add64(l, a, 0)
	h, carry = bits.Add64(h, c1, carry)
	return h, l, over == 0 && carry == 0
}

var smallPow10 = [4]uint64{1, 10, 100, 1000}

// unscaled is |n| * 10^scale; ok is false if that is no integer or needs more than 128 bits.
func (n *numeric) unscaled(scale int) (hi, lo uint64, ok bool) {
	stored := len(n.digits) / 2
	// Digits 0 to whole-1 are wholly before the last place kept, digit `whole` contributes its first `part` places.
	places := 4*(n.weight+1) + scale
	if places <= 0 {
		return 0, 0, n.allZero(0)
	}
	whole, part := places/4, places%4
	if places > 44 { // the leading digit is not zero, so this is more than 10^40
		return 0, 0, n.allZero(0)
	}
	if places <= 19 { // no more than 19 decimal digits fit 64 bits
		for i := range whole {
			lo = lo*10000 + n.digit(i)
		}
	} else {
		for i := range whole {
			if hi, lo, ok = mulAdd(hi, lo, 10000, n.digit(i)); !ok {
				return 0, 0, false
			}
		}
	}
	if part > 0 {
		d, cut := n.digit(whole), smallPow10[4-part]
		if d%cut != 0 {
			return 0, 0, false
		}
		if hi, lo, ok = mulAdd(hi, lo, smallPow10[part], d/cut); !ok {
			return 0, 0, false
		}
		whole++
	}
	return hi, lo, whole >= stored || n.allZero(whole)
}

// allZero says whether digit i and all after it are zero.
func (n *numeric) allZero(i int) bool {
	for ; 2*i < len(n.digits); i++ {
		if n.digit(i) != 0 {
			return false
		}
	}
	return true
}
