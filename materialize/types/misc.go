package types

import (
	"bytes"
	"encoding/hex"
	"strconv"
	"unicode/utf8"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/datafile/column"
)

// appendChar prints type "char": nothing for zero, an octal escape for bytes that are no ASCII (charout, from 16).
func appendChar(dst, v []byte) []byte {
	switch c := v[0]; {
	case c == 0:
		return dst
	case c >= 0x80:
		return append(dst, '\\', '0'+c>>6, '0'+c>>3&7, '0'+c&7)
	default:
		return append(dst, c)
	}
}

// appendBits prints bit and varbit: bit length int32, then bits from the highest of each byte (varbit_out).
func appendBits(dst, v []byte) ([]byte, error) {
	if len(v) < 4 || (uint64(le.Uint32(v))+7)/8 != uint64(len(v)-4) {
		return dst, corrupt("bit string of %d bytes", len(v))
	}
	n := int(le.Uint32(v))
	for i := range n {
		dst = append(dst, '0'+v[4+i/8]>>(7-i%8)&1)
	}
	return dst, nil
}

// appendLSN prints pg_lsn (pg_lsn_out).
func appendLSN(dst, v []byte) []byte {
	hex := func(x uint32) {
		shift := 28
		for shift > 0 && x>>shift == 0 {
			shift -= 4
		}
		for ; shift >= 0; shift -= 4 {
			dst = append(dst, "0123456789ABCDEF"[x>>shift&15])
		}
	}
	l := le.Uint64(v)
	hex(uint32(l >> 32))
	dst = append(dst, '/')
	hex(uint32(l))
	return dst
}

// appendTID prints tid: block as two halves, the higher first, then offset (tidout).
func appendTID(dst, v []byte) []byte {
	block := pg.BlockNumber(le.Uint16(v))<<16 | pg.BlockNumber(le.Uint16(v[2:]))
	dst = strconv.AppendUint(append(dst, '('), uint64(block), 10)
	return append(strconv.AppendUint(append(dst, ','), uint64(le.Uint16(v[4:])), 10), ')')
}

// appendMoney prints Cash, int64 cents, as cash_out does when lc_monetary is C or en_US.
func appendMoney(dst, v []byte) []byte {
	c := le.Uint64(v)
	if int64(c) < 0 {
		dst = append(dst, '-')
		c = -c
	}
	dst = append(dst, '$')
	start := len(dst)
	dst = strconv.AppendUint(dst, c/100, 10)
	digits := len(dst) - start
	commas := (digits - 1) / 3
	for range commas {
		dst = append(dst, 0)
	}
	for from, to := start+digits-1, len(dst)-1; from < to; {
		for range 3 {
			dst[to] = dst[from]
			to, from = to-1, from-1
		}
		dst[to] = ','
		to--
	}
	return append(dst, '.', byte('0'+c%100/10), byte('0'+c%10))
}

// appendSnapshot prints pg_snapshot and txid_snapshot: nxip uint32, xmin, xmax and nxip ids of 8 bytes (pg_snapshot_out).
func appendSnapshot(dst, v []byte) ([]byte, error) {
	if len(v) < 20 || uint64(le.Uint32(v)) != uint64(len(v)-20)/8 {
		return dst, corrupt("snapshot of %d bytes", len(v))
	}
	dst = append(strconv.AppendUint(dst, le.Uint64(v[4:]), 10), ':')
	dst = append(strconv.AppendUint(dst, le.Uint64(v[12:]), 10), ':')
	for i := range int(le.Uint32(v)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendUint(dst, le.Uint64(v[20+8*i:]), 10)
	}
	return dst, nil
}

var tsvectorCodec = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
	start := len(b.Buf())
	dst, err := appendTSVector(b.Buf(), v)
	if err != nil {
		return err
	}
	if !utf8.Valid(dst[start:]) {
		return errNotUTF8
	}
	b.EndBytes(dst)
	return nil
}}

