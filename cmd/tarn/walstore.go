package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/cmd/tarn/server"
	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/objstore/blockcache"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver"
)

// walSource is WAL with two ends.
type walSource struct {
	wal.Options // all but Start
	first       pg.LSN
	name        string                     // for messages
	history     func(pg.TimelineID) string // text of a timeline's history file; of an archive
	archive     pageserver.WAL             // nil of a folder
	archived    pg.LSN                     // where it ends; of an archive
	close       func() error
}

// openFolderWAL reads a folder of segments. The end of a server's own pg_wal is followed by zeroes or stale bytes.
func openFolderWAL(dir string, tli pg.TimelineID) (*walSource, error) {
	src, err := openWAL(dir, tli)
	if err != nil {
		return nil, err
	}
	return &walSource{
		Options: wal.Options{Source: src, Timeline: src.Timeline(), SegmentSize: src.SegmentSize(), EndAtInvalid: true},
		first:   src.First(), name: dir, close: src.Close,
	}, nil
}

// storeFlags are how verbs that read the store itself find it.
type storeFlags struct{ file, store string }

func (f *storeFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.file, "config", "", "settings `FILE` (tarn.yaml), for its store")
	cmd.Flags().StringVar(&f.store, "store", "", "object store `URL`; overrides store")
}

func (f *storeFlags) options() config.Options {
	o := config.Options{File: f.file, Flags: map[string]string{}}
	if f.store != "" {
		o.Flags["store"] = f.store
	}
	return o
}

// open opens the store that the flags, TARN_STORE or the file names.
func (f *storeFlags) open(ctx context.Context) (objstore.Store, string, error) {
	cfg, err := f.config()
	if err != nil {
		return nil, "", err
	}
	store, err := openStore(ctx, cfg.Store, objstore.Options{S3: cfg.S3})
	return store, cfg.Store, err
}

// config is the store, and how S3 is reached, as the flags, TARN_STORE or the file say.
func (f *storeFlags) config() (*config.Config, error) {
	keys := []string{"store"}
	for _, s := range config.Settings() {
		if strings.HasPrefix(s.Key, "s3.") {
			keys = append(keys, s.Key)
		}
	}
	cfg, err := config.Only(f.options(), keys...)
	if err == nil && cfg.Store == "" {
		err = usagef("no store is named: write --store URL, or --config FILE with the settings of the server")
	}
	return cfg, err
}

// openCached is open, for reading pages: what a server on this machine has cached of the store is read from there.
func (f *storeFlags) openCached(ctx context.Context) (store objstore.Store, url string, err error) {
	cache, err := config.CacheOf(f.options())
	if err != nil {
		return nil, "", err
	}
	if store, url, err = f.open(ctx); err != nil || cache.Bytes == 0 {
		return store, url, err
	}
	cached, err := blockcache.Open(store, blockcache.Options{Dir: cache.Dir, ReadOnly: true, Immutable: server.CachedKey})
	if err != nil {
		return nil, "", errors.Join(err, store.Close())
	}
	return &closing{cached, store}, url, nil
}

// closing closes the store below a cache as well.
type closing struct {
	*blockcache.Store
	below objstore.Store
}

func (c *closing) Close() error { return errors.Join(c.Store.Close(), c.below.Close()) }

// openStore opens a store that must be there. Opening a directory store makes the directory; looking at one must not.
func openStore(ctx context.Context, url string, o objstore.Options) (objstore.Store, error) {
	if dir, ok := strings.CutPrefix(url, "file://"); ok {
		if st, err := os.Stat(dir); err != nil || !st.IsDir() {
			return nil, fault.Errorf(fault.StoreOpen, "store %s is no folder that can be read: check its name and rights", url)
		}
	}
	store, err := objstore.Open(ctx, url, o)
	if err != nil {
		return nil, fault.Errorf(fault.StoreOpen, "store %s cannot be opened (%w): check --store", url, fault.Cause(err))
	}
	return store, nil
}

// openStoreWAL reads the archive in an object store, which ends where its last object does.
func openStoreWAL(ctx context.Context, url string, tli pg.TimelineID) (*walSource, error) {
	store, err := openStore(ctx, url, objstore.Options{})
	if err != nil {
		return nil, err
	}
	src, err := storeWAL(ctx, store, url, tli)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	src.close = store.Close
	return src, nil
}

// storeWAL is the WAL archive of a store that is open.
func storeWAL(ctx context.Context, store objstore.Store, url string, tli pg.TimelineID) (*walSource, error) {
	a, err := archive.Open(ctx, store, nil, 0, func() {})
	switch {
	case errors.Is(err, archive.ErrNoBase):
		return nil, fault.Errorf(fault.StoreNoWAL, "store %s holds no WAL archive: name the store of a tarn that has been attached", url)
	case err != nil:
		return nil, fmt.Errorf("store %s: %w", url, err)
	case tli != 0 && tli != a.Base().Timeline:
		return nil, fault.Errorf(fault.StoreNoWAL, "store %s archives timeline %d, not %d: leave --timeline out", url, a.Base().Timeline, tli)
	}
	b := a.Base()
	return &walSource{
		Options: wal.Options{Source: a.Source(ctx), Timeline: b.Timeline, History: a.History(), SystemID: b.SystemID, SegmentSize: b.SegmentSize},
		first:   b.LSN, archived: a.ArchivedLSN(), name: url, history: a.HistoryFile, archive: a,
	}, nil
}
