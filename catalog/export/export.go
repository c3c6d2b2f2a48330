// Package export makes of a synced table an Iceberg table that has nothing to do with tarn any more: its own location, metadata,
// data and delete files. Engines may do to it what they like.
//
//	live table at one LSN ──▶ data files copied as they are ──▶ delete files written anew ──▶ manifests, list, metadata ──▶ version hint
//
// Data files are copied by the store where it can. Delete files name data files by location, and so are written anew. The export is of
// Iceberg's format version 2, also of a table of version 3, whose deletion vectors become delete files.
//
// Invariant: nothing under the new location refers to anything outside of it, and nothing outside refers to it.
// Invariant: until the metadata is put, last but for the hint, there is no table at the new location.
package export

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/iceberg-go"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Options say what is exported, and where to.
type Options struct {
	Table   string // database.schema.table
	At      pg.LSN // the last publication at or below it; 0 is the newest
	Target  Target
	Engine  string // engine-version in the snapshot's summary
	Workers int    // objects copied at once; default 16
	// Progress is told of bytes copied and to be copied. Nil is silence.
	Progress func(done, total int64)
}

// Report is what was made. Rows are those a reader sees.
type Report struct {
	Table         string `json:"table"`       // database.schema.table
	LSN           pg.LSN `json:"lsn"`         // up to which it is as in Postgres: of the publication, or the table's last good one
	ChangedLSN    pg.LSN `json:"changed_lsn"` // of the publication that last changed the table
	Stopped       string `json:"stopped"`     // why the table does not move with the publications any more; empty if it does
	Location      string `json:"location"`
	Metadata      string `json:"metadata"` // location of metadata.json
	Rows          int64  `json:"rows"`
	DataFiles     int    `json:"data_files"`
	DeleteFiles   int    `json:"delete_files"`
	Bytes         int64  `json:"bytes"`          // of data and delete files
	StreamedBytes int64  `json:"streamed_bytes"` // of data files that no service copied: they passed through this process
}

// Run exports a table. What it has put is removed again if it fails or ctx ends.
func Run(ctx context.Context, cat *catalog.Catalog, o Options) (Report, error) {
	if o.Workers <= 0 {
		o.Workers = 16
	}
	cut, tv, err := find(cat.View(), o.Table, o.At)
	if err != nil {
		return Report{}, err
	}
	src := cat.View().Store()
	e := &exporter{o: o, src: src, dst: o.Target, source: tv, copies: map[string]*datafileCopy{}}
	if e.t, err = table.Load(ctx, src, tv.ID, tv.MetadataName()); err != nil {
		return Report{}, e.explain(err)
	}
	e.report = Report{Table: tv.Name.String(), LSN: cut.LSN, ChangedLSN: tv.LSN, Location: o.Target.location()}
	if err := e.lookStopped(ctx, cat.View()); err != nil {
		return Report{}, e.explain(err)
	}
	if err := o.Target.claim(ctx, e.report); err != nil {
		return Report{}, err
	}
	if err := e.run(ctx, cut, cat.View().Head()); err != nil {
		return Report{}, errors.Join(e.explain(err), o.Target.undo(ctx, e.put))
	}
	return e.report, o.Target.release(ctx)
}

// exporter is one export under way.
type exporter struct {
	o      Options
	src    objstore.Store
	dst    Target
	source catalog.TableVersion
	t      *table.Table
	report Report

	mu      sync.Mutex // guards what follows while objects are copied
	put     []string   // keys in the target, put or about to be
	done    int64      // bytes copied
	deletes []lake.PositionDeletes

	copies map[string]*datafileCopy // by location of the source; fixed before anything is copied
	data   []table.LiveFile
}

// datafileCopy is a data file's copy.
type datafileCopy struct {
	location string
	rows     int64
}

// lookStopped tells a table in error from one that merely did not change: it is not as in Postgres at the publication's LSN.
func (e *exporter) lookStopped(ctx context.Context, v catalog.View) error {
	state, err := v.State(ctx, e.source.ID)
	if err != nil {
		return err
	}
	why, good, err := materialize.Stopped(state, e.source.Name)
	if why != "" && good < e.report.LSN {
		e.report.Stopped, e.report.LSN = why, good
	}
	return err
}

// explain says what to do about files that left while they were copied.
func (e *exporter) explain(err error) error {
	if errors.Is(err, objstore.ErrNotFound) {
		return fault.Errorf(fault.ExportPassed, "export %s: the table went on meanwhile, and what it was at %s has been removed (%w): run it again, with a later --at or none", e.o.Table, e.source.LSN, err)
	}
	return fmt.Errorf("export %s: %w", e.o.Table, err)
}

