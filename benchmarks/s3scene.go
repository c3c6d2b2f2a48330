package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/tarn-db/tarn/internal/pgtest"
	"github.com/tarn-db/tarn/internal/s3test"
)

// s3Scene is an empty Postgres and an S3 server with an empty bucket, before which a proxy counts and delays.
type s3Scene struct {
	dir    string // scratch, removed by close
	binary string
	srv    *pgtest.Server
	s3     *s3test.Server
	proxy  *s3test.Proxy
}

func newS3Scene(ctx context.Context, o options, name string) (_ *s3Scene, err error) {
	sc := &s3Scene{dir: filepath.Join(o.dir, name)}
	defer func() {
		if err != nil {
			err = errors.Join(err, sc.close())
		}
	}()
	if err := errors.Join(os.RemoveAll(sc.dir), os.MkdirAll(sc.dir, 0o755)); err != nil {
		return nil, err
	}
	if sc.binary, err = buildTarn(ctx, o); err != nil {
		return nil, err
	}
	if sc.s3, err = s3test.Start(sc.dir, "lake"); err != nil {
		return nil, err
	}
	if sc.proxy, err = s3test.StartProxy(sc.s3.URL); err != nil {
		return nil, err
	}
	sc.srv, err = pgtest.Start(ctx, pgtest.Options{Databases: []string{"app"}, Settings: map[string]string{"autovacuum": "off"}})
	return sc, err
}

// attach starts tarn on the bucket, through the proxy: the catalog tells engines the endpoint that tarn uses. more are lines
// for tarn.yaml.
func (sc *s3Scene) attach(ctx context.Context, memory int64, more string) (*tarn, error) {
	return startTarnOn(ctx, sc.binary, filepath.Join(sc.dir, "tarn"), "s3://lake/bench", sc.srv, memory, more, sc.s3.Environ(sc.proxy.URL)...)
}

func (sc *s3Scene) close() (err error) {
	if sc.srv != nil {
		err = sc.srv.Remove()
	}
	if sc.proxy != nil {
		sc.proxy.Close()
	}
	if sc.s3 != nil {
		sc.s3.Stop()
	}
	return errors.Join(err, os.RemoveAll(sc.dir))
}
