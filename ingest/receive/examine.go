package receive

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tarn-db/tarn/internal/pg"
)

// examined are the settings an Exam has. SHOW is the only SQL a physical walsender runs.
var examined = []string{
	"wal_level", "max_wal_senders", "max_replication_slots", "max_slot_wal_keep_size", "wal_sender_timeout", "wal_keep_size",
	"data_checksums", "full_page_writes", "wal_log_hints", "wal_compression", "wal_segment_size", "block_size", "synchronous_standby_names",
}

// Exam is what a server shows of itself to a role that has REPLICATION and nothing else. What could not be found out is
// zero; what only an ordinary connection tells is in SQL.
type Exam struct {
	At       string // host:port
	User     string
	Remote   bool   // the connection leaves this machine
	TLS      string // its version, empty without TLS
	Verified bool   // the server's certificate was checked against its name
	SCRAM    bool   // the server proved that it knows the password, and we that we do (SCRAM-SHA-256)
	Second   error  // why no second walsender could be had beside the first: a base backup needs one

	Version  string
	Standby  bool
	SystemID uint64
	Timeline pg.TimelineID
	FlushLSN pg.LSN
	Settings map[string]string // of those in examined that the server knows

	Slot    Slot
	SlotErr error // *AttachError when the slot is not there or not usable

	Skew    time.Duration // the server's clock less ours
	SkewErr error         // why it is not known

	SQL    *SQLFacts
	SQLErr error // why there is no ordinary connection
}

// SQLFacts come from an ordinary connection of the same role, where pg_hba.conf lets it in. It is never needed.
type SQLFacts struct {
	SlotsUsed, Walsenders int
	SlotActive            bool
	WALStatus             string // of the slot: reserved, extended, unreserved, lost; empty if it is not there
}

// Examine asks a server for everything a preflight looks at. It changes nothing there: it makes no slot, and the stream it
// starts to read the server's clock acknowledges nothing. Its error is why there is no replication connection, an
// *AttachError.
func Examine(ctx context.Context, src Source, slot string) (*Exam, error) {
	conn, err := connect(ctx, src)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	cfg, err := pgconn.ParseConfig(src.URL)
	if err != nil {
		return nil, err
	}
	x := &Exam{At: fmt.Sprintf("%s:%d", cfg.Host, cfg.Port), User: cfg.User, Settings: map[string]string{}}
	x.link(conn, cfg)
	x.Version, _, _ = strings.Cut(conn.ParameterStatus("server_version"), " ")
	x.Standby = conn.ParameterStatus("in_hot_standby") == "on"
	var info Info
	if err := identify(ctx, conn, &info); err != nil {
		return nil, err
	}
	x.SystemID, x.Timeline, x.FlushLSN = info.SystemID, info.Timeline, info.FlushLSN
	names := examined
	if leadingInt(x.Version) >= int(pg.PG18) {
		names = append(slices.Clone(names), "idle_replication_slot_timeout")
	}
	for _, name := range names {
		if v, err := show(ctx, conn, name); err == nil { // one the role may not see is left out
			x.Settings[name] = v
		} else if ctx.Err() != nil {
			return nil, &AttachError{Code: CodeUnreachable, Err: err, Msg: x.At + " answers slowly: SHOW " + name + " was not answered in time",
				Fix: "check the network and the server's load"}
		}
	}
	if x.SlotErr = checkSlotName(slot); x.SlotErr == nil {
		x.Slot, x.SlotErr = readSlot(ctx, conn, slot)
	}
	x.Second = x.second(ctx, src)
	x.SQL, x.SQLErr = askSQL(ctx, src, slot)
	x.Skew, x.SkewErr = clock(ctx, conn, info) // last: the connection streams from here on
	return x, nil
}

