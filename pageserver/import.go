package pageserver

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/layer"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// ImportInfo says which cluster a base backup is of. Zero fields are taken from its pg_control.
type ImportInfo struct {
	Major    pg.Major
	SystemID uint64
	Timeline pg.TimelineID // of the WAL
}

// Import takes the files of a base backup, or of a stopped server's data directory, as they come and makes a timeline of
// them. Pages go straight into a layer; no more than a few hundred KiB of them are held. Its methods are not for
// concurrent use. Until Finish the store's index, if there is one, stays what it was.
type Import struct {
	t           *Timeline
	info        ImportInfo
	stream      *layerStream
	forks       map[pg.RelFileLocator]*[pg.InitFork + 1]pg.BlockNumber // size plus one; 0 is no such fork
	small       map[key.Key][]byte
	tablespaces map[pg.OID]string // where they are, empty if that is not known
	origins     []byte            // pg_logical/replorigin_checkpoint
	buf         []byte
	ended       bool
}

// NewImport begins. ctx is that of the whole import.
func NewImport(ctx context.Context, o Options, info ImportInfo) (*Import, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	t := newTimeline(o)
	stream, err := newLayerStream(ctx, t.reader, layer.Image, layersFolder, "base", 0)
	if err != nil {
		return nil, err
	}
	return &Import{
		t: t, info: info, stream: stream, forks: map[pg.RelFileLocator]*[pg.InitFork + 1]pg.BlockNumber{},
		small: map[key.Key][]byte{}, tablespaces: map[pg.OID]string{}, buf: make([]byte, importChunk),
	}, nil
}

// importChunk is how much of a file is read at once, bytes.
const importChunk = 128 << 10

// smallFileMax bounds files that are read whole, bytes.
const smallFileMax = 64 << 20

// File takes one regular file: its tablespace, 0 for the data directory; its path relative to that, such as base/5/1259
// or, in a tablespace, PG_15_202209061/5/16384; and its content of size bytes. Files that hold nothing a timeline needs
// are passed over: temporary relations, WAL, statistics, configuration.
func (im *Import) File(ctx context.Context, tablespace pg.OID, path string, size int64, r io.Reader) error {
	if im.ended {
		return errors.New("BUG: File after the end of an import")
	}
	f, ok := parsePath(tablespace, path)
	if !ok {
		return nil
	}
	var err error
	switch f.kind {
	case key.Block:
		err = im.relationFile(ctx, f, size, r)
	case key.SLRU:
		err = im.slruFile(ctx, f, size, r)
	case originsFile:
		im.origins, err = readSmall(size, r)
	case tablespacesFile:
		var file []byte
		if file, err = readSmall(size, r); err == nil {
			err = control.ParseTablespaceMap(file, func(oid pg.OID, path string) { im.tablespaces[oid] = path })
		}
	default:
		err = im.smallFile(f, size, r)
	}
	if err != nil {
		return fmt.Errorf("import %s: %w", path, err)
	}
	return nil
}

func (im *Import) relationFile(ctx context.Context, f baseFile, size int64, r io.Reader) error {
	if f.rel.Spc != pg.DefaultTablespace && f.rel.Spc != pg.GlobalTablespace {
		im.tablespaces[f.rel.Spc] += ""
	}
	first := pg.BlockNumber(f.segment) * pg.SegmentBlocks
	if f.segment > (1<<32-1)/pg.SegmentBlocks-1 || size > pg.SegmentBlocks*pg.BlockSize {
		return &pg.CorruptError{Rel: f.rel, Fork: f.fork, What: fmt.Sprintf("segment %d of %d bytes", f.segment, size)}
	}
	n, err := im.pages(ctx, size, r, func(i pg.BlockNumber) key.Key { return key.OfBlock(f.rel, f.fork, first+i) })
	if err != nil {
		return err
	}
	sizes := im.forks[f.rel]
	if sizes == nil {
		sizes = new([pg.InitFork + 1]pg.BlockNumber)
		im.forks[f.rel] = sizes
	}
	end := first + n + 1
	if n == 0 && f.segment > 0 {
		return nil
	}
	sizes[f.fork] = max(sizes[f.fork], end)
	return nil
}