// appendTSVector prints TSVectorData (tsvectorout): size int32; an entry for each lexeme: 1 bit has positions, 11 bits
// length, 20 bits offset in what follows; the lexemes, each followed, at an even offset, by count uint16 and positions
// of 2 bits weight and 14 bits position.
func appendTSVector(dst, v []byte) ([]byte, error) {
	if len(v) < 4 || uint64(le.Uint32(v)) > uint64(len(v)-4)/4 {
		return dst, corrupt("tsvector of %d bytes", len(v))
	}
	n := int(le.Uint32(v))
	entries, data := v[4:4+4*n], v[4+4*n:]
	for i := range n {
		e := le.Uint32(entries[4*i:])
		from := int(e >> 12)
		to := from + int(e>>1&0x7FF)
		if to > len(data) {
			return dst, corrupt("lexeme of a tsvector ends at byte %d of %d", to, len(data))
		}
		if i > 0 {
			dst = append(dst, ' ')
		}
		dst = append(dst, '\'')
		for _, c := range data[from:to] {
			if c == '\'' || c == '\\' {
				dst = append(dst, c)
			}
			dst = append(dst, c)
		}
		dst = append(dst, '\'')
		if e&1 == 0 {
			continue
		}
		at := (to + 1) &^ 1
		if at+2 > len(data) || at+2+2*int(le.Uint16(data[at:])) > len(data) {
			return dst, corrupt("positions of a tsvector at byte %d of %d", at, len(data))
		}
		dst = appendPositions(dst, data[at+2:at+2+2*int(le.Uint16(data[at:]))])
	}
	return dst, nil
}

func appendPositions(dst, v []byte) []byte {
	sep := byte(':')
	for ; len(v) >= 2; v = v[2:] {
		p := le.Uint16(v)
		dst = strconv.AppendUint(append(dst, sep), uint64(p&0x3FFF), 10)
		if w := p >> 14; w > 0 {
			dst = append(dst, "DCBA"[w])
		}
		sep = ','
	}
	return dst
}

var xmlCodec = &codec{varlena: true, value: func(_ *Env, v []byte, b *column.Builder) error {
	if !utf8.Valid(v) {
		return errNotUTF8
	}
	b.EndBytes(appendXML(b.Buf(), v))
	return nil
}}

// appendXML prints xml as xml_out does: the declaration's encoding is dropped, and with it the declaration if it says
// nothing else than version 1.0. xml_in has checked the declaration's syntax; one not understood stays as it is.
func appendXML(dst, v []byte) []byte {
	if !bytes.HasPrefix(v, []byte("<?xml")) || len(v) < 6 || !isXMLSpace(v[5]) {
		return append(dst, v...)
	}
	end := bytes.Index(v, []byte("?>"))
	if end < 0 {
		return append(dst, v...)
	}
	version, standalone := "1.0", ""
	for rest := v[5:end]; ; {
		rest = bytes.TrimLeft(rest, " \t\r\n")
		if len(rest) == 0 {
			break
		}
		name, after, ok := bytes.Cut(rest, []byte("="))
		after = bytes.TrimLeft(after, " \t\r\n")
		if !ok || len(after) < 2 || after[0] != '"' && after[0] != '\'' {
			return append(dst, v...)
		}
		value, tail, ok := bytes.Cut(after[1:], after[:1])
		if !ok {
			return append(dst, v...)
		}
		switch string(bytes.TrimRight(name, " \t\r\n")) {
		case "version":
			version = string(value)
		case "standalone":
			standalone = string(value)
		}
		rest = tail
	}
	rest := v[end+2:]
	if version == "1.0" && standalone == "" {
		if len(rest) > 0 && rest[0] == '\n' {
			rest = rest[1:]
		}
		return append(dst, rest...)
	}
	dst = append(append(append(dst, `<?xml version="`...), version...), '"')
	if standalone != "" {
		dst = append(append(append(dst, ` standalone="`...), standalone...), '"')
	}
	return append(append(dst, "?>"...), rest...)
}

func isXMLSpace(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

// appendUUID prints pg_uuid_t (uuid_out): 16 bytes.
func appendUUID(dst, v []byte) []byte {
	for i, b := range v[:16] {
		if i == 4 || i == 6 || i == 8 || i == 10 {
			dst = append(dst, '-')
		}
		dst = hex.AppendEncode(dst, []byte{b})
	}
	return dst
}
