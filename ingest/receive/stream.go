package receive

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

// ErrWALGone: the server no longer has the WAL asked for. Only a new copy helps.
var ErrWALGone = fault.New(fault.WALGap, "the server has removed WAL that was not received yet")

// ErrServerBehind: the server's WAL ends before the position asked for, so its history is not the one received.
var ErrServerBehind = fault.New(fault.Diverged, "the server's WAL ends before what was already received from it")

// ErrOtherHistory: the server's timeline left the one received before the position asked for, as after a failover to a
// standby that lacked WAL we have.
var ErrOtherHistory = fault.New(fault.Diverged, "the server's history forked before what was already received from it")

// TimelineEndError says the stream ended where the server switched to another timeline.
type TimelineEndError struct {
	Timeline pg.TimelineID // the one that was streamed
	Next     pg.TimelineID // the one the server is on
	Switch   pg.LSN        // first byte of Next that is not of Timeline
}

func (e *TimelineEndError) Error() string {
	return fmt.Sprintf("the source was promoted: timeline %d ended at %s and %d began", e.Timeline, e.Switch, e.Next)
}

// FaultCode implements fault.Coded.
func (e *TimelineEndError) FaultCode() fault.Code { return fault.Diverged }

// Ack is what a status update tells the server, each LSN being the end of what was reached.
//
// Invariant: Apply <= Write and Flush <= Write.
type Ack struct {
	Write pg.LSN // received
	Flush pg.LSN // durable: the slot lets go of WAL before it, a synchronous commit waits for it
	Apply pg.LSN // published: what synchronous_commit=remote_apply waits for
}

// StreamOptions says where a stream starts.
type StreamOptions struct {
	Slot     string
	Start    pg.LSN
	Timeline pg.TimelineID
	// Silence is how long the server may send nothing before the connection counts as lost. Ask it to answer sooner
	// by a status with reply set. Zero means one minute.
	Silence time.Duration
}

// Handler takes what the stream brings, all from the goroutine in Receive. An error from any method ends the stream.
type Handler interface {
	// Data is called with WAL from start on; data is valid only during the call.
	Data(start pg.LSN, data []byte) error
	// Drained is called when everything the connection had has been given to Data: the moment to make a group durable.
	Drained() error
	// Keepalive gives the end of WAL on the server; when reply is set it waits for a status update at once.
	Keepalive(end pg.LSN, reply bool) error
}

// Stream is an open START_REPLICATION. Receive belongs to one goroutine; Status and Close may be called from any.
type Stream struct {
	conn *pgconn.PgConn
	opt  StreamOptions
	next pg.LSN // position the next byte must have

	mu     sync.Mutex // guards status and writes to the connection
	status [statusSize]byte
	closed bool
}

// StartStream connects and starts physical replication at opt.Start, which the caller has rounded down to a segment
// where it wants whole segments. Refusals are *AttachError or *TimelineEndError; the server looks for the WAL only after
// it has agreed to stream, so ErrWALGone and ErrServerBehind come from Receive.
func StartStream(ctx context.Context, src Source, opt StreamOptions) (*Stream, error) {
	if opt.Silence == 0 {
		opt.Silence = time.Minute
	}
	if err := checkSlotName(opt.Slot); err != nil {
		return nil, err
	}
	conn, err := connect(ctx, src)
	if err != nil {
		return nil, err
	}
	s := &Stream{conn: conn, opt: opt, next: opt.Start}
	if err := s.start(ctx); err != nil {
		closeConn(conn)
		return nil, err
	}
	return s, nil
}