// link describes the connection itself.
func (x *Exam) link(conn *pgconn.PgConn, cfg *pgconn.Config) {
	x.Remote = !strings.HasPrefix(cfg.Host, "/")
	if a, err := netip.ParseAddrPort(conn.Conn().RemoteAddr().String()); err == nil && a.Addr().IsLoopback() {
		x.Remote = false
	}
	if t, ok := conn.Conn().(*tls.Conn); ok {
		x.TLS = tls.VersionName(t.ConnectionState().Version)
		x.Verified = cfg.TLSConfig != nil && !cfg.TLSConfig.InsecureSkipVerify
	}
}

// second opens another replication connection beside the first, by SCRAM alone if the server does that.
func (x *Exam) second(ctx context.Context, src Source) error {
	cfg, err := pgconn.ParseConfig(src.URL)
	if err != nil {
		return err
	}
	cfg.RuntimeParams["replication"] = "true"
	cfg.RuntimeParams["application_name"] = "tarn_doctor"
	cfg.RequireAuth = "scram-sha-256"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if x.SCRAM = err == nil; err != nil {
		cfg.RequireAuth = ""
		if conn, err = pgconn.ConnectConfig(ctx, cfg); err != nil {
			return attachError(err, cfg)
		}
	}
	closeConn(conn)
	return nil
}

// askSQL asks an ordinary connection what SHOW does not tell.
func askSQL(ctx context.Context, src Source, slot string) (*SQLFacts, error) {
	cfg, err := pgconn.ParseConfig(src.URL)
	if err != nil {
		return nil, err
	}
	delete(cfg.RuntimeParams, "replication")
	cfg.RuntimeParams["application_name"] = "tarn_doctor"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, errors.New(cause(err))
	}
	defer closeConn(conn)
	r := conn.ExecParams(ctx, `SELECT (SELECT count(*) FROM pg_replication_slots), (SELECT count(*) FROM pg_stat_replication),
		(SELECT active FROM pg_replication_slots WHERE slot_name = $1), (SELECT wal_status FROM pg_replication_slots WHERE slot_name = $1)`,
		[][]byte{[]byte(slot)}, nil, nil, nil).Read()
	if r.Err != nil {
		return nil, r.Err
	}
	if len(r.Rows) != 1 || len(r.Rows[0]) != 4 {
		return nil, errors.New("pg_replication_slots gave no row")
	}
	v := r.Rows[0]
	return &SQLFacts{SlotsUsed: leadingInt(string(v[0])), Walsenders: leadingInt(string(v[1])), SlotActive: string(v[2]) == "t", WALStatus: string(v[3])}, nil
}

// clock reads the server's clock off a keepalive of a stream without a slot, which holds and acknowledges nothing.
func clock(ctx context.Context, conn *pgconn.PgConn, info Info) (time.Duration, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.Conn().SetDeadline(time.Unix(1, 0)) })
	defer stop()
	f := conn.Frontend()
	f.Send(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION PHYSICAL %s TIMELINE %d", info.FlushLSN, info.Timeline)})
	if err := f.Flush(); err != nil {
		return 0, err
	}
	var asked time.Time
	for {
		msg, err := f.Receive()
		if err != nil {
			return 0, err
		}
		switch m := msg.(type) {
		case *pgproto3.CopyBothResponse:
			var status [1 + 8*4 + 1]byte // 'r', write, flush, apply: none; our clock; reply at once
			status[0], status[len(status)-1] = 'r', 1
			asked = time.Now()
			f.Send(&pgproto3.CopyData{Data: status[:]})
			if err := f.Flush(); err != nil {
				return 0, err
			}
		case *pgproto3.CopyData:
			if len(m.Data) < 18 || m.Data[0] != 'k' || asked.IsZero() {
				continue // WAL
			}
			micros := int64(binary.BigEndian.Uint64(m.Data[9:]))
			there := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(micros) * time.Microsecond)
			now := time.Now()
			return there.Sub(asked.Add(now.Sub(asked) / 2)), nil
		case *pgproto3.ErrorResponse:
			return 0, pgconn.ErrorResponseToPgError(m)
		}
	}
}
