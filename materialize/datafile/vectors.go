package datafile

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"strconv"
	"strings"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

// DataPositions are rows of one data file.
type DataPositions struct {
	Key       string // of the data file
	Path      string // where it lies, exactly as the manifest names it
	Positions *roaring.Bitmap
}

// A Puffin file of deletion vectors (Iceberg's Puffin spec, "deletion-vector-v1"). Readers find a vector by the offset and size that
// its manifest entry has, and need the footer no more than we do.
//
//	"PFA1"
//	vectors, back to back; each:
//	  length   u32 big-endian: bytes of magic and bitmaps
//	  magic    D1 D3 39 64
//	  bitmaps  u64 little-endian: how many; then, by rising key:
//	    key    u32 little-endian: the upper half of positions
//	    bitmap of the lower half, in the portable format of Roaring bitmaps
//	  crc      u32 big-endian: CRC-32 of magic and bitmaps
//	"PFA1"
//	footer: JSON, uncompressed
//	length of the JSON u32 little-endian, flags 4 bytes of 0, "PFA1"
const (
	puffinMagic  = "PFA1"
	vectorMagic  = "\xD1\xD3\x39\x64"
	vectorHead   = 4 + 8 + 4 // magic, how many bitmaps, key of the one
	vectorAround = 4 + 4     // length, crc
)

// puffinFooter is the footer's JSON.
type puffinFooter struct {
	Blobs      []puffinBlob      `json:"blobs"`
	Properties map[string]string `json:"properties"`
}

type puffinBlob struct {
	Type       string            `json:"type"`
	Fields     []int             `json:"fields"`
	SnapshotID int64             `json:"snapshot-id"`     // -1: inherited, as the spec wants it of vectors
	Sequence   int64             `json:"sequence-number"` // -1: inherited
	Offset     int64             `json:"offset"`
	Length     int64             `json:"length"`
	Properties map[string]string `json:"properties"`
}

// EncodeVectors makes one Puffin file of a deletion vector for each data file that has deleted positions. The object's key is
// left to the caller.
func EncodeVectors(dd []DataPositions) ([]lake.Vector, []byte, error) {
	dd = slices.Clone(dd)
	slices.SortFunc(dd, func(a, b DataPositions) int { return strings.Compare(a.Path, b.Path) })
	var out []lake.Vector
	footer := puffinFooter{Properties: map[string]string{"created-by": DefaultCreatedBy}}
	b := []byte(puffinMagic)
	for i, d := range dd {
		if d.Positions == nil || d.Positions.IsEmpty() || i > 0 && d.Path == dd[i-1].Path {
			return nil, nil, fmt.Errorf("deletion vectors: %s is named twice, or none of its rows is deleted", d.Path)
		}
		v := lake.Vector{Data: d.Key, Offset: int64(len(b)), Positions: int64(d.Positions.GetCardinality())}
		var err error
		if b, err = appendVector(b, d.Positions); err != nil {
			return nil, nil, fmt.Errorf("deletion vector of %s: %w", d.Path, err)
		}
		v.Size = int64(len(b)) - v.Offset
		out = append(out, v)
		footer.Blobs = append(footer.Blobs, puffinBlob{
			Type: "deletion-vector-v1", Fields: []int{deletePosID}, SnapshotID: -1, Sequence: -1, Offset: v.Offset, Length: v.Size,
			Properties: map[string]string{"referenced-data-file": d.Path, "cardinality": strconv.FormatInt(v.Positions, 10)},
		})
	}
	payload, err := json.Marshal(footer)
	if err != nil {
		return nil, nil, fmt.Errorf("deletion vectors: %w", err)
	}
	b = append(append(b, puffinMagic...), payload...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(payload)))
	b = append(append(b, 0, 0, 0, 0), puffinMagic...)
	for i := range out {
		out[i].FileBytes = int64(len(b))
	}
	return out, b, nil
}

// appendVector appends one blob.
func appendVector(b []byte, positions *roaring.Bitmap) ([]byte, error) {
	set := positions.Clone()
	set.RunOptimize()
	bits, err := set.ToBytes()
	if err != nil {
		return nil, err
	}
	b = binary.BigEndian.AppendUint32(b, uint32(vectorHead+len(bits)))
	start := len(b)
	b = append(b, vectorMagic...)
	b = binary.LittleEndian.AppendUint64(b, 1)
	b = binary.LittleEndian.AppendUint32(b, 0) // key: positions of tarn's files are 32-bit (tidset.RowsMax)
	b = append(b, bits...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:])), nil
}

// ReadVector reads one of the vectors that EncodeVectors put in the Puffin file b. rows is how many the data file has. Damaged
// bytes are a pg.CorruptError.
func ReadVector(b []byte, v lake.Vector, rows int64) (set *roaring.Bitmap, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%v", r)
		}
		if err != nil {
			set, err = nil, &pg.CorruptError{What: fmt.Sprintf("deletion vector at %d of %s: %v", v.Offset, v.Key, err)}
		}
	}()
	if v.Offset < 0 || v.Size < vectorHead+vectorAround || v.Offset > int64(len(b)) || v.Size > int64(len(b))-v.Offset {
		return nil, fmt.Errorf("%d bytes of %d", v.Size, len(b))
	}
	b = b[v.Offset : v.Offset+v.Size]
	if n := binary.BigEndian.Uint32(b); int64(n) != v.Size-vectorAround || string(b[4:8]) != vectorMagic {
		return nil, fmt.Errorf("it does not begin with its length and magic")
	}
	body, crc := b[4:len(b)-4], binary.BigEndian.Uint32(b[len(b)-4:])
	if crc32.ChecksumIEEE(body) != crc {
		return nil, fmt.Errorf("the checksum differs")
	}
	if set, err = readBitmaps(body[4:]); err != nil {
		return nil, err
	}
	if n := int64(set.GetCardinality()); n != v.Positions || n == 0 || int64(set.Maximum()) >= rows {
		return nil, fmt.Errorf("%d positions up to %d, the manifest says %d of %d", n, set.Maximum(), v.Positions, rows)
	}
	return set, nil
}

// readBitmaps reads what follows the magic; of positions past 32 bits there are none.
func readBitmaps(b []byte) (*roaring.Bitmap, error) {
	if n := binary.LittleEndian.Uint64(b); n != 1 {
		return nil, fmt.Errorf("%d bitmaps", n)
	}
	if key := binary.LittleEndian.Uint32(b[8:]); key != 0 {
		return nil, fmt.Errorf("positions from %d<<32", key)
	}
	r := bytes.NewReader(b[12:])
	set := roaring.New()
	if _, err := set.ReadFrom(r); err != nil {
		return nil, err
	}
	if r.Len() != 0 {
		return nil, fmt.Errorf("%d bytes too many", r.Len())
	}
	return set, set.Validate()
}
