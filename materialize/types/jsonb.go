package types

import (
	"fmt"
	"unicode/utf8"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/tuple"
)

// A jsonb value is one container (utils/jsonb.h). A container, 4-byte aligned:
//
//	uint32  28 bits count | 0x1 scalar (an array of one, shown bare) | 0x2 object | 0x4 array, in the top 4 bits
//	uint32  one entry per array element; of an object, count for the keys, then count for the values
//	data    of the entries in that order; numbers and containers are padded to 4 bytes before them
//
// An entry: 28 bits of length, or of end offset in data if the top bit is set; 3 bits of type.
const (
	jsonbCountMask = 0x0FFFFFFF
	jsonbScalar    = 0x10000000
	jsonbObject    = 0x20000000
	jsonbArray     = 0x40000000

	entryTypeMask  = 0x70000000
	entryString    = 0x00000000
	entryNumeric   = 0x10000000
	entryFalse     = 0x20000000
	entryTrue      = 0x30000000
	entryNull      = 0x40000000
	entryContainer = 0x50000000
	entryHasOffset = 0x80000000
)

// jsonbDepthMax bounds nesting. max_stack_depth keeps a server well below it.
const jsonbDepthMax = 1 << 16

var jsonbCodec = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
	start := len(b.Buf())
	dst, err := appendContainer(b.Buf(), v, 0)
	if err != nil {
		return err
	}
	if !utf8.Valid(dst[start:]) {
		return errNotUTF8
	}
	b.EndBytes(dst)
	return nil
}}

// appendContainer prints container c as jsonb_out does (JsonbToCString).
func appendContainer(dst, c []byte, depth int) ([]byte, error) {
	if depth > jsonbDepthMax {
		return dst, &ValueError{Reason: fmt.Sprintf("jsonb is nested more than %d deep", jsonbDepthMax)}
	}
	if len(c) < 4 {
		return dst, corrupt("jsonb container of %d bytes", len(c))
	}
	h := le.Uint32(c)
	n := int(h & jsonbCountMask)
	switch h &^ jsonbCountMask {
	case jsonbObject:
		return appendObject(dst, c, n, depth)
	case jsonbArray | jsonbScalar:
		if n != 1 || depth > 0 {
			return dst, corrupt("jsonb scalar of %d values", n)
		}
		return appendArray(dst, c, n, depth)
	case jsonbArray:
		dst, err := appendArray(append(dst, '['), c, n, depth)
		return append(dst, ']'), err
	}
	return dst, corrupt("jsonb container header %#08x", h)
}

func appendArray(dst, c []byte, n, depth int) ([]byte, error) {
	if n > (len(c)-4)/4 {
		return dst, corrupt("jsonb array of %d elements in %d bytes", n, len(c))
	}
	entries, data := c[4:4+4*n], c[4+4*n:]
	at := 0
	var err error
	for i := range n {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		e := le.Uint32(entries[4*i:])
		end := entryEnd(e, at)
		if dst, err = appendEntry(dst, e, data, at, end, depth); err != nil {
			return dst, err
		}
		at = end
	}
	return dst, nil
}

func appendObject(dst, c []byte, n, depth int) ([]byte, error) {
	if n > (len(c)-4)/8 {
		return dst, corrupt("jsonb object of %d pairs in %d bytes", n, len(c))
	}
	keys, values, data := c[4:4+4*n], c[4+4*n:4+8*n], c[4+8*n:]
	key, value := 0, 0
	for i := range n { // where values begin: after the last key
		value = entryEnd(le.Uint32(keys[4*i:]), value)
	}
	dst = append(dst, '{')
	var err error
	for i := range n {
		if i > 0 {
			dst = append(dst, ", "...)
		}
		k, v := le.Uint32(keys[4*i:]), le.Uint32(values[4*i:])
		if k&entryTypeMask != entryString {
			return dst, corrupt("jsonb key entry %#08x", k)
		}
		end := entryEnd(k, key)
		if key > end || end > len(data) {
			return dst, corrupt("jsonb key from %d to %d of %d bytes", key, end, len(data))
		}
		dst = append(appendJSONString(dst, data[key:end]), ": "...)
		key = end
		end = entryEnd(v, value)
		if dst, err = appendEntry(dst, v, data, value, end, depth); err != nil {
			return dst, err
		}
		value = end
	}
	return append(dst, '}'), nil
}

// entryEnd is where an entry's data ends that starts at byte at (JBE_ADVANCE_OFFSET).
func entryEnd(e uint32, at int) int {
	if e&entryHasOffset != 0 {
		return int(e & jsonbCountMask)
	}
	return at + int(e&jsonbCountMask)
}

// appendEntry prints the value whose data is data[at:end] (fillJsonbValue).
func appendEntry(dst []byte, e uint32, data []byte, at, end, depth int) ([]byte, error) {
	if at > end || end > len(data) {
		return dst, corrupt("jsonb entry from %d to %d of %d bytes", at, end, len(data))
	}
	switch e & entryTypeMask {
	case entryString:
		return appendJSONString(dst, data[at:end]), nil
	case entryFalse:
		return append(dst, "false"...), nil
	case entryTrue:
		return append(dst, "true"...), nil
	case entryNull:
		return append(dst, "null"...), nil
	}
	if at = (at + 3) &^ 3; at > end {
		return dst, corrupt("jsonb entry ends in its padding at byte %d", end)
	}
	switch e & entryTypeMask {
	case entryNumeric:
		v, err := tuple.Inline(data[at:end])
		if err != nil {
			return dst, err
		}
		n, err := parseNumeric(v)
		if err != nil {
			return dst, err
		}
		return n.appendTo(dst), nil
	case entryContainer:
		return appendContainer(dst, data[at:end], depth+1)
	}
	return dst, corrupt("jsonb entry %#08x", e)
}

// jsonEscape is, for each byte, 0 if a JSON string holds it as it is, the letter after the backslash, or 'u'.
var jsonEscape = func() (t [256]byte) {
	for i := range 32 {
		t[i] = 'u'
	}
	t['\b'], t['\f'], t['\n'], t['\r'], t['\t'], t['"'], t['\\'] = 'b', 'f', 'n', 'r', 't', '"', '\\'
	return t
}()

// appendJSONString quotes s (escape_json).
func appendJSONString(dst, s []byte) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	from, i := 0, 0
	for i < len(s) {
		if i+8 <= len(s) && !needsEscape(le.Uint64(s[i:])) {
			i += 8
			continue
		}
		for end := min(i+8, len(s)); i < end; i++ {
			c := s[i]
			switch e := jsonEscape[c]; e {
			case 0:
				continue
			case 'u':
				dst = append(append(dst, s[from:i]...), '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			default:
				dst = append(append(dst, s[from:i]...), '\\', e)
			}
			from = i + 1
		}
	}
	return append(append(dst, s[from:]...), '"')
}

// needsEscape says whether any of 8 bytes is below 0x20, a quote or a backslash. It may err towards true.
func needsEscape(x uint64) bool {
	const ones, high = 0x0101010101010101, 0x8080808080808080
	quote, backslash := x^(ones*'"'), x^(ones*'\\')
	return ((x-ones*0x20)&^x|(quote-ones)&^quote|(backslash-ones)&^backslash)&high != 0
}
