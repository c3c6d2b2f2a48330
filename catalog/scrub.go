package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tarn-db/tarn/catalog/journal"
	"github.com/tarn-db/tarn/catalog/table"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/scrub"
	"github.com/tarn-db/tarn/materialize/datafile"
	"github.com/tarn-db/tarn/materialize/lake"
	"github.com/tarn-db/tarn/materialize/tidset"
)

// Scrub checks the objects of the catalog and the lake against the newest publication: whatever a table's metadata names, through all its
// snapshots, is there, data files in the length their manifests say. Metadata, manifest lists and manifests are read, with deep TID sets
// and deletion vectors too. What only publications of the grace time still need counts as an orphan. A process may write meanwhile.
func Scrub(ctx context.Context, store objstore.Store, deep bool, rep *scrub.Report) error {
	s := scrubber{store: store, deep: deep, rep: rep, began: time.Now(), there: map[string]objstore.ObjectInfo{}, named: map[string]bool{}}
	for _, prefix := range []string{"catalog/", "lake/"} {
		err := store.List(ctx, prefix, func(o objstore.ObjectInfo) error {
			rep.Saw(o)
			s.there[o.Key] = o
			return nil
		})
		if err != nil {
			return err
		}
	}
	c, err := Open(ctx, Options{Store: store})
	if errors.Is(err, journal.ErrCorrupt) || errors.Is(err, journal.ErrMoved) {
		rep.Add(scrub.Damaged, "catalog/", err.Error())
		return nil
	}
	if err != nil {
		return err
	}
	defer c.Close()
	if err := s.catalog(ctx, c); err != nil {
		return err
	}
	for key, o := range s.there {
		if (strings.HasPrefix(key, "lake/") || strings.HasPrefix(key, journal.StatePrefix)) && !s.named[key] && !s.named[companionOf(key)] {
			rep.Unnamed(o, s.began)
		}
	}
	return nil
}

// scrubber checks a catalog.
type scrubber struct {
	store objstore.Store
	deep  bool
	rep   *scrub.Report
	began time.Time
	there map[string]objstore.ObjectInfo
	named map[string]bool
}

func (s *scrubber) catalog(ctx context.Context, c *Catalog) error {
	c.mu.RLock()
	blobs := []*journal.Blob{c.state.blob}
	var recs []journal.Table
	for id, t := range c.state.tables {
		for _, v := range t.versions { // of the grace time
			s.named[v.meta.Key(id)] = true
		}
		for _, key := range append(listed(id, t.rec.Metadata.Version), hintKey(id), versionKey(id, t.rec.Metadata.Version)) {
			s.named[key] = true
		}
		if !t.rec.Dropped {
			recs, blobs = append(recs, t.rec), append(blobs, t.rec.State)
		}
	}
	c.mu.RUnlock()
	for _, b := range blobs {
		if b == nil || b.Key == "" {
			continue
		}
		s.named[b.Key] = true
		switch _, err := c.readBlob(ctx, b); {
		case errors.Is(err, objstore.ErrNotFound):
			s.rep.Add(scrub.Lost, b.Key, "the catalog names it and it is not there")
		case errors.Is(err, journal.ErrCorrupt):
			s.rep.Add(scrub.Damaged, b.Key, err.Error())
		case err != nil:
			return err
		}
	}
	for i := range recs {
		s.rep.Reading()
		if err := s.table(ctx, c, recs[i]); err != nil {
			return err
		}
	}
	for name, l := range c.branches.lakes {
		if err := s.branch(ctx, c, name, l); err != nil {
			return err
		}
	}
	return nil
}

