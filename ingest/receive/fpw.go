package receive

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5/pgconn"
)

// FullPageWritesSQL are the statements that switch full_page_writes on or off, to be run one by one.
func FullPageWritesSQL(on bool) []string {
	value := "off"
	if on {
		value = "on"
	}
	return []string{"ALTER SYSTEM SET full_page_writes = " + value, "SELECT pg_reload_conf()"}
}

// SetFullPageWrites runs them on an ordinary connection, whose role has to have the right to. systemID is the cluster that must be
// there. When it returns nil the server has been told; XLOG_FPW_CHANGE in its WAL says that it has done so. Errors are *AttachError.
func SetFullPageWrites(ctx context.Context, url string, systemID uint64, on bool) error {
	cfg, err := pgconn.ParseConfig(url)
	if err != nil {
		return &AttachError{Code: CodeURL, Err: err, Msg: "source.admin_url cannot be used", Fix: cause(err)}
	}
	delete(cfg.RuntimeParams, "replication")
	cfg.RuntimeParams["application_name"] = "tarn_fpw"
	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return attachError(err, cfg)
	}
	defer closeConn(conn)
	id, err := askOne(ctx, conn, "SELECT system_identifier FROM pg_control_system()")
	if err != nil {
		return adminError(err, cfg.User)
	}
	if id != strconv.FormatUint(systemID, 10) {
		return &AttachError{Code: CodeSystemID, Msg: fmt.Sprintf("source.admin_url leads to the cluster with system identifier %s, tarn follows %d", id, systemID),
			Fix: "name the server that source.url names"}
	}
	for _, sql := range FullPageWritesSQL(on) {
		if _, err := conn.Exec(ctx, sql).ReadAll(); err != nil {
			return adminError(err, cfg.User)
		}
	}
	return nil
}

// askOne runs a query for one value.
func askOne(ctx context.Context, conn *pgconn.PgConn, sql string) (string, error) {
	r := conn.ExecParams(ctx, sql, nil, nil, nil, nil).Read()
	if r.Err != nil {
		return "", r.Err
	}
	if len(r.Rows) != 1 || len(r.Rows[0]) != 1 {
		return "", errors.New(sql + " gave no row")
	}
	return string(r.Rows[0][0]), nil
}

func adminError(err error, user string) error {
	e := &AttachError{Code: CodeCommand, Err: err, Msg: "the source does not switch full_page_writes: " + cause(err), Fix: "see its log"}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.Code == statePrivilege {
		e.Fix = fmt.Sprintf("GRANT ALTER SYSTEM ON PARAMETER full_page_writes TO %s; GRANT EXECUTE ON FUNCTION pg_reload_conf() TO %s; or name a superuser's connection", user, user)
	}
	return e
}
