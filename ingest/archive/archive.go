// Package archive keeps committed WAL in object storage: sealed segments bit-identical to the server's, and of the segment
// still being filled the chunks that publications needed. A node with nothing but the store can go on from it.
package archive

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

var (
	// ErrNoBase: the store holds no WAL archive yet.
	ErrNoBase = fault.New(fault.StoreNoWAL, "the store holds no WAL archive")
	// ErrForeign: the store's archive came from another cluster.
	ErrForeign = fault.New(fault.StoreOther, "the store belongs to another cluster")
	// ErrNotArchived: the position is not in the archive.
	ErrNotArchived = fault.New(fault.StoreNoWAL, "WAL that is not in the archive")
)

// WAL is where committed WAL is read from: the raft log.
type WAL interface {
	// CommitLSN is the end of committed WAL.
	CommitLSN() pg.LSN
	// ReadAt copies committed WAL from lsn on into dst, at most len(dst) bytes of it.
	ReadAt(lsn pg.LSN, dst []byte) (int, error)
}

// putsMax bounds segments uploaded beside each other.
const putsMax = 4

// deletesMax bounds chunks deleted beside each other. A publication waits for them now and then.
const deletesMax = 32

// chunkMax bounds the WAL in one chunk, bytes: with longer segments a publication may put several.
const chunkMax = 16 << 20

// chunksMax bounds the chunks of one segment. A publication a second with little in it would leave tens of thousands before
// the segment is full, and each request for WAL in it lists them all.
const chunksMax = 64

// Archive is the WAL archive of one cluster. Its methods may be called from any goroutine.
//
// Invariant: every byte of [Base().LSN, ArchivedLSN()) is durable in the store.
type Archive struct {
	store    objstore.Store
	wal      WAL
	archived atomic.Uint64 // pg.LSN
	changed  func()        // told when archived moves

	mu      sync.Mutex // held by the one who uploads
	base    Base
	history pg.History     // of the base's timeline
	text    string         // of its history file
	seq     uint64         // of the base object
	tails   map[pg.LSN]int // segments of the base's timeline, by first byte, that may have chunks in the store, and how many
}

// Open finds what the store holds; ErrNoBase with a usable Archive when it holds nothing, for Begin. It reads names and
// sizes alone; bytes are checked when they are read. want, if not zero, is the system identifier the archive must have.
func Open(ctx context.Context, store objstore.Store, wal WAL, want uint64, changed func()) (*Archive, error) {
	a := &Archive{store: store, wal: wal, changed: changed, tails: map[pg.LSN]int{}}
	if err := a.findBase(ctx); err != nil {
		return a, fmt.Errorf("WAL archive: %w", err)
	}
	if want != 0 && a.base.SystemID != want {
		return nil, fmt.Errorf("WAL archive: %w: it holds system %d, the source is %d", ErrForeign, a.base.SystemID, want)
	}
	end, err := a.findEnd(ctx)
	if err != nil {
		return nil, fmt.Errorf("WAL archive: %w", err)
	}
	a.archived.Store(uint64(end))
	return a, nil
}

// findBase reads the newest base object.
func (a *Archive) findBase(ctx context.Context) error {
	newest := ""
	err := a.store.List(ctx, basePrefix, func(o objstore.ObjectInfo) error {
		if seq, ok := parseHex16(strings.TrimPrefix(o.Key, basePrefix)); ok && seq > a.seq {
			newest, a.seq = o.Key, seq
		}
		return nil
	})
	if err != nil {
		return err
	}
	if newest == "" {
		return ErrNoBase
	}
	b, _, err := a.store.Get(ctx, newest)
	if err != nil {
		return err
	}
	var text []byte
	if a.base, text, err = openObject(newest, b, baseMagic); err != nil {
		return err
	}
	a.text = string(text)
	a.history, err = pg.ParseHistory(a.base.Timeline, a.text)
	return err
}

// findEnd walks the names from the base on as far as they continue each other, timeline after timeline, of each no further
// than to where it was left. Of the segment of a switch either name will do: an archive may have begun behind the switch.
func (a *Archive) findEnd(ctx context.Context) (end pg.LSN, err error) {
	end = a.base.LSN
	for _, t := range a.history.Ancestors {
		if t.End <= end {
			continue
		}
		if end, err = a.findEndOf(ctx, t.Timeline, end); err != nil {
			return 0, err
		}
		end = min(end, t.End)
	}
	return a.findEndOf(ctx, a.base.Timeline, end)
}

// findEndOf goes on from end with a timeline's names. Keys come in order of segments, a segment before its chunks, chunks by
// their start.
func (a *Archive) findEndOf(ctx context.Context, tli pg.TimelineID, end pg.LSN) (pg.LSN, error) {
	err := a.store.List(ctx, timelinePrefix(tli), func(o objstore.ObjectInfo) error {
		start, stop, sealed, ok := parseKey(o.Key, tli, a.base.SegmentSize)
		if !ok {
			return nil
		}
		if !sealed && tli == a.base.Timeline {
			a.tails[start.SegmentStart(a.base.SegmentSize)]++
		}
		want := int64(stop - start)
		if !sealed {
			want += objectHeaderSize
		}
		if start <= end && stop > end && start >= a.base.LSN && o.Size == want {
			end = stop
		}
		return nil
	})
	return end, err
}

