// Package toast finds out-of-line values in the pages of a TOAST relation at a cut. Postgres finds them through the
// relation's btree; until that is redone too, an index of value id to chunk addresses stands in for it.
//
// The index is a cache: it lives in a local folder, is never trusted (each chunk found is compared with what was asked
// for) and is rebuilt from the pages of the relation when it does not know a value. Losing it costs one scan.
package toast

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/visible"
)

// Pages is the page store at the cut.
type Pages interface {
	visible.Transactions
	Page(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, blk pg.BlockNumber) (pg.Page, error)
	NBlocks(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber) (pg.BlockNumber, bool, error)
	Scan(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber, from, to pg.BlockNumber, fn func(pg.BlockNumber, pg.Page) error) error
}

// Relation is a TOAST relation's file; Created tells it from an earlier tenant of the same file number.
type Relation struct {
	File    pg.RelFileLocator
	Created pg.LSN
}

// Index maps values to chunks. Its methods are safe for concurrent use, but Update and readers of one relation must
// not overlap.
type Index struct {
	db *pebble.DB

	mu       sync.Mutex
	present  map[Relation]bool // there may be entries
	complete map[Relation]bool // scanned whole in this process, and kept so by Update
	scans    map[Relation]*sync.Mutex
}

// Open opens the index in a folder of its own, which may vanish between runs. cacheBytes bounds its block cache. fatal is
// called, from any goroutine, when the folder cannot be written any more, as with a full disk: it must not return.
func Open(dir string, cacheBytes int64, fatal func(error)) (*Index, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("toast index: %w", err)
	}
	cache := pebble.NewCache(cacheBytes)
	defer cache.Unref()
	opts := &pebble.Options{Cache: cache, MemTableSize: 8 << 20, DisableWAL: true, Logger: quiet{dir, fatal}}
	db, err := pebble.Open(dir, opts)
	if err != nil {
		// A cache that does not open is thrown away.
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("toast index: %w", err)
		}
		if db, err = pebble.Open(dir, opts); err != nil {
			return nil, fmt.Errorf("toast index %s: %w", dir, err)
		}
	}
	x := &Index{db: db, present: map[Relation]bool{}, complete: map[Relation]bool{}, scans: map[Relation]*sync.Mutex{}}
	if err := x.list(); err != nil {
		return nil, errors.Join(fmt.Errorf("toast index %s: %w", dir, err), db.Close())
	}
	return x, nil
}

// Close closes the folder.
func (x *Index) Close() error { return x.db.Close() }

// An entry, big-endian so that a value's chunks are neighbours in order:
//
//	key:   spc u32 | db u32 | rel u32 | created u64 | value id u32 | chunk seq u32
//	value: block u32 | offset u16
const keySize = 28

func key(dst []byte, r Relation, value pg.OID, seq uint32) []byte {
	dst = binary.BigEndian.AppendUint32(dst[:0], uint32(r.File.Spc))
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.File.DB))
	dst = binary.BigEndian.AppendUint32(dst, uint32(r.File.Rel))
	dst = binary.BigEndian.AppendUint64(dst, uint64(r.Created))
	dst = binary.BigEndian.AppendUint32(dst, uint32(value))
	return binary.BigEndian.AppendUint32(dst, seq)
}

// Update indexes every chunk on the given blocks, those that changed since the last cut, and forgets the dead ones there.
func (x *Index) Update(ctx context.Context, p Pages, r Relation, blocks func(yield func(pg.BlockNumber) bool)) error {
	b := x.db.NewBatch()
	defer func() { b.Close() }()
	var err error
	blocks(func(blk pg.BlockNumber) bool {
		var page pg.Page
		if page, err = p.Page(ctx, r.File, pg.MainFork, blk); err == nil && page != nil {
			err = addPage(b, p, r, blk, page)
		}
		if err == nil && b.Len() > 4<<20 {
			err = b.Commit(pebble.NoSync)
			b.Reset()
		}
		return err == nil
	})
	if err != nil {
		return err
	}
	return b.Commit(pebble.NoSync)
}

