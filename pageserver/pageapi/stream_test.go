package pageapi_test

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/pageapi/client"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
)

// stream opens one without the client package, over a connection of its own.
func (r *rig) stream(t *testing.T, opts ...grpc.DialOption) grpc.BidiStreamingClient[pagepb.GetPagesRequest, pagepb.GetPagesResponse] {
	t.Helper()
	conn, err := grpc.NewClient(r.addr, append(opts, grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	s, err := pagepb.NewPageServiceClient(conn).GetPages(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func blocks(first, count uint32) *pagepb.BlockRange {
	return &pagepb.BlockRange{Fork: &pagepb.RelFork{SpcOid: uint32(testFork.Rel.Spc), DbOid: uint32(testFork.Rel.DB), RelNumber: uint32(testFork.Rel.Rel)}, Block: first, Count: count}
}

// TestStream: answers come in the order of the requests, and one that fails does not end the stream.
func TestStream(t *testing.T) {
	r := newRig(t, 1000, pageapi.Options{}, nil)
	defer r.stop()
	s := r.stream(t)
	many := make([]*pagepb.BlockRange, pageapi.PagesMax)
	for i := range many {
		many[i] = blocks(uint32(i*3), 1)
	}
	vm := blocks(0, 1)
	vm.Fork.ForkNumber = uint32(pg.VMFork)
	for i, c := range []struct {
		ranges []*pagepb.BlockRange
		status codes.Code
		pages  []pg.BlockNumber // the first and the last
	}{
		{[]*pagepb.BlockRange{blocks(10, 5)}, codes.OK, []pg.BlockNumber{10, 14}},
		{nil, codes.InvalidArgument, nil},
		{[]*pagepb.BlockRange{blocks(999, 1), blocks(0, 2), blocks(6, 1)}, codes.OK, []pg.BlockNumber{999, 6}},
		{[]*pagepb.BlockRange{blocks(0, 1), blocks(999, 2)}, codes.NotFound, nil},
		{[]*pagepb.BlockRange{blocks(0, pageapi.PagesMax)}, codes.OK, []pg.BlockNumber{0, pageapi.PagesMax - 1}},
		{[]*pagepb.BlockRange{blocks(0, pageapi.PagesMax), blocks(1, 1)}, codes.InvalidArgument, nil},
		{[]*pagepb.BlockRange{blocks(0, 1<<32-1)}, codes.InvalidArgument, nil},
		{[]*pagepb.BlockRange{blocks(1<<32-1, 1)}, codes.InvalidArgument, nil},
		{[]*pagepb.BlockRange{blocks(3, 0)}, codes.InvalidArgument, nil},
		{[]*pagepb.BlockRange{{Block: 1, Count: 1}}, codes.InvalidArgument, nil},
		{many, codes.OK, []pg.BlockNumber{0, 3 * (pageapi.PagesMax - 1)}},
		{[]*pagepb.BlockRange{blocks(8, 1), vm}, codes.OK, []pg.BlockNumber{8, 6}}, // the vm's page is all zeros, as block 6 is
	} {
		if err := s.Send(&pagepb.GetPagesRequest{RequestId: uint64(i), Ranges: c.ranges}); err != nil {
			t.Fatal(err)
		}
		a, err := s.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if a.GetRequestId() != uint64(i) || codes.Code(a.GetError().GetStatus()) != c.status || (c.status == codes.OK) != (a.GetLsn() != 0) {
			t.Errorf("request %d: answer %d at %d: %v", i, a.GetRequestId(), a.GetLsn(), a.GetError())
		}
		count := 0
		for _, b := range c.ranges {
			count += int(b.GetCount())
		}
		if c.status != codes.OK {
			count = 0
		}
		if len(a.GetPages()) != count*pg.BlockSize {
			t.Errorf("request %d: %d bytes of %d pages", i, len(a.GetPages()), count)
			continue
		}
		for j, blk := range c.pages {
			at := j * (len(a.GetPages()) - pg.BlockSize)
			if string(a.GetPages()[at:at+pg.BlockSize]) != string(testPage(blk)) {
				t.Errorf("request %d: page %d is not that of block %d", i, at/pg.BlockSize, blk)
			}
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ends with %v", err)
	}
}

// TestSlowReader: a client that does not read its answers holds nobody up: redo gets its turn, and so do others.
func TestSlowReader(t *testing.T) {
	r := newRig(t, 1000, pageapi.Options{}, nil)
	defer r.stop()
	const window = 64 << 10
	s := r.stream(t, grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
	for i := range 100 { // 200 MiB
		if err := s.Send(&pagepb.GetPagesRequest{RequestId: uint64(i), Ranges: []*pagepb.BlockRange{blocks(0, pageapi.PagesMax)}}); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		locked := make(chan struct{})
		go func() {
			r.source.Attach(r.tl) // as who changes it
			close(locked)
		}()
		select {
		case <-locked:
		case <-time.After(20 * time.Second):
			t.Fatal("redo waits for a client to read")
		}
		if n, _, _, err := r.RelSize(t.Context(), client.At{}, testFork); n != 1000 || err != nil {
			t.Fatal(n, err)
		}
	}
}

// TestStop: the service ends though a stream is open and a request waits, and both hear why.
func TestStop(t *testing.T) {
	r := newRig(t, 10, pageapi.Options{}, nil)
	s := r.stream(t)
	if err := s.Send(&pagepb.GetPagesRequest{Ranges: []*pagepb.BlockRange{blocks(0, 1)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		late := client.At{}
		late.LSN = 1 << 40
		_, _, err := r.Page(context.Background(), late, testFork, 0)
		waiting <- err
	}()
	time.Sleep(50 * time.Millisecond) // until it waits; else it is refused, which is as well
	began := time.Now()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the service took %v to end", took)
	}
	_, err := s.Recv()
	if e, ok := append(status.Convert(err).Details(), nil)[0].(*pagepb.Error); status.Code(err) != codes.Unavailable || !ok || e.GetCode() != fault.ServerStopped.String() {
		t.Errorf("the stream ends with %v", err)
	}
	if err := <-waiting; err == nil {
		t.Error("an LSN that never came was read")
	}
}