func (e *exporter) run(ctx context.Context, cut catalog.Cut, head catalog.Head) error {
	data, deletes, err := e.t.LiveFiles(ctx)
	if err != nil {
		return err
	}
	var total int64
	for _, f := range data {
		key := e.keyOf(f.Key)
		e.copies[f.File.FilePath()] = &datafileCopy{location: e.dst.Store.URL(key), rows: f.File.Count()}
		e.data = append(e.data, table.LiveFile{Key: key, File: f.File})
		total += f.File.FileSizeBytes()
		e.report.Rows += f.File.Count()
	}
	e.report.DataFiles, e.report.Bytes = len(data), total
	e.progress(0, total)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.o.Workers)
	for i, f := range data {
		g.Go(func() error { return e.copyData(gctx, f, e.data[i].Key, total) })
	}
	for _, f := range deletes {
		if f.File.FileFormat() != iceberg.PuffinFile {
			g.Go(func() error { return e.rewriteDeletes(gctx, f) })
		}
	}
	objects := map[string][]lake.Vector{}
	for _, v := range e.t.Vectors() {
		objects[v.Key] = append(objects[v.Key], v)
	}
	for key, vectors := range objects {
		g.Go(func() error { return e.rewriteVectors(gctx, key, vectors) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return e.putMetadata(ctx, cut, head)
}

// keyOf is where a file of the source goes: below data/ as there.
func (e *exporter) keyOf(key string) string {
	return e.dst.key(strings.TrimPrefix(key, e.source.ID.Root()+"/"))
}

// copyData copies one data file, byte for byte.
func (e *exporter) copyData(ctx context.Context, f table.LiveFile, to string, total int64) error {
	e.putting(to)
	info, streamed, err := objstore.Copy(ctx, e.src, f.Key, e.dst.Store, to)
	if err != nil {
		return err
	}
	if size := f.File.FileSizeBytes(); info.Size != size {
		return fault.Errorf(fault.StoreDamaged, "%s has %d bytes, its manifest says %d: `tarn scrub` checks the store", f.Key, info.Size, size)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done += info.Size
	if streamed {
		e.report.StreamedBytes += info.Size
	}
	e.progress(e.done, total)
	return nil
}

func (e *exporter) progress(done, total int64) {
	if e.o.Progress != nil {
		e.o.Progress(done, total)
	}
}

// putting notes that an object is about to be put: whether it was is not known when the put fails.
func (e *exporter) putting(key string) {
	e.mu.Lock()
	e.put = append(e.put, key)
	e.mu.Unlock()
}

// rewriteDeletes writes a delete file for the copies. What it says of files that are live no more is left out.
func (e *exporter) rewriteDeletes(ctx context.Context, f table.LiveFile) error {
	if format := f.File.FileFormat(); format != iceberg.ParquetFile {
		return fault.Errorf(fault.ExportFormat, "%s is a %s file: tables are exported in format version 2, whose delete files are Parquet", f.Key, format)
	}
	b, _, err := e.src.Get(ctx, f.Key)
	if err != nil {
		return err
	}
	old, err := datafile.ReadPositionDeletes(b)
	if err != nil {
		return fmt.Errorf("%s: %w", f.Key, err)
	}
	return e.putDeletes(ctx, f.Key, old)
}

// rewriteVectors writes a delete file for the copies in place of the deletion vectors of one object: the export is of format version 2.
func (e *exporter) rewriteVectors(ctx context.Context, key string, vectors []lake.Vector) error {
	b, _, err := e.src.Get(ctx, key)
	if err != nil {
		return err
	}
	old := map[string]*roaring.Bitmap{}
	for _, v := range vectors {
		location := e.src.URL(v.Data)
		c := e.copies[location]
		if c == nil {
			continue
		}
		if old[location], err = datafile.ReadVector(b, v, c.rows); err != nil {
			return err
		}
	}
	return e.putDeletes(ctx, strings.TrimSuffix(key, lake.VectorsSuffix)+".parquet", old)
}

// putDeletes writes a delete file for the copies, under the name that key has below the table. old are positions by location of the source.
func (e *exporter) putDeletes(ctx context.Context, key string, old map[string]*roaring.Bitmap) error {
	pp, rows, err := e.translate(old)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if len(pp) == 0 {
		return nil
	}
	d, b, err := datafile.EncodePositionDeletes(pp)
	if err != nil {
		return err
	}
	d.Key = e.keyOf(key)
	e.putting(d.Key)
	if _, err := e.dst.Store.Put(ctx, d.Key, b); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deletes = append(e.deletes, d)
	e.report.DeleteFiles++
	e.report.Bytes += d.Bytes
	e.report.Rows -= rows
	return nil
}

// translate names the copies in place of the files that positions are of. rows is how many positions there are.
func (e *exporter) translate(old map[string]*roaring.Bitmap) (pp []datafile.PathPositions, rows int64, err error) {
	for location, positions := range old {
		c := e.copies[location]
		if c == nil || positions.IsEmpty() {
			continue
		}
		if last := positions.Maximum(); int64(last) >= c.rows {
			return nil, 0, fault.Errorf(fault.StoreDamaged, "it deletes row %d of %s, which has %d", last, location, c.rows)
		}
		pp = append(pp, datafile.PathPositions{Path: c.location, Positions: positions})
		rows += int64(positions.GetCardinality())
	}
	return pp, rows, nil
}

// putMetadata makes the copies a table.
func (e *exporter) putMetadata(ctx context.Context, cut catalog.Cut, head catalog.Head) error {
	summary := map[string]string{
		"engine-name": "tarn", "engine-version": e.o.Engine, "tarn.exported-from": e.report.Table, "tarn.lsn": e.source.LSN.String(),
		"tarn.timeline": fmt.Sprint(head.Timeline), "tarn.system-id": fmt.Sprint(head.SystemID),
	}
	if !cut.CommitTime.IsZero() {
		summary["tarn.commit-ts"] = cut.CommitTime.UTC().Format(time.RFC3339Nano)
	}
	objects, err := e.t.Standalone(table.Standalone{
		UUID: uuid.NewString(), Key: e.dst.key, URL: e.dst.Store.URL, Location: e.report.Location, Data: e.data, Deletes: e.deletes, Time: time.Now(),
		Properties: map[string]string{"write.format.default": "parquet", "write.parquet.compression-codec": "zstd", "tarn.exported-from": e.report.Table, "tarn.lsn": e.source.LSN.String()},
		Summary:    summary,
	})
	if err != nil {
		return err
	}
	n := len(objects) - 2 // metadata.json and the hint come after all others, one after the other
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(e.o.Workers)
	for _, o := range objects[:n] {
		g.Go(func() error { return e.putObject(gctx, o) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	for _, o := range objects[n:] {
		if err := e.putObject(ctx, o); err != nil {
			return err
		}
	}
	e.report.Metadata = e.dst.Store.URL(objects[n].Key)
	return nil
}

func (e *exporter) putObject(ctx context.Context, o table.Object) error {
	e.putting(o.Key)
	_, err := e.dst.Store.Put(ctx, o.Key, o.Data)
	return err
}

// find is the table of that name at the last publication at or below an LSN. A name with dots in its parts is taken apart in
// every way.
func find(v catalog.View, name string, at pg.LSN) (cut catalog.Cut, tv catalog.TableVersion, err error) {
	unknown := fault.Errorf(fault.TableUnknown, "no table %q in the lake: write database.schema.table as `tarn tables` prints it", name)
	for i := range name {
		if name[i] != '.' {
			continue
		}
		c, err := cutOf(v, name[:i], at)
		if errors.Is(err, catalog.ErrNoDatabase) {
			continue
		}
		if err != nil {
			return cut, tv, fault.Errorf(fault.LSNNotKept, "export %s: %w", name, err)
		}
		rest := name[i+1:]
		for j := range rest {
			if rest[j] != '.' {
				continue
			}
			t, ok := c.Table(rest[:j], rest[j+1:])
			if !ok {
				continue
			}
			if unknown == nil {
				return cut, tv, fault.Errorf(fault.TableUnknown, "%q is the name of two tables, %q in %q and %q in %q: rename one", name, tv.Name.Name, tv.Name.Namespace, t.Name.Name, t.Name.Namespace)
			}
			cut, tv, unknown = c, t, nil
		}
	}
	return cut, tv, unknown
}

func cutOf(v catalog.View, database string, at pg.LSN) (catalog.Cut, error) {
	if at == 0 {
		return v.Newest(database)
	}
	c, err := v.At(database, at)
	var ahead *catalog.AheadError
	if errors.As(err, &ahead) {
		err = fmt.Errorf("LSN %s is not in the store yet, which is at %s: name an earlier --at, or none", at, ahead.Published)
	}
	return c, err
}
