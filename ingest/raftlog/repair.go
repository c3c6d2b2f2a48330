package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	raftwalfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// finishRotation completes what raft-wal 0.4.0 leaves undone when the process ends between the append that fills its
// tail file and the update of its metadata: the file is sealed and the metadata says it is the tail, so that each later
// append fails with "segment is sealed", for ever. Here the file is noted as sealed and a new tail after it, as its
// rotateSegmentLocked does; its Open makes the file of a tail that is not there. The update is one transaction of the
// metadata's store and durable when this returns; nothing else may have the folder open.
func finishRotation(dir string, sizeLimit int) (err error) {
	var meta metadb.BoltMetaDB
	state, err := meta.Load(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, meta.Close()) }()
	n := len(state.Segments)
	if n == 0 || !state.Segments[n-1].SealTime.IsZero() {
		return nil
	}
	tail := &state.Segments[n-1]
	w, err := segment.NewFiler(dir, raftwalfs.New()).RecoverTail(*tail)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // raft-wal's Open handles this one
	}
	if err != nil {
		return fmt.Errorf("tail file of the raft log: %w", err)
	}
	sealed, indexStart, err := w.Sealed()
	last := w.LastIndex()
	if err = errors.Join(err, w.Close()); err != nil || !sealed {
		return err
	}
	now := time.Now()
	tail.SealTime, tail.MaxIndex, tail.IndexStart = now, last, indexStart
	state.Segments = append(state.Segments, types.SegmentInfo{
		ID: state.NextSegmentID, BaseIndex: last + 1, MinIndex: last + 1,
		SizeLimit: uint32(sizeLimit), Codec: tail.Codec, CreateTime: now,
	})
	state.NextSegmentID++
	return meta.CommitState(state)
}
