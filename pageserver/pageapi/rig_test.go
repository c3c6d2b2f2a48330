package pageapi_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"path/filepath"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/pg/xlrec"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/pageapi/client"
	"github.com/tarn-db/tarn/pageserver/snapshots"
)

const testSystemID = 77

var testFork = client.Fork{Rel: pg.RelFileLocator{Spc: pg.DefaultTablespace, DB: 5, Rel: 16384}}

// testPage is an initialised page that tells its block. Every seventh block was never initialised.
func testPage(blk pg.BlockNumber) pg.Page {
	p := make(pg.Page, pg.BlockSize)
	if blk%7 == 6 {
		return p
	}
	p.Init(0)
	for at := 4096; at < pg.BlockSize; at += 4 {
		binary.LittleEndian.PutUint32(p[at:], uint32(blk)*2654435761+uint32(at))
	}
	return p
}

// testControl is a pg_control of PostgreSQL 15 whose server was shut down at lsn.
func testControl(lsn pg.LSN) []byte {
	b := make([]byte, control.FileSize)
	le := binary.LittleEndian
	le.PutUint64(b, testSystemID)
	le.PutUint32(b[8:], 1300)
	le.PutUint32(b[12:], 202209061)
	le.PutUint32(b[16:], uint32(control.ShutDown))
	copy(b[40:], xlrec.AppendCheckPoint(nil, pg.PG15, xlrec.CheckPoint{Redo: lsn, TimelineID: 1, PrevTimelineID: 1, NextXID: 1000, NextMulti: 1, OldestXID: 700}))
	le.PutUint32(b[172:], uint32(xlrec.WALLevelReplica))
	le.PutUint32(b[204:], 8)
	le.PutUint64(b[208:], 0x4132D68700000000) // 1234567.0
	le.PutUint32(b[216:], pg.BlockSize)
	le.PutUint32(b[220:], pg.SegmentBlocks)
	le.PutUint32(b[224:], 8192)
	le.PutUint32(b[228:], 16<<20)
	b[248] = 1
	le.PutUint32(b[288:], crc32.Checksum(b[:288], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// rig is a page service over a timeline of one relation.
type rig struct {
	*client.Client
	tl     *pageserver.Timeline
	source *snapshots.Source
	addr   string
	stop   func() error // ends the service; nothing is left of it then
}

// newRig serves n blocks.
func newRig(t testing.TB, n int, o pageapi.Options, guard func(net.Listener) net.Listener) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	im, err := pageserver.NewImport(ctx, pageserver.Options{Store: objstore.NewMem(), MemoryBytes: 1 << 30, LeaseTime: pageapi.LeaseTime}, pageserver.ImportInfo{SystemID: testSystemID, Timeline: 1})
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	for blk := range n {
		file.Write(testPage(pg.BlockNumber(blk)))
	}
	for path, data := range map[string][]byte{
		"base/5/16384": file.Bytes(), "base/5/16384_vm": make([]byte, pg.BlockSize), "global/pg_control": testControl(0x1000000), "pg_xact/0000": bytes.Repeat([]byte{0x55}, 2*pg.BlockSize),
	} {
		if err := im.File(ctx, 0, path, int64(len(data)), bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
	}
	r := &rig{}
	if r.tl, err = im.Finish(ctx, 0, 0); err != nil {
		t.Fatal(err)
	}
	r.source = snapshots.New(snapshots.Options{
		Store: objstore.NewMem(), Scratch: filepath.Join(t.TempDir(), "past"), PastBytes: 32 << 20,
		Redone: func() pg.LSN { return r.tl.RedoLSN() + 0x100 }, // WAL that changed nothing
		Wait:   func(ctx context.Context, _ pg.LSN) error { <-ctx.Done(); return ctx.Err() },
		WAL: func(context.Context, *pageserver.Timeline, pg.LSN) (*wal.Reader, error) {
			return nil, errors.New("no WAL")
		},
	})
	r.source.Attach(r.tl)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	if guard != nil {
		l = guard(l)
	}
	o.Source = r.source
	srv := pageapi.New(o)
	done := make(chan error, 2)
	go func() { done <- srv.Serve(ctx, l) }()
	go func() { done <- r.source.Run(ctx) }()
	if r.Client, err = client.Open(client.Options{Addr: r.addr}); err != nil {
		t.Fatal(err)
	}
	r.stop = func() error {
		cancel()
		err := errors.Join(<-done, <-done)
		r.source.Attach(nil)
		return errors.Join(err, r.tl.Close(), r.Close())
	}
	return r
}

// end stops the service and sees that no goroutine of it is left.
func (r *rig) end(t *testing.T) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t)
}

// counted is a counter's value.
func counted(t *testing.T, g prometheus.Gatherer, name string, labels ...string) (n float64) {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var got []string
			for _, l := range m.GetLabel() {
				got = append(got, l.GetValue())
			}
			if f.GetName() == name && fmt.Sprint(got) == fmt.Sprint(labels) {
				n += m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return n
}
