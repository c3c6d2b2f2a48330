package verify

import (
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/gistrec"
)

// forgetDeleted clears that tuples were deleted from a GiST page (F_TUPLES_DELETED): a server that redoes DELETE after a crash notes it, one
// that deletes does not, and nothing reads it.
func forgetDeleted(p pg.Page) {
	if o, ok := gistrec.PageOpaque(p); ok {
		o.SetFlags(o.Flags() &^ gistrec.PageTuplesDeleted)
	}
}

// sameSplit says whether two GiST pages agree on the split they are in or had last. Images are compared in the middle of it, where they
// may differ; at a clean stop they may not.
func sameSplit(ours, theirs pg.Page) bool {
	a, ok := gistrec.PageOpaque(ours)
	b, ok2 := gistrec.PageOpaque(theirs)
	return ok && ok2 && a.NSN() == b.NSN() && (a.Flags()^b.Flags())&gistrec.PageFollowRight == 0
}
