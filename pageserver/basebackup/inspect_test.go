package basebackup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// startedClean says that the server found a directory that was shut down, and redid nothing.
func startedClean(srv *pgtest.Server) error {
	log, err := os.ReadFile(srv.LogPath())
	if err != nil {
		return err
	}
	text := string(log)
	for _, ours := range []string{"FATAL:  the database system is starting up", "FATAL:  terminating connection due to administrator command"} {
		text = strings.ReplaceAll(text, ours, "") // who asks too early, or does not leave at a stop
	}
	if !strings.Contains(text, "database system was shut down at") {
		return fmt.Errorf("the server does not say that it was shut down: %s", text)
	}
	for _, bad := range []string{"redo starts", "automatic recovery", "not properly shut down", "WARNING", "PANIC", "FATAL", "invalid"} {
		if strings.Contains(text, bad) {
			return fmt.Errorf("the server's log says %q: %s", bad, text)
		}
	}
	return nil
}

// checkPages reads each page of each fork through the server, which checks checksums, and has amcheck look at every table and index. It
// changes databases: it makes the extensions.
func checkPages(ctx context.Context, srv *pgtest.Server) (pages int, err error) {
	dbs, err := databases(ctx, srv)
	for _, db := range dbs {
		n, dbErr := checkDatabase(ctx, srv, db)
		if pages += n; dbErr != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", db, dbErr))
		}
	}
	return pages, err
}

func checkDatabase(ctx context.Context, srv *pgtest.Server, db string) (pages int, err error) {
	conn, err := pgx.Connect(ctx, srv.ConnString(db))
	if err != nil {
		return 0, err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{"create extension if not exists amcheck", "create extension if not exists pg_prewarm"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return 0, err
		}
	}
	err = conn.QueryRow(ctx, `select coalesce(sum(pg_prewarm(c.oid::regclass, 'buffer', f)), 0) from pg_class c, unnest(array['main', 'fsm', 'vm', 'init']) f
		where relkind in ('r', 'm', 'i', 'S', 't') and pg_relation_size(c.oid, f) > 0`).Scan(&pages)
	if err != nil {
		return pages, fmt.Errorf("a page is bad: %w", err)
	}
	var bad string
	err = conn.QueryRow(ctx, `select coalesce(string_agg(format('%s block %s: %s', c.oid::regclass, v.blkno, v.msg), '; '), '')
		from pg_class c, verify_heapam(c.oid, check_toast => true) v where relkind in ('r', 'm', 't') and relpersistence = 'p'`).Scan(&bad)
	if err == nil && bad != "" {
		err = errors.New(bad)
	}
	if err != nil {
		return pages, fmt.Errorf("amcheck of tables: %w", err)
	}
	_, err = conn.Exec(ctx, `select bt_index_parent_check(i.indexrelid, true, true) from pg_index i join pg_class c on c.oid = i.indexrelid
		where c.relam = (select oid from pg_am where amname = 'btree') and c.relkind = 'i' and i.indisvalid and i.indisready and c.relpersistence <> 't'`)
	if err != nil {
		return pages, fmt.Errorf("amcheck of indexes: %w", err)
	}
	return pages, nil
}
