package types

import "unicode/utf8"

var cubeCodec, ltreeCodec = varText(appendCube), varText(appendLtree)

// appendCube prints contrib/cube's NDBOX (cubedata.h): header uint32, the top bit of which says that it is a point, the rest how many
// dimensions; then the lower coordinates float8, and the upper ones unless it is a point (cube_out).
func appendCube(dst, v []byte) ([]byte, error) {
	if len(v) < 4 {
		return dst, corrupt("cube of %d bytes", len(v))
	}
	header := le.Uint32(v)
	n, corners := int(header&^(1<<31)), 2
	if header>>31 != 0 {
		corners = 1
	}
	v = v[4:]
	if n > len(v)/8 || len(v) != 8*n*corners {
		return dst, corrupt("cube of %d dimensions in %d bytes", n, len(v))
	}
	if dst = appendCorner(dst, v[:8*n]); corners == 1 {
		return dst, nil
	}
	// A box without extent, as servers before 9.4 wrote points (cube_is_point_internal).
	for i := range n {
		if float(v[8*i:]) != float(v[8*(n+i):]) {
			return appendCorner(append(dst, ','), v[8*n:]), nil
		}
	}
	return dst, nil
}

func appendCorner(dst, v []byte) []byte {
	dst = append(dst, '(')
	for i := 0; i < len(v); i += 8 {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		dst = appendFloat(dst, v[i:])
	}
	return append(dst, ')')
}

// appendLtree prints contrib/ltree's ltree (ltree.h): numlevel uint16, 2 bytes unused, then levels, each len uint16, its name, and padding to a
// multiple of 8 bytes (deparse_ltree).
func appendLtree(dst, v []byte) ([]byte, error) {
	if len(v) < 4 {
		return dst, corrupt("ltree of %d bytes", len(v))
	}
	rest, start := v[4:], len(dst)
	for i := range int(le.Uint16(v)) {
		if len(rest) < 2 {
			return dst, corrupt("ltree of %d bytes that ends before level %d", len(v), i)
		}
		n := 2 + int(le.Uint16(rest))
		padded := (n + 7) &^ 7
		if padded > len(rest) {
			return dst, corrupt("ltree of %d bytes that ends in level %d", len(v), i)
		}
		if i > 0 {
			dst = append(dst, '.')
		}
		dst, rest = append(dst, rest[2:n]...), rest[padded:]
	}
	if len(rest) > 0 {
		return dst, corrupt("ltree with %d bytes behind its levels", len(rest))
	}
	if !utf8.Valid(dst[start:]) {
		return dst, errNotUTF8
	}
	return dst, nil
}