func (im *Import) slruFile(ctx context.Context, f baseFile, size int64, r io.Reader) error {
	k := slru.Kind(f.rel.Spc)
	if size > slru.SegmentPages*pg.BlockSize || f.segment > uint64(k.PagesMax()-1)/slru.SegmentPages {
		return &pg.CorruptError{What: fmt.Sprintf("segment %d of %d bytes", f.segment, size)}
	}
	first := pg.BlockNumber(f.segment) * slru.SegmentPages
	n, err := im.pages(ctx, size, r, func(i pg.BlockNumber) key.Key { return key.OfSLRU(f.rel.Spc, first+i) })
	if err == nil && n > 0 {
		im.t.slruSets[k].Add(uint32(first + n - 1))
	}
	return err
}

var zeroPage [pg.BlockSize]byte

// pages adds a file's pages to the layer, but for those of nothing but zeros, and returns how many there were. A page
// that the file holds in part, as a crash can leave at its end, is filled up with zeros.
func (im *Import) pages(ctx context.Context, size int64, r io.Reader, keyOf func(pg.BlockNumber) key.Key) (n pg.BlockNumber, err error) {
	for left := size; left > 0; {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		chunk := im.buf[:min(left, importChunk)]
		if _, err := io.ReadFull(r, chunk); err != nil {
			return n, fmt.Errorf("%d bytes are missing of %d: %w", left, size, err)
		}
		left -= int64(len(chunk))
		if part := len(chunk) % pg.BlockSize; part != 0 {
			whole := len(chunk) - part + pg.BlockSize
			clear(im.buf[len(chunk):whole])
			chunk = im.buf[:whole]
		}
		for at := 0; at < len(chunk); at += pg.BlockSize {
			if page := chunk[at : at+pg.BlockSize]; [pg.BlockSize]byte(page) != zeroPage {
				if err := im.stream.Add(keyOf(n), page); err != nil {
					return n, err
				}
			}
			n++
		}
	}
	return n, im.stream.Break()
}

func readSmall(size int64, r io.Reader) ([]byte, error) {
	if size > smallFileMax {
		return nil, fmt.Errorf("%d bytes, at most %d expected", size, smallFileMax)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, fmt.Errorf("cut short: %w", err)
	}
	return data, nil
}

func (im *Import) smallFile(f baseFile, size int64, r io.Reader) error {
	data, err := readSmall(size, r)
	if err != nil {
		return err
	}
	k := key.Make(f.kind, f.rel, 0, 0)
	if f.kind == key.TwoPhase {
		k = key.OfTwoPhase(f.xid)
	}
	im.small[k] = data
	return nil
}

// Abort gives the import up. The store's index stays what it was.
func (im *Import) Abort() {
	if !im.ended {
		im.ended = true
		im.stream.abort()
		im.t.flusher.stop()
	}
}

// Finish makes the timeline durable and returns it. start is where its WAL begins, end where the base backup is
// consistent; of a server that was shut down both are its last checkpoint's redo position, and 0 means that. A timeline
// that the store had under the same branch is replaced at the last step, whole.
func (im *Import) Finish(ctx context.Context, start, end pg.LSN) (*Timeline, error) {
	t, err := im.finish(ctx, start, end)
	if err != nil {
		im.Abort()
		return nil, fmt.Errorf("import a base backup: %w", err)
	}
	im.ended = true
	return t, nil
}

func (im *Import) finish(ctx context.Context, start, end pg.LSN) (*Timeline, error) {
	t := im.t
	if im.ended {
		return nil, errors.New("it has ended already")
	}
	file := im.small[key.OfControl()]
	if file == nil {
		return nil, &pg.CorruptError{What: "there is no global/pg_control"}
	}
	c, err := control.Parse(file)
	if err != nil {
		return nil, err
	}
	if start == 0 && end == 0 {
		if c.State != control.ShutDown {
			return nil, fmt.Errorf("the server was not shut down cleanly: it is %s", c.State)
		}
		start, end = c.CheckPoint.Redo, c.CheckPoint.Redo
		t.oldestRunning = pg.XID(c.CheckPoint.NextXID)
	} else {
		im.dropFuture(&c)
	}
	if err := im.adopt(&c, start, end); err != nil {
		return nil, err
	}
	if t.inherited.Pending = start != end; start == end {
		t.inheritPrepared()
	}
	if err := im.addValues(start); err != nil {
		return nil, err
	}
	im.stream.SetLSN(start)
	base, err := im.stream.finish()
	im.ended = true // the stream is
	if err != nil {
		return nil, err
	}
	a := &t.flusher.authority
	if err := a.load(ctx); err != nil && !errors.Is(err, ErrNoTimeline) {
		return nil, err
	}
	body, err := t.snapshot().encode()
	if err != nil {
		return nil, err
	}
	state := fmt.Sprintf("state/%016X-%s", uint64(start), newNonce())
	if _, err := t.opts.Store.Put(ctx, t.reader.prefix+state, body); err != nil {
		return nil, fmt.Errorf("write the timeline's state: %w", err)
	}
	base.since = start
	next := timelineIndex{Major: t.major, SystemID: t.systemID, point: point{LSN: start, State: state, Made: time.Now().UTC()}}
	if err := a.replace(ctx, next, contents{layers: []*layerObject{base}}); err != nil {
		return nil, err
	}
	t.noteHistory()
	t.layers.Store(newLayerSet(a.layers))
	t.resumeLSN.Store(uint64(start))
	t.beginDeltas()
	return t, nil
}

