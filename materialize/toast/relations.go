package toast

import (
	"encoding/binary"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/tarn-db/tarn/internal/pg"
)

// relationSize is the part of a key that names the relation.
const relationSize = keySize - 8

// Relations lists those that may have entries, of earlier processes too.
func (x *Index) Relations() []Relation {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make([]Relation, 0, len(x.present))
	for r := range x.present {
		out = append(out, r)
	}
	return out
}

// Known says whether the relation was scanned whole, so that Update keeps it complete. A relation nobody fetched from
// needs no upkeep.
func (x *Index) Known(r Relation) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.complete[r]
}

// Forget says that the relation has changed without Update: the next value that is not found is looked for with a scan.
func (x *Index) Forget(r Relation) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.complete, r)
}

// Drop removes all entries of a relation that is no more.
func (x *Index) Drop(r Relation) error {
	if err := x.clear(r); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.present, r)
	delete(x.complete, r)
	delete(x.scans, r)
	return nil
}

func (x *Index) clear(r Relation) error {
	from, to := bounds(r)
	return x.db.DeleteRange(from, to, pebble.NoSync)
}

// bounds are the first key of a relation and the first one after it.
func bounds(r Relation) (from, to []byte) {
	from = key(make([]byte, 0, keySize), r, 0, 0)[:relationSize]
	to = slices.Clone(from)
	for i := len(to) - 1; i >= 0; i-- {
		if to[i]++; to[i] != 0 {
			return from, to
		}
	}
	return from, nil // of the last relation there could be; pebble takes nil for no bound
}

// Entries counts the index's entries, which takes a walk over them.
func (x *Index) Entries() int {
	it, err := x.db.NewIter(nil)
	if err != nil {
		return 0
	}
	defer it.Close()
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	return n
}

// list finds the relations that have entries, a seek for each.
func (x *Index) list() error {
	it, err := x.db.NewIter(nil)
	if err != nil {
		return err
	}
	defer it.Close()
	for ok := it.First(); ok; {
		k := it.Key()
		if len(k) != keySize {
			ok = it.Next() // not ours; never found by a fetch either
			continue
		}
		u32 := func(at int) pg.OID { return pg.OID(binary.BigEndian.Uint32(k[at:])) }
		r := Relation{File: pg.RelFileLocator{Spc: u32(0), DB: u32(4), Rel: u32(8)}, Created: pg.LSN(binary.BigEndian.Uint64(k[12:]))}
		x.present[r] = true
		_, to := bounds(r)
		if to == nil {
			break
		}
		ok = it.SeekGE(to)
	}
	return it.Error()
}
