package pageserver

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/pageserver/layer"
)

// write is the background part of a flush: the layer, the state, then the index that names them.
func (t *Timeline) write(ctx context.Context, j *flushJob) error {
	f := &t.flusher
	added := slices.Clone(j.clones)
	if len(j.entries) > 0 {
		l, err := t.writeLayer(ctx, j.lsn, func(w *layer.Writer) error { return t.writeEntries(ctx, w, j) })
		if err != nil {
			return err
		}
		added = append(added, l)
	}
	leading, err := t.writeDeltas(ctx, j)
	if err != nil {
		return err
	}
	body, err := j.state.encode()
	if err != nil {
		return err
	}
	state := fmt.Sprintf("state/%016X-%s", uint64(j.lsn), newNonce())
	if _, err := t.opts.Store.Put(ctx, t.reader.prefix+state, body); err != nil {
		return fmt.Errorf("write the timeline's state: %w", err)
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	old := f.authority.index.point
	next := timelineIndex{Major: t.major, SystemID: t.systemID, point: point{j.lsn, state, j.state.CommitTime, f.now().UTC()}}
	c, gone := f.authority.contents, []string(nil)
	for _, l := range added {
		l.since = l.LSN
	}
	c.layers = append(slices.Clone(c.layers), added...)
	if leading != nil {
		c.deltas = append(slices.Clone(c.deltas), leading)
	}
	if old.State != "" && old.LSN < j.lsn {
		c.points = append(slices.Clone(c.points), old)
	} else if old.State != "" {
		gone = append(gone, old.State)
	}
	if now := next.Made; !f.leases.settling(now) {
		gone = append(gone, c.prune(t.opts.History, next.point, f.leases.held(c.branches, now))...)
	}
	if err := f.authority.replace(ctx, next, c); err != nil {
		return err
	}
	t.noteHistory()
	f.remove(gone)
	t.resumeLSN.Store(uint64(j.lsn))
	t.publishLayers(j.clones)
	t.clean(ctx)
	if !f.merging.Swap(true) {
		f.running.Go(func() {
			defer f.merging.Store(false)
			if err := t.mergeLayers(f.ctx, j.alive); err != nil && f.ctx.Err() == nil {
				f.note(err)
				f.log.Warn("layers could not be merged; reads get slower until they are", "error", err)
			}
		})
	}
	return nil
}

// publishLayers lets readers see the index's layers and those still to come into it. Under flusher.mu.
func (t *Timeline) publishLayers(indexed []*layerObject) {
	t.layerMu.Lock()
	defer t.layerMu.Unlock()
	t.pending = slices.DeleteFunc(t.pending, func(l *layerObject) bool { return slices.Contains(indexed, l) })
	t.layers.Store(newLayerSet(append(slices.Clone(t.flusher.authority.layers), t.pending...)))
}

func (t *Timeline) writeEntries(ctx context.Context, w *layer.Writer, j *flushJob) error {
	w.SetFast(j.haste)
	for i := range j.entries {
		e := &j.entries[i]
		value := e.value
		if e.id != 0 {
			value = t.arena.page(e.id)
		}
		if err := w.Add(e.key, value); err != nil {
			return err
		}
		j.written.Store(uint32(i) + 1) // Add has copied the page
		if i%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// remove has objects that the index no longer names removed once no read can be at them. Under flusher.mu.
func (f *flusher) remove(names []string) {
	for _, name := range names {
		f.removable = append(f.removable, removable{name, time.Now().Add(removeGrace)})
	}
}

// clean removes objects that the index has not named for a while, and once, what dead processes left. Under flusher.mu.
// What cannot be removed now is only space.
func (t *Timeline) clean(ctx context.Context) {
	f := &t.flusher
	now := time.Now()
	f.removable = slices.DeleteFunc(f.removable, func(r removable) bool {
		return now.After(r.after) && t.opts.Store.Delete(ctx, t.reader.prefix+r.name) == nil
	})
	if f.swept {
		return
	}
	f.swept = true
	named := f.authority.named()
	for _, r := range f.removable {
		named[r.name] = true
	}
	var orphans []string
	for _, folder := range []string{layersFolder, deltasFolder, "state/"} {
		err := t.opts.Store.List(ctx, t.reader.prefix+folder, func(o objstore.ObjectInfo) error {
			if name := o.Key[len(t.reader.prefix):]; !named[name] && now.Sub(o.ModTime) > orphanAge {
				orphans = append(orphans, o.Key)
			}
			return nil
		})
		if err != nil {
			f.log.Warn("objects of dead processes could not be looked for", "error", err)
		}
	}
	for _, k := range orphans {
		if err := t.opts.Store.Delete(ctx, k); err != nil {
			f.log.Warn("an object of a dead process could not be removed", "key", k, "error", err)
		}
	}
}
