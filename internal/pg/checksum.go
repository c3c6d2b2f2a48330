package pg

import "encoding/binary"

// checksumLanes is N_SUMS of checksum_impl.h: the words of a page are taken in rows of so many, each column a hash of its own.
const checksumLanes = 32

// checksumBase is checksumBaseOffsets: what the hashes begin with.
var checksumBase = [checksumLanes]uint32{
	0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C,
	0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB,
	0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4,
	0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
}

// mix is CHECKSUM_COMP: FNV-1a with a shift, which lets high bits reach low ones.
func mix(sum, word uint32) uint32 {
	const fnvPrime = 16777619
	sum ^= word
	return sum*fnvPrime ^ sum>>17
}

// ChecksumAs is the checksum the page has as block blk of its fork, whatever it holds in its place (pg_checksum_page). A page that was
// never initialised has none.
func (p Page) ChecksumAs(blk BlockNumber) uint16 {
	sums := checksumBase
	for row := 0; row < BlockSize; row += 4 * checksumLanes {
		words := p[row : row+4*checksumLanes : row+4*checksumLanes]
		for i := range sums {
			word := binary.LittleEndian.Uint32(words[4*i:])
			if row == 0 && i == 2 {
				word &= 0xFFFF0000 // the checksum itself
			}
			sums[i] = mix(sums[i], word)
		}
	}
	result := uint32(0)
	for _, sum := range sums {
		result ^= mix(mix(sum, 0), 0)
	}
	return uint16((result^uint32(blk))%65535 + 1)
}