// addPage indexes the visible chunks of one page. The entry of a chunk that is not visible goes: no value that can be
// asked for has it, and if its transaction commits later the block is looked at again. So the index does not grow with
// values that were replaced, but for those pruned before a cut saw them dead.
func addPage(b *pebble.Batch, p Pages, r Relation, blk pg.BlockNumber, page pg.Page) error {
	var k [keySize]byte
	var v [6]byte
	n, err := page.HeapItems()
	if err != nil {
		return fmt.Errorf("TOAST relation %s block %d: %w", r.File, blk, err)
	}
	for off := pg.OffsetNumber(1); int(off) <= n; off++ {
		t, ok, err := page.HeapTuple(off)
		if err != nil {
			return fmt.Errorf("TOAST relation %s block %d: %w", r.File, blk, err)
		}
		if !ok {
			continue
		}
		live, err := visible.Tuple(t, p)
		if err != nil {
			return err
		}
		id, seq, _, ok := chunk(t)
		switch {
		case live && !ok:
			return &pg.CorruptError{Rel: r.File, Block: blk, What: fmt.Sprintf("TOAST tuple %d does not parse", off)}
		case live:
			binary.BigEndian.PutUint32(v[:], uint32(blk))
			binary.BigEndian.PutUint16(v[4:], uint16(off))
			err = b.Set(key(k[:], r, id, seq), v[:], nil)
		case ok:
			err = b.Delete(key(k[:], r, id, seq), nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// chunk takes a TOAST tuple apart: chunk_id oid, chunk_seq int4, chunk_data bytea (never compressed or external).
func chunk(t pg.HeapTuple) (value pg.OID, seq uint32, data []byte, ok bool) {
	h := t.Hoff()
	if h < pg.HeapTupleHeaderSize || h+9 > len(t) {
		return 0, 0, nil, false
	}
	b := t[h:]
	value, seq = pg.OID(binary.LittleEndian.Uint32(b)), binary.LittleEndian.Uint32(b[4:])
	b = b[8:]
	if b[0]&1 == 1 { // short header: length in the upper 7 bits, itself included
		n := int(b[0] >> 1)
		if n < 1 || n > len(b) {
			return 0, 0, nil, false
		}
		return value, seq, b[1:n], true
	}
	if len(b) < 4 || b[0]&3 != 0 {
		return 0, 0, nil, false
	}
	n := int(binary.LittleEndian.Uint32(b) >> 2)
	if n < 4 || n > len(b) {
		return 0, 0, nil, false
	}
	return value, seq, b[4:n], true
}

// Fetch appends a value's chunks, size bytes in all, to dst.
func (x *Index) Fetch(ctx context.Context, p Pages, r Relation, value pg.OID, size int, dst []byte) ([]byte, error) {
	start := len(dst)
	out, err := x.fetch(ctx, p, r, value, size, dst)
	if err != nil {
		return dst, err
	}
	if len(out)-start == size {
		return out, nil
	}
	if scanned, err := x.scan(ctx, p, r); err != nil {
		return dst, err
	} else if scanned {
		if out, err = x.fetch(ctx, p, r, value, size, dst[:start]); err != nil {
			return dst, err
		}
	}
	if len(out)-start != size {
		return dst[:start], &pg.CorruptError{Rel: r.File, What: fmt.Sprintf("TOAST value %d has %d bytes, its pointer says %d", value, len(out)-start, size)}
	}
	return out, nil
}

// fetch appends what the index knows; it stops short at the first chunk that is not where the index says.
func (x *Index) fetch(ctx context.Context, p Pages, r Relation, value pg.OID, size int, dst []byte) ([]byte, error) {
	var lo, hi [keySize]byte
	it, err := x.db.NewIter(&pebble.IterOptions{LowerBound: key(lo[:], r, value, 0), UpperBound: key(hi[:], r, value, 1<<31)})
	if err != nil {
		return dst, err
	}
	defer it.Close()
	start := len(dst)
	next := uint32(0)
	for ok := it.First(); ok && len(dst)-start < size; ok = it.Next() {
		k, v := it.Key(), it.Value()
		if len(v) != 6 || binary.BigEndian.Uint32(k[keySize-4:]) != next {
			return dst, nil
		}
		blk, off := pg.BlockNumber(binary.BigEndian.Uint32(v)), pg.OffsetNumber(binary.BigEndian.Uint16(v[4:]))
		page, err := p.Page(ctx, r.File, pg.MainFork, blk)
		if err != nil {
			return dst, err
		}
		if page == nil {
			return dst, nil
		}
		t, ok := page.Tuple(off)
		if !ok {
			return dst, nil
		}
		if ok, err := visible.Tuple(t, p); err != nil || !ok {
			return dst, err
		}
		id, seq, data, ok := chunk(t)
		if !ok || id != value || seq != next {
			return dst, nil
		}
		dst = append(dst, data...)
		next++
	}
	return dst, it.Error()
}

// scan indexes a whole relation, once per process and relation. It says whether the index may know more now.
func (x *Index) scan(ctx context.Context, p Pages, r Relation) (bool, error) {
	x.mu.Lock()
	m := x.scans[r]
	if m == nil {
		m = &sync.Mutex{}
		x.scans[r] = m
	}
	x.mu.Unlock()
	m.Lock()
	defer m.Unlock()
	x.mu.Lock()
	done := x.complete[r]
	x.mu.Unlock()
	if done {
		return true, nil
	}
	n, ok, err := p.NBlocks(ctx, r.File, pg.MainFork)
	if err != nil || !ok {
		return false, err
	}
	if err := x.clear(r); err != nil { // of what an earlier process knew
		return false, err
	}
	x.mu.Lock()
	x.present[r] = true
	x.mu.Unlock()
	b := x.db.NewBatch()
	defer func() { b.Close() }()
	err = p.Scan(ctx, r.File, pg.MainFork, 0, n, func(blk pg.BlockNumber, page pg.Page) error {
		if err := addPage(b, p, r, blk, page); err != nil {
			return err
		}
		if b.Len() < 4<<20 {
			return nil
		}
		err := b.Commit(pebble.NoSync)
		b.Reset()
		return err
	})
	if err != nil {
		return false, err
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return false, err
	}
	x.mu.Lock()
	x.complete[r] = true
	x.mu.Unlock()
	return true, nil
}

// quiet is pebble's logger. What it has to say besides fatal errors it returns as errors too.
type quiet struct {
	dir   string
	fatal func(error)
}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (q quiet) Fatalf(format string, args ...any) {
	q.fatal(fmt.Errorf("toast index in %s: %s: free space on that disk and start again, the index is made anew", q.dir, fmt.Sprintf(format, args...)))
	panic("BUG: a fatal error of the toast index was passed over")
}
