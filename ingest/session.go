package ingest

import (
	"context"
	"errors"
	"time"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/pg"
)

const (
	// statusInterval is well below the smallest sensible wal_sender_timeout.
	statusInterval = 10 * time.Second
	// ackPause bounds how often positions are sent where no commit waits for them; also answers to a server that shuts
	// down, which asks again as soon as it has one.
	ackPause = 10 * time.Millisecond
	// yieldAfterDefault is how long a server that shuts down waits for a store that takes nothing, before it is let go.
	yieldAfterDefault = 5 * time.Second
)

// errYield ends a session so that the server can shut down.
var errYield = errors.New("the server waits for WAL to be archived before it shuts down, and the store does not take it: letting it go; its slot keeps the WAL")

// handler takes the stream's WAL to the log.
type handler struct {
	s        *Service
	acker    *acker
	streamed bool
	resume   pg.LSN    // the log's end when the stream began before it
	asked    time.Time // since when the server has been asking for a position that is not reached
}

// Data is receive.Handler's.
func (h *handler) Data(start pg.LSN, data []byte) error {
	end := start + pg.LSN(len(data))
	if start < h.resume {
		n, err := h.s.log.Overlap(start, data)
		if err != nil {
			return err
		}
		start, data = start+pg.LSN(n), data[n:]
	}
	if err := h.s.log.Append(start, data); err != nil {
		return err
	}
	if end > h.resume {
		h.s.received.Store(uint64(end))
	}
	if uint64(end) > h.s.serverFlush.Load() {
		h.s.serverFlush.Store(uint64(end))
	}
	h.up()
	return nil
}

// Drained is receive.Handler's: one fsync for all that came in one go.
func (h *handler) Drained() error { return h.s.log.Flush() }

// Keepalive is receive.Handler's. A server in a fast shutdown asks until it is told that all its WAL is flushed.
func (h *handler) Keepalive(end pg.LSN, reply bool) error {
	h.s.serverFlush.Store(uint64(end))
	h.up()
	if !reply {
		return nil
	}
	wake(h.acker.force)
	if h.s.opt.Synchronous || h.s.archive.ArchivedLSN() >= end {
		h.asked = time.Time{}
		return nil
	}
	wake(h.s.tailKick)
	switch now := time.Now(); {
	case h.asked.IsZero() || now.Sub(h.asked) > 3*h.s.opt.yieldAfter: // asks this far apart are idle pings
		h.asked = now
	case now.Sub(h.asked) > h.s.opt.yieldAfter:
		return errYield
	}
	return nil
}

func (h *handler) up() {
	if !h.streamed {
		h.streamed = true
		h.s.setState(Streaming, nil)
	}
}

// acker tells the server how far its WAL has come.
type acker struct {
	s     *Service
	st    *receive.Stream
	force chan struct{} // the server asked
}

// run sends a status when a position has moved, when the server asks, and every statusInterval, then asking the server to
// answer so that a dead connection is noticed. It ends with ctx or the connection, whose reader reports the failure.
func (a *acker) run(ctx context.Context) {
	tick := time.NewTicker(statusInterval)
	defer tick.Stop()
	var last receive.Ack
	for first := true; ; first = false {
		force, ask := first, false
		if !first {
			select {
			case <-ctx.Done():
				return
			case <-a.s.ackWake:
			case <-a.force:
				force = true
			case <-tick.C:
				force, ask = true, true
			}
		}
		ack := a.s.ack()
		if ack == last && !force {
			continue
		}
		if a.st.Status(ack, ask) != nil {
			return
		}
		last = ack
		if (force || !a.s.opt.Synchronous) && !sleep(ctx, ackPause) {
			return
		}
	}
}

// ack is what the server may know: nothing that a crash here, or in asynchronous mode the loss of this machine, could
// take back.
func (s *Service) ack() receive.Ack {
	published, archived, committed := s.positions()
	a := receive.Ack{Write: committed, Flush: archived, Apply: published}
	if s.opt.Synchronous {
		a.Flush = committed
	}
	return a
}
