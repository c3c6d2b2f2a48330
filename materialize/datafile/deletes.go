package datafile

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Columns of a position delete file (Iceberg spec, "Reserved Field IDs").
const (
	deletePathID = 2147483546
	deletePosID  = 2147483545
)

// PathPositions are rows of one data file.
type PathPositions struct {
	Path      string          // of the data file, exactly as the manifest names it
	Positions *roaring.Bitmap // from 0
}

// EncodePositionDeletes makes a position delete file, sorted by path and position. The bounds of the path are whole,
// since readers take a file whose bounds are equal to be about that one data file. Key is left to the caller.
func EncodePositionDeletes(pp []PathPositions) (lake.PositionDeletes, []byte, error) {
	pp = slices.DeleteFunc(slices.Clone(pp), func(p PathPositions) bool { return p.Positions == nil || p.Positions.IsEmpty() })
	slices.SortFunc(pp, func(a, b PathPositions) int { return cmp.Compare(a.Path, b.Path) })
	for i := 1; i < len(pp); i++ {
		if pp[i].Path == pp[i-1].Path {
			return lake.PositionDeletes{}, nil, fmt.Errorf("position deletes: %s is named twice", pp[i].Path)
		}
	}
	if len(pp) == 0 {
		return lake.PositionDeletes{}, nil, fmt.Errorf("position deletes: there are none")
	}
	var buf bytes.Buffer
	d, err := writeDeletes(&buf, pp)
	if err != nil {
		return lake.PositionDeletes{}, nil, fmt.Errorf("position deletes: %w", err)
	}
	b := seal(buf.Bytes())
	d.Bytes = int64(len(b))
	return d, b, nil
}

// A sealed Parquet file has a checksum between its pages and its footer, where readers never look. A damaged footer
// can make the Parquet library ask for memory without bound, so none is parsed before the checksum held.
//
//	pages, beginning with "PAR1"
//	seal: "TARNSEAL", CRC-32C u32 little-endian of all bytes of the file but these 12
//	footer, footer length u32, "PAR1"
const (
	sealMagic = "TARNSEAL"
	sealSize  = len(sealMagic) + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func seal(b []byte) []byte {
	at := len(b) - 8 - int(binary.LittleEndian.Uint32(b[len(b)-8:]))
	out := make([]byte, 0, len(b)+sealSize)
	out = append(append(out, b[:at]...), sealMagic...)
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(b, castagnoli))
	return append(out, b[at:]...)
}

// checkSeal says whether b is as seal left it.
func checkSeal(b []byte) error {
	if len(b) < 8+sealSize {
		return fmt.Errorf("%d bytes", len(b))
	}
	footer := int64(binary.LittleEndian.Uint32(b[len(b)-8:])) + 8
	at := int64(len(b)) - footer
	if at < int64(sealSize) || string(b[at-int64(sealSize):at-4]) != sealMagic {
		return fmt.Errorf("no checksum before the footer")
	}
	crc := crc32.Update(crc32.Checksum(b[:at-int64(sealSize)], castagnoli), castagnoli, b[at:])
	if crc != binary.LittleEndian.Uint32(b[at-4:]) {
		return fmt.Errorf("the checksum differs")
	}
	return nil
}

func deleteSchema() (*schema.GroupNode, error) {
	path, err := schema.NewPrimitiveNodeLogical("file_path", parquet.Repetitions.Required, schema.StringLogicalType{}, parquet.Types.ByteArray, 0, deletePathID)
	if err != nil {
		return nil, err
	}
	pos := schema.NewInt64Node("pos", parquet.Repetitions.Required, deletePosID)
	return schema.NewGroupNode("table", parquet.Repetitions.Required, schema.FieldList{path, pos}, -1)
}

func writeDeletes(sink io.Writer, pp []PathPositions) (lake.PositionDeletes, error) {
	root, err := deleteSchema()
	if err != nil {
		return lake.PositionDeletes{}, err
	}
	w, err := file.NewParquetWriterWithError(sink, root, file.WithWriterProps(parquet.NewWriterProperties(
		parquet.WithCreatedBy(DefaultCreatedBy), parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1),
		parquet.WithDictionaryDefault(false), parquet.WithDictionaryFor("file_path", true), parquet.WithBatchSize(batchRows),
		parquet.WithRootName("table"), parquet.WithRootRepetition(parquet.Repetitions.Required),
	)))
	if err != nil {
		return lake.PositionDeletes{}, err
	}
	group, err := w.AppendBufferedRowGroupChecked()
	if err != nil {
		return lake.PositionDeletes{}, err
	}
	rows, low, high, err := writeRows(group, pp)
	if err != nil {
		return lake.PositionDeletes{}, err
	}
	if err := w.Close(); err != nil {
		return lake.PositionDeletes{}, err
	}
	d := lake.PositionDeletes{File: lake.File{Rows: rows, Columns: []lake.ColumnStats{
		{FieldID: deletePathID, Values: rows, Lower: []byte(pp[0].Path), Upper: []byte(pp[len(pp)-1].Path)},
		{FieldID: deletePosID, Values: rows, Lower: le64(uint64(low)), Upper: le64(uint64(high))},
	}}}
	return d, addChunks(&d.File, w)
}

