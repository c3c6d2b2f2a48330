package pageserver

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver/cluster"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// A state object holds what is not in pages:
//
//	0 magic "TARNTLST"   8 version uint32   12 length of the rest uint32, bytes   16 CRC32C of it uint32   20 JSON of savedState
const (
	stateMagic      = "TARNTLST"
	stateVersion    = 2 // 1 is read too: it had the fields marked so, and neither Cluster nor SLRUs
	stateHeaderSize = 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// savedState is a timeline's state at LSN apart from pages, the relation directory and the small files, which are
// values in layers.
type savedState struct {
	LSN        pg.LSN            `json:"lsn"`
	Last       pg.LSN            `json:"last_record,omitzero"` // start of the record that ends at LSN, where a newer tarn wrote this
	Consistent pg.LSN            `json:"consistent_lsn"`
	Cluster    cluster.State     `json:"cluster"` // as it is at LSN
	SLRUs      slru.Sets         `json:"slru_pages"`
	Checksums  bool              `json:"data_checksums"`
	Oldest     pg.XID            `json:"oldest_running_xid"`
	Inherited  inherited         `json:"inherited_xids"`
	CommitLSN  pg.LSN            `json:"last_commit_lsn"`
	CommitTime time.Time         `json:"last_commit_time"`
	Dirty      []savedDirty      `json:"dirty"`         // since the last publication known to have succeeded
	Open       []savedOpenBlocks `json:"open"`          // blocks of transactions that had not ended
	Invalid    []savedInvalid    `json:"invalid_pages"` // see Timeline.invalid
	Copies     []copiedDatabase  `json:"copied_databases,omitempty"`
	Changes    *savedChanges     `json:"changes,omitempty"` // since that publication too, if a table of changes is kept

	version uint32
	savedState1
}

// savedState1 is what version 1 had in Cluster's place.
type savedState1 struct {
	Timeline    pg.TimelineID    `json:"wal_timeline,omitempty"`
	CheckPoint  xlrec.CheckPoint `json:"checkpoint,omitzero"`
	WALLogHints bool             `json:"wal_log_hints,omitempty"`
	WALLevel    xlrec.WALLevel   `json:"wal_level,omitempty"`
}

type savedDirty struct {
	Rel       pg.RelFileLocator `json:"rel"`
	Created   pg.LSN            `json:"created"`
	Truncated bool              `json:"truncated,omitempty"`
	Blocks    []byte            `json:"blocks"` // portable roaring bitmap
	blocks    *roaring.Bitmap
}

type savedOpenBlocks struct {
	XID    pg.XID            `json:"xid"`
	Rel    pg.RelFileLocator `json:"rel"`
	Blocks []byte            `json:"blocks"`
	blocks *roaring.Bitmap
}

type savedInvalid struct {
	Key []byte `json:"key"`
	LSN pg.LSN `json:"lsn"`
}

// encode may run beside redo: the bitmaps are copies.
func (s *savedState) encode() ([]byte, error) {
	var err error
	for i := range s.Dirty {
		if s.Dirty[i].Blocks, err = s.Dirty[i].blocks.ToBytes(); err != nil {
			return nil, fmt.Errorf("timeline state: %w", err)
		}
	}
	for i := range s.Open {
		if s.Open[i].Blocks, err = s.Open[i].blocks.ToBytes(); err != nil {
			return nil, fmt.Errorf("timeline state: %w", err)
		}
	}
	body, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("timeline state: %w", err)
	}
	if len(body) > 1<<31 {
		return nil, fmt.Errorf("timeline state of %d bytes is too long", len(body))
	}
	b := append(make([]byte, 0, stateHeaderSize+len(body)), stateMagic...)
	b = binary.LittleEndian.AppendUint32(b, stateVersion)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(body)))
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(body, castagnoli))
	return append(b, body...), nil
}

// readState reads the state of a point of the timeline whose objects have that prefix.
func readState(ctx context.Context, store objstore.Store, prefix string, p point) (s savedState, err error) {
	data, _, err := store.Get(ctx, prefix+p.State)
	if err != nil {
		return s, fmt.Errorf("read the timeline's state: %w", err)
	}
	if s, err = decodeState(data); err == nil && s.LSN != p.LSN {
		err = &pg.CorruptError{LSN: s.LSN, What: fmt.Sprintf("timeline state is not of %s, as the index says", p.LSN)}
	}
	return s, err
}

