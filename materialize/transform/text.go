package transform

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-db/tarn/materialize/lake"
)

// Text is a partition value for people: months as 2026-11, hours as 2026-11-26-16, null as null.
func Text(result lake.Type, t Transform, v []byte) string {
	if v == nil {
		return "null"
	}
	n := int64(0)
	switch len(v) {
	case 4:
		n = int64(int32(binary.LittleEndian.Uint32(v)))
	case 8:
		n = int64(binary.LittleEndian.Uint64(v))
	}
	switch t.Kind {
	case Year:
		return strconv.FormatInt(n+1970, 10)
	case Month:
		return fmt.Sprintf("%04d-%02d", floorDiv(n, 12)+1970, floorMod(n, 12)+1)
	case Hour:
		return time.Unix(n*3600, 0).UTC().Format("2006-01-02-15")
	}
	switch result.Kind {
	case lake.Date:
		return time.Unix(n*86_400, 0).UTC().Format(time.DateOnly)
	case lake.Timestamp, lake.TimestampTZ:
		return time.UnixMicro(n).UTC().Format("2006-01-02T15-04-05.000000")
	case lake.Int, lake.Long, lake.Time:
		return strconv.FormatInt(n, 10)
	case lake.Bool:
		return strconv.FormatBool(v[0] != 0)
	case lake.String:
		return strings.ToValidUTF8(string(v), "_")
	}
	return hex.EncodeToString(v)
}
