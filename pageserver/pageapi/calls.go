package pageapi

import (
	"context"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// GetPage implements pagepb.PageServiceServer.
func (s *Server) GetPage(ctx context.Context, r *pagepb.GetPageRequest) (*pagepb.GetPageResponse, error) {
	began := time.Now()
	one := pagepb.BlockRange{Fork: r.GetFork(), Block: r.GetBlock(), Count: 1}
	lsn, page, err := s.read(ctx, r.GetAt(), []*pagepb.BlockRange{&one}, make([]byte, 0, pg.BlockSize))
	s.answered(pagepb.PageService_GetPage_FullMethodName, began, len(page)/pg.BlockSize, err)
	if err != nil {
		return nil, statusOf(err)
	}
	return &pagepb.GetPageResponse{Lsn: uint64(lsn), Page: page}, nil
}

// read appends the pages of the ranges to buf, all of one LSN.
func (s *Server) read(ctx context.Context, at *pagepb.ReadAt, list []*pagepb.BlockRange, buf []byte) (lsn pg.LSN, pages []byte, err error) {
	ranges, err := decodeRanges(list)
	if err != nil {
		return 0, nil, err
	}
	err = s.open(ctx, at, func(snap Snapshot) error {
		lsn = snap.LSN()
		pages, err = readRanges(ctx, snap, ranges, buf)
		return err
	})
	if err != nil {
		return 0, nil, err
	}
	return lsn, pages, nil
}

func readRanges(ctx context.Context, snap Snapshot, ranges []blockRange, buf []byte) ([]byte, error) {
	var keys []key.Key
	var blocks pg.BlockNumber
	var err error
	exists := false
	for i := range ranges {
		r := &ranges[i]
		if i == 0 || r.rel != ranges[i-1].rel || r.fork != ranges[i-1].fork {
			if blocks, exists, err = snap.RelSize(ctx, r.rel, r.fork); err != nil {
				return nil, err
			}
		}
		if !exists {
			return nil, fault.Errorf(fault.PageMissing, "relation %s has no fork %s at %s", r.rel, r.fork, snap.LSN())
		}
		if last := r.first + pg.BlockNumber(r.count-1); last >= blocks {
			return nil, fault.Errorf(fault.PageMissing, "relation %s fork %s has %d blocks at %s, no block %d", r.rel, r.fork, blocks, snap.LSN(), last)
		}
		keys = r.appendKeys(keys)
	}
	err = snap.Pages(ctx, keys, func(_ int, page []byte) error { buf = append(buf, page...); return nil })
	return buf, err
}

// GetPages implements pagepb.PageServiceServer.
func (s *Server) GetPages(stream grpc.BidiStreamingServer[pagepb.GetPagesRequest, pagepb.GetPagesResponse]) error {
	requests, ended := make(chan *pagepb.GetPagesRequest), make(chan error, 1)
	go func() { // ends with the stream, which this function's return ends
		for {
			r, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- r:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	var buf []byte
	for {
		select {
		case r := <-requests:
			var err error
			if buf, err = s.answer(stream, r, buf); err != nil {
				return err
			}
		case err := <-ended:
			if err == io.EOF {
				return nil
			}
			return err
		case <-s.stopping:
			return statusOf(fault.New(fault.ServerStopped, "tarn is stopping: open the stream again"))
		}
	}
}

// answer sends the response to one request of a stream. Its pages are in buf, which it returns for the next one.
func (s *Server) answer(stream grpc.ServerStream, r *pagepb.GetPagesRequest, buf []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(stream.Context(), RequestTime)
	defer cancel()
	began := time.Now()
	lsn, pages, err := s.read(ctx, r.GetAt(), r.GetRanges(), buf[:0])
	s.answered(pagepb.PageService_GetPages_FullMethodName, began, len(pages)/pg.BlockSize, err)
	out := &pagepb.GetPagesResponse{RequestId: r.GetRequestId(), Lsn: uint64(lsn), Pages: pages}
	if err != nil {
		out.Error = errorOf(err)
	} else {
		buf = pages
	}
	// Encoded here, so that buf is free again; a message that SendMsg encodes may not be changed after it.
	var coded grpc.PreparedMsg
	if err := coded.Encode(stream, out); err != nil {
		return nil, err
	}
	return buf, stream.SendMsg(&coded)
}

// GetRelSize implements pagepb.PageServiceServer.
func (s *Server) GetRelSize(ctx context.Context, r *pagepb.GetRelSizeRequest) (*pagepb.GetRelSizeResponse, error) {
	began := time.Now()
	out := &pagepb.GetRelSizeResponse{}
	rel, fork, err := decodeFork(r.GetFork())
	if err == nil {
		err = s.open(ctx, r.GetAt(), func(snap Snapshot) error {
			blocks, exists, err := snap.RelSize(ctx, rel, fork)
			out.Lsn, out.Exists, out.Blocks = uint64(snap.LSN()), exists, uint32(blocks)
			return err
		})
	}
	s.answered(pagepb.PageService_GetRelSize_FullMethodName, began, 0, err)
	if err != nil {
		return nil, statusOf(err)
	}
	return out, nil
}

// GetSlruSegment implements pagepb.PageServiceServer.
func (s *Server) GetSlruSegment(ctx context.Context, r *pagepb.GetSlruSegmentRequest) (*pagepb.GetSlruSegmentResponse, error) {
	began := time.Now()
	out := &pagepb.GetSlruSegmentResponse{}
	kind, first, err := decodeSegment(r)
	if err == nil {
		err = s.open(ctx, r.GetAt(), func(snap Snapshot) (err error) {
			out.Lsn = uint64(snap.LSN())
			out.Segment, err = readSegment(ctx, snap, kind, first)
			return err
		})
	}
	s.answered(pagepb.PageService_GetSlruSegment_FullMethodName, began, len(out.GetSegment())/pg.BlockSize, err)
	if err != nil {
		return nil, statusOf(err)
	}
	return out, nil
}

// LeaseLsn implements pagepb.PageServiceServer.
func (s *Server) LeaseLsn(ctx context.Context, r *pagepb.LeaseLsnRequest) (*pagepb.LeaseLsnResponse, error) {
	began := time.Now()
	out := &pagepb.LeaseLsnResponse{}
	err := s.open(ctx, r.GetAt(), func(snap Snapshot) error {
		until, err := snap.Lease()
		out.Lsn, out.Expires = uint64(snap.LSN()), timestamppb.New(until)
		return err
	})
	s.answered(pagepb.PageService_LeaseLsn_FullMethodName, began, 0, err)
	if err != nil {
		return nil, statusOf(err)
	}
	return out, nil
}

// readSegment reads the pages that exist of the segment that begins with page first: none before an existing one is missing.
func readSegment(ctx context.Context, snap Snapshot, kind slru.Kind, first uint32) (segment []byte, err error) {
	runs, err := snap.SLRUPages(ctx, kind)
	if err != nil {
		return nil, err
	}
	var keys []key.Key
	for _, run := range runs {
		for no := max(run.From, first); no < min(run.To, first+slru.SegmentPages); no++ {
			keys = append(keys, key.OfSLRU(pg.OID(kind), pg.BlockNumber(no)))
		}
	}
	if len(keys) == 0 {
		return nil, fault.Errorf(fault.PageMissing, "%s has no segment %s at %s", kind, slru.SegmentName(first/slru.SegmentPages), snap.LSN())
	}
	segment = make([]byte, 0, len(keys)*pg.BlockSize)
	err = snap.Pages(ctx, keys, func(_ int, page []byte) error { segment = append(segment, page...); return nil })
	return segment, err
}
