// Package pglz undoes Postgres's own compression, which TOAST values and page images may have.
package pglz

import "errors"

// ErrCorrupt says the compressed data is damaged, or is not as long decompressed as it was said to be.
var ErrCorrupt = errors.New("corrupt pglz data")

// Decompress fills dst from all of src and returns len(dst) (pglz_decompress with check_complete): src must end where
// dst does, otherwise it returns ErrCorrupt and how far it got. src is a bare stream, without a varlena header.
//
// The stream is groups of a control byte and eight items, the lowest control bit first. A 0 bit is a literal byte.
// A 1 bit is a match, copied from what was already written:
//
//	byte 0: high 4 bits of the offset, length - 3 in the low 4   byte 1: low 8 bits of the offset
//	[byte 2: length - 18, if the length is 18 or more]
func Decompress(src, dst []byte) (int, error) {
	s, d, ok := decompress(src, dst)
	if !ok || s != len(src) || d != len(dst) {
		return d, ErrCorrupt
	}
	return d, nil
}

// DecompressPrefix fills dst with the start of a value from a stream that may go on, or be cut, after it
// (pglz_decompress without check_complete). It returns how many bytes it wrote.
func DecompressPrefix(src, dst []byte) (int, error) {
	_, d, ok := decompress(src, dst)
	if !ok {
		return d, ErrCorrupt
	}
	return d, nil
}

func decompress(src, dst []byte) (s, d int, ok bool) {
	for s < len(src) && d < len(dst) {
		ctrl := src[s]
		s++
		for range 8 {
			if s >= len(src) || d >= len(dst) {
				break
			}
			if ctrl&1 == 0 {
				dst[d] = src[s]
				s++
				d++
				ctrl >>= 1
				continue
			}
			ctrl >>= 1
			if s+2 > len(src) {
				return s, d, false
			}
			n := int(src[s]&0x0F) + 3
			off := int(src[s]&0xF0)<<4 | int(src[s+1])
			s += 2
			if n == 18 {
				if s >= len(src) {
					return s, d, false
				}
				n += int(src[s])
				s++
			}
			if off == 0 || off > d {
				return s, d, false
			}
			n = min(n, len(dst)-d)
			// A match may overlap what it writes: each copy doubles the run that can be copied at once.
			for n > 0 {
				c := copy(dst[d:d+min(n, off)], dst[d-off:])
				d += c
				n -= c
				off += c
			}
		}
	}
	return s, d, true
}
