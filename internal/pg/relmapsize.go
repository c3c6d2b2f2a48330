package pg

// RelMapFileSize is sizeof(RelMapFile), the length of pg_filenode.map in bytes: 62 slots padded to 512 in 15, 64
// slots without padding from 16.
func (m Major) RelMapFileSize() int {
	if m <= PG15 {
		return 512
	}
	return 524
}
