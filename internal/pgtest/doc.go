// Package pgtest starts and stops real Postgres servers for tests and for the demo.
//
// A server listens on a Unix socket in its own folder and on 127.0.0.1. It has the superuser "postgres" (trusted on
// loopback) and the role "replicator", whose only rights are LOGIN and REPLICATION and which logs in with a SCRAM
// password, as a user of tarn would set it up. Postgres refuses to run as root: then it runs as an unprivileged user,
// who owns the data folder; binaries that it cannot get at, below root's home say, are copied for it (Reachable).
//
// NewTestServer and NewFixture are for tests: they remove the server at the test's end, and start from a copy of what initdb
// made once in the process.
//
// Use it as
//
//	srv, err := pgtest.Start(ctx, pgtest.Options{Major: 18, Dir: t.TempDir()})
//	defer srv.Stop(pgtest.Fast)
//	conn, err := pgx.Connect(ctx, srv.ConnString("postgres"))
package pgtest
