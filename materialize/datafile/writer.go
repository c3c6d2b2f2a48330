// Package datafile writes the Parquet files of an Iceberg table: data files with their statistics, and position delete
// files. It owns the Parquet library; what is above it appends values to column.Builders.
package datafile

import (
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// ColumnBuilder is where a row's values are appended.
type ColumnBuilder = column.Builder

// Options of a data file. The zero value of each but Schema has a meaning.
type Options struct {
	Schema        lake.Schema
	TargetBytes   int64 // size at which Full says so; 0: 256 MiB
	RowGroupRows  int64 // 0: 1,048,576
	RowGroupBytes int64 // compressed size at which a row group ends; 0: 128 MiB
	BatchBytes    int64 // of values gathered before they are encoded, and of dictionaries; 0: 64 MiB
	Compression   Compression
	Level         int    // of Zstd: 0 means 1, the fastest
	CreatedBy     string // "" means DefaultCreatedBy
	// DeltaIntegers encodes integers, dates and times that have no dictionary as DELTA_BINARY_PACKED. It halves sorted
	// keys, but Iceberg's vectorized reader in Spark cannot read it before Iceberg 1.8.
	DeltaIntegers bool
	// Clamp is column.Batch.Clamp.
	Clamp bool
	// RowLineage adds the columns _row_id and _last_updated_sequence_number, for rows that keep theirs from another file: after
	// those of Schema, Columns has a builder of longs for each. There are no statistics of them.
	RowLineage bool
}

// DefaultCreatedBy is the footer's created_by.
const DefaultCreatedBy = "tarn version 0"

// Compression is a page codec.
type Compression uint8

// The codecs.
const (
	Zstd Compression = iota
	Snappy
	Uncompressed
)

const (
	// batchRows is how many rows the builders gather before the columns are encoded.
	batchRows = 8192
	// dictionaryMax ends a dictionary within a column chunk, in bytes. At the library's 1 MiB, text of 50,000 different
	// values took three times the space.
	dictionaryMax = 8 << 20
	// dictionaryMin is what a dictionary may have however many columns have one.
	dictionaryMin = 128 << 10
	// A page is held as values until it is full, one for each column: many columns get smaller ones.
	pageBytesMax = 1 << 20
	pageBytesMin = 64 << 10
	// weighRows is how many rows are added between two looks at how much the builders hold: many wide columns could hold
	// a lot before one of them is full.
	weighRows = 64
)

func (o Options) withDefaults() Options {
	def := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.TargetBytes, 256<<20)
	def(&o.RowGroupRows, 1<<20)
	def(&o.RowGroupBytes, 128<<20)
	def(&o.BatchBytes, 64<<20)
	if o.Level == 0 {
		o.Level = 1
	}
	if o.CreatedBy == "" {
		o.CreatedBy = DefaultCreatedBy
	}
	return o
}

func (o Options) codec() compress.Compression {
	switch o.Compression {
	case Snappy:
		return compress.Codecs.Snappy
	case Uncompressed:
		return compress.Codecs.Uncompressed
	}
	return compress.Codecs.Zstd
}

// Writer writes one data file. For each row the caller appends one value to every builder of Columns and calls EndRow.
// One goroutine uses it. After an error it is unusable and its file must be thrown away.
//
// Memory: one batch of rows as values, and one row group as compressed pages.
type Writer struct {
	opts    Options
	sink    countingWriter
	schema  *parquetSchema
	batch   column.Batch
	columns []*column.Builder
	leaves  []*column.Builder
	stats   []leafStats
	scratch scratch

	file    *file.Writer // nil until the first batch, which decides the encodings
	group   file.BufferedRowGroupWriter
	pending int   // rows in the builders
	inGroup int64 // rows in the open row group
	rows    int64
	err     error
}

// countingWriter hides an io.Closer from the library, which would close it, and counts.
type countingWriter struct {
	w io.Writer
	n int64
}

