// Package pageapi serves pages as they were at an LSN over gRPC. The protocol is pagepb/page.proto; where pages come from is behind
// Source, which snapshots implements over timelines. Package client is the other end.
package pageapi

import (
	"context"
	"time"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/key"
	"github.com/tarn-db/tarn/pageserver/slru"
)

// Position is a moment of a branch: behind the last record that ends at or below an LSN.
type Position struct {
	Branch string // "" is main
	LSN    pg.LSN // exactly this one; 0 is the newest
	MinLSN pg.LSN // with LSN 0: the newest, but not before this one
}

// Source opens snapshots. It is safe for concurrent use.
type Source interface {
	// Open makes what a cluster was at a position readable. Until ctx ends it waits for an LSN that is not reached yet, and for a turn
	// if too many snapshots are open. Errors have the code of what is wrong: fault.BranchUnknown, fault.BeforeHistory, fault.BeyondWAL behind the end of a branch, fault.LakeNotRead
	// while there are no pages.
	Open(ctx context.Context, at Position) (Snapshot, error)
}

// Snapshot is a cluster as it was at one LSN. It belongs to one goroutine, which releases it soon: redo may stand still meanwhile.
type Snapshot interface {
	// LSN is what was asked for, or where the newest is.
	LSN() pg.LSN
	// SystemID is the cluster's system identifier.
	SystemID() uint64
	// Timeline is the WAL timeline of the last record before the LSN.
	Timeline() pg.TimelineID
	// RelSize is a fork's length in blocks.
	RelSize(ctx context.Context, rel pg.RelFileLocator, fork pg.ForkNumber) (blocks pg.BlockNumber, exists bool, err error)
	// SLRUPages lists which pages of an SLRU exist, in order.
	SLRUPages(ctx context.Context, kind slru.Kind) ([]slru.Run, error)
	// Pages calls fn with the page of each key, of which each is a page's (key.IsPage), in their order. A page is pg.BlockSize bytes,
	// valid, and not to be changed, until fn returns. That of a block that exists and was never initialised is all zeros; whether a
	// block exists is for RelSize and SLRUPages to say. An error of fn ends it.
	Pages(ctx context.Context, keys []key.Key, fn func(i int, page []byte) error) error
	// Lease keeps what a snapshot of this LSN needs until the time it returns, also behind Release. Errors have the code of what is wrong:
	// fault.BeforeHistory if history has passed the LSN meanwhile, fault.PageServiceBusy if too many are leased.
	Lease() (until time.Time, err error)
	// Release ends the use of the snapshot.
	Release()
}
