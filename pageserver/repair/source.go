package repair

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// ErrWALDiffers: the server's own WAL is not the WAL that the store has. Pages of the one do not go with the other.
var ErrWALDiffers = fault.New(fault.RepairWAL, "the server's WAL is not what the store has")

// compareSize is how much WAL is compared at once, bytes.
const compareSize = 256 << 10

// Compare reads what the archive has from an LSN of the plan to archived, its end, and compares it with the server's own WAL. Where they
// differ the error wraps ErrWALDiffers: the server went another way, or its disk has lost WAL that it had said was durable, and then pages
// on it may be newer than what recovery will know of.
func (p *Plan) Compare(archive, local wal.Source, from, archived pg.LSN) error {
	ours, theirs := make([]byte, compareSize), make([]byte, compareSize)
	for at := max(from, p.Redo); at < archived; {
		n, err := archive.Read(at, ours[:min(compareSize, int64(archived-at))])
		if err != nil {
			return fmt.Errorf("read the archive at %s: %w", at, err)
		}
		m, err := readFull(local, at, theirs[:n])
		if err != nil {
			return fmt.Errorf("read the server's WAL at %s: %w", at, err)
		}
		if !bytes.Equal(ours[:m], theirs[:m]) || m < n {
			same := 0
			for same < m && ours[same] == theirs[same] {
				same++
			}
			return p.differs(at+pg.LSN(same), archived)
		}
		at += pg.LSN(n)
	}
	return nil
}

func (p *Plan) differs(at, archived pg.LSN) error {
	if at < p.End {
		return fmt.Errorf("%w: they differ at %s", ErrWALDiffers, at)
	}
	return fmt.Errorf("%w: pg_wal ends at %s and the store has WAL to %s, so the server's disk has lost what it had synced", ErrWALDiffers, p.End, archived)
}

// readFull reads until dst is full or there is no more.
func readFull(s wal.Source, at pg.LSN, dst []byte) (n int, err error) {
	for n < len(dst) {
		m, err := s.Read(at+pg.LSN(n), dst[n:])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// Joined is the archive's WAL as far as it goes, and the server's own behind that.
type Joined struct {
	Archive, Local wal.Source
	Archived       pg.LSN // where the archive ends
}

// Read implements wal.Source.
func (j *Joined) Read(lsn pg.LSN, dst []byte) (int, error) {
	if lsn < j.Archived {
		return j.Archive.Read(lsn, dst[:min(len(dst), int(j.Archived-lsn))])
	}
	return j.Local.Read(lsn, dst)
}
