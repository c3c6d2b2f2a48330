package lakecheck

import (
	"crypto/sha256"
	"encoding/hex"
	"math/bits"
	"strconv"
)

// checksum is the sum modulo 2^128 of the first 16 bytes of the SHA-256 of each row: it depends on the multiset of rows,
// not on their order, and unlike an exclusive or it sees a row that is there twice.
type checksum struct{ high, low uint64 }

func (c *checksum) add(row []byte) {
	sum := sha256.Sum256(row)
	var carry uint64
	c.low, carry = bits.Add64(c.low, be64(sum[8:16]), 0)
	c.high, _ = bits.Add64(c.high, be64(sum[:8]), carry)
}

func (c checksum) String() string {
	b := make([]byte, 0, 16)
	for _, word := range [2]uint64{c.high, c.low} {
		for shift := 56; shift >= 0; shift -= 8 {
			b = append(b, byte(word>>shift))
		}
	}
	return hex.EncodeToString(b)
}

func be64(b []byte) uint64 {
	var v uint64
	for _, x := range b[:8] {
		v = v<<8 | uint64(x)
	}
	return v
}

// appendToken appends a value's token: "N;" for NULL (nil), else its length in bytes, a colon, the text, a semicolon.
func appendToken(row, text []byte) []byte {
	if text == nil {
		return append(row, "N;"...)
	}
	row = strconv.AppendInt(row, int64(len(text)), 10)
	row = append(row, ':')
	row = append(row, text...)
	return append(row, ';')
}
