package ginrec

import (
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/rectest"
)

var b = rectest.Hex

// decode calls the decoder of a record's main data, or of what its block 0 carries.
func decode(what string, data []byte) (err error) {
	switch what {
	case "CREATE_PTREE":
		_, err = DecodeCreatePostingTree(data)
	case "INSERT":
		_, err = DecodeInsert(data)
	case "INSERT entry":
		_, err = DecodeInsertEntry(data)
	case "INSERT posting item":
		_, err = DecodeInsertPosting(data)
	case "recompress":
		var r Recompress
		if r, err = DecodeRecompress(data); err == nil {
			for _, ok := r.Next(); ok; _, ok = r.Next() {
			}
		}
	case "SPLIT":
		_, err = DecodeSplit(data)
	case "DELETE_PAGE":
		_, err = DecodeDeletePage(data)
	case "UPDATE_META_PAGE":
		_, err = DecodeUpdateMeta(data)
	case "INSERT_LISTPAGE":
		_, err = DecodeInsertListPage(data)
	case "DELETE_LISTPAGE":
		_, err = DecodeDeleteListPages(data)
	case "two tuples":
		_, err = pg.DecodeIndexTuples("two tuples", data, 2)
	}
	return err
}

const meta = "03000000 04000000 e8030000 02000000 0500000000000000 0a000000 02000000 03000000 00000000 0700000000000000 02000000 00000000"

var samples = []struct{ what, data string }{
	{"CREATE_PTREE", "0a000000 0000 0100 0200 0100 0500"},
	{"INSERT", "0200"}, {"INSERT", "0300"},
	{"INSERT", "0000 0000 0500 0000 0600"}, {"INSERT", "0100 0000 0500 0100 0600"},
	{"INSERT entry", "0300 0100 0000 0000 0000 1000 0102030405060708"},
	{"INSERT posting item", "0200 0000 0700 0000 0900 0300"},
	{"recompress", "0000"},
	{"recompress", "0400 00 01 01 02 0000 0100 0200 0100 0500 02 03 0000 0200 0200 0000 03 04 0200 0000 0100 0200 0000 0100 0300"},
	{"SPLIT", "7f060000 05000000 00400000 ffffffff 00000000 00000000 0600 0000"},
	{"DELETE_PAGE", "0200 0000 09000000 e8030000"},
	{"UPDATE_META_PAGE", "7f060000 05000000 00400000 00000000" + meta + "ffffffff ffffffff 01000000 00000000"},
	{"INSERT_LISTPAGE", "ffffffff 02000000"},
	{"DELETE_LISTPAGE", meta + "10000000 00000000"},
	{"two tuples", "0000 0000 0100 0800 0000 0000 0200 0a00 0102"},
}

// TestExactLength: of each sample only its own length will do.
func TestExactLength(t *testing.T) {
	for _, s := range samples {
		rectest.OnlyItsLength(t, s.what, b(t, s.data), func(data []byte) error { return decode(s.what, data) })
	}
}

// TestRefusals: values no server writes.
func TestRefusals(t *testing.T) {
	for name, s := range map[string]struct{ what, data string }{
		"an unknown flag of INSERT":      {"INSERT", "0400"},
		"children on a leaf":             {"INSERT", "0200 0000 0500 0000 0600"},
		"no children above the leaves":   {"INSERT", "0000"},
		"an unknown flag of SPLIT":       {"SPLIT", "7f060000 05000000 00400000 ffffffff 00000000 00000000 0800 0000"},
		"a tree larger than a page":      {"CREATE_PTREE", "00200000" + strings.Repeat("00", 8192)},
		"a tuple shorter than a header":  {"INSERT entry", "0300 0000 0000 0000 0000 0700"},
		"action 0":                       {"recompress", "0100 00 00"},
		"action 5":                       {"recompress", "0100 00 05"},
		"more actions than there are":    {"recompress", "0200 00 01"},
		"a segment that is cut":          {"recompress", "0100 00 02 0000 0100 0200 0300 0500"},
		"items that are cut":             {"recompress", "0100 00 04 0200 0000 0100 0200"},
		"a negative count of list pages": {"DELETE_LISTPAGE", meta + "ffffffff 00000000"},
		"a negative count of tuples":     {"INSERT_LISTPAGE", "ffffffff ffffffff"},
		"a tuple of no length":           {"two tuples", "0000 0000 0100 0800 0000 0000 0200 0000"},
		"a negative count for the tail":  {"UPDATE_META_PAGE", "7f060000 05000000 00400000 00000000" + meta + "ffffffff ffffffff ffffffff 00000000"},
	} {
		if err := decode(s.what, b(t, s.data)); !errors.Is(err, pg.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFields(t *testing.T) {
	if r, err := DecodeInsert(b(t, "0100 0000 0500 0100 0600")); err != nil || !r.Data || r.Leaf || r.Left != 5 || r.Right != 0x10006 {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := DecodeInsert(b(t, "0200")); err != nil || r.Data || !r.Leaf || r.Right != pg.InvalidBlock {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := DecodeSplit(b(t, samples[9].data)); err != nil || r.Data || !r.Leaf || !r.Root {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := DecodeDeletePage(b(t, samples[10].data)); err != nil || r != (DeletePage{ParentOffset: 2, RightLink: 9, DeleteXID: 1000}) {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := DecodeUpdateMeta(b(t, samples[11].data)); err != nil || r.Count != 1 || r.PrevTail != pg.InvalidBlock || hex.EncodeToString(r.Metadata) != strings.ReplaceAll(meta, " ", "") {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := DecodeDeleteListPages(b(t, samples[13].data)); err != nil || r.Count != 16 || len(r.Metadata) != MetaSize {
		t.Errorf("%+v %v", r, err)
	}
	r, err := DecodeRecompress(b(t, samples[8].data))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []struct {
		kind uint8
		data string
	}{{SegmentDelete, ""}, {SegmentInsert, "0000 0100 0200 0100 0500"}, {SegmentReplace, "0000 0200 0200 0000"}, {SegmentAddItems, "0000 0100 0200 0000 0100 0300"}} {
		if a, ok := r.Next(); !ok || a.Segment != i || a.Kind != want.kind || string(a.Data) != string(b(t, want.data)) {
			t.Errorf("action %d: %+v", i, a)
		}
	}
}

// FuzzDecode: no input panics, and what is refused is refused as corrupt.
func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		f.Add(b(f, s.data))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, s := range samples {
			if err := decode(s.what, data); err != nil && !errors.Is(err, pg.ErrCorrupt) {
				t.Fatalf("%s: %v", s.what, err)
			}
		}
	})
}
