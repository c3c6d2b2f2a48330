package archive

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/scrub"
)

// TestScrub: what is missing is named once, however much lies behind it; a gap that is being filled is none.
func TestScrub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, store, wal := t.Context(), objstore.NewMem(), &fakeWAL{end: testBase.LSN + 5*segSize + 1000}
		a := begin(t, store, wal)
		if err := a.ArchiveTo(ctx, wal.end); err != nil {
			t.Fatal(err)
		}
		look := func(what, want string) {
			t.Helper()
			var rep scrub.Report
			if err := Scrub(ctx, store, false, &rep); err != nil {
				t.Fatal(err)
			}
			got := ""
			for _, f := range rep.Findings {
				got += fmt.Sprintf("%s %s ", f.Kind, f.Key)
			}
			if got != want || rep.OK() != (want == "" || rep.Orphans > 0) {
				t.Errorf("%s: %+v, want %s", what, rep, want)
			}
		}
		look("whole", "")
		second := segmentKey(1, testBase.LSN+segSize, segSize)
		put := func(b []byte) {
			if _, err := store.Put(ctx, second, b); err != nil {
				t.Error(err)
			}
		}
		if err := store.Delete(ctx, second); err != nil {
			t.Fatal(err)
		}
		look("a segment is missing", "lost "+second+" ")
		go func() {
			time.Sleep(3 * time.Second)
			put(walBytes(testBase.LSN+segSize, segSize))
		}()
		look("a segment is on its way", "")
		put(walBytes(testBase.LSN+segSize, 100_000))
		look("a segment is cut short", "damaged "+second+" lost "+second+" ")
		put(walBytes(testBase.LSN+segSize, segSize))
		if _, err := store.Put(ctx, prefix+"00000001/junk", nil); err != nil {
			t.Fatal(err)
		}
		look("a young object", "")
		time.Sleep(2 * scrub.OrphanAge)
		look("an old one", "orphan "+prefix+"00000001/junk ")
		if err := store.Delete(ctx, baseKey(1)); err != nil {
			t.Fatal(err)
		}
		look("without its base", "lost "+basePrefix+" ")
	})
}