// adopt fills the timeline's state from pg_control and the small files.
func (im *Import) adopt(c *control.Control, start, end pg.LSN) error {
	t := im.t
	if im.info.Major != 0 && c.Major != im.info.Major || im.info.SystemID != 0 && c.SystemID != im.info.SystemID {
		return fmt.Errorf("the files are of PostgreSQL %d, system %d; expected PostgreSQL %d, system %d",
			c.Major, c.SystemID, im.info.Major, im.info.SystemID)
	}
	if start == 0 || end < start {
		return fmt.Errorf("a base backup from %s to %s", start, end)
	}
	if c.WALLevel == xlrec.WALLevelMinimal {
		return ErrWALMinimal
	}
	t.major, t.systemID, t.live = c.Major, c.SystemID, cluster.New(c)
	t.redoLSN, t.consistent = start, end
	t.checksums = c.ChecksumVersion != 0
	if im.info.Timeline != 0 {
		t.live.Timeline = im.info.Timeline
	}
	t.updateEnv()
	if err := im.adoptCluster(c); err != nil {
		return err
	}
	for loc, sizes := range im.forks {
		rel := t.makeRelation(loc, start)
		for i, n := range sizes {
			f := &fork{rel: rel, num: pg.ForkNumber(i)}
			if n > 0 {
				f.exists, f.size = true, n-1
			}
			rel.forks[i].Store(f)
		}
	}
	for k, value := range im.small {
		if err := t.loadSmall(k, value); err != nil {
			return err
		}
	}
	return nil
}

// adoptCluster takes over what pg_control does not say of the cluster.
func (im *Import) adoptCluster(c *control.Control) error {
	t := im.t
	for spc, path := range im.tablespaces {
		t.live.HasTablespace(spc, path)
	}
	if im.origins != nil {
		origins, err := cluster.ParseOrigins(im.origins)
		if err != nil {
			return err
		}
		t.live.Origins = origins
	}
	if c.TrackCommitTimestamp { // StartupCommitTs
		for _, change := range t.live.ActivateCommitTs(&t.slruSets, nil) {
			t.slruSets[change.Kind].Add(change.Page) // of zeros, which no layer needs to have
		}
	}
	for k, file := range im.small {
		if k.Kind() == key.TwoPhase {
			state, err := cluster.ParseTwoPhase(file)
			if err != nil {
				return err
			}
			im.small[k] = state
		}
	}
	return nil
}

// dropFuture forgets prepared transactions of after the base backup began, whose files may be cut short: they are in the WAL
// (restoreTwoPhaseData).
func (im *Import) dropFuture(c *control.Control) {
	for k := range im.small {
		if k.Kind() == key.TwoPhase && !pg.XID(k.Block()).Precedes(pg.XID(c.CheckPoint.NextXID)) {
			delete(im.small, k)
		}
	}
}

// addValues adds what is not pages to the layer.
func (im *Import) addValues(start pg.LSN) error {
	type value struct {
		k key.Key
		b []byte
	}
	var values []value
	size := func(f *fork) {
		if f.exists {
			values = append(values, value{f.key(key.SizeBlock), binary.LittleEndian.AppendUint32(nil, uint32(f.size))})
		}
	}
	for loc, rel := range im.t.rels {
		entry := rel.entry()
		values = append(values, value{key.OfRelation(loc), entry.encode()})
		for i := range rel.forks {
			size(rel.forks[i].Load())
		}
	}
	for k, b := range im.small {
		values = append(values, value{k, b})
	}
	slices.SortFunc(values, func(a, b value) int { return a.k.Compare(b.k) })
	for _, v := range values {
		if err := im.stream.Add(v.k, v.b); err != nil {
			return err
		}
	}
	return nil
}