// writeRows writes both columns and gives the number of rows and the least and greatest position.
func writeRows(group file.BufferedRowGroupWriter, pp []PathPositions) (rows int64, low, high uint32, err error) {
	pathColumn, err := group.Column(0)
	if err != nil {
		return 0, 0, 0, err
	}
	posColumn, err := group.Column(1)
	if err != nil {
		return 0, 0, 0, err
	}
	paths, ok1 := pathColumn.(*file.ByteArrayColumnChunkWriter)
	positions, ok2 := posColumn.(*file.Int64ColumnChunkWriter)
	if !ok1 || !ok2 {
		panic("BUG: delete file columns have other types")
	}
	low = pp[0].Positions.Minimum()
	var (
		pathBatch [1024]parquet.ByteArray
		posBatch  [1024]int64
		raw       [1024]uint32
	)
	for _, p := range pp {
		low, high = min(low, p.Positions.Minimum()), max(high, p.Positions.Maximum())
		for i := range pathBatch {
			pathBatch[i] = parquet.ByteArray(p.Path)
		}
		for it := p.Positions.ManyIterator(); ; {
			n := it.NextMany(raw[:])
			if n == 0 {
				break
			}
			for i, v := range raw[:n] {
				posBatch[i] = int64(v)
			}
			if _, err := paths.WriteBatch(pathBatch[:n], nil, nil); err != nil {
				return 0, 0, 0, err
			}
			if _, err := positions.WriteBatch(posBatch[:n], nil, nil); err != nil {
				return 0, 0, 0, err
			}
			rows += int64(n)
		}
	}
	return rows, low, high, nil
}

// ReadPositionDeletes reads what EncodePositionDeletes made, for a restart. Damaged bytes are a pg.CorruptError.
func ReadPositionDeletes(b []byte) (m map[string]*roaring.Bitmap, err error) {
	defer func() {
		if r := recover(); r != nil {
			m, err = nil, &pg.CorruptError{What: fmt.Sprintf("position delete file: %v", r)}
		}
	}()
	if err = checkSeal(b); err == nil {
		m, err = readDeletes(b)
	}
	if err != nil {
		return nil, &pg.CorruptError{What: "position delete file: " + err.Error()}
	}
	return m, nil
}

func readDeletes(b []byte) (map[string]*roaring.Bitmap, error) {
	r, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	s := r.MetaData().Schema
	if s.NumColumns() != 2 || s.Column(0).SchemaNode().FieldID() != deletePathID || s.Column(1).SchemaNode().FieldID() != deletePosID {
		return nil, fmt.Errorf("its columns are not file_path and pos")
	}
	m := map[string]*roaring.Bitmap{}
	for g := range r.NumRowGroups() {
		rg := r.RowGroup(g)
		pathColumn, err := rg.Column(0)
		if err != nil {
			return nil, err
		}
		posColumn, err := rg.Column(1)
		if err != nil {
			return nil, err
		}
		paths, ok1 := pathColumn.(*file.ByteArrayColumnChunkReader)
		positions, ok2 := posColumn.(*file.Int64ColumnChunkReader)
		if !ok1 || !ok2 {
			return nil, fmt.Errorf("its columns are not of types string and long")
		}
		if err := readRows(m, paths, positions, rg.NumRows()); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func readRows(m map[string]*roaring.Bitmap, paths *file.ByteArrayColumnChunkReader, positions *file.Int64ColumnChunkReader, rows int64) error {
	var (
		pathBatch [1024]parquet.ByteArray
		posBatch  [1024]int64
		last      string
		set       *roaring.Bitmap
	)
	for left := rows; left > 0; {
		want := min(left, int64(len(pathBatch)))
		_, n, err := paths.ReadBatch(want, pathBatch[:], nil, nil)
		if err != nil {
			return err
		}
		for got := 0; got < n; {
			_, k, err := positions.ReadBatch(int64(n-got), posBatch[got:], nil, nil)
			if err != nil {
				return err
			}
			if k == 0 {
				return fmt.Errorf("column pos ends before file_path")
			}
			got += k
		}
		if n == 0 {
			return fmt.Errorf("it ends %d rows early", left)
		}
		for i := range n {
			if set == nil || string(pathBatch[i]) != last {
				last = string(pathBatch[i])
				if set = m[last]; set == nil {
					set = roaring.New()
					m[last] = set
				}
			}
			if posBatch[i] < 0 || posBatch[i] > 1<<32-1 {
				return fmt.Errorf("position %d", posBatch[i])
			}
			set.Add(uint32(posBatch[i]))
		}
		left -= int64(n)
	}
	return nil
}