// start sends START_REPLICATION and waits for CopyBothResponse. Instead of it, a server that has left the timeline
// exactly at the start position answers with one row naming the next timeline.
func (s *Stream) start(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.conn.Conn().SetDeadline(time.Unix(1, 0)) })
	defer stop()
	f := s.conn.Frontend()
	f.Send(&pgproto3.Query{String: fmt.Sprintf("START_REPLICATION SLOT %s PHYSICAL %s TIMELINE %d",
		quoteIdent(s.opt.Slot), s.opt.Start, s.opt.Timeline)})
	if err := f.Flush(); err != nil {
		return fmt.Errorf("START_REPLICATION: %w", err)
	}
	_ = s.conn.Conn().SetReadDeadline(time.Now().Add(s.opt.Silence))
	if ctx.Err() != nil { // its deadline may have been the one just replaced
		return ctx.Err()
	}
	for {
		msg, err := f.Receive()
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return fmt.Errorf("START_REPLICATION: %w", err)
		}
		switch m := msg.(type) {
		case *pgproto3.CopyBothResponse:
			return nil
		case *pgproto3.ErrorResponse:
			return s.serverError(pgconn.ErrorResponseToPgError(m))
		case *pgproto3.DataRow:
			return s.timelineEnd(m.Values)
		case *pgproto3.ReadyForQuery:
			return fmt.Errorf("START_REPLICATION: the server started no stream")
		}
	}
}

// Receive gives the stream to h until it ends; it always returns an error: what ended it.
func (s *Stream) Receive(h Handler) error {
	f := s.conn.Frontend()
	var patient time.Time // when the server's silence was last measured from
	for {
		if f.ReadBufferLen() == 0 {
			if err := h.Drained(); err != nil {
				return err
			}
		}
		// Measured while we wait for the server alone: a handler may take its time, and in a long backlog the buffer is
		// never empty.
		if now := time.Now(); now.Sub(patient) > s.opt.Silence/8 {
			if err := s.conn.Conn().SetReadDeadline(now.Add(s.opt.Silence)); err != nil {
				return fmt.Errorf("replication stream: %w", err)
			}
			patient = now
		}
		msg, err := f.Receive()
		if err != nil {
			return s.lost(err)
		}
		switch m := msg.(type) {
		case *pgproto3.CopyData:
			err = s.message(m.Data, h)
		case *pgproto3.ErrorResponse:
			err = s.serverError(pgconn.ErrorResponseToPgError(m))
		case *pgproto3.CopyDone:
			err = s.endOfTimeline(f)
		case *pgproto3.CommandComplete:
			err = fmt.Errorf("the server ended the replication stream: it shuts down")
		case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		default:
			err = fmt.Errorf("replication stream: unexpected message %T", m)
		}
		if err != nil {
			return err
		}
	}
}

// lost names why reading failed.
func (s *Stream) lost(err error) error {
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return fmt.Errorf("replication stream: nothing from the server for %s: %w", s.opt.Silence, err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return fmt.Errorf("replication stream: the server closed the connection: %w", err)
	}
	return fmt.Errorf("replication stream: %w", err)
}

// message reads one CopyData of the stream (protocol-replication):
//
//	'w'  start uint64, end of WAL on the server uint64, clock int64, then WAL bytes
//	'k'  end of WAL on the server uint64, clock int64, reply requested uint8
func (s *Stream) message(b []byte, h Handler) error {
	const dataHeader, keepaliveSize = 1 + 8 + 8 + 8, 1 + 8 + 8 + 1
	switch {
	case len(b) >= dataHeader && b[0] == 'w':
		start, data := pg.LSN(binary.BigEndian.Uint64(b[1:])), b[dataHeader:]
		if start != s.next {
			return &pg.CorruptError{LSN: start, What: "replication stream: the server sent WAL from here, expected " + s.next.String()}
		}
		s.next += pg.LSN(len(data))
		return h.Data(start, data)
	case len(b) >= keepaliveSize && b[0] == 'k':
		return h.Keepalive(pg.LSN(binary.BigEndian.Uint64(b[1:])), b[17] != 0)
	case len(b) > 0:
		return &pg.CorruptError{LSN: s.next, What: fmt.Sprintf("replication stream: message %q of %d bytes", b[0], len(b))}
	}
	return &pg.CorruptError{LSN: s.next, What: "replication stream: an empty message"}
}

