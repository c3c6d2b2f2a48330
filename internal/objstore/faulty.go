package objstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Op names a Store method for a fault.
type Op string

// The operations a fault can meet; OpAny and OpAnyPut meet several.
const (
	OpAny         Op = ""
	OpAnyPut      Op = "put*"
	OpGet         Op = "get"
	OpGetRange    Op = "getrange"
	OpHead        Op = "head"
	OpPut         Op = "put"
	OpPutStream   Op = "putstream"
	OpPutIfAbsent Op = "putifabsent"
	OpPutIfMatch  Op = "putifmatch"
	OpCopy        Op = "copy" // within one kind of store; the key is the one written
	OpList        Op = "list"
	OpDelete      Op = "delete"
)

// ErrInjected is what faults return unless they say otherwise.
var ErrInjected = errors.New("injected store fault")

// Fault is one rule. The zero value of each field means no restriction or no effect.
type Fault struct {
	Op       Op
	Contains string // the key has this part

	Skip  int // let the first Skip matching operations through
	Times int // then act on this many; 0 is for ever

	Latency   time.Duration // wait first
	Err       error         // fail with this; nothing has happened in the store
	LoseReply bool          // do it, then fail with Err or ErrInjected: applied, but the answer was lost
	Short     int64         // a range read gives this many bytes fewer, without an error
	FlipByte  bool          // a read gives one byte changed, without an error
}

// Faulty wraps a Store and makes operations fail by rule, the first matching rule that is due. It is for tests.
type Faulty struct {
	Store
	mu     sync.Mutex
	faults []*armed
	counts map[Op]int
}

type armed struct {
	Fault
	seen, hits int
}

// NewFaulty wraps a store without any rule.
func NewFaulty(s Store) *Faulty { return &Faulty{Store: s, counts: map[Op]int{}} }

// Inject adds a rule and returns how often it has acted so far.
func (f *Faulty) Inject(rule Fault) (hits func() int) {
	a := &armed{Fault: rule}
	f.mu.Lock()
	f.faults = append(f.faults, a)
	f.mu.Unlock()
	return func() int {
		f.mu.Lock()
		defer f.mu.Unlock()
		return a.hits
	}
}

// Clear removes all rules.
func (f *Faulty) Clear() {
	f.mu.Lock()
	f.faults = nil
	f.mu.Unlock()
}

// Count is how often an operation was asked for; OpAny counts all.
func (f *Faulty) Count(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if op != OpAny {
		return f.counts[op]
	}
	n := 0
	for _, c := range f.counts {
		n += c
	}
	return n
}

func (r *armed) matches(op Op, key string) bool {
	isPut := strings.HasPrefix(string(op), "put")
	return (r.Op == OpAny || r.Op == op || r.Op == OpAnyPut && isPut) && strings.Contains(key, r.Contains)
}

// due finds the rule that acts on this operation, waits its latency and returns a copy.
func (f *Faulty) due(ctx context.Context, op Op, key string) (rule Fault, err error) {
	f.mu.Lock()
	f.counts[op]++
	for _, r := range f.faults {
		if !r.matches(op, key) {
			continue
		}
		r.seen++
		if r.seen > r.Skip && (r.Times == 0 || r.hits < r.Times) {
			r.hits++
			rule = r.Fault
			break
		}
	}
	f.mu.Unlock()
	if rule.Latency > 0 {
		select {
		case <-time.After(rule.Latency):
		case <-ctx.Done():
			return rule, ctx.Err()
		}
	}
	if rule.Err != nil && !rule.LoseReply {
		return rule, fmt.Errorf("%s %s: %w", op, key, rule.Err)
	}
	return rule, nil
}

// lost is the error of an operation that has happened.
func (r Fault) lost(op Op, key string) error {
	if !r.LoseReply {
		return nil
	}
	err := r.Err
	if err == nil {
		err = ErrInjected
	}
	return fmt.Errorf("%s %s: answer lost: %w", op, key, err)
}

func (r Fault) damage(data []byte) []byte {
	if r.Short > 0 {
		data = data[:max(0, int64(len(data))-r.Short)]
	}
	if r.FlipByte && len(data) > 0 {
		data[len(data)/2] ^= 0x40
	}
	return data
}

func (f *Faulty) Get(ctx context.Context, key string) ([]byte, ObjectInfo, error) {
	r, err := f.due(ctx, OpGet, key)
	if err != nil {
		return nil, ObjectInfo{}, err
	}
	data, info, err := f.Store.Get(ctx, key)
	if err == nil {
		err = r.lost(OpGet, key)
	}
	return r.damage(data), info, err
}

func (f *Faulty) GetRange(ctx context.Context, key string, off, n int64) ([]byte, error) {
	r, err := f.due(ctx, OpGetRange, key)
	if err != nil {
		return nil, err
	}
	data, err := f.Store.GetRange(ctx, key, off, n)
	if err == nil {
		err = r.lost(OpGetRange, key)
	}
	return r.damage(data), err
}

func (f *Faulty) Head(ctx context.Context, key string) (ObjectInfo, error) {
	if _, err := f.due(ctx, OpHead, key); err != nil {
		return ObjectInfo{}, err
	}
	return f.Store.Head(ctx, key)
}

// do runs a write under the rule that is due.
func (f *Faulty) do(ctx context.Context, op Op, key string, write func() (ObjectInfo, error)) (ObjectInfo, error) {
	r, err := f.due(ctx, op, key)
	if err != nil {
		return ObjectInfo{}, err
	}
	info, err := write()
	if err == nil {
		err = r.lost(op, key)
	}
	if err != nil {
		return ObjectInfo{}, err
	}
	return info, nil
}

func (f *Faulty) Put(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return f.do(ctx, OpPut, key, func() (ObjectInfo, error) { return f.Store.Put(ctx, key, data) })
}

func (f *Faulty) PutStream(ctx context.Context, key string, r io.Reader) (ObjectInfo, error) {
	return f.do(ctx, OpPutStream, key, func() (ObjectInfo, error) { return f.Store.PutStream(ctx, key, r) })
}

func (f *Faulty) PutIfAbsent(ctx context.Context, key string, data []byte) (ObjectInfo, error) {
	return f.do(ctx, OpPutIfAbsent, key, func() (ObjectInfo, error) { return f.Store.PutIfAbsent(ctx, key, data) })
}

func (f *Faulty) PutIfMatch(ctx context.Context, key string, data []byte, etag string) (ObjectInfo, error) {
	return f.do(ctx, OpPutIfMatch, key, func() (ObjectInfo, error) { return f.Store.PutIfMatch(ctx, key, data, etag) })
}

func (f *Faulty) List(ctx context.Context, prefix string, fn func(ObjectInfo) error) error {
	if _, err := f.due(ctx, OpList, prefix); err != nil {
		return err
	}
	return f.Store.List(ctx, prefix, fn)
}

func (f *Faulty) Delete(ctx context.Context, key string) error {
	_, err := f.do(ctx, OpDelete, key, func() (ObjectInfo, error) { return ObjectInfo{}, f.Store.Delete(ctx, key) })
	return err
}
