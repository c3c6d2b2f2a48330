package types

import (
	"math"
	"strconv"
)

// appendFloat prints a float8 with the fewest digits that read back as the same number (float8out with
// extra_float_digits = 1; thresholds of double_to_shortest_decimal_buf).
func appendFloat(dst, v []byte) []byte {
	f := float(v)
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, f, 'e', -1, 64)
	// The exponent follows the 'e' and decides the notation.
	at := len(dst) - 1
	for dst[at] != 'e' {
		at--
	}
	exp, _ := strconv.Atoi(string(dst[at+1:])) // AppendFloat wrote it
	if f != 0 && (exp < -4 || exp >= 15) {
		return dst
	}
	return strconv.AppendFloat(dst[:start], f, 'f', -1, 64)
}

// float is a float8.
func float(v []byte) float64 { return math.Float64frombits(le.Uint64(v)) }

// appendPair prints x,y (pair_encode).
func appendPair(dst, v []byte) []byte {
	dst = append(appendFloat(dst, v), ',')
	return appendFloat(dst, v[8:])
}

// appendPoint prints Point: x, y (point_out).
func appendPoint(dst, v []byte) []byte {
	return append(appendPair(append(dst, '('), v), ')')
}

// appendPoints prints n points with commas (path_encode).
func appendPoints(dst, v []byte, n int) []byte {
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendPoint(dst, v[16*i:])
	}
	return dst
}

// appendLseg prints LSEG: two points (lseg_out).
func appendLseg(dst, v []byte) []byte { return append(appendPoints(append(dst, '['), v, 2), ']') }

// appendBox prints BOX: the high point, then the low one (box_out).
func appendBox(dst, v []byte) []byte { return appendPoints(dst, v, 2) }

// appendLine prints LINE: A, B and C of Ax + By + C = 0 (line_out).
func appendLine(dst, v []byte) []byte {
	dst = append(appendPair(append(dst, '{'), v), ',')
	return append(appendFloat(dst, v[16:]), '}')
}

// appendCircle prints CIRCLE: center, radius (circle_out).
func appendCircle(dst, v []byte) []byte {
	dst = append(appendPoint(append(dst, '<'), v), ',')
	return append(appendFloat(dst, v[16:]), '>')
}

// appendPath prints PATH: npts int32, closed int32, 4 bytes unused, points (path_out).
func appendPath(dst, v []byte) ([]byte, error) {
	if len(v) < 12 || uint64(le.Uint32(v)) != uint64(len(v)-12)/16 {
		return dst, corrupt("path of %d bytes", len(v))
	}
	left, right := byte('['), byte(']')
	if le.Uint32(v[4:]) != 0 {
		left, right = '(', ')'
	}
	return append(appendPoints(append(dst, left), v[12:], int(le.Uint32(v))), right), nil
}

// appendPolygon prints POLYGON: npts int32, bounding box, points (poly_out).
func appendPolygon(dst, v []byte) ([]byte, error) {
	if len(v) < 36 || uint64(le.Uint32(v)) != uint64(len(v)-36)/16 {
		return dst, corrupt("polygon of %d bytes", len(v))
	}
	return append(appendPoints(append(dst, '('), v[36:], int(le.Uint32(v))), ')'), nil
}
