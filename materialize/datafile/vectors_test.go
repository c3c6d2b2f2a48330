package datafile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/apache/iceberg-go/puffin"
	"github.com/apache/iceberg-go/table/dv"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/materialize/lake"
)

func encodedVectors(t testing.TB) ([]DataPositions, []lake.Vector, []byte) {
	t.Helper()
	sparse, dense := roaring.New(), roaring.New()
	sparse.AddMany([]uint32{0, 7, 70_000, 5_000_000})
	dense.AddRange(1000, 400_000)
	dd := []DataPositions{{"b", "file:///lake/b", dense}, {"a", "file:///lake/a", sparse}}
	vectors, b, err := EncodeVectors(dd)
	if err != nil || len(vectors) != 2 || vectors[0].Data != "a" {
		t.Fatal(vectors, err)
	}
	return dd, vectors, b
}

// TestVectorsAsIcebergReads: iceberg-go finds in the file what went in, by the footer, and by offset and size.
func TestVectorsAsIcebergReads(t *testing.T) {
	dd, vectors, b := encodedVectors(t)
	r, err := puffin.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	for i, blob := range r.Blobs() {
		v, want := vectors[i], dd[1-i]
		if blob.Properties["referenced-data-file"] != want.Path || blob.Offset != v.Offset || blob.Length != v.Size || v.FileBytes != int64(len(b)) {
			t.Errorf("blob %+v of %+v", blob, v)
		}
		raw := b[v.Offset : v.Offset+v.Size]
		set, err := dv.DeserializeDV(raw, v.Positions)
		if err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for pos := range set.Positions() {
			got = append(got, uint32(pos))
		}
		if !roaring.BitmapOf(got...).Equals(want.Positions) {
			t.Errorf("%s: other positions", want.Path)
		}
		if theirs, err := dv.SerializeDV(set); err != nil || !bytes.Equal(theirs, raw) {
			t.Errorf("%s: iceberg-go writes other bytes (%v)", want.Path, err)
		}
		ours, err := ReadVector(b, v, 6_000_000)
		if err != nil || !ours.Equals(want.Positions) {
			t.Errorf("%s: read back: %v", want.Path, err)
		}
	}
}

// TestVectorDamage: a wrong byte in a vector, or another place, size, count or data file than the manifest says, is noticed.
func TestVectorDamage(t *testing.T) {
	_, vectors, b := encodedVectors(t)
	v := vectors[0]
	for i := v.Offset; i < v.Offset+v.Size; i++ {
		bad := bytes.Clone(b)
		bad[i] ^= 0x10
		if _, err := ReadVector(bad, v, 6_000_000); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("byte %d is wrong: %v", i, err)
		}
	}
	for _, w := range []lake.Vector{
		{Offset: v.Offset + 1, Size: v.Size, Positions: v.Positions}, {Offset: v.Offset, Size: v.Size - 1, Positions: v.Positions},
		{Offset: v.Offset, Size: v.Size, Positions: v.Positions + 1}, {Offset: int64(len(b)), Size: v.Size, Positions: v.Positions},
		{Offset: -1, Size: v.Size, Positions: v.Positions}, {Offset: v.Offset, Size: 1 << 62, Positions: v.Positions}, vectors[1],
	} {
		if _, err := ReadVector(b, w, 5_000_000); !errors.Is(err, pg.ErrCorrupt) && w.Offset != vectors[1].Offset {
			t.Errorf("%+v: %v", w, err)
		}
	}
	if _, err := ReadVector(b, v, 5_000_000); !errors.Is(err, pg.ErrCorrupt) {
		t.Errorf("a position past the file's end: %v", err)
	}
	for _, dd := range [][]DataPositions{{{Path: "a", Positions: roaring.New()}}, {{Path: "a"}}, {{Path: "a", Positions: roaring.BitmapOf(1)}, {Path: "a", Positions: roaring.BitmapOf(2)}}} {
		if _, _, err := EncodeVectors(dd); err == nil {
			t.Errorf("accepted: %+v", dd)
		}
	}
}

// FuzzReadVector: whatever stands between magic and checksum, which is made right, there is an error or a set that fits.
func FuzzReadVector(f *testing.F) {
	_, vectors, b := encodedVectors(f)
	for _, v := range vectors {
		f.Add(b[v.Offset+8 : v.Offset+v.Size-4])
	}
	f.Fuzz(func(t *testing.T, inner []byte) {
		if len(inner) > 1<<16 {
			return
		}
		blob := binary.BigEndian.AppendUint32(nil, uint32(4+len(inner)))
		blob = append(append(blob, vectorMagic...), inner...)
		blob = binary.BigEndian.AppendUint32(blob, crc32.ChecksumIEEE(blob[4:]))
		v := lake.Vector{Size: int64(len(blob)), Positions: 4}
		set, err := ReadVector(blob, v, 6_000_000)
		if err != nil {
			if !errors.Is(err, pg.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if set.GetCardinality() != 4 || set.Maximum() >= 6_000_000 {
			t.Fatal(set)
		}
	})
}
