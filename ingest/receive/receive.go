// Package receive is the client of Postgres's physical replication protocol: preflight, slot, base backup and the
// WAL stream. It starts no goroutine; the ingest service owns those.
//
// The protocol is spoken on pgconn directly. pglogrepl expects one COPY per tablespace, which servers before 15 sent,
// and copies each message; here a message is read where it lies in the connection's buffer.
package receive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarn-db/tarn/internal/pg"
)

// connectTimeoutDefault bounds a connection attempt whose URL names no connect_timeout.
const connectTimeoutDefault = 10 * time.Second

// commandTimeout bounds a replication command but for those that copy or stream. None does much; a server that was stopped
// in its tracks, or a network that drops everything, would hold the caller for ever.
const commandTimeout = 30 * time.Second

// A server with one walsender to spare shows it as taken for a moment after we have closed a connection.
const (
	walsenderRetries = 5
	walsenderPause   = 100 * time.Millisecond
)

// Source says which server to attach to.
type Source struct {
	// URL is a libpq URL or keyword string; what it leaves out comes from PG* variables, service and password files.
	URL string
	// ApplicationName is what synchronous_standby_names matches; empty means tarn unless the URL names one.
	ApplicationName string
}

// connect opens a physical replication connection. Its errors are *AttachError.
func connect(ctx context.Context, src Source) (*pgconn.PgConn, error) {
	cfg, err := pgconn.ParseConfig(src.URL)
	if err != nil {
		return nil, &AttachError{Code: CodeURL, Msg: "source.url cannot be used: " + oneLine(err.Error()),
			Fix: "write it as postgres://user@host:5432/?sslmode=verify-full", Err: err}
	}
	cfg.RuntimeParams["replication"] = "true"
	if src.ApplicationName != "" {
		cfg.RuntimeParams["application_name"] = src.ApplicationName
	} else if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "tarn"
	}
	// Of several hosts the one that is the primary, whatever target_session_attrs says: for that pgconn asks in SQL, which a
	// physical walsender does not take.
	cfg.ValidateConnect = refuseStandby
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeoutDefault
	}
	for try := 0; ; try++ {
		conn, err := pgconn.ConnectConfig(ctx, cfg)
		if err == nil {
			return conn, nil
		}
		err = attachError(err, cfg)
		var ae *AttachError
		if !errors.As(err, &ae) || ae.Code != CodeWalsender || try == walsenderRetries {
			return nil, err
		}
		// The walsender of the connection we closed last may still be on its way out.
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(walsenderPause):
		}
	}
}

// refuseStandby makes pgconn try the next host.
func refuseStandby(_ context.Context, conn *pgconn.PgConn) error {
	if conn.ParameterStatus("in_hot_standby") == "on" {
		return &AttachError{Code: CodeStandby, Msg: "the server at " + conn.Conn().RemoteAddr().String() + " is a standby", Fix: "attach to its primary"}
	}
	return nil
}

// Address is where a source is, as a libpq string that a client of any role can use; empty if its URL does not parse.
func Address(src Source) string {
	cfg, err := pgconn.ParseConfig(src.URL)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("host=%s port=%d", cfg.Host, cfg.Port)
}

// closeConn says goodbye without waiting long: the server may be gone.
func closeConn(conn *pgconn.PgConn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // the connection is finished either way
}

// row runs one replication command and returns its first row, nil when it has none. A nil column is SQL NULL.
func row(ctx context.Context, conn *pgconn.PgConn, command string, columns int) ([][]byte, error) {
	timed, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	results, err := conn.Exec(timed, command).ReadAll()
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		verb, _, _ := strings.Cut(command, " ")
		return nil, &AttachError{Code: CodeUnreachable, Err: err, Msg: fmt.Sprintf("Postgres does not answer %s within %s", verb, commandTimeout),
			Fix: "check whether the server hangs, and the network"}
	}
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if len(r.Rows) == 0 {
			continue
		}
		if values := r.Rows[0]; len(values) >= columns {
			return values, nil
		}
		return nil, fmt.Errorf("%s: the server sent %d columns, want %d", command, len(r.Rows[0]), columns)
	}
	return nil, nil
}

// show reads one setting. SHOW is the only SQL a physical walsender runs.
func show(ctx context.Context, conn *pgconn.PgConn, name string) (string, error) {
	r, err := row(ctx, conn, "SHOW "+name, 1)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", fmt.Errorf("SHOW %s: no row", name)
	}
	return string(r[0]), nil
}

// quoteIdent makes a replication grammar identifier.
func quoteIdent(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }

// oneLine keeps an error message on one line.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// parseLSN reads a column that must hold an LSN.
func parseLSN(column string, value []byte) (pg.LSN, error) {
	l, err := pg.ParseLSN(string(value))
	if err != nil {
		return 0, fmt.Errorf("column %s: %w", column, err)
	}
	return l, nil
}
