package raftlog

import (
	"bytes"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
	raftwal "github.com/hashicorp/raft-wal"
	raftwalfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// TestFinishRotation fills a tail file and ends before the metadata hears of it. Without the repair raft-wal refuses every
// append; should that ever pass, the repair can go.
func TestFinishRotation(t *testing.T) {
	const size = 1 << 20
	dir := t.TempDir()
	open := func() (*raftwal.WAL, *metadb.BoltMetaDB) {
		meta := &metadb.BoltMetaDB{}
		w, err := raftwal.Open(dir, raftwal.WithSegmentSize(size), raftwal.WithMetaStore(meta))
		if err != nil {
			t.Fatal(err)
		}
		return w, meta
	}
	closeBoth := func(w *raftwal.WAL, meta *metadb.BoltMetaDB) {
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := meta.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w, meta := open()
	if err := w.StoreLog(&raft.Log{Index: 1, Data: []byte("one")}); err != nil {
		t.Fatal(err)
	}
	closeBoth(w, meta)

	var m metadb.BoltMetaDB
	st, err := m.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	tail, err := segment.NewFiler(dir, raftwalfs.New()).RecoverTail(st.Segments[0])
	if err != nil {
		t.Fatal(err)
	}
	index := uint64(2)
	for sealed := false; !sealed; index++ {
		var buf bytes.Buffer
		if err := (&raftwal.BinaryCodec{}).Encode(&raft.Log{Index: index, Data: make([]byte, 100_000)}, &buf); err != nil {
			t.Fatal(err)
		}
		if err := tail.Append([]types.LogEntry{{Index: index, Data: buf.Bytes()}}); err != nil {
			t.Fatal(err)
		}
		if sealed, _, err = tail.Sealed(); err != nil {
			t.Fatal(err)
		}
	}
	if err := tail.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}

	w, meta = open()
	if err := w.StoreLog(&raft.Log{Index: index}); err == nil || !strings.Contains(err.Error(), "sealed") {
		t.Fatalf("raft-wal has learned to finish a rotation: %v", err)
	}
	closeBoth(w, meta)
	for range 2 { // the second finds nothing to do
		if err := finishRotation(dir, size); err != nil {
			t.Fatal(err)
		}
	}
	w, meta = open()
	defer closeBoth(w, meta)
	if err := w.StoreLog(&raft.Log{Index: index, Data: []byte("next")}); err != nil {
		t.Fatal(err)
	}
	for i := uint64(1); i <= index; i++ {
		var l raft.Log
		if err := w.GetLog(i, &l); err != nil {
			t.Fatalf("entry %d: %v", i, err)
		}
	}
}