// endOfTimeline follows the server's CopyDone: answered by ours, it names the next timeline and where it starts.
func (s *Stream) endOfTimeline(f *pgproto3.Frontend) error {
	s.mu.Lock()
	_, err := s.conn.Conn().Write([]byte{'c', 0, 0, 0, 4})
	s.mu.Unlock()
	if err != nil {
		return s.lost(err)
	}
	for {
		msg, err := f.Receive()
		if err != nil {
			return s.lost(err)
		}
		switch m := msg.(type) {
		case *pgproto3.DataRow:
			return s.timelineEnd(m.Values)
		case *pgproto3.ErrorResponse:
			return s.serverError(pgconn.ErrorResponseToPgError(m))
		case *pgproto3.CommandComplete, *pgproto3.ReadyForQuery:
			return fmt.Errorf("the server ended the replication stream")
		}
	}
}

// timelineEnd reads the row next_tli, next_tli_startpos.
func (s *Stream) timelineEnd(values [][]byte) error {
	if len(values) < 2 {
		return fmt.Errorf("replication stream: end of timeline %d without its successor", s.opt.Timeline)
	}
	next, err := strconv.ParseUint(string(values[0]), 10, 32)
	if err != nil {
		return fmt.Errorf("replication stream: next_tli: %w", err)
	}
	at, err := parseLSN("next_tli_startpos", values[1])
	if err != nil {
		return fmt.Errorf("replication stream: %w", err)
	}
	return &TimelineEndError{Timeline: s.opt.Timeline, Next: pg.TimelineID(next), Switch: at}
}

// serverError classifies an error of START_REPLICATION or of the walsender while it streams.
func (s *Stream) serverError(pe *pgconn.PgError) error {
	switch {
	case pe.Code == stateUndefinedFile: // "requested WAL segment ... has already been removed"
		return fmt.Errorf("%w: from %s on (%s)", ErrWALGone, s.next, oneLine(pe.Message))
	case pe.Code == stateInternal && pe.Routine == "StartReplication" && strings.Contains(pe.Message, "ahead of the WAL flush position"):
		return fmt.Errorf("%w: asked for %s on timeline %d (%s)", ErrServerBehind, s.opt.Start, s.opt.Timeline, oneLine(pe.Message))
	case pe.Code == stateInternal && (pe.Routine == "StartReplication" || pe.Routine == "tliSwitchPoint"):
		// "requested starting point ... is not in this server's history", and the same of a timeline it never had. What
		// these functions raise for other reasons has a code of its own; the text may be in any language.
		return fmt.Errorf("%w: asked for %s on timeline %d (%s)", ErrOtherHistory, s.opt.Start, s.opt.Timeline, oneLine(pe.Message))
	case pe.Code == stateAdminShutdown || pe.Code == stateCrashShutdown:
		return fmt.Errorf("replication stream: %s", oneLine(pe.Message))
	}
	return slotError(pe, s.opt.Slot)
}

// statusSize is a CopyData frame around a standby status update.
const statusSize = 1 + 4 + 1 + 8 + 8 + 8 + 8 + 1

// Status sends a standby status update; reply asks the server to answer with a keepalive. Safe beside Receive.
//
//	'd' length int32 | 'r' write uint64, flush uint64, apply uint64, clock int64 (µs since 2000), reply uint8
func (s *Stream) Status(a Ack, reply bool) error {
	if a.Flush > a.Write || a.Apply > a.Write {
		panic(fmt.Sprintf("BUG: acknowledging flush %s, apply %s above write %s", a.Flush, a.Apply, a.Write))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	b := s.status[:]
	b[0] = 'd'
	binary.BigEndian.PutUint32(b[1:], statusSize-1)
	b[5] = 'r'
	binary.BigEndian.PutUint64(b[6:], uint64(a.Write))
	binary.BigEndian.PutUint64(b[14:], uint64(a.Flush))
	binary.BigEndian.PutUint64(b[22:], uint64(a.Apply))
	binary.BigEndian.PutUint64(b[30:], uint64(time.Since(postgresEpoch).Microseconds()))
	b[38] = 0
	if reply {
		b[38] = 1
	}
	_ = s.conn.Conn().SetWriteDeadline(time.Now().Add(s.opt.Silence))
	_, err := s.conn.Conn().Write(b)
	return err
}

var postgresEpoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// Close ends the stream: a Receive under way returns an error. The slot keeps its position.
func (s *Stream) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	return s.conn.Conn().Close()
}
