package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
)

// A resync under way, so that a process that ends amid it does not take pages of one history for those of another, and goes
// on with it. Little-endian:
//
//	 0  magic    "TARNRSYN"
//	 8  version  uint16 = 1
//	10  stage    uint16: 1 the source is to be copied anew, 2 its pages are there and every table is to be rebuilt
//	12  length   uint32 = 16: of the whole object
const (
	resyncKey     = "resync"
	resyncMagic   = "TARNRSYN"
	resyncVersion = 1
	resyncSize    = 16
)

// resyncStage is what is left to do of a resync.
type resyncStage uint16

const (
	resyncNone   resyncStage = 0 // no object
	resyncCopy   resyncStage = 1
	resyncTables resyncStage = 2
)

func encodeResync(stage resyncStage) []byte {
	b := binary.LittleEndian.AppendUint16([]byte(resyncMagic), resyncVersion)
	b = binary.LittleEndian.AppendUint16(b, uint16(stage))
	return binary.LittleEndian.AppendUint32(b, resyncSize)
}

// decodeResync checks and reads the object. Errors are *pg.CorruptError.
func decodeResync(b []byte) (resyncStage, error) {
	corrupt := func(what string, v any) (resyncStage, error) {
		return 0, &pg.CorruptError{What: fmt.Sprintf("object %s: %s %v", resyncKey, what, v)}
	}
	if len(b) < 10 || string(b[:8]) != resyncMagic {
		return corrupt("no such object, bytes:", len(b))
	}
	if v := binary.LittleEndian.Uint16(b[8:]); v != resyncVersion {
		return corrupt("format version unknown to this release:", v)
	}
	if len(b) != resyncSize || binary.LittleEndian.Uint32(b[12:]) != resyncSize {
		return corrupt("length", len(b))
	}
	stage := resyncStage(binary.LittleEndian.Uint16(b[10:]))
	if stage != resyncCopy && stage != resyncTables {
		return corrupt("stage", uint16(stage))
	}
	return stage, nil
}

// resyncNote is what the object says, or will say once a write under way is done.
//
// Invariant: from the moment a resync is promised to whoever asked until its tables are published, the object is there.
type resyncNote struct {
	mu    sync.Mutex // held while the object is written
	stage resyncStage
	asked bool // and not begun: what ends meanwhile must not take the object away
}

// loadResync reads what an earlier process has left to do.
func (s *Server) loadResync(ctx context.Context) error {
	s.note.mu.Lock()
	defer s.note.mu.Unlock()
	b, _, err := s.store.Get(ctx, resyncKey)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	if err == nil {
		s.note.stage, err = decodeResync(b)
	}
	return err
}

// resyncStage is what is left to do.
func (s *Server) resyncStage() resyncStage {
	s.note.mu.Lock()
	defer s.note.mu.Unlock()
	return s.note.stage
}

// askResync notes durably that the source is to be copied anew, whatever is being done now. Any goroutine.
func (s *Server) askResync(ctx context.Context) error {
	s.note.mu.Lock()
	defer s.note.mu.Unlock()
	if err := s.writeResync(ctx, resyncCopy); err != nil {
		return fault.Errorf(fault.ResyncFailed, "the resync cannot be noted in %s: %w", s.cfg.Store, err)
	}
	s.note.asked = true
	return nil
}

// resyncAt notes durably what is left to do of the resync under way. Beginning one is what was asked for; any later stage
// leaves alone what was asked for since.
func (s *Server) resyncAt(ctx context.Context, stage resyncStage) error {
	s.note.mu.Lock()
	defer s.note.mu.Unlock()
	if s.note.asked && stage != resyncCopy {
		return nil
	}
	s.note.asked = false
	return s.writeResync(ctx, stage)
}

func (s *Server) writeResync(ctx context.Context, stage resyncStage) error {
	if s.note.stage == stage {
		return nil
	}
	var err error
	if stage == resyncNone {
		err = s.store.Delete(ctx, resyncKey)
	} else {
		_, err = s.store.Put(ctx, resyncKey, encodeResync(stage))
	}
	if err == nil {
		s.note.stage = stage
	}
	return err
}
