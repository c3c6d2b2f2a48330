package types

import (
	"math"
	"strconv"

	"github.com/tarn-db/tarn/materialize/datafile/column"
	"github.com/tarn-db/tarn/materialize/lake"
)

// Postgres counts days and microseconds from 2000-01-01, Iceberg from 1970-01-01.
const (
	epochDays   = 10957
	dayMicros   = 86_400_000_000
	epochMicros = epochDays * dayMicros
)

// Iceberg's dates and timestamps are of the years 1 to 9999: what every engine can show.
const (
	daysMin   = -719_162  // 0001-01-01
	daysMax   = 2_932_896 // 9999-12-31
	microsMin = daysMin * dayMicros
	microsMax = (daysMax+1)*dayMicros - 1
)

// dateCodec reads DateADT; the infinities are the least and greatest int32, far out of range.
var dateCodec = fixed(4, func(v []byte, b *column.Builder) {
	days := int64(int32(le.Uint32(v))) + epochDays
	if days < daysMin || days > daysMax {
		if !b.Clamped() {
			return
		}
		days = min(max(days, daysMin), daysMax)
	}
	b.AppendInt32(int32(days))
})

// timestampCodec reads Timestamp and TimestampTz; the infinities are the least and greatest int64.
var timestampCodec = fixed(8, func(v []byte, b *column.Builder) {
	t := int64(le.Uint64(v))
	if t < microsMin-epochMicros || t > microsMax-epochMicros {
		if !b.Clamped() {
			return
		}
		t = min(max(t, microsMin-epochMicros), microsMax-epochMicros)
	}
	b.AppendInt64(t + epochMicros)
})

// timeCodec reads TimeADT. Postgres has 24:00:00, Iceberg has not.
var timeCodec = fixed(8, func(v []byte, b *column.Builder) {
	t := int64(le.Uint64(v))
	if t < 0 || t >= dayMicros {
		if !b.Clamped() {
			return
		}
		t = min(max(t, 0), dayMicros-1)
	}
	b.AppendInt64(t)
})

// mapInterval makes a struct of Interval's three parts: they do not convert into each other.
//
//	0  time int64 microseconds, 8  day int32, 12  month int32
func (m *mapper) mapInterval(prev *lake.Type) (lake.Type, *codec, error) {
	t := lake.Type{Kind: lake.Struct}
	for i, name := range []string{"months", "days", "microseconds"} {
		f := m.field(name, member(prev, lake.Struct, i))
		f.Type.Kind = lake.Int
		if name == "microseconds" {
			f.Type.Kind = lake.Long
		}
		t.Fields = append(t.Fields, f)
	}
	return t, intervalCodec, nil
}

var intervalCodec = fixed(16, func(v []byte, b *column.Builder) {
	micros, days, months := int64(le.Uint64(v)), int32(le.Uint32(v[8:])), int32(le.Uint32(v[12:]))
	// INTERVAL_NOEND and INTERVAL_NOBEGIN, from 17; before, no interval came near.
	if months == math.MaxInt32 && days == math.MaxInt32 && micros == math.MaxInt64 ||
		months == math.MinInt32 && days == math.MinInt32 && micros == math.MinInt64 {
		b.AppendOutOfRange()
		return
	}
	m := b.AppendStruct()
	m[0].AppendInt32(months)
	m[1].AppendInt32(days)
	m[2].AppendInt64(micros)
})

// appendTimeOfDay prints TimeADT (time_out): int64 microseconds since midnight.
func appendTimeOfDay(dst, v []byte) []byte {
	t := int64(le.Uint64(v))
	sec := t / 1_000_000
	dst = append2(dst, sec/3600)
	dst = append2(append(dst, ':'), sec/60%60)
	dst = append2(append(dst, ':'), sec%60)
	if frac := t % 1_000_000; frac > 0 {
		dst = append(dst, '.')
		for p := int64(100_000); frac > 0; p /= 10 {
			dst = append(dst, byte('0'+frac/p))
			frac %= p
		}
	}
	return dst
}

// appendTimetz prints TimeTzADT (timetz_out): time int64 microseconds, zone int32 seconds west of Greenwich.
func appendTimetz(dst, v []byte) []byte {
	zone := int32(le.Uint32(v[8:]))
	dst = appendTimeOfDay(dst, v)
	sign, z := byte('+'), -int64(zone)
	if zone > 0 {
		sign, z = '-', int64(zone)
	}
	dst = append2(append(dst, sign), z/3600)
	if z%3600 != 0 {
		dst = append2(append(dst, ':'), z/60%60)
	}
	if z%60 != 0 {
		dst = append2(append(dst, ':'), z%60)
	}
	return dst
}

// append2 prints n with at least two digits.
func append2(dst []byte, n int64) []byte {
	if n >= 0 && n < 10 {
		dst = append(dst, '0')
	}
	return strconv.AppendInt(dst, n, 10)
}
