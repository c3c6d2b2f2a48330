package server

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

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

// resyncStage is what is left to do of a resync. Only the pipeline's goroutines, one after the other, use Server.stage.
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

// loadResync reads what an earlier process has left to do.
func (s *Server) loadResync(ctx context.Context) error {
	b, _, err := s.store.Get(ctx, resyncKey)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil
	}
	if err == nil {
		s.stage, err = decodeResync(b)
	}
	return err
}

// resyncAt notes durably what is left to do.
func (s *Server) resyncAt(ctx context.Context, stage resyncStage) error {
	if s.stage == stage {
		return nil
	}
	var err error
	if stage == resyncNone {
		err = s.store.Delete(ctx, resyncKey)
	} else {
		_, err = s.store.Put(ctx, resyncKey, encodeResync(stage))
	}
	if err == nil {
		s.stage = stage
	}
	return err
}
