package delta

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
)

const (
	// chunkEntries is how many entries a Log gets room for at once, slabImages how many images.
	chunkEntries = 64 << 10
	slabImages   = 128
	entryBytes   = 8
	// SpanMax bounds the WAL a Log is about, bytes.
	SpanMax = lsnUnit << 30
)

// entry is a change as a Log has it: of a key, by its number, at an LSN from the log's start in units, times 4, and its kind.
type entry struct{ key, at uint32 }

// span is where a value lies in Log.values; alone is Entry.Alone.
type span struct {
	from, to uint32
	alone    bool
}

// Log is the changes between two flushes, in the order of WAL. It is not safe for concurrent use.
//
// Invariant: changes of one key come in order, also over several numbers of the key, which rise.
type Log struct {
	from    pg.LSN
	keys    []key.Key // by number, less 1
	numbers map[key.Key]uint32
	chunks  [][]entry
	images  [][]byte // slabs
	nImages int
	values  []byte
	spans   []span
}

// NewLog begins a log at an LSN.
func NewLog(from pg.LSN) *Log { return &Log{from: from, numbers: map[key.Key]uint32{}} }

// From is where the log begins.
func (l *Log) From() pg.LSN { return l.from }

// Bytes is the memory the log holds.
func (l *Log) Bytes() int64 {
	return int64(len(l.chunks))*chunkEntries*entryBytes + int64(len(l.images))*slabImages*pg.BlockSize +
		int64(cap(l.values)) + int64(cap(l.spans))*12 + int64(cap(l.keys))*key.Size + int64(len(l.numbers))*(key.Size+16)
}

// Key gives a key a number, never 0. A key may have several, as long as those before the last are not used any more.
func (l *Log) Key(k key.Key) uint32 {
	l.keys = append(l.keys, k)
	return uint32(len(l.keys))
}

func (l *Log) add(number uint32, lsn pg.LSN, kind Kind) {
	at := (lsn - l.from) / lsnUnit
	if at >= 1<<30 || lsn < l.from {
		panic(fmt.Sprintf("BUG: a change at %s in a log from %s", lsn, l.from))
	}
	n := len(l.chunks)
	if n == 0 || len(l.chunks[n-1]) == chunkEntries {
		l.chunks = append(l.chunks, make([]entry, 0, chunkEntries))
		n++
	}
	l.chunks[n-1] = append(l.chunks[n-1], entry{number, uint32(at)<<2 | uint32(kind)})
}

// Redo notes that the record at lsn changes the page of that number. init says that it needs nothing of what the page was.
func (l *Log) Redo(number uint32, lsn pg.LSN, init bool) {
	kind := Redo
	if init {
		kind = RedoInit
	}
	l.add(number, lsn, kind)
}

// Image makes room for an image of the page as it is at lsn. It is to be filled before the log is written.
func (l *Log) Image(number uint32, lsn pg.LSN) []byte {
	l.add(number, lsn, Image)
	if l.nImages == len(l.images)*slabImages {
		l.images = append(l.images, make([]byte, slabImages*pg.BlockSize))
	}
	l.nImages++
	return l.image(uint32(l.nImages - 1))
}

func (l *Log) image(slot uint32) []byte {
	at := int(slot%slabImages) * pg.BlockSize
	return l.images[slot/slabImages][at : at+pg.BlockSize : at+pg.BlockSize]
}

// Value notes what a key is from lsn on; it is copied. alone says that nothing before it is needed to know what the key is.
func (l *Log) Value(k key.Key, lsn pg.LSN, value []byte, alone bool) {
	number := l.numbers[k]
	if number == 0 {
		number = l.Key(k)
		l.numbers[k] = number
	}
	l.add(number, lsn, Value)
	from := len(l.values)
	l.values = append(l.values, value...)
	l.spans = append(l.spans, span{uint32(from), uint32(len(l.values)), alone})
}

// Prepend puts an earlier log, which ends where this one begins, before it. What Key has returned is to be raised by shift.
func (l *Log) Prepend(earlier *Log) (shift uint32) {
	shift = uint32(len(earlier.keys))
	ahead := uint32((l.from-earlier.from)/lsnUnit) << 2
	whole := *earlier
	whole.keys = append(whole.keys, l.keys...)
	for k, n := range l.numbers {
		whole.numbers[k] = n + shift
	}
	for _, chunk := range l.chunks {
		for i := range chunk {
			chunk[i].key += shift
			chunk[i].at += ahead
		}
		whole.chunks = append(whole.chunks, chunk)
	}
	base := uint32(len(whole.values))
	whole.values = append(whole.values, l.values...)
	for _, s := range l.spans {
		whole.spans = append(whole.spans, span{s.from + base, s.to + base, s.alone})
	}
	for i := range l.nImages {
		slot := whole.nImages
		if slot == len(whole.images)*slabImages {
			whole.images = append(whole.images, make([]byte, slabImages*pg.BlockSize))
		}
		whole.nImages++
		copy(whole.image(uint32(slot)), l.image(uint32(i)))
	}
	*l = whole
	return shift
}

// item is a change of the key it is sorted under: entry.at, and which image or value it is.
type item struct{ at, payload uint32 }

// Write writes the log as a delta layer's values.
func (l *Log) Write(w *layer.Writer) error {
	starts, items := l.sorted()
	order := make([]uint32, len(l.keys))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(a, b uint32) int { return cmp.Or(l.keys[a].Compare(l.keys[b]), cmp.Compare(a, b)) })
	var chain chainWriter
	var images []uint32 // slots, by number
	for i, n := range order {
		if i == 0 || l.keys[n] != l.keys[order[i-1]] {
			chain.reset(l.from)
		}
		for _, it := range items[starts[n]:starts[n+1]] {
			e := Entry{LSN: l.from + pg.LSN(it.at>>2)*lsnUnit, Kind: Kind(it.at & 3)}
			switch e.Kind {
			case RedoInit:
				e.Alone = true
			case Image:
				e.Alone, e.Image = true, uint32(len(images))
				images = append(images, it.payload)
			case Value:
				s := l.spans[it.payload]
				e.Alone, e.Bytes = s.alone, l.values[s.from:s.to]
			}
			chain.add(e)
		}
		if i+1 < len(order) && l.keys[order[i+1]] == l.keys[n] {
			continue
		}
		if chain.end(); len(chain.out) > 0 {
			if err := w.Add(l.keys[n], chain.out); err != nil {
				return err
			}
		}
	}
	for number, slot := range images {
		if err := w.Add(key.OfImage(uint32(number)), l.image(slot)); err != nil {
			return err
		}
	}
	return nil
}

// sorted gathers the entries by key: those of number n+1 are items[starts[n]:starts[n+1]], in order.
func (l *Log) sorted() (starts []uint32, items []item) {
	starts = make([]uint32, len(l.keys)+2)
	n := 0
	for _, chunk := range l.chunks {
		n += len(chunk)
		for _, e := range chunk {
			starts[e.key+1]++
		}
	}
	for i := 1; i < len(starts); i++ {
		starts[i] += starts[i-1]
	}
	items = make([]item, n)
	var images, values uint32
	for _, chunk := range l.chunks {
		for _, e := range chunk {
			it := item{at: e.at}
			switch Kind(e.at & 3) {
			case Image:
				it.payload = images
				images++
			case Value:
				it.payload = values
				values++
			}
			items[starts[e.key]] = it
			starts[e.key]++
		}
	}
	return starts, items
}
