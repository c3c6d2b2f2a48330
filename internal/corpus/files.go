package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// files is what changes whole files, the relation map and the server's own state, and what a crash finds half done.
func files(ctx context.Context, m *maker) error {
	for _, step := range []func(context.Context) error{m.databases, m.relationMaps, m.preparedOverCrash, m.imagesOnAndOff, m.backup, m.restarts} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (m *maker) databases(ctx context.Context) error {
	if err := m.exec(ctx, "create tablespace one location ''", "create tablespace two location ''", "create tablespace gone location ''", "drop tablespace gone",
		"create database template strategy file_copy"); err != nil {
		return err
	}
	if err := m.srv.Exec(ctx, "template", "create table t (id int primary key, t text)",
		"insert into t select i, md5(i::text) from generate_series(1, 5000) i", "create index on t using gin (to_tsvector('simple', t))",
		"create table in_one (id int) tablespace one", "insert into in_one select generate_series(1, 1000)", "vacuum t"); err != nil {
		return err
	}
	if err := m.exec(ctx, "create database copied template template strategy file_copy", "create database logged template template strategy wal_log",
		"create database moved template template strategy file_copy", "alter database moved set tablespace two"); err != nil {
		return err
	}
	for _, db := range []string{"copied", "logged", "moved"} {
		if err := m.srv.Exec(ctx, db, "update t set t = 'after' where id % 3 = 0", "delete from in_one where id < 500", "vacuum t",
			"alter table t set tablespace one", "insert into t select i, 'more' from generate_series(6000, 7000) i"); err != nil {
			return err
		}
	}
	return m.exec(ctx, "drop database moved", "alter database copied set tablespace two", "drop database logged", "checkpoint")
}

// relationMaps rewrites catalogs that have no pg_class row to find them by, the shared ones included.
func (m *maker) relationMaps(ctx context.Context) error {
	return m.exec(ctx, "vacuum full pg_class", "vacuum full pg_database", "vacuum full pg_authid", "reindex table pg_attribute", "cluster pg_proc using pg_proc_oid_index",
		"create table shrinks as select i from generate_series(1, 30000) i", "delete from shrinks where i > 1000", "vacuum shrinks",
		"begin; create table undone as select i from generate_series(1, 1000) i; truncate shrinks; rollback",
		"create unlogged table loose (id int primary key)", "insert into loose values (1)", "alter table loose set logged", "alter table loose set unlogged",
		"create sequence s", "select nextval('s') from generate_series(1, 100)", "select setval('s', 5), pg_create_restore_point('here')", "select pg_switch_wal()")
}

// preparedOverCrash leaves transactions prepared when the server is killed, before and after a checkpoint.
func (m *maker) preparedOverCrash(ctx context.Context) error {
	if err := m.exec(ctx, "create table p (id int primary key, t text); create table doomed (id int)",
		"insert into p select i, 'before' from generate_series(1, 1000) i",
		"begin; update p set t = 'early' where id < 100; savepoint a; drop table doomed; prepare transaction 'early'",
		"checkpoint",
		"begin; insert into p values (2000, 'late'); savepoint a; insert into p values (2001, 'sub'); rollback to a; create table born (id int); insert into born values (1); prepare transaction 'late'",
		"begin; delete from p where id = 500; prepare transaction 'undone'",
		"update p set t = 'meanwhile' where id > 900",
	); err != nil {
		return err
	}
	if err := m.crash(ctx); err != nil {
		return err
	}
	return m.exec(ctx, "commit prepared 'early'", "commit prepared 'late'", "rollback prepared 'undone'", "update p set t = 'after'", "vacuum p")
}

// crash kills the server and has it recover. What an open transaction had done is in the WAL by then.
func (m *maker) crash(ctx context.Context) error {
	open, err := m.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer open.Close(ctx)
	if _, err := open.Exec(ctx, "begin; create table lost as select i from generate_series(1, 5000) i"); err != nil {
		return err
	}
	if err := m.srv.Kill9(); err != nil {
		return err
	}
	return m.srv.Restart(ctx)
}

// imagesOnAndOff changes what goes into the WAL while the server runs.
func (m *maker) imagesOnAndOff(ctx context.Context) error {
	if err := m.exec(ctx, "create table images (id int primary key, n int, t text)",
		"insert into images select i, 0, repeat(md5(i::text), 3) from generate_series(1, 20000) i"); err != nil {
		return err
	}
	for _, setting := range []string{"full_page_writes = off", "wal_compression = off", "full_page_writes = on", "wal_compression = pglz", "wal_compression = lz4",
		"wal_compression = zstd", "full_page_writes = off", "full_page_writes = on"} {
		if err := m.exec(ctx, "alter system set "+setting); err != nil {
			say("%s: %v", m.release, err) // not every build has every method
			continue
		}
		if err := m.exec(ctx, "select pg_reload_conf()", "select pg_sleep(0.5)", "checkpoint",
			"update images set n = n + 1 where id % 20 = 0", "select count(*) from images where n > 0"); err != nil {
			return err
		}
	}
	return nil
}

// backup takes one the way a backup tool does; its end is a record.
func (m *maker) backup(ctx context.Context) error {
	conn, err := m.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	for _, sql := range []string{"select pg_backup_start('corpus', true)", "update images set n = 5 where id < 500", "select pg_backup_stop(false)"} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%s: %w", sql, err)
		}
	}
	return nil
}

