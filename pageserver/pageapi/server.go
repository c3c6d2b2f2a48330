package pageapi

import (
	"context"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/pageserver/pageapi/pagepb"
)

const (
	// RequestTime is the longest a request is worked on, waits for its LSN included; a client's own deadline may end it before.
	RequestTime = 30 * time.Second
	// LeaseTime is how long a lease on an LSN lasts: a client that renews it every few minutes may miss some.
	LeaseTime = 10 * time.Minute
	// requestBytesMax bounds a request: PagesMax ranges of one block take less than half of it.
	requestBytesMax = 32 << 10
	// streamsMax is how many calls one connection may have open.
	streamsMax = 256
	// windowBytes is how much is sent on a stream, and on a connection, before the client has read it: a few answers.
	windowBytes = 8 << 20
	// handshakeTime is how long a connection may take to come about.
	handshakeTime = 10 * time.Second
	// A connection that says nothing is asked whether it lives, and may ask in turn.
	aliveEvery, aliveTime, askedMin = 30 * time.Second, 10 * time.Second, 5 * time.Second
	// drain is how long Serve lets running requests finish.
	drain = 2 * time.Second
)

// Options are what a Server needs; Source alone is required.
type Options struct {
	Source Source
	// Allow says whether an Authorization header lets its sender in; nil lets everyone.
	Allow      func(authorization string) bool
	Registerer prometheus.Registerer
	Logger     *slog.Logger
}

// Server is the page service.
type Server struct {
	pagepb.UnimplementedPageServiceServer
	source   Source
	allow    func(string) bool
	log      *slog.Logger
	meters   *meters
	stopping chan struct{} // closed when streams are to end
	grpc     *grpc.Server
}

// New makes a server.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		source: o.Source, allow: o.Allow, log: o.Logger, meters: newMeters(o.Registerer), stopping: make(chan struct{}),
	}
	s.grpc = grpc.NewServer(
		grpc.UnaryInterceptor(s.guardCall), grpc.StreamInterceptor(s.guardStream),
		grpc.MaxRecvMsgSize(requestBytesMax), grpc.MaxConcurrentStreams(streamsMax), grpc.ConnectionTimeout(handshakeTime),
		grpc.InitialWindowSize(windowBytes), grpc.InitialConnWindowSize(windowBytes), grpc.WaitForHandlers(true),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: aliveEvery, Timeout: aliveTime}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: askedMin, PermitWithoutStream: true}),
	)
	pagepb.RegisterPageServiceServer(s.grpc, s)
	return s
}

// Serve answers on l, which speaks TLS if it is to, until the context ends; then it lets running requests finish, ends streams and
// returns nil. It is called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	done := make(chan error, 1)
	go func() { done <- s.grpc.Serve(l) }()
	select {
	case err := <-done:
		return fault.Errorf(fault.PortUnusable, "pages on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	close(s.stopping)
	late := time.AfterFunc(drain, s.grpc.Stop)
	defer late.Stop()
	s.grpc.GracefulStop()
	<-done
	return nil
}

// authorize asks who is calling, once a call.
func (s *Server) authorize(ctx context.Context) error {
	if s.allow == nil {
		return nil
	}
	for _, header := range metadata.ValueFromIncomingContext(ctx, "authorization") {
		if s.allow(header) {
			return nil
		}
	}
	return fault.New(fault.TokenNeeded, "a token is needed: send one of pages.tokens_file as metadata authorization: Bearer TOKEN")
}

func (s *Server) guardCall(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	began := time.Now()
	err := s.authorize(ctx)
	if err != nil {
		s.meters.done(info.FullMethod, began, 0, err)
		return nil, statusOf(err)
	}
	ctx, cancel := context.WithTimeout(ctx, RequestTime)
	defer cancel()
	return handler(ctx, req)
}

func (s *Server) guardStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := s.authorize(stream.Context()); err != nil {
		s.meters.done(info.FullMethod, time.Now(), 0, err)
		return statusOf(err)
	}
	return handler(srv, stream)
}

// open runs fn on a snapshot, which is released before anything is sent: a client that is slow to read must not hold redo up.
func (s *Server) open(ctx context.Context, at *pagepb.ReadAt, fn func(Snapshot) error) error {
	want, err := decodePosition(at)
	if err != nil {
		return err
	}
	snap, err := s.source.Open(ctx, want.Position)
	if err != nil {
		return err
	}
	defer snap.Release()
	if err := want.check(snap); err != nil {
		return err
	}
	return fn(snap)
}

// answered counts an answer, and logs what an operator must hear of.
func (s *Server) answered(method string, began time.Time, pages int, err error) {
	s.meters.done(method, began, pages, err)
	if err == nil {
		return
	}
	if kind := kindOf(err); kind == codes.DataLoss || kind == codes.Internal {
		s.log.Warn("a page request failed", "method", method, "error", err)
	}
}
