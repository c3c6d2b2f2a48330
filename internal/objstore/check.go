package objstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/tarn-db/tarn/internal/fault"
)

// ErrNotConditional: the store does not honour conditional puts. Two writers could each believe that they had won: tarn
// cannot keep a catalog there.
var ErrNotConditional = fault.New(fault.StoreNotConditional, "the store does not honour conditional puts (If-None-Match, If-Match)")

// ErrStale: the store does not show at once what it has taken.
var ErrStale = fault.New(fault.StoreStale, "the store does not show what was just written")

// Check tries on two small objects of its own whether a store does what Store promises: writes, reads, lists and deletes,
// and refuses conditional puts whose condition does not hold. It removes the objects again.
func Check(ctx context.Context, s Store) (err error) {
	key := "preflight-" + rand.Text()
	defer func() {
		if gone := s.Delete(ctx, key); err == nil {
			err = gone
		}
	}()
	first, err := s.PutIfAbsent(ctx, key, []byte("tarn 1\n"))
	if err != nil {
		return err
	}
	if _, err := s.PutIfAbsent(ctx, key, []byte("tarn 2\n")); !errors.Is(err, ErrPrecondition) {
		return notConditional("If-None-Match on an object that exists", err)
	}
	second, err := s.PutIfMatch(ctx, key, []byte("tarn 3\n"), first.ETag)
	if err != nil {
		return fmt.Errorf("If-Match with the object's own ETag: %w", err)
	}
	if _, err := s.PutIfMatch(ctx, key, []byte("tarn 4\n"), first.ETag); !errors.Is(err, ErrPrecondition) || first.ETag == second.ETag {
		return notConditional("If-Match with a former ETag", err)
	}
	if got, _, err := s.Get(ctx, key); err != nil {
		return err
	} else if !bytes.Equal(got, []byte("tarn 3\n")) {
		return fmt.Errorf("%w: %q was read", ErrStale, got)
	}
	listed := 0
	if err := s.List(ctx, key, func(ObjectInfo) error { listed++; return nil }); err != nil {
		return err
	}
	if listed != 1 {
		return fmt.Errorf("%w: it is listed %d times", ErrStale, listed)
	}
	return nil
}

// notConditional tells a condition that was ignored from a request that failed for another reason.
func notConditional(what string, err error) error {
	if err == nil || isCode(err, "NotImplemented") {
		return fmt.Errorf("%w: %s was let through", ErrNotConditional, what)
	}
	return fmt.Errorf("%s: %w", what, err)
}
