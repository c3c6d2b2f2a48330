// Package transform is Iceberg's partition transforms (Iceberg spec, "Partition Transforms"): of a value of a column, the value that its
// partition has in common. Values are in Iceberg's single-value serialization (spec, "Appendix D"), nil for null. It is pure.
package transform

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/twmb/murmur3"

	"github.com/tarn-db/tarn/materialize/lake"
)

// Kind is a transform without its parameter.
type Kind uint8

// The transforms tarn writes.
const (
	Identity Kind = iota + 1
	Bucket
	Truncate
	Year
	Month
	Day
	Hour
)

// Transform is a partition transform.
type Transform struct {
	Kind Kind
	N    int // Bucket: how many; Truncate: the width, in the column's units, code points or bytes
}

var names = map[string]Kind{"identity": Identity, "year": Year, "month": Month, "day": Day, "hour": Hour}

var parameter = regexp.MustCompile(`^(bucket|truncate)\[([0-9]{1,10})\]$`)

// Parse reads a transform as Iceberg writes it in metadata.
func Parse(s string) (Transform, error) {
	if k, ok := names[s]; ok {
		return Transform{Kind: k}, nil
	}
	if m := parameter.FindStringSubmatch(s); m != nil {
		n, err := strconv.ParseInt(m[2], 10, 32)
		if err == nil && n > 0 {
			return Transform{Kind: map[string]Kind{"bucket": Bucket, "truncate": Truncate}[m[1]], N: int(n)}, nil
		}
	}
	return Transform{}, fmt.Errorf("partition transform %q is not one tarn writes", s)
}

// String writes a transform as Iceberg does.
func (t Transform) String() string {
	switch t.Kind {
	case Bucket:
		return fmt.Sprintf("bucket[%d]", t.N)
	case Truncate:
		return fmt.Sprintf("truncate[%d]", t.N)
	}
	for name, k := range names {
		if k == t.Kind {
			return name
		}
	}
	return "?"
}

// Result is the type of what the transform makes of a column; ok is false if it takes no such column.
func (t Transform) Result(src lake.Type) (result lake.Type, ok bool) {
	number := lake.Type{Kind: lake.Int}
	moment := src.Kind == lake.Timestamp || src.Kind == lake.TimestampTZ
	switch t.Kind {
	case Identity:
		switch src.Kind {
		case lake.Float, lake.Double: // engines do not agree what is equal
			return src, false
		case lake.UUID: // nor in which order these are, and they skip manifests by the least and the greatest
			return src, false
		}
		return src, len(src.Members()) == 0
	case Bucket:
		switch src.Kind {
		case lake.Int, lake.Long, lake.Decimal, lake.Date, lake.Time, lake.Timestamp, lake.TimestampTZ, lake.String, lake.UUID, lake.Binary:
			return number, true
		}
		return number, false
	case Truncate:
		switch src.Kind {
		case lake.Int, lake.Long, lake.String, lake.Binary:
			return src, true
		case lake.Decimal: // wider than the type, what lies below zero would be cut to what it cannot hold
			return src, float64(t.N) <= math.Pow10(src.Precision)
		}
		return src, false
	case Day:
		return lake.Type{Kind: lake.Date}, moment || src.Kind == lake.Date
	case Year, Month:
		return number, moment || src.Kind == lake.Date
	case Hour:
		return number, moment
	}
	return src, false
}

// Apply transforms a value of a column of type src, one that Result takes.
func (t Transform) Apply(src lake.Type, v []byte) []byte {
	if v == nil {
		return nil
	}
	switch t.Kind {
	case Identity:
		return v
	case Bucket:
		return le32(int32(uint32(hash(src, v)&math.MaxInt32) % uint32(t.N)))
	case Truncate:
		return t.truncate(src, v)
	}
	micros := int64(0)
	days := int64(0)
	if src.Kind == lake.Date {
		days = int64(int32(binary.LittleEndian.Uint32(v)))
	} else {
		micros = int64(binary.LittleEndian.Uint64(v))
		days = floorDiv(micros, 86_400_000_000)
	}
	switch t.Kind {
	case Day:
		return le32(int32(days))
	case Hour:
		return le32(int32(floorDiv(micros, 3_600_000_000)))
	}
	at := time.Unix(days*86_400, 0).UTC()
	if t.Kind == Year {
		return le32(int32(at.Year() - 1970))
	}
	return le32(int32((at.Year()-1970)*12 + int(at.Month()) - 1))
}

// hash is the 32-bit hash that buckets are taken of (spec, "Appendix B").
func hash(src lake.Type, v []byte) uint32 {
	switch src.Kind {
	case lake.Int, lake.Date:
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(int64(int32(binary.LittleEndian.Uint32(v)))))
		return murmur3.Sum32(b[:])
	}
	return murmur3.Sum32(v) // longs and moments are 8 bytes as they are, decimals the fewest that hold them
}

func (t Transform) truncate(src lake.Type, v []byte) []byte {
	w := int64(t.N)
	switch src.Kind {
	case lake.Int:
		n := int32(binary.LittleEndian.Uint32(v))
		return le32(n - int32(floorMod(int64(n), w)))
	case lake.Long:
		n := int64(binary.LittleEndian.Uint64(v))
		return binary.LittleEndian.AppendUint64(nil, uint64(n-floorMod(n, w)))
	case lake.Decimal:
		return truncateDecimal(v, w)
	case lake.String:
		at := 0
		for n := 0; n < t.N && at < len(v); n++ {
			_, size := utf8.DecodeRune(v[at:])
			at += size
		}
		return v[:at]
	}
	return v[:min(len(v), t.N)]
}

// truncateDecimal is of an unscaled value in two's complement, the highest byte first.
func truncateDecimal(v []byte, w int64) []byte {
	n, width := new(big.Int).SetBytes(v), big.NewInt(w)
	if v[0] >= 0x80 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(v))))
	}
	n.Sub(n, new(big.Int).Mod(n, width)) // Mod is Euclidean: never negative
	return Decimal(n)
}

// Decimal is a number in the fewest bytes of two's complement that hold it, the highest first.
func Decimal(n *big.Int) []byte {
	if n.Sign() >= 0 {
		return append(make([]byte, 0, 17), n.FillBytes(make([]byte, n.BitLen()/8+1))...)
	}
	size := new(big.Int).Not(n).BitLen()/8 + 1
	return new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), uint(8*size))).FillBytes(make([]byte, size))
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

func floorMod(a, b int64) int64 { return (a%b + b) % b }

func le32(v int32) []byte { return binary.LittleEndian.AppendUint32(nil, uint32(v)) }
