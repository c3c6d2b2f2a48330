package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/scrub"
)

// Scrub checks a store's WAL archive: its objects go on from each other without a gap; with deep all records, by their checksums. A
// process may write meanwhile.
func Scrub(ctx context.Context, store objstore.Store, deep bool, rep *scrub.Report) error {
	began := time.Now()
	var all []objstore.ObjectInfo
	err := store.List(ctx, prefix, func(o objstore.ObjectInfo) error {
		rep.Saw(o)
		all = append(all, o)
		return nil
	})
	if err != nil {
		return err
	}
	a, err := Open(ctx, store, nil, 0, func() {})
	switch {
	case errors.Is(err, ErrNoBase) && len(all) == 0:
		return nil
	case errors.Is(err, ErrNoBase):
		rep.Add(scrub.Lost, basePrefix, "there is WAL and no object that says where it begins")
		return nil
	case errors.Is(err, pg.ErrCorrupt):
		rep.Add(scrub.Damaged, basePrefix, err.Error())
		return nil
	case err != nil:
		return err
	}
	var behind pg.LSN // start of what lies furthest behind
	for _, o := range all {
		behind = max(behind, a.scrubObject(o, began, rep))
	}
	if err := a.scrubGap(ctx, behind, rep); err != nil {
		return err
	}
	if !deep {
		return nil
	}
	return a.scrubRecords(ctx, rep)
}

// How long a gap is looked at: segments are uploaded beside each other, and one may be there before the one ahead of it.
const (
	gapLooks = 5
	gapPause = time.Second
)

// scrubGap notes WAL that is missing before what starts at behind.
func (a *Archive) scrubGap(ctx context.Context, behind pg.LSN, rep *scrub.Report) error {
	for range gapLooks {
		if behind <= a.ArchivedLSN() {
			return nil
		}
		select {
		case <-time.After(gapPause):
		case <-ctx.Done():
			return ctx.Err()
		}
		end, err := a.findEnd(ctx)
		if err != nil {
			return err
		}
		a.archived.Store(uint64(end))
	}
	if at := a.ArchivedLSN(); behind > at {
		rep.Add(scrub.Lost, segmentKey(a.base.Timeline, at, a.base.SegmentSize), fmt.Sprintf("WAL from %s on is not there, or not whole, and there is more behind it", at))
	}
	return nil
}

// scrubObject looks at one object of WAL and returns where it starts, if it is one of the newest timeline.
func (a *Archive) scrubObject(o objstore.ObjectInfo, began time.Time, rep *scrub.Report) (start pg.LSN) {
	if strings.HasPrefix(o.Key, basePrefix) || strings.HasSuffix(o.Key, ".history") {
		return 0
	}
	for _, tli := range a.history.Line() {
		start, stop, sealed, ok := parseKey(o.Key, tli, a.base.SegmentSize)
		if !ok {
			continue
		}
		want := int64(stop - start)
		if !sealed {
			want += objectHeaderSize
		}
		switch {
		case o.Size != want:
			rep.Add(scrub.Damaged, o.Key, fmt.Sprintf("it has %d bytes, its name says %d", o.Size, want))
		case stop <= a.base.LSN:
			rep.Unnamed(o, began)
		}
		if tli == a.base.Timeline {
			return start
		}
		return 0
	}
	rep.Unnamed(o, began)
	return 0
}

// scrubRecords reads all WAL.
func (a *Archive) scrubRecords(ctx context.Context, rep *scrub.Report) error {
	r, err := wal.NewReader(wal.Options{
		Source: a.Source(ctx), Start: a.base.LSN, Timeline: a.base.Timeline, SystemID: a.base.SystemID, SegmentSize: a.base.SegmentSize,
	})
	if err != nil {
		return err
	}
	for segment := pg.LSN(0); ; {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, pg.ErrCorrupt) {
			rep.Add(scrub.Damaged, prefix, err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		if at := rec.LSN.SegmentStart(a.base.SegmentSize); at != segment {
			segment = at
			rep.Reading()
		}
	}
}