// Base describes the archive; zero before Begin.
func (a *Archive) Base() Base {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.base
}

// History is that of the base's timeline; zero before Begin.
func (a *Archive) History() pg.History {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.history
}

// ArchivedLSN is the end of WAL that is durable in the store.
func (a *Archive) ArchivedLSN() pg.LSN { return pg.LSN(a.archived.Load()) }

// ArchiveTo returns when every byte before lsn is durable in the store. It is called before each publication.
func (a *Archive) ArchiveTo(ctx context.Context, lsn pg.LSN) error {
	for a.ArchivedLSN() < lsn {
		if err := a.upload(ctx, lsn); err != nil {
			return fmt.Errorf("WAL archive at %s: %w", a.ArchivedLSN(), err)
		}
	}
	return nil
}

// Seal uploads the segments that are full, and no tail.
func (a *Archive) Seal(ctx context.Context) error { return a.ArchiveTo(ctx, a.sealable()) }

// sealable is the end of the last full segment.
func (a *Archive) sealable() pg.LSN {
	b := a.Base()
	if b.SegmentSize == 0 {
		return 0
	}
	return a.wal.CommitLSN().SegmentStart(b.SegmentSize)
}

// upload puts the full segments that follow what is archived, else the tail when lsn lies in it.
func (a *Archive) upload(ctx context.Context, lsn pg.LSN) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, commit := a.ArchivedLSN(), a.wal.CommitLSN()
	if at >= lsn {
		return nil // another call got there
	}
	if commit < lsn {
		return fmt.Errorf("asked for %s, committed is %s: %w", lsn, commit, ErrNotArchived)
	}
	size := pg.LSN(a.base.SegmentSize)
	seg := at.SegmentStart(int64(size))
	n := int(min((commit-seg)/size, putsMax))
	if n == 0 {
		return a.uploadTail(ctx, at, min(commit, at+chunkMax))
	}
	g, gctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() error { return a.uploadSegment(gctx, seg+pg.LSN(i)*size) })
	}
	if err := g.Wait(); err != nil {
		return err // what did arrive is put again, equal
	}
	a.advance(seg + pg.LSN(n)*size)
	for seg := range a.tails {
		if seg+size <= a.ArchivedLSN() {
			_ = a.dropTail(ctx, seg) // what could not be deleted stays in tails for the next time
		}
	}
	return nil
}

// uploadSegment puts one full segment. Durable when it returns nil.
func (a *Archive) uploadSegment(ctx context.Context, start pg.LSN) error {
	buf := make([]byte, a.base.SegmentSize)
	if err := a.read(start, buf); err != nil {
		return err
	}
	_, err := a.store.Put(ctx, segmentKey(a.base.Timeline, start, a.base.SegmentSize), buf)
	return err
}

// uploadTail puts [start, end) of an unsealed segment. Durable when it returns nil. Only bytes not archived before are
// in it, so that publishing often does not store a segment many times over; but when there are many chunks, one that
// begins with the segment takes their place.
func (a *Archive) uploadTail(ctx context.Context, start, end pg.LSN) error {
	seg := start.SegmentStart(a.base.SegmentSize)
	whole := a.tails[seg] >= chunksMax && end-seg <= chunkMax
	if whole {
		start = seg
	}
	buf := make([]byte, objectHeaderSize+int(end-start))
	if err := a.read(start, buf[objectHeaderSize:]); err != nil {
		return err
	}
	head := a.base
	head.LSN = start
	sealObject(buf, chunkMagic, head)
	a.tails[seg]++
	key := chunkKey(a.base.Timeline, start, end, a.base.SegmentSize)
	if _, err := a.store.Put(ctx, key, buf); err != nil {
		return err
	}
	a.advance(end)
	if whole {
		if err := a.dropChunks(ctx, seg, key); err == nil { // else the next one tries again
			a.tails[seg] = 1
		}
	}
	return nil
}

// dropTail deletes the chunks of a segment that is sealed in the store.
func (a *Archive) dropTail(ctx context.Context, seg pg.LSN) error {
	if a.tails[seg] == 0 {
		return nil
	}
	if err := a.dropChunks(ctx, seg, ""); err != nil {
		return err
	}
	delete(a.tails, seg)
	return nil
}

// dropChunks deletes the chunks of a segment but one.
func (a *Archive) dropChunks(ctx context.Context, seg pg.LSN, but string) error {
	var keys []string
	err := a.store.List(ctx, tailPrefix(a.base.Timeline, seg, a.base.SegmentSize), func(o objstore.ObjectInfo) error {
		if o.Key != but {
			keys = append(keys, o.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(deletesMax)
	for _, k := range keys {
		g.Go(func() error { return a.store.Delete(ctx, k) })
	}
	return g.Wait()
}

func (a *Archive) advance(to pg.LSN) {
	a.archived.Store(uint64(to))
	a.changed()
}

// read fills buf with committed WAL from start on.
func (a *Archive) read(start pg.LSN, buf []byte) error {
	for len(buf) > 0 {
		n, err := a.wal.ReadAt(start, buf)
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("no WAL at %s", start)
		}
		start, buf = start+pg.LSN(n), buf[n:]
	}
	return nil
}
