package pgtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"path/filepath"
	"strings"
	"sync"
)

// templates are the data directories that initdb made for tests of this process, by program and arguments. initdb takes
// about a second, a copy a tenth of that.
var templates = struct {
	sync.Mutex
	made   map[string]datadir
	copies uint64
}{made: map[string]datadir{}}

// makeData makes the data directory: by initdb or, for a test, as a copy of one that initdb made before with the same
// arguments, under a system identifier of its own.
func (s *Server) makeData(ctx context.Context) error {
	if !s.opts.fromTemplate {
		return s.initdb(ctx)
	}
	made, n, err := s.template(ctx)
	if err != nil || n == 0 {
		return err
	}
	copied, err := made.renumber(n)
	if err != nil {
		return err
	}
	return copied.write(s.DataDir())
}

// template returns the data directory to copy and the copy's number; where there was none it is the server's own that has
// been made, and the number is 0.
func (s *Server) template(ctx context.Context) (datadir, uint64, error) {
	templates.Lock()
	defer templates.Unlock()
	key := strings.Join(append([]string{s.found}, s.opts.InitdbArgs...), "\x00")
	if made, ok := templates.made[key]; ok {
		templates.copies++
		return made, templates.copies, nil
	}
	if err := s.initdb(ctx); err != nil {
		return nil, 0, err
	}
	made, err := readDatadir(s.DataDir())
	if err == nil {
		templates.made[key] = made
	}
	return made, 0, err
}

// renumber returns the cluster with a system identifier that is higher by n: two servers must not take each other's WAL for
// their own. The identifier is in pg_control and in the header of each WAL segment.
func (d datadir) renumber(n uint64) (datadir, error) {
	d = append(datadir{}, d...)
	for i, e := range d {
		switch {
		case e.path == "global/pg_control":
			b := make([]byte, e.size) // its CRC may end in a zero
			copy(b, e.data)
			if err := renumberControl(b, n); err != nil {
				return nil, err
			}
			d[i].data = b
		case filepath.Dir(e.path) == "pg_wal" && len(e.data) >= walSystemIDAt+8:
			d[i].data = bytes.Clone(e.data)
			addUint64(d[i].data[walSystemIDAt:], n)
		}
	}
	return d, nil
}

// walSystemIDAt is the offset of xlp_sysid in a segment's first page (XLogLongPageHeaderData).
const walSystemIDAt = 24

// renumberControl changes pg_control, which begins with the identifier. A CRC of all fields before it ends them; where that
// is differs by version, so it is looked for.
func renumberControl(b []byte, n uint64) error {
	castagnoli := crc32.MakeTable(crc32.Castagnoli)
	for at := 256; at < 512 && at+4 <= len(b); at += 4 {
		if crc32.Checksum(b[:at], castagnoli) == binary.LittleEndian.Uint32(b[at:]) {
			addUint64(b, n)
			binary.LittleEndian.PutUint32(b[at:], crc32.Checksum(b[:at], castagnoli))
			return nil
		}
	}
	return errors.New("no CRC found in pg_control")
}

func addUint64(b []byte, n uint64) {
	binary.LittleEndian.PutUint64(b, binary.LittleEndian.Uint64(b)+n)
}
