package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"math"
	"os"

	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/dgraph-io/badger/v4/options"
	badger "github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"

	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
)

const blockBytes = 128 << 10 // 16 pages, as tarn's groups have

var formats = []format{
	{"tarn", writeTarn, openTarn, mergeTarn},
	{"pebble balanced", writePebble(block.BalancedCompression), openPebble, mergePebble(block.BalancedCompression)},
	{"pebble zstd 3", writePebble(block.ZstdCompression), openPebble, mergePebble(block.ZstdCompression)},
	{"pebble minlz", writePebble(block.MinLZCompression), openPebble, mergePebble(block.MinLZCompression)},
	{"badger zstd 1", writeBadger, openBadger, mergeBadger},
}

var errMissing = errors.New("the key is not there")

func writeTarn(path string, entries []entry) error {
	return writeLayer(path, layerKind(entries), func(w *layer.Writer) error {
		for i := range entries {
			if err := w.Add(entries[i].key, entries[i].value); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeLayer(path string, kind layer.Kind, fill func(*layer.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	b := bufio.NewWriterSize(f, 1<<20)
	w, err := layer.NewWriter(b, kind, 1)
	if err != nil {
		return err
	}
	if err := fill(w); err != nil {
		return err
	}
	if _, err := w.Close(); err != nil {
		return err
	}
	return b.Flush()
}

// mergeTarn takes groups over as they are stored where nothing is replaced, as pageserver's merger does.
func mergeTarn(path string, from table, replaced []entry) error {
	t := from.(*tarnTable)
	next := replacing(replaced)
	return writeLayer(path, t.kind, func(w *layer.Writer) error {
		for i := range t.index.Groups {
			g := &t.index.Groups[i]
			if !next.within(g.Last[:]) {
				b := make([]byte, g.Length)
				if err := t.src.read(b, g.Offset); err != nil {
					return err
				}
				if err := w.AddGroup(*g, b); err != nil {
					return err
				}
				continue
			}
			v, err := t.group(i, nil)
			if err != nil {
				return err
			}
			if err := v.Each(func(k key.Key, value []byte) error { return w.Add(k, next.of(k[:], value)) }); err != nil {
				return err
			}
		}
		return nil
	})
}

// replacements are values that take the place of others, in the order of keys.
type replacements struct{ rest []entry }

func replacing(entries []entry) *replacements { return &replacements{entries} }

// within says whether there is one up to a key.
func (r *replacements) within(last []byte) bool {
	return len(r.rest) > 0 && bytes.Compare(r.rest[0].key[:], last) <= 0
}

// of is the value that a key has now.
func (r *replacements) of(k, value []byte) []byte {
	if len(r.rest) > 0 && bytes.Equal(r.rest[0].key[:], k) {
		value, r.rest = r.rest[0].value, r.rest[1:]
	}
	return value
}

func layerKind(entries []entry) layer.Kind {
	if entries[len(entries)-1].key.Kind() == key.Image {
		return layer.Delta
	}
	return layer.Image
}

// tarnTable reads as pageserver's reader does where its cache has the index and no group.
type tarnTable struct {
	src   *source
	index *layer.Index
	kind  layer.Kind
}

func openTarn(src *source) (table, error) {
	b := make([]byte, layer.FooterSize)
	if err := src.read(b, src.size-layer.FooterSize); err != nil {
		return nil, err
	}
	f, err := layer.ParseFooter(b, src.size)
	if err != nil {
		return nil, err
	}
	b = make([]byte, f.IndexLength)
	if err := src.read(b, f.IndexOffset); err != nil {
		return nil, err
	}
	index, err := f.ParseIndex(b)
	return &tarnTable{src, index, f.Kind}, err
}

func (t *tarnTable) group(i int, dst []byte) (layer.Values, error) {
	g := &t.index.Groups[i]
	b := make([]byte, g.Length)
	if err := t.src.read(b, g.Offset); err != nil {
		return layer.Values{}, err
	}
	return g.Decode(b, dst)
}

func (t *tarnTable) get(k []byte) ([]byte, error) {
	i, ok := t.index.Find(key.Key(k))
	if !ok {
		return nil, errMissing
	}
	v, err := t.group(i, nil)
	if err != nil {
		return nil, err
	}
	value, ok := v.Get(key.Key(k))
	if !ok {
		return nil, errMissing
	}
	return value, nil
}

func (t *tarnTable) scan(fn func([]byte)) error {
	dst := make([]byte, 0, 256<<10)
	for i := range t.index.Groups {
		v, err := t.group(i, dst)
		if err != nil {
			return err
		}
		if err := v.Each(func(_ key.Key, b []byte) error { fn(b); return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (t *tarnTable) close() error { return nil }

func pebbleWriter(path string, c *block.CompressionProfile) (*sstable.Writer, error) {
	f, err := vfs.Default.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return sstable.NewWriter(objstorageprovider.NewFileWritable(f), sstable.WriterOptions{
		BlockSize: blockBytes, IndexBlockSize: math.MaxInt32, Compression: c, TableFormat: sstable.TableFormatMax,
	}), nil
}

func mergePebble(c *block.CompressionProfile) func(string, table, []entry) error {
	return func(path string, from table, replaced []entry) error {
		w, err := pebbleWriter(path, c)
		if err != nil {
			return err
		}
		t, next := from.(*pebbleTable), replacing(replaced)
		for kv := t.iter.First(); kv != nil; kv = t.iter.Next() {
			v, _, err := kv.Value(nil)
			if err != nil {
				return err
			}
			if err := w.Set(kv.K.UserKey, next.of(kv.K.UserKey, v)); err != nil {
				return err
			}
		}
		return errors.Join(t.iter.Error(), w.Close())
	}
}

func writePebble(c *block.CompressionProfile) func(string, []entry) error {
	return func(path string, entries []entry) error {
		w, err := pebbleWriter(path, c)
		if err != nil {
			return err
		}
		for i := range entries {
			if err := w.Set(entries[i].key[:], entries[i].value); err != nil {
				return err
			}
		}
		return w.Close()
	}
}

// readable is a source as pebble wants one.
type readable struct{ *source }

func (r readable) ReadAt(_ context.Context, p []byte, off int64) error { return r.read(p, off) }
func (r readable) Size() int64                                         { return r.size }
func (r readable) Close() error                                        { return nil }
func (r readable) NewReadHandle(objstorage.ReadBeforeSize) objstorage.ReadHandle {
	h := objstorage.MakeNoopReadHandle(r)
	return &h
}

// pebbleTable keeps one iterator, and so the index in memory: a cache of blocks cannot be given to a Reader from outside in this release.
type pebbleTable struct {
	r    *sstable.Reader
	iter sstable.Iterator
}

func openPebble(src *source) (table, error) {
	r, err := sstable.NewReader(context.Background(), readable{src}, sstable.ReaderOptions{})
	if err != nil {
		return nil, err
	}
	iter, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	return &pebbleTable{r, iter}, err
}

func (t *pebbleTable) get(k []byte) ([]byte, error) {
	kv := t.iter.SeekGE(k, 0)
	if kv == nil || string(kv.K.UserKey) != string(k) {
		return nil, errors.Join(errMissing, t.iter.Error())
	}
	v, _, err := kv.Value(nil)
	return append([]byte(nil), v...), err // it ends with the next seek
}

func (t *pebbleTable) scan(fn func([]byte)) error {
	for kv := t.iter.First(); kv != nil; kv = t.iter.Next() {
		v, _, err := kv.Value(nil)
		if err != nil {
			return err
		}
		fn(v)
	}
	return t.iter.Error()
}

func (t *pebbleTable) close() error { return errors.Join(t.iter.Close(), t.r.Close()) }

func badgerOptions() badger.Options {
	return badger.Options{
		BlockSize: blockBytes, Compression: options.ZSTD, ZSTDCompressionLevel: 1, TableSize: 3 << 30, ChkMode: options.OnBlockRead,
	}
}

func writeBadger(path string, entries []entry) error {
	b := badger.NewTableBuilder(badgerOptions())
	defer b.Close()
	for i := range entries {
		b.Add(y.KeyWithTs(entries[i].key[:], 0), y.ValueStruct{Value: entries[i].value}, 0)
	}
	return os.WriteFile(path, b.Finish(), 0o600)
}

func mergeBadger(path string, from table, replaced []entry) error {
	b := badger.NewTableBuilder(badgerOptions())
	defer b.Close()
	t, next := from.(*badgerTable), replacing(replaced)
	for t.iter.Rewind(); t.iter.Valid(); t.iter.Next() {
		b.Add(t.iter.Key(), y.ValueStruct{Value: next.of(y.ParseKey(t.iter.Key()), t.iter.Value().Value)}, 0)
	}
	return os.WriteFile(path, b.Finish(), 0o600)
}

// badgerTable maps its file into memory: there are no ranges of an object to be read.
type badgerTable struct {
	t    *badger.Table
	iter *badger.Iterator
}

func openBadger(src *source) (table, error) {
	m, err := z.OpenMmapFile(src.Name(), os.O_RDONLY, 0)
	if err != nil && !errors.Is(err, z.NewFile) {
		return nil, err
	}
	o := badgerOptions()
	o.ReadOnly = true
	t, err := badger.OpenTable(m, o)
	if err != nil {
		return nil, err
	}
	return &badgerTable{t, t.NewIterator(0)}, nil
}

func (t *badgerTable) get(k []byte) ([]byte, error) {
	t.iter.Seek(y.KeyWithTs(k, 0))
	if !t.iter.Valid() || string(y.ParseKey(t.iter.Key())) != string(k) {
		return nil, errMissing
	}
	return append([]byte(nil), t.iter.Value().Value...), nil
}

func (t *badgerTable) scan(fn func([]byte)) error {
	for t.iter.Rewind(); t.iter.Valid(); t.iter.Next() {
		fn(t.iter.Value().Value)
	}
	return nil
}

func (t *badgerTable) close() error { return t.iter.Close() }
