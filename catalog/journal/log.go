package journal

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"golang.org/x/sync/errgroup"
)

// Key prefixes of the journal.
const (
	logPrefix        = "catalog/log/"
	checkpointPrefix = "catalog/checkpoint/"
	segmentPrefix    = "catalog/segment/"
	// StatePrefix is where state blobs lie.
	StatePrefix = "catalog/state/"
)

// readers bounds parallel gets of one call.
const readers = 16

// TakenError: the sequence number belongs to another writer's entry.
type TakenError struct {
	By Entry
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("catalog log entry %d was written by another writer, of epoch %d", e.By.Seq, e.By.Epoch)
}

// FaultCode implements fault.Coded.
func (e *TakenError) FaultCode() fault.Code { return fault.StoreTaken }

// PassedError: another writer's checkpoint includes the sequence number already, so an entry put there counts only if
// that writer had read it; reading the log anew tells.
type PassedError struct {
	Seq, Checkpoint uint64
}

func (e *PassedError) Error() string {
	return fmt.Sprintf("catalog log entry %d came after a checkpoint at %d", e.Seq, e.Checkpoint)
}

// FaultCode implements fault.Coded.
func (e *PassedError) FaultCode() fault.Code { return fault.StoreTaken }

// ErrUnknown is wrapped when the store's answers do not tell whether an entry was written.
var ErrUnknown = errors.New("it is not known whether the catalog log entry was written")

// ErrMoved: entries were removed while they were read; read again from the newest checkpoint.
var ErrMoved = errors.New("the catalog log moved on while it was read")

// Log reads and writes a journal. Its methods may be used at the same time; Append is for one goroutine.
type Log struct {
	store objstore.Store
	// retries are the waits between attempts at an unknown answer.
	retries []time.Duration
	// trustAnswer is a planted fault for tests: believe "precondition failed" without comparing nonces.
	trustAnswer bool
}

// New returns the journal of a store. An unknown answer is followed by one more attempt after each of the waits.
func New(store objstore.Store, retries []time.Duration) *Log {
	return &Log{store: store, retries: retries}
}

func entryKey(seq uint64) string      { return fmt.Sprintf("%s%016d", logPrefix, seq) }
func checkpointKey(seq uint64) string { return fmt.Sprintf("%s%016d", checkpointPrefix, seq) }
func (r SegmentRef) key() string      { return fmt.Sprintf("%s%016d-%016d", segmentPrefix, r.First, r.Last) }

// Append writes e at its sequence number. A nil error means that e is durable there and counts. *TakenError means that it
// does not and never will, *PassedError that another writer is ahead; with any other error it may count or not.
//
// A put that failed, or lost against an entry, may have been applied with its answer lost: e is then read back and told
// by its nonce.
func (l *Log) Append(ctx context.Context, e *Entry) error {
	data := encodeEntry(e)
	for attempt := 0; ; attempt++ {
		_, err := l.store.PutIfAbsent(ctx, entryKey(e.Seq), data)
		if err != nil {
			err = l.settle(ctx, e, err)
		}
		if err == nil {
			err = l.notPassed(ctx, e.Seq)
		}
		if err == nil || !errors.Is(err, ErrUnknown) {
			return err
		}
		if attempt == len(l.retries) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", err, context.Cause(ctx))
		case <-time.After(l.retries[attempt]):
		}
	}
}

// settle decides what a put that answered cause did.
func (l *Log) settle(ctx context.Context, e *Entry, cause error) error {
	if l.trustAnswer && errors.Is(cause, objstore.ErrPrecondition) {
		return &TakenError{By: Entry{Seq: e.Seq}}
	}
	there, err := l.Read(ctx, e.Seq)
	var newer *VersionError
	switch {
	case err == nil && there.Nonce == e.Nonce:
		return nil
	case err == nil:
		return &TakenError{By: there}
	case errors.As(err, &newer), errors.Is(err, ErrCorrupt):
		return err
	case errors.Is(err, objstore.ErrNotFound):
		// Not written, or written and removed behind a checkpoint.
		if err := l.notPassed(ctx, e.Seq); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrUnknown, cause)
}

