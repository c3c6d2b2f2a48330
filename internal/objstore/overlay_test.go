package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/objstore"
)

// contents is what a store has.
func contents(t *testing.T, s objstore.Store) string {
	t.Helper()
	ctx := context.Background()
	var keys []string
	if err := s.List(ctx, "", func(o objstore.ObjectInfo) error { keys = append(keys, o.Key); return nil }); err != nil {
		t.Fatal(err)
	}
	out := ""
	for _, k := range keys {
		b, _, err := s.Get(ctx, k)
		out += fmt.Sprintf("%s=%s %v\n", k, b, err)
	}
	return out
}

// TestOverlay: the base shows through where nothing was written, and nothing reaches it.
func TestOverlay(t *testing.T) {
	ctx := context.Background()
	base, scratch := objstore.NewMem(), objstore.NewMem()
	for _, k := range []string{"a", "b", "d/e"} {
		if _, err := base.Put(ctx, k, []byte("base "+k)); err != nil {
			t.Fatal(err)
		}
	}
	before := contents(t, base)
	o := objstore.NewOverlay(base, scratch)
	if _, err := o.Put(ctx, "b", []byte("new b")); err != nil {
		t.Fatal(err)
	}
	info, err := o.PutIfAbsent(ctx, "a", []byte("new a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.PutIfAbsent(ctx, "a", nil); !errors.Is(err, objstore.ErrPrecondition) {
		t.Errorf("a second put if absent: %v", err)
	}
	if _, err := o.PutIfMatch(ctx, "a", []byte("newer a"), info.ETag); err != nil {
		t.Fatal(err)
	}
	if _, err := o.PutStream(ctx, "c", strings.NewReader("new c")); err != nil {
		t.Fatal(err)
	}
	if err := o.Delete(ctx, "d/e"); err != nil {
		t.Fatal(err)
	}
	if got, want := contents(t, o), "a=newer a <nil>\nb=new b <nil>\nc=new c <nil>\nd/e=base d/e <nil>\n"; got != want {
		t.Errorf("the overlay has\n%s, want\n%s", got, want)
	}
	for k, want := range map[string]string{"a": "ewer", "d/e": "ase "} {
		if b, err := o.GetRange(ctx, k, 1, 4); string(b) != want || err != nil {
			t.Errorf("a range of %s: %q, %v", k, b, err)
		}
		if h, err := o.Head(ctx, k); h.Key != k || err != nil {
			t.Errorf("head of %s: %+v, %v", k, h, err)
		}
	}
	if got := contents(t, base); got != before {
		t.Errorf("the base has become\n%s", got)
	}
}
