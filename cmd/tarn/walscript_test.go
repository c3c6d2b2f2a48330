package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/walfixture"
)

// cmdWALFolder writes the WAL recorded from a real server as segment files: `walfolder MAJOR DIR [OFFSET]` with, if
// given, one bit flipped at OFFSET bytes from its start.
func cmdWALFolder(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: walfolder MAJOR DIR [OFFSET]")
	}
	major, err := strconv.Atoi(args[0])
	ts.Check(err)
	w, err := walfixture.Load(pg.Major(major))
	ts.Check(err)
	if len(args) == 3 {
		at, err := strconv.Atoi(args[2])
		ts.Check(err)
		w.Bytes[at] ^= 1
	}
	dir := ts.MkAbs(args[1])
	ts.Check(os.MkdirAll(dir, 0o700))
	for off := int64(0); off < int64(len(w.Bytes)); off += w.SegmentSize() {
		seg := w.Bytes[off:min(off+w.SegmentSize(), int64(len(w.Bytes)))]
		if int64(len(seg)) < w.SegmentSize() {
			seg = append(seg[:len(seg):len(seg)], make([]byte, w.SegmentSize()-int64(len(seg)))...)
		}
		ts.Check(os.WriteFile(filepath.Join(dir, pg.WALFileName(1, w.Start+pg.LSN(off), w.SegmentSize())), seg, 0o600))
	}
}

// cmdWALArchive has the archiver store recorded WAL: `walarchive MAJOR DIR`. Its last object is a tail, not a segment.
func cmdWALArchive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: walarchive MAJOR DIR")
	}
	major, err := strconv.Atoi(args[0])
	ts.Check(err)
	w, err := walfixture.Load(pg.Major(major))
	ts.Check(err)
	store, err := objstore.Open(context.Background(), "file://"+ts.MkAbs(args[1]), objstore.Options{})
	ts.Check(err)
	defer store.Close()
	ctx := context.Background()
	a, err := archive.Open(ctx, store, recorded{w}, 0, func() {})
	if !errors.Is(err, archive.ErrNoBase) {
		ts.Fatalf("opening an empty archive: %v", err)
	}
	header, err := wal.ParsePageHeader(w.Bytes[:wal.PageSize])
	ts.Check(err)
	ts.Check(a.Begin(ctx, archive.Base{SystemID: header.SystemID, Timeline: 1, SegmentSize: w.SegmentSize(), LSN: w.Start}, nil))
	ts.Check(a.ArchiveTo(ctx, w.End()))
}

// recorded is a committed log that holds a recording.
type recorded struct{ *walfixture.WAL }

func (r recorded) CommitLSN() pg.LSN { return r.End() }

func (r recorded) ReadAt(lsn pg.LSN, dst []byte) (int, error) { return r.Read(lsn, dst) }