// notPassed fails if a checkpoint includes seq.
func (l *Log) notPassed(ctx context.Context, seq uint64) error {
	seqs, err := l.checkpoints(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if n := len(seqs); n > 0 && seqs[n-1] >= seq {
		return &PassedError{Seq: seq, Checkpoint: seqs[n-1]}
	}
	return nil
}

// Read returns entry seq; objstore.ErrNotFound if there is none.
func (l *Log) Read(ctx context.Context, seq uint64) (Entry, error) {
	key := entryKey(seq)
	b, _, err := l.store.Get(ctx, key)
	if err != nil {
		return Entry{}, err
	}
	e, err := decodeEntry(key, b)
	if err == nil && e.Seq != seq {
		err = fmt.Errorf("%w: %s holds entry %d", ErrCorrupt, key, e.Seq)
	}
	return e, err
}

// Load reads the newest checkpoint (zero if there is none) and the entries after it.
func (l *Log) Load(ctx context.Context) (Checkpoint, []Entry, error) {
	for range 10 {
		cp, err := l.newestCheckpoint(ctx)
		if err != nil {
			return Checkpoint{}, nil, err
		}
		entries, err := l.after(ctx, cp.Seq)
		if errors.Is(err, ErrMoved) {
			continue
		}
		return cp, entries, err
	}
	return Checkpoint{}, nil, ErrMoved
}

func (l *Log) newestCheckpoint(ctx context.Context) (Checkpoint, error) {
	for range 10 {
		seqs, err := l.checkpoints(ctx)
		if err != nil || len(seqs) == 0 {
			return Checkpoint{}, err
		}
		cp, err := l.readCheckpoint(ctx, seqs[len(seqs)-1])
		if !errors.Is(err, objstore.ErrNotFound) {
			return cp, err
		}
	}
	return Checkpoint{}, ErrMoved
}

func (l *Log) readCheckpoint(ctx context.Context, seq uint64) (Checkpoint, error) {
	var cp Checkpoint
	key := checkpointKey(seq)
	b, _, err := l.store.Get(ctx, key)
	if err != nil {
		return cp, err
	}
	if err := decodePacked(key, magicCheckpoint, b, &cp); err != nil {
		return cp, err
	}
	if cp.Seq != seq {
		return cp, fmt.Errorf("%w: %s holds the checkpoint of %d", ErrCorrupt, key, cp.Seq)
	}
	return cp, nil
}

// after reads the entries above seq, in order and without gaps.
func (l *Log) after(ctx context.Context, seq uint64) ([]Entry, error) {
	seqs, err := l.list(ctx, logPrefix)
	if err != nil {
		return nil, err
	}
	for len(seqs) > 0 && seqs[0] <= seq {
		seqs = seqs[1:]
	}
	entries := make([]Entry, len(seqs))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i, n := range seqs {
		if n != seq+1+uint64(i) {
			// A gap: entries went behind a newer checkpoint while we listed.
			return nil, fmt.Errorf("%w: entry %d is missing", ErrMoved, seq+1+uint64(i))
		}
		g.Go(func() (err error) {
			entries[i], err = l.Read(ctx, n)
			if errors.Is(err, objstore.ErrNotFound) {
				return fmt.Errorf("%w: %w", ErrMoved, err)
			}
			return err
		})
	}
	return entries, g.Wait()
}

func (l *Log) checkpoints(ctx context.Context) ([]uint64, error) {
	return l.list(ctx, checkpointPrefix)
}

// list returns the sequence numbers under a prefix, ascending. Foreign names are passed over.
func (l *Log) list(ctx context.Context, prefix string) ([]uint64, error) {
	var seqs []uint64
	err := l.store.List(ctx, prefix, func(o objstore.ObjectInfo) error {
		if n, ok := parseSeq(strings.TrimPrefix(o.Key, prefix)); ok {
			seqs = append(seqs, n)
		}
		return nil
	})
	return seqs, err
}

func parseSeq(s string) (uint64, bool) {
	if len(s) != 16 {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

// EntryTime is the store's own time of entry seq, comparable with other objects of the store.
func (l *Log) EntryTime(ctx context.Context, seq uint64) (time.Time, error) {
	o, err := l.store.Head(ctx, entryKey(seq))
	return o.ModTime, err
}

// Removed reports whether entry seq lies where entries are removed: then an object found there may be a late put of a
// fenced writer, and only the newest checkpoint tells what counts.
func (l *Log) Removed(ctx context.Context, seq uint64) (bool, error) {
	seqs, err := l.checkpoints(ctx)
	return len(seqs) >= 2 && seqs[len(seqs)-2] >= seq, err
}

// Newest reads the newest entry alone, or what the newest checkpoint knows of it; ok is false in an empty log.
func (l *Log) Newest(ctx context.Context) (e Entry, ok bool, err error) {
	for range 10 {
		seqs, err := l.list(ctx, logPrefix)
		if err != nil {
			return Entry{}, false, err
		}
		if len(seqs) == 0 {
			cp, err := l.newestCheckpoint(ctx)
			return Entry{Seq: cp.Seq, Epoch: cp.Epoch, Time: cp.Time, SystemID: cp.SystemID, Timeline: cp.Timeline, LSN: cp.LSN}, cp.Seq > 0, err
		}
		e, err := l.Read(ctx, seqs[len(seqs)-1])
		if !errors.Is(err, objstore.ErrNotFound) {
			return e, err == nil, err
		}
	}
	return Entry{}, false, ErrMoved
}
