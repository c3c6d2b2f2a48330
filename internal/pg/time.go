package pg

import (
	"math"
	"time"
)

// TimestampTz is microseconds since 2000-01-01 00:00:00 UTC (TimestampTz).
type TimestampTz int64

// Infinite timestamps (DT_NOBEGIN, DT_NOEND).
const (
	TimestampMinusInfinity TimestampTz = math.MinInt64
	TimestampInfinity      TimestampTz = math.MaxInt64
)

// epochMicros is 2000-01-01 in microseconds since 1970-01-01.
const epochMicros = 946_684_800_000_000

// Time converts to Go's time in UTC; the infinities give whatever time.UnixMicro makes of them.
func (t TimestampTz) Time() time.Time {
	sec, usec := int64(t)/1_000_000, int64(t)%1_000_000
	return time.Unix(sec+epochMicros/1_000_000, usec*1000).UTC()
}

// TimestampOf converts Go's time, truncating to microseconds.
func TimestampOf(t time.Time) TimestampTz { return TimestampTz(t.UnixMicro() - epochMicros) }
