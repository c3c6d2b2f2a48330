package main

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// corpora are all there are, the quick ones first.
var corpora = []corpus{
	{name: "files", work: files, initdb: []string{"--wal-segsize=4"}},
	{name: "promotion", work: promotion, settings: map[string]string{"wal_compression": "off"}},
	{name: "contrecords", work: contrecords, initdb: []string{"--wal-segsize=1"}, settings: map[string]string{"autovacuum": "off", "wal_compression": "off", "wal_buffers": "1MB"}},
	{name: "slru", work: slru, settings: map[string]string{"track_commit_timestamp": "on", "autovacuum": "off", "max_locks_per_transaction": "256"}},
	{name: "logical", work: logical, settings: map[string]string{"wal_level": "logical"}, initdb: []string{"--data-checksums"}},
	{name: "indexes", work: indexes, settings: map[string]string{"autovacuum": "off"}},
	{name: "pgvector", work: pgvector, need: needVector},
	{name: "contrib", work: contrib, need: needTests, settings: map[string]string{"wal_level": "logical"}},
	{name: "isolation", work: isolation, need: needTests, initdb: []string{"--data-checksums"}},
	{name: "regress", work: regression, need: needTests},
}

// connect opens a session for what one statement after another by Server.Exec cannot do.
func (m *maker) connect(ctx context.Context, db string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, m.srv.ConnString(db))
}

// exec runs statements in the database postgres.
func (m *maker) exec(ctx context.Context, statements ...string) error {
	return m.srv.Exec(ctx, "postgres", statements...)
}
