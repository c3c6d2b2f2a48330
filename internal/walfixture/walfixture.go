// Package walfixture holds small WAL streams recorded from real servers, for tests of what reads WAL.
//
// Each is one server's whole WAL from its first segment on, with 1 MiB segments, compressed. How they are made:
// TestRecordFixtures in ingest/wal/waldump.
package walfixture

import (
	"embed"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/tarn-db/tarn/internal/pg"
)

//go:embed testdata
var files embed.FS

// SegmentSize is the segment size of the recorded servers, bytes.
const SegmentSize = 1 << 20

// WAL is a stream of WAL in memory. It has the Read method that ingest/wal asks of a source.
type WAL struct {
	Start      pg.LSN // of Bytes
	Bytes      []byte
	SegmentLen int64 // bytes
}

// Load returns the recorded stream of a major; there is one for 15 and for 18.
func Load(major pg.Major) (*WAL, error) {
	b, err := files.ReadFile(fmt.Sprintf("testdata/pg%d.wal.zst", major))
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil)
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	raw, err := dec.DecodeAll(b, nil)
	if err != nil {
		return nil, err
	}
	return &WAL{Start: pg.LSN(binary.LittleEndian.Uint64(raw[8:])), Bytes: raw, SegmentLen: SegmentSize}, nil
}

// SegmentSize is the stream's segment size, bytes.
func (w *WAL) SegmentSize() int64 { return w.SegmentLen }

// End is the position after the last byte.
func (w *WAL) End() pg.LSN { return w.Start + pg.LSN(len(w.Bytes)) }

// Read copies WAL from lsn on into dst; it returns io.EOF past the end.
func (w *WAL) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn < w.Start {
		return 0, fmt.Errorf("fixture starts at %s, not at %s", w.Start, lsn)
	}
	if lsn >= w.End() {
		return 0, io.EOF
	}
	return copy(dst, w.Bytes[lsn-w.Start:]), nil
}
