package client

import (
	"context"
	"fmt"

	"google.golang.org/grpc"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
)

const (
	// scanPages is how many pages a scan asks for at a time.
	scanPages = 64
	// scanAhead is how many such requests are on their way.
	scanAhead = 8
)

// Scan reads blocks [from, to) of a fork, all of which exist, and calls fn for each in order with the LSN it is as of: the one asked for,
// or, where the newest is, one that rises from one request of the scan to the next. A page is valid until fn returns. An error of fn
// ends the scan.
func (c *Client) Scan(ctx context.Context, at At, fork Fork, from, to pg.BlockNumber, fn func(pg.LSN, pg.BlockNumber, pg.Page) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := c.rpc.GetPages(ctx)
	if err != nil {
		return decode(err)
	}
	next := from // not asked for yet
	for from < to {
		for next < to && next < from+scanAhead*scanPages {
			n := min(to-next, scanPages)
			r := &pagepb.GetPagesRequest{RequestId: uint64(next), At: at.encode(), Ranges: []*pagepb.BlockRange{{Fork: fork.encode(), Block: uint32(next), Count: uint32(n)}}}
			if stream.Send(r) != nil {
				break // Recv says why
			}
			next += n
		}
		if from, err = scanned(stream, from, min(to-from, scanPages), fn); err != nil {
			return err
		}
	}
	return nil
}

// scanned hands out the answer to the request of n blocks from from on.
func scanned(stream grpc.BidiStreamingClient[pagepb.GetPagesRequest, pagepb.GetPagesResponse], from, n pg.BlockNumber, fn func(pg.LSN, pg.BlockNumber, pg.Page) error) (pg.BlockNumber, error) {
	r, err := stream.Recv()
	if err != nil {
		return from, decode(err)
	}
	if r.GetError() != nil {
		return from, answered(r.GetError())
	}
	if r.GetRequestId() != uint64(from) || len(r.GetPages()) != int(n)*pg.BlockSize {
		return from, fmt.Errorf("page service: %d bytes in answer to request %d, of %d pages", len(r.GetPages()), from, n)
	}
	for i := range int(n) {
		at := i * pg.BlockSize
		if err := fn(pg.LSN(r.GetLsn()), from, r.GetPages()[at:at+pg.BlockSize:at+pg.BlockSize]); err != nil {
			return from, err
		}
		from++
	}
	return from, nil
}