// branch checks the lake of a branch, whose tables do not change. What is not there may have gone with the branch.
func (s *scrubber) branch(ctx context.Context, c *Catalog, name string, l *branchLake) error {
	var all []scrub.Finding
	for _, t := range l.state.tables {
		s.rep.Reading()
		found, err := s.look(ctx, &t.rec)
		if err != nil {
			return err
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil
	}
	if err := c.loadBranches(ctx); err != nil {
		return err
	}
	if now := c.branches.lakes[name]; now == nil || !now.id.Equal(l.id) {
		return nil
	}
	for _, f := range all {
		s.rep.Add(f.Kind, f.Key, fmt.Sprintf("branch %s: %s", name, f.What))
	}
	return nil
}

// scrubAttempts is how often a table is read again because it was published meanwhile, and something of it was not there.
const scrubAttempts = 10

// table checks a table, anew if what is not there may have left it with a later publication.
func (s *scrubber) table(ctx context.Context, c *Catalog, rec journal.Table) error {
	for range scrubAttempts {
		found, err := s.look(ctx, &rec)
		if err != nil || len(found) == 0 {
			return err
		}
		now, err := newest(ctx, c, &rec)
		switch {
		case err != nil || now.Dropped:
			return err
		case now.Metadata == rec.Metadata:
			for _, f := range found {
				s.rep.Add(f.Kind, f.Key, f.What)
			}
			return nil
		}
		rec = now
	}
	return fmt.Errorf("table %s is published faster than it can be checked: try again", rec.TableName())
}

// newest is what a table is in the catalog now; one that is gone counts as dropped.
func newest(ctx context.Context, c *Catalog, rec *journal.Table) (journal.Table, error) {
	if err := c.Refresh(ctx); err != nil {
		return journal.Table{}, err
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	if t := c.state.tables[rec.ID()]; t != nil {
		return t.rec, nil
	}
	return journal.Table{Version: journal.Version{Dropped: true}}, nil
}

// references are what a table names, and of its newest snapshot what its manifests say of the objects.
type references struct {
	keys    map[string]bool
	sizes   map[string]int64 // of data files and of objects with deletion vectors, bytes
	data    []lake.File
	vectors []lake.Vector
}

func (s *scrubber) references(ctx context.Context, rec *journal.Table) (r references, err error) {
	t, err := table.Load(ctx, s.store, rec.ID(), rec.Metadata)
	if err != nil {
		return r, err
	}
	r = references{sizes: map[string]int64{}, data: t.Data(), vectors: t.Vectors()}
	for _, f := range r.data {
		r.sizes[f.Key] = f.Bytes
	}
	for _, v := range r.vectors {
		r.sizes[v.Key] = v.FileBytes
	}
	r.keys, err = t.References().Resolve(ctx)
	return r, err
}

// look checks a table as of its metadata, and returns what is wrong with it.
func (s *scrubber) look(ctx context.Context, rec *journal.Table) (found []scrub.Finding, err error) {
	refs, err := s.references(ctx, rec)
	if damaged(err) {
		kind := scrub.Damaged
		if errors.Is(err, objstore.ErrNotFound) {
			kind = scrub.Lost
		}
		return []scrub.Finding{{Kind: kind, Key: rec.ID().Root(), What: fmt.Sprintf("table %s: %v", rec.TableName(), err)}}, nil
	}
	if err != nil {
		return nil, err
	}
	check := func(key string) error {
		o, ok := s.there[key]
		if !ok { // it may have been written since
			var err error
			if o, err = s.store.Head(ctx, key); errors.Is(err, objstore.ErrNotFound) {
				found = append(found, scrub.Finding{Kind: scrub.Lost, Key: key, What: fmt.Sprintf("table %s names it and it is not there", rec.TableName())})
				return nil
			} else if err != nil {
				return err
			}
		}
		if size, ok := refs.sizes[key]; ok && o.Size != size {
			found = append(found, scrub.Finding{Kind: scrub.Damaged, Key: key, What: fmt.Sprintf("it has %d bytes, table %s says %d", o.Size, rec.TableName(), size)})
		}
		return nil
	}
	for key := range refs.keys {
		s.named[key] = true
		if err := check(key); err != nil {
			return nil, err
		}
	}
	for _, f := range refs.data {
		if rec.ID().IsHistory() {
			break // its rows have no TIDs
		}
		if err := check(f.Key + companionSuffixes[0]); err != nil {
			return nil, err
		}
		if s.deep {
			bad, err := s.tids(ctx, f.Key+companionSuffixes[0])
			if err != nil {
				return nil, err
			}
			found = append(found, bad...)
		}
	}
	if s.deep {
		bad, err := s.vectors(ctx, &refs)
		return append(found, bad...), err
	}
	return found, nil
}

// vectors reads deletion vectors.
func (s *scrubber) vectors(ctx context.Context, refs *references) (found []scrub.Finding, err error) {
	rows := map[string]int64{}
	for _, f := range refs.data {
		rows[f.Key] = f.Rows
	}
	var key string
	var b []byte
	for _, v := range refs.vectors {
		if v.Key != key { // those of one object lie together, as they came
			b, _, err = s.store.Get(ctx, v.Key)
			if errors.Is(err, objstore.ErrNotFound) {
				continue // that has been noted
			}
			if err != nil {
				return nil, err
			}
			key = v.Key
		}
		if _, err := datafile.ReadVector(b, v, rows[v.Data]); err != nil {
			found = append(found, scrub.Finding{Kind: scrub.Damaged, Key: v.Key, What: err.Error()})
		}
	}
	return found, nil
}

// tids reads a TID set. That it may not be there has been noted.
func (s *scrubber) tids(ctx context.Context, key string) ([]scrub.Finding, error) {
	b, _, err := s.store.Get(ctx, key)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if _, err := tidset.Decode(b); err != nil {
		return []scrub.Finding{{Kind: scrub.Damaged, Key: key, What: err.Error()}}, nil
	}
	return nil, nil
}
