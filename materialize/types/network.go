package types

import (
	"strconv"
)

const hexDigits = "0123456789abcdef"

// inet and cidr (inet_struct): family 1 byte (2 IPv4, 3 IPv6), netmask bits 1 byte, address 4 or 16 bytes.
const (
	familyIPv4 = 2 // PGSQL_AF_INET
	familyIPv6 = 3 // PGSQL_AF_INET6
)

// appendInet prints address/bits, without bits if they are all of the address (inet_out).
func appendInet(dst, v []byte) ([]byte, error) { return appendNetwork(dst, v, false) }

// appendCidr prints address/bits (cidr_out).
func appendCidr(dst, v []byte) ([]byte, error) { return appendNetwork(dst, v, true) }

func appendNetwork(dst, v []byte, always bool) ([]byte, error) {
	full := 0
	switch {
	case len(v) >= 6 && v[0] == familyIPv4:
		full = 32
		dst = appendIPv4(dst, v[2:6])
	case len(v) >= 18 && v[0] == familyIPv6:
		full = 128
		dst = appendIPv6(dst, v[2:18])
	default:
		return dst, corrupt("network address of %d bytes", len(v))
	}
	n := int(v[1])
	if n > full {
		return dst, corrupt("network address with %d bits of %d", n, full)
	}
	if always || n != full {
		dst = strconv.AppendInt(append(dst, '/'), int64(n), 10)
	}
	return dst, nil
}

func appendIPv4(dst, a []byte) []byte {
	for i, c := range a[:4] {
		if i > 0 {
			dst = append(dst, '.')
		}
		dst = strconv.AppendUint(dst, uint64(c), 10)
	}
	return dst
}

// appendIPv6 prints the longest run of two or more zero words as ::, and addresses that carry an IPv4 address with
// that address (inet_net_ntop_ipv6).
func appendIPv6(dst, a []byte) []byte {
	var words [8]uint16
	for i := range words {
		words[i] = uint16(a[2*i])<<8 | uint16(a[2*i+1])
	}
	best, bestLen := -1, 1
	for i := 0; i < 8; i++ {
		n := 0
		for i+n < 8 && words[i+n] == 0 {
			n++
		}
		if n > bestLen {
			best, bestLen = i, n
		}
		i += n
	}
	for i := 0; i < 8; i++ {
		if i == best {
			dst = append(dst, ':')
			i += bestLen - 1
			if i == 7 {
				dst = append(dst, ':')
			}
			continue
		}
		if i > 0 {
			dst = append(dst, ':')
		}
		if i == 6 && best == 0 && (bestLen == 6 || bestLen == 5 && words[5] == 0xFFFF) {
			return appendIPv4(dst, a[12:])
		}
		dst = strconv.AppendUint(dst, uint64(words[i]), 16)
	}
	return dst
}

func appendHexPairs(dst, v []byte) []byte {
	for i, c := range v {
		if i > 0 {
			dst = append(dst, ':')
		}
		dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
	}
	return dst
}

// appendMacaddr prints 6 bytes (macaddr_out), appendMacaddr8 8 (macaddr8_out).
func appendMacaddr(dst, v []byte) []byte  { return appendHexPairs(dst, v[:6]) }
func appendMacaddr8(dst, v []byte) []byte { return appendHexPairs(dst, v[:8]) }