func (c *countingWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// NewWriter begins a file on sink, which is written front to back and never closed.
func NewWriter(opts Options, sink io.Writer) (*Writer, error) {
	opts = opts.withDefaults()
	w := &Writer{opts: opts, sink: countingWriter{w: sink}, batch: column.Batch{Clamp: opts.Clamp}}
	fields := opts.Schema.Fields
	if opts.RowLineage {
		fields = withLineage(fields)
	}
	var err error
	if w.schema, err = newSchema(fields); err != nil {
		return nil, err
	}
	for _, f := range fields {
		b := column.New(f, &w.batch)
		w.columns = append(w.columns, b)
		w.leaves = append(w.leaves, b.Leaves()...)
	}
	w.stats = make([]leafStats, len(w.leaves))
	for i, l := range w.leaves {
		w.stats[i].init(l)
	}
	return w, nil
}

// Columns are the builders of the schema's fields, in its order, and then those of Options.RowLineage.
func (w *Writer) Columns() []*column.Builder { return w.columns }

// Rows is the number of rows ended so far.
func (w *Writer) Rows() int64 { return w.rows }

// Full says that the file has reached TargetBytes: the caller should close it and begin another.
func (w *Writer) Full() bool { return w.size() >= w.opts.TargetBytes }

// size is about what the file would be if it were closed now, without the rows that are not encoded yet.
func (w *Writer) size() int64 {
	if w.group == nil {
		return w.sink.n
	}
	return w.sink.n + w.group.TotalCompressedBytes()
}

// EndRow ends a row. Now and then it encodes the gathered rows.
func (w *Writer) EndRow() error {
	w.pending++
	w.rows++
	if w.pending < batchRows && !w.batch.Full && (w.pending%weighRows != 0 || w.gathered() < w.opts.BatchBytes) {
		return nil
	}
	return w.flush(false)
}

// gathered is the bytes of the batch's variable-length values.
func (w *Writer) gathered() (n int64) {
	for _, l := range w.leaves {
		n += int64(len(l.Data))
	}
	return n
}

// flush encodes the gathered rows; final says that they are the file's last.
func (w *Writer) flush(final bool) error {
	if w.err == nil {
		w.err = w.writeBatch(final)
	}
	return w.err
}

func (w *Writer) writeBatch(final bool) error {
	for i, l := range w.leaves {
		if n := topLevel(l); n != w.pending {
			return fmt.Errorf("data file: column %q has %d values in %d rows", w.leaves[i].Field.Name, n, w.pending)
		}
	}
	if err := w.begin(final); err != nil {
		return err
	}
	if w.pending == 0 {
		return nil // closed right after a batch
	}
	for i, l := range w.leaves {
		w.stats[i].update(l)
		cw, err := w.group.Column(i)
		if err == nil {
			err = w.scratch.write(cw, l)
		}
		if err != nil {
			return fmt.Errorf("data file: column %q: %w", l.Field.Name, err)
		}
	}
	for _, b := range w.columns {
		b.Reset()
	}
	w.inGroup += int64(w.pending)
	w.pending, w.batch.Full = 0, false
	if w.inGroup >= w.opts.RowGroupRows || w.group.TotalCompressedBytes() >= w.opts.RowGroupBytes {
		return w.endGroup()
	}
	return nil
}

// topLevel counts the rows a leaf has values or nulls for.
func topLevel(l *column.Builder) int {
	if l.MaxRep == 0 {
		return len(l.Def)
	}
	n := 0
	for _, r := range l.Rep {
		if r == 0 {
			n++
		}
	}
	return n
}

// begin opens the file and a row group if there is none.
func (w *Writer) begin(final bool) error {
	if w.file == nil {
		f, err := file.NewParquetWriterWithError(&w.sink, w.schema.root, file.WithWriterProps(w.properties(final)))
		if err != nil {
			return fmt.Errorf("data file: %w", err)
		}
		w.file = f
	}
	if w.group == nil && w.pending > 0 {
		g, err := w.file.AppendBufferedRowGroupChecked()
		if err != nil {
			return fmt.Errorf("data file: row group: %w", err)
		}
		w.group = g
	}
	return nil
}

// properties decides each column's encoding from the first batch.
func (w *Writer) properties(final bool) *parquet.WriterProperties {
	props := []parquet.WriterProperty{
		parquet.WithCreatedBy(w.opts.CreatedBy), parquet.WithVersion(parquet.V2_LATEST), parquet.WithRootName("table"),
		parquet.WithRootRepetition(parquet.Repetitions.Required), parquet.WithDataPageSize(w.pageBytes()),
		parquet.WithCompression(w.opts.codec()),
		parquet.WithDictionaryDefault(false), parquet.WithBatchSize(batchRows), parquet.WithMaxStatsSize(4096),
	}
	if w.opts.Compression == Zstd {
		props = append(props, parquet.WithCompressionLevel(w.opts.Level))
	}
	rows := w.opts.RowGroupRows
	if final {
		rows = int64(w.pending)
	}
	dictionaries := int64(0)
	for i, l := range w.leaves {
		path := w.schema.paths[i]
		if misread(l.Field.Type.Kind) {
			props = append(props, parquet.WithStatsFor(path, false))
		}
		switch {
		case l.Field.Type.Kind == lake.UUID && l.MaxRep == 0:
			// No dictionary, for misread's reason: Spark compares a range with its values too, in Java's order.
		case w.scratch.dictionaryPays(l, rows):
			dictionaries++
			props = append(props, parquet.WithDictionaryFor(path, true))
		case w.opts.DeltaIntegers && len(l.Int32s)+len(l.Int64s) > 0:
			props = append(props, parquet.WithEncodingFor(path, parquet.Encodings.DeltaBinaryPacked))
		}
	}
	limit := max(dictionaryMin, min(dictionaryMax, w.opts.BatchBytes/max(1, dictionaries)))
	return parquet.NewWriterProperties(append(props, parquet.WithDictionaryPageSizeLimit(limit))...)
}

// pageBytes lets pages under way take half of what a row group may.
func (w *Writer) pageBytes() int64 {
	return max(pageBytesMin, min(pageBytesMax, w.opts.RowGroupBytes/int64(2*max(1, len(w.leaves)))))
}

func (w *Writer) endGroup() error {
	if w.group == nil {
		return nil
	}
	err := w.group.Close()
	w.group, w.inGroup = nil, 0
	if err != nil {
		return fmt.Errorf("data file: row group: %w", err)
	}
	return nil
}

var errClosed = errors.New("data file: the writer is closed")

// Close writes what is left and the footer, and says what is in the file. Key is left to the caller.
func (w *Writer) Close() (lake.File, error) {
	if err := w.flush(true); err != nil {
		return lake.File{}, err
	}
	w.err = errClosed
	if err := w.endGroup(); err != nil {
		return lake.File{}, err
	}
	if err := w.file.Close(); err != nil {
		return lake.File{}, fmt.Errorf("data file: footer: %w", err)
	}
	f := lake.File{Rows: w.rows, Bytes: w.sink.n, Columns: make([]lake.ColumnStats, len(w.leaves))}
	for i := range w.stats {
		f.Columns[i] = w.stats[i].result(w.leaves[i])
	}
	err := addChunks(&f, w.file)
	if w.opts.RowLineage {
		f.Columns = f.Columns[:len(f.Columns)-2]
	}
	return f, err
}

// addChunks takes sizes and row group offsets from the footer just written.
func addChunks(f *lake.File, w *file.Writer) error {
	meta, err := w.FileMetadata()
	if err != nil {
		return fmt.Errorf("data file: footer: %w", err)
	}
	for g := range meta.RowGroups {
		rg := meta.RowGroup(g)
		for c := range f.Columns {
			chunk, err := rg.ColumnChunk(c)
			if err != nil {
				return fmt.Errorf("data file: footer: %w", err)
			}
			f.Columns[c].Bytes += chunk.TotalCompressedSize()
			if c == 0 {
				at := chunk.DataPageOffset()
				if chunk.HasDictionaryPage() && chunk.DictionaryPageOffset() < at {
					at = chunk.DictionaryPageOffset()
				}
				f.SplitOffsets = append(f.SplitOffsets, at)
			}
		}
	}
	return nil
}