// restarts comes back with other settings, which is a record too, and with hint bits in the WAL.
func (m *maker) restarts(ctx context.Context) error {
	for _, setting := range []string{"wal_log_hints = on", "max_connections = 120", "wal_log_hints = off"} {
		if err := m.exec(ctx, "alter system set "+setting); err != nil {
			return err
		}
		if err := m.srv.Restart(ctx); err != nil {
			return err
		}
		if err := m.exec(ctx, "update images set n = n + 1 where id % 50 = 0", "checkpoint", "select count(*) from images where n > 0", "vacuum (freeze) images",
			"select count(*) from pg_class"); err != nil {
			return err
		}
	}
	return nil
}

// promotion has a standby follow the server and take over; the WAL from there on is of another timeline.
func promotion(ctx context.Context, m *maker) error {
	if err := m.exec(ctx, "create table t (id int primary key, n int)", "insert into t select i, 0 from generate_series(1, 5000) i"); err != nil {
		return err
	}
	if err := m.srv.Stop(pgtest.Fast); err != nil {
		return err
	}
	primary, dir := m.srv, filepath.Join(m.scratch, "standby")
	if err := os.CopyFS(filepath.Join(dir, "data"), os.DirFS(primary.DataDir())); err != nil {
		return err
	}
	if err := primary.Restart(ctx); err != nil {
		return err
	}
	defer func() { _ = primary.Remove() }()
	standby, err := m.standby(ctx, primary, dir)
	if err != nil {
		return err
	}
	m.srv = standby
	if err := primary.Exec(ctx, "postgres", "update t set n = n + 1", "create index on t (n)", "delete from t where id % 5 = 0", "vacuum t", "checkpoint",
		"begin; insert into t values (9001, 1); prepare transaction 'over'", "select pg_switch_wal()", "update t set n = n + 1 where id % 2 = 0"); err != nil {
		return err
	}
	// A clean stop waits until the standby has everything.
	if err := primary.Stop(pgtest.Fast); err != nil {
		return err
	}
	if _, err := standby.QueryText(ctx, "postgres", "select pg_promote()::text"); err != nil {
		return err
	}
	return m.exec(ctx, "commit prepared 'over'", "update t set n = n + 1", "vacuum (freeze) t", "checkpoint", "insert into t select i, 0 from generate_series(10000, 12000) i")
}

// standby starts a copy of the primary's data directory that follows it.
func (m *maker) standby(ctx context.Context, primary *pgtest.Server, dir string) (*pgtest.Server, error) {
	port, err := pgtest.FreePort()
	if err != nil {
		return nil, err
	}
	auto := filepath.Join(dir, "data", "postgresql.auto.conf")
	text, err := os.ReadFile(auto)
	if err != nil {
		return nil, err
	}
	// The last line of a setting is the one that holds.
	text = fmt.Appendf(text, "port = %d\nunix_socket_directories = '%s'\nprimary_conninfo = 'host=127.0.0.1 port=%d user=postgres'\n", port, dir, primary.Port())
	if err := os.WriteFile(auto, text, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "data", "standby.signal"), nil, 0o600); err != nil {
		return nil, err
	}
	if err := os.Chmod(filepath.Join(dir, "data"), 0o700); err != nil {
		return nil, err
	}
	opts := server(m.release, dir)
	opts.Port, opts.KeepData = port, true
	return pgtest.Start(ctx, opts)
}
