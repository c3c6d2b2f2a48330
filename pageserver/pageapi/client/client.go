// Package client reads pages from a page service.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/pageapi"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
	"github.com/tarn-db/tarn/pageserver/slru"
)

const (
	// windowBytes is how much a service may send before it has been read.
	windowBytes = 8 << 20
	// answerBytesMax bounds an answer: pageapi.PagesMax pages and what is around them.
	answerBytesMax = pageapi.PagesMax*pg.BlockSize + 64<<10
)

// Options are where a service is and how it is to be spoken to.
type Options struct {
	Addr  string      // host:port
	TLS   *tls.Config // nil speaks plain text
	Token string      // one of the service's pages.tokens_file; without TLS it is sent to this machine alone
}

// Client speaks to a page service over one connection, which comes about with the first call and again when it is lost. It is safe for
// concurrent use. Its methods' errors are *Error where the service answered with one.
type Client struct {
	conn *grpc.ClientConn
	rpc  pagepb.PageServiceClient
}

// Open makes a client. It does not connect.
func Open(o Options) (*Client, error) {
	transport := insecure.NewCredentials()
	if o.TLS != nil {
		transport = credentials.NewTLS(o.TLS)
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(transport), grpc.WithInitialWindowSize(windowBytes), grpc.WithInitialConnWindowSize(windowBytes),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(answerBytesMax)), grpc.WithNoProxy(),
	}
	if o.Token != "" {
		if o.TLS == nil && !loopback(o.Addr) {
			return nil, fmt.Errorf("page service %s: the token would cross the network as plain text: give TLS", o.Addr)
		}
		opts = append(opts, grpc.WithPerRPCCredentials(token(o.Token)))
	}
	conn, err := grpc.NewClient("passthrough:///"+o.Addr, opts...)
	if err != nil {
		return nil, fmt.Errorf("page service %s: %w", o.Addr, err)
	}
	return &Client{conn, pagepb.NewPageServiceClient(conn)}, nil
}

func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip, bad := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || bad == nil && ip.Unmap().IsLoopback())
}

// token implements credentials.PerRPCCredentials.
type token string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(t)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials: Open has seen to it.
func (t token) RequireTransportSecurity() bool { return false }

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

// At is what is read: a position, and what the pages must be of, unless zero.
type At struct {
	pageapi.Position
	SystemID uint64
	Timeline pg.TimelineID
}

func (a *At) encode() *pagepb.ReadAt {
	return &pagepb.ReadAt{Branch: a.Branch, Lsn: uint64(a.LSN), MinLsn: uint64(a.MinLSN), SystemIdentifier: a.SystemID, Timeline: uint32(a.Timeline)}
}

// Fork is a fork of a relation.
type Fork struct {
	Rel pg.RelFileLocator
	Num pg.ForkNumber
}

func (f *Fork) encode() *pagepb.RelFork {
	return &pagepb.RelFork{SpcOid: uint32(f.Rel.Spc), DbOid: uint32(f.Rel.DB), RelNumber: uint32(f.Rel.Rel), ForkNumber: uint32(f.Num)}
}

// Page reads a block: its page, all zeros if it was never initialised, and the LSN it is as of.
func (c *Client) Page(ctx context.Context, at At, fork Fork, blk pg.BlockNumber) (pg.Page, pg.LSN, error) {
	r, err := c.rpc.GetPage(ctx, &pagepb.GetPageRequest{At: at.encode(), Fork: fork.encode(), Block: uint32(blk)})
	if err != nil {
		return nil, 0, decode(err)
	}
	if len(r.GetPage()) != pg.BlockSize {
		return nil, 0, fmt.Errorf("page service: page of %d bytes", len(r.GetPage()))
	}
	return r.GetPage(), pg.LSN(r.GetLsn()), nil
}

// RelSize is a fork's length in blocks, whether it exists, and the LSN that is as of.
func (c *Client) RelSize(ctx context.Context, at At, fork Fork) (blocks pg.BlockNumber, exists bool, lsn pg.LSN, err error) {
	r, err := c.rpc.GetRelSize(ctx, &pagepb.GetRelSizeRequest{At: at.encode(), Fork: fork.encode()})
	if err != nil {
		return 0, false, 0, decode(err)
	}
	return pg.BlockNumber(r.GetBlocks()), r.GetExists(), pg.LSN(r.GetLsn()), nil
}

// SLRUSegment reads a segment of an SLRU as the server's file would be, of up to slru.SegmentPages pages.
func (c *Client) SLRUSegment(ctx context.Context, at At, kind slru.Kind, segment uint32) ([]byte, pg.LSN, error) {
	r, err := c.rpc.GetSlruSegment(ctx, &pagepb.GetSlruSegmentRequest{At: at.encode(), Kind: pagepb.SlruKind(kind) + pagepb.SlruKind_SLRU_KIND_XACT, Segment: segment})
	if err != nil {
		return nil, 0, decode(err)
	}
	if n := len(r.GetSegment()); n == 0 || n%pg.BlockSize != 0 || n > slru.SegmentPages*pg.BlockSize {
		return nil, 0, fmt.Errorf("page service: segment of %d bytes", n)
	}
	return r.GetSegment(), pg.LSN(r.GetLsn()), nil
}

// LeaseLSN keeps what is read at a position readable until a time, by the service's clock. It is renewed by asking again for the LSN it returns.
func (c *Client) LeaseLSN(ctx context.Context, at At) (lsn pg.LSN, until time.Time, err error) {
	r, err := c.rpc.LeaseLsn(ctx, &pagepb.LeaseLsnRequest{At: at.encode()})
	if err != nil {
		return 0, time.Time{}, decode(err)
	}
	if err := r.GetExpires().CheckValid(); err != nil {
		return 0, time.Time{}, fmt.Errorf("page service: end of a lease: %w", err)
	}
	return pg.LSN(r.GetLsn()), r.GetExpires().AsTime(), nil
}

// Error is a service's answer to a request that failed.
type Error struct {
	Status codes.Code // gRPC's kind of error
	Code   fault.Code // tarn's, fault.Unexpected if this tarn does not know it
	What   string
}

func (e *Error) Error() string { return "page service: " + e.What }

// FaultCode implements fault.Coded.
func (e *Error) FaultCode() fault.Code { return e.Code }

func answered(e *pagepb.Error) *Error {
	code, ok := fault.Parse(e.GetCode())
	if !ok {
		code = fault.Unexpected
	}
	return &Error{Status: codes.Code(e.GetStatus()), Code: code, What: e.GetMessage()}
}

// decode finds what the service said in the error of a call.
func decode(err error) error {
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		if e, ok := d.(*pagepb.Error); ok {
			return answered(e)
		}
	}
	switch st.Code() {
	case codes.Canceled:
		return errors.Join(context.Canceled, err)
	case codes.DeadlineExceeded:
		return errors.Join(context.DeadlineExceeded, err)
	}
	return fmt.Errorf("page service: %w", err)
}
