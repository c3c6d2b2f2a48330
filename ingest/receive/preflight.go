package receive

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/pg"
)

// Info is what a server says about itself at attach.
type Info struct {
	SystemID       uint64        // of the cluster, from initdb
	Timeline       pg.TimelineID // current
	FlushLSN       pg.LSN        // end of WAL durable on the server
	Major          pg.Major      // 15-18
	Version        string        // as the server prints it, such as 15.18
	SegmentSize    int64         // bytes in one WAL segment
	DataChecksums  bool          // pages carry checksums
	WALLevel       string        // replica or logical
	FullPageWrites bool          // full_page_writes
	LCMonetary     string        // lc_monetary of the replication role's sessions: how money is printed
}

// Preflight checks that the server can be attached to and describes it. It changes nothing there. What stands in the
// way is an *AttachError.
func Preflight(ctx context.Context, src Source) (Info, error) {
	conn, err := connect(ctx, src)
	if err != nil {
		return Info{}, err
	}
	defer closeConn(conn)
	return inspect(ctx, conn)
}

// inspect asks an open replication connection for everything attach depends on.
func inspect(ctx context.Context, conn *pgconn.PgConn) (info Info, err error) {
	info.Version, _, _ = strings.Cut(conn.ParameterStatus("server_version"), " ") // Debian appends its package name
	major := leadingInt(info.Version)
	if major < int(pg.PG15) || major > int(pg.PG18) {
		return info, &AttachError{Code: CodeVersion, Msg: "the server is Postgres " + info.Version, Fix: "attach to 15, 16, 17 or 18"}
	}
	info.Major = pg.Major(major)
	if err = identify(ctx, conn, &info); err != nil {
		return info, err
	}
	if err = settings(ctx, conn, &info); err != nil {
		return info, err
	}
	return info, nil
}

// identify runs IDENTIFY_SYSTEM: systemid, timeline, xlogpos, dbname.
func identify(ctx context.Context, conn *pgconn.PgConn, info *Info) error {
	r, err := row(ctx, conn, "IDENTIFY_SYSTEM", 3)
	if err != nil {
		return fmt.Errorf("IDENTIFY_SYSTEM: %w", err)
	}
	if r == nil {
		return fmt.Errorf("IDENTIFY_SYSTEM: no row")
	}
	if info.SystemID, err = strconv.ParseUint(string(r[0]), 10, 64); err != nil {
		return fmt.Errorf("IDENTIFY_SYSTEM: systemid: %w", err)
	}
	tli, err := strconv.ParseUint(string(r[1]), 10, 32)
	if err != nil {
		return fmt.Errorf("IDENTIFY_SYSTEM: timeline: %w", err)
	}
	info.Timeline = pg.TimelineID(tli)
	info.FlushLSN, err = parseLSN("xlogpos", r[2])
	return err
}

// settings reads what must hold and what the reader needs to know.
func settings(ctx context.Context, conn *pgconn.PgConn, info *Info) (err error) {
	values := map[string]string{}
	for _, name := range []string{"wal_level", "wal_segment_size", "block_size", "data_checksums", "full_page_writes", "lc_monetary"} {
		if values[name], err = show(ctx, conn, name); err != nil {
			return fmt.Errorf("SHOW %s: %w", name, err)
		}
	}
	info.WALLevel = values["wal_level"]
	info.DataChecksums = values["data_checksums"] == "on"
	info.FullPageWrites = values["full_page_writes"] == "on"
	info.LCMonetary = values["lc_monetary"]
	if info.WALLevel == "minimal" {
		return &AttachError{Code: CodeWALLevel, Msg: "wal_level is minimal", Fix: "ALTER SYSTEM SET wal_level = replica; restart the server"}
	}
	if values["block_size"] != strconv.Itoa(pg.BlockSize) {
		return &AttachError{Code: CodeBlockSize, Msg: "the server is built with pages of " + values["block_size"] + " bytes",
			Fix: "attach to one with 8192"}
	}
	if info.SegmentSize, err = parseBytes(values["wal_segment_size"]); err != nil || !pg.ValidWALSegmentSize(info.SegmentSize) {
		return fmt.Errorf("SHOW wal_segment_size: %q is not a size", values["wal_segment_size"])
	}
	return nil
}

// CheckSystemID refuses a server that is not the cluster the data came from.
func CheckSystemID(info Info, want uint64) error {
	if info.SystemID == want {
		return nil
	}
	return &AttachError{Code: CodeSystemID,
		Msg: fmt.Sprintf("the server's system identifier is %d, the data here came from %d", info.SystemID, want),
		Fix: "point source.url at the original cluster, or use an empty data_dir and store"}
}

// leadingInt reads the digits a version starts with: 15 of "15.18", 19 of "19devel".
func leadingInt(s string) int {
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' || n > 1000 {
			break
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// parseBytes reads a size as SHOW prints it: 16MB, 1GB.
func parseBytes(s string) (int64, error) {
	unit := int64(1)
	for _, u := range []struct {
		suffix string
		bytes  int64
	}{{"kB", 1 << 10}, {"MB", 1 << 20}, {"GB", 1 << 30}, {"B", 1}} {
		if t, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = t, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return n * unit, err
}
