package control

import (
	"strconv"
	"strings"

	"github.com/tarn-db/tarn/internal/pg"
)

// ParseTablespaceMap reads the tablespace_map of a base backup and calls fn for each tablespace and its location: a line "OID path",
// where a backslash stands before a line's end that is part of the path, or before another one (read_tablespace_map).
func ParseTablespaceMap(b []byte, fn func(oid pg.OID, path string)) error {
	var line strings.Builder
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == '\\' && i+1 < len(b):
			i++
			line.WriteByte(b[i])
			continue
		case c != '\n' && c != '\r':
			line.WriteByte(c)
			continue
		}
		if line.Len() == 0 {
			continue
		}
		number, path, _ := strings.Cut(line.String(), " ")
		line.Reset()
		oid, err := strconv.ParseUint(number, 10, 32)
		if err != nil || oid == 0 || path == "" {
			return corruptf("tablespace_map: a line is no tablespace and path: %q", number+" "+path)
		}
		fn(pg.OID(oid), path)
	}
	if line.Len() > 0 {
		return corruptf("tablespace_map: %q has no end", line.String())
	}
	return nil
}