func decodeState(b []byte) (s savedState, err error) {
	corrupt := func(format string, args ...any) (savedState, error) {
		return savedState{}, &pg.CorruptError{What: "timeline state: " + fmt.Sprintf(format, args...)}
	}
	if len(b) < stateHeaderSize || string(b[:8]) != stateMagic {
		return corrupt("no magic")
	}
	v := binary.LittleEndian.Uint32(b[8:])
	if v == 0 || v > stateVersion {
		return s, fmt.Errorf("%w: state version %d, this tarn reads %d: use a newer tarn", ErrVersion, v, stateVersion)
	}
	body := b[stateHeaderSize:]
	if binary.LittleEndian.Uint32(b[12:]) != uint32(len(body)) || binary.LittleEndian.Uint32(b[16:]) != crc32.Checksum(body, castagnoli) {
		return corrupt("incorrect length or checksum")
	}
	if err := json.Unmarshal(body, &s); err != nil {
		return corrupt("%v", err)
	}
	s.version = v
	for i := range s.Dirty {
		s.Dirty[i].blocks = roaring.New()
		if err := s.Dirty[i].blocks.UnmarshalBinary(s.Dirty[i].Blocks); err != nil {
			return corrupt("%v", err)
		}
	}
	for i := range s.Open {
		s.Open[i].blocks = roaring.New()
		if err := s.Open[i].blocks.UnmarshalBinary(s.Open[i].Blocks); err != nil {
			return corrupt("%v", err)
		}
	}
	for _, p := range s.Invalid {
		if _, err := key.Decode(p.Key); err != nil {
			return corrupt("%v", err)
		}
	}
	return s, nil
}

// snapshot copies the state for a flush, at a barrier.
func (t *Timeline) snapshot() *savedState {
	s := &savedState{
		LSN: t.redoLSN, Last: t.lastRecord, Consistent: t.consistent, Cluster: t.live, SLRUs: t.slruSets, Checksums: t.checksums,
		Oldest: t.oldestRunning, Inherited: t.inherited, CommitLSN: t.commitLSN, CommitTime: t.commitTime, Copies: slices.Clone(t.copies),
		Changes: t.changes.save(),
	}
	// What is taken is not published until Published says so.
	for _, set := range []DirtySet{t.dirty, t.taken} {
		for rel, d := range set {
			s.Dirty = append(s.Dirty, savedDirty{Rel: rel, Created: d.Created, Truncated: d.Truncated, blocks: d.Blocks.Clone()})
		}
	}
	for xid, x := range t.open {
		for rel, blocks := range x.all() {
			if !rel.gone {
				s.Open = append(s.Open, savedOpenBlocks{XID: xid, Rel: rel.loc, blocks: blocks})
			}
		}
	}
	for k, lsn := range t.invalid {
		s.Invalid = append(s.Invalid, savedInvalid{k[:], lsn})
	}
	return s
}

// restore is the inverse of snapshot. The relation directory has been loaded.
func (t *Timeline) restore(ctx context.Context, s *savedState) error {
	if s.version < 2 {
		if err := t.upgradeState(ctx, s); err != nil {
			return err
		}
	}
	t.redoLSN, t.consistent, t.live, t.slruSets, t.checksums = s.LSN, s.Consistent, s.Cluster, s.SLRUs, s.Checksums
	t.lastRecord, t.inherited, t.copies = s.Last, s.Inherited, s.Copies
	t.oldestRunning, t.commitLSN, t.commitTime = s.Oldest, s.CommitLSN, s.CommitTime
	for i := range s.Dirty {
		d := &s.Dirty[i]
		if rel := t.rels[d.Rel]; rel != nil && rel.created == d.Created {
			into := t.dirtyOf(rel)
			into.Blocks.Or(d.blocks)
			into.Truncated = into.Truncated || d.Truncated
		}
	}
	for i := range s.Open {
		o := &s.Open[i]
		if rel := t.rels[o.Rel]; rel != nil {
			x := t.openOf(o.XID)
			x.addAll(rel, o.blocks)
			x.gen = t.gen - 1 // its blocks are not in the dirty set
		}
	}
	for _, p := range s.Invalid {
		t.invalid[key.Key(p.Key)] = p.LSN
	}
	return t.changes.load(s.Changes)
}

// upgradeState fills in what version 1 did not keep: from the base backup's pg_control, and from the SLRUs' sizes. Commit
// times were passed over and are gone; a resync brings them back.
func (t *Timeline) upgradeState(ctx context.Context, s *savedState) error {
	c, err := control.Parse(t.small[key.OfControl()])
	if err != nil {
		return fmt.Errorf("timeline state of version 1: %w", err)
	}
	live := cluster.New(&c)
	live.CheckPoint, live.Timeline, live.OldestCLOGXID = s.CheckPoint, s.Timeline, s.CheckPoint.OldestXID
	live.CheckPoint.OldestCommitTsXID, live.CheckPoint.NewestCommitTsXID = 0, 0
	live.Settings.WALLogHints, live.Settings.WALLevel = s.WALLogHints, s.WALLevel
	s.Cluster, s.savedState1 = live, savedState1{}
	for _, k := range []slru.Kind{slru.CLOG, slru.Offsets, slru.Members} {
		value, ok, err := t.lookup(ctx, t.slruFork(k).key(key.SizeBlock), 0)
		if err != nil {
			return fmt.Errorf("size of %s: %w", k, err)
		}
		if !ok || len(value) != 4 {
			continue
		}
		n := min(binary.LittleEndian.Uint32(value), k.PagesMax())
		for no := uint32(0); no < n; no += slru.SegmentPages {
			s.SLRUs[k].Add(min(no+slru.SegmentPages, n) - 1)
		}
	}
	return nil
}
