package redo

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/ginrec"
)

// TestGinRefusals: pages and records that do not fit each other are refused with the place.
func TestGinRefusals(t *testing.T) {
	const tuple = "0000 0700 0000 1000 4142434445464748"
	a, b := segment(t, 1, 2, 3), segment(t, 10, 12)
	cut := postingLeaf(a, b)
	cut.SetLower(cut.Lower() - 2)
	beyond := postingLeaf(a)
	beyond.SetLower(ginrec.Special + 2)
	below := postingLeaf()
	below.SetLower(pg.PageHeaderSize)
	tuples, itemsAndTuples := postingLeaf(a), postingInner(3)
	tuples.SetUpper(4000)
	itemsAndTuples.SetUpper(4000)
	overlong := postingLeaf(a)
	overlong[ginrec.PostingAt+7] = 0xFF // nbytes
	endless := postingLeaf(segment(t, 1, 2, 3))
	endless[ginrec.PostingAt+8], endless[ginrec.PostingAt+9] = 0x80, 0x80
	plain := entryPage(t, ginrec.PageLeaf, 2)
	plain.SetSpecial(pg.BlockSize)
	many := postingInner(3)
	o, _ := ginrec.PageOpaque(many)
	o.SetCount(ginrec.PostingItemsMax + 1)
	full := postingInner(ginrec.PostingItemsMax)
	old := postingLeaf()
	oldOpaque, _ := ginrec.PageOpaque(old)
	oldOpaque.SetFlags(ginrec.PageData | ginrec.PageLeaf)
	oldOpaque.SetCount(1400)
	compressed := func(actions string) *wal.Record { return ginRecord(t, ginrec.OpInsert, "0300", actions) }
	inner := func(data string) *wal.Record {
		return ginRecord(t, ginrec.OpInsert, "0100 0000 6600 0000 0900", data)
	}
	cases := map[string]struct {
		page pg.Page
		rec  *wal.Record
		id   uint8
	}{
		"a segment that is not there":      {postingLeaf(a), compressed("0100 0101"), 0},
		"replace behind the last":          {postingLeaf(a), compressed("0100 0103" + hexOf(b)), 0},
		"insert far behind the last":       {postingLeaf(a), compressed("0100 0302" + hexOf(b)), 0},
		"items for a segment not there":    {postingLeaf(a), compressed("0100 0104 0000"), 0},
		"actions out of order":             {postingLeaf(a, b), compressed("0200 0101 0001"), 0},
		"a segment deleted twice":          {postingLeaf(a, b), compressed("0200 0001 0001"), 0},
		"an item that is there":            {postingLeaf(a), compressed("0100 0004 0100 0000 0100 0200"), 0},
		"items that fall":                  {postingLeaf(a), compressed("0100 0004 0200 0000 0100 0900 0000 0100 0800"), 0},
		"an item at offset 0":              {postingLeaf(a), compressed("0100 0004 0100 0000 0200 0000"), 0},
		"a cut segment deleted":            {cut, compressed("0100 0101"), 0},
		"a cut segment passed over":        {bytes.Clone(cut), compressed("0100 0202" + hexOf(a)), 0},
		"segments beyond the page":         {beyond, compressed("0000"), 0},
		"lower below the segments":         {below, compressed("0000"), 0},
		"segments and tuples":              {tuples, compressed("0000"), 0},
		"posting items and tuples":         {itemsAndTuples, inner("0100 0000 6600 0000 0800 0300"), 0},
		"a segment longer than the page":   {overlong, compressed("0100 0101"), 0},
		"a number without end":             {endless, compressed("0100 0004 0100 0000 0200 0100"), 0},
		"old items beyond the page":        {old, compressed("0000"), 0},
		"an action not known":              {postingLeaf(a), compressed("0100 0005"), 0},
		"vacuum with main data":            {postingLeaf(a), ginRecord(t, ginrec.OpVacuumDataLeafPage, "00", "0000"), 0},
		"vacuum of an entry page":          {entryPage(t, ginrec.PageLeaf, 1), ginRecord(t, ginrec.OpVacuumDataLeafPage, "", "0000"), 0},
		"vacuum above the leaves":          {postingInner(2), ginRecord(t, ginrec.OpVacuumDataLeafPage, "", "0000"), 0},
		"vacuum of block 1":                {postingLeaf(a), ginRecord(t, ginrec.OpVacuumDataLeafPage, "", "0000"), 1},
		"data into an entry page":          {entryPage(t, ginrec.PageLeaf, 1), compressed("0000"), 0},
		"an entry into a posting tree":     {postingLeaf(a), ginRecord(t, ginrec.OpInsert, "0200", "0100 0000"+tuple), 0},
		"a leaf's record above the leaves": {postingInner(2), compressed("0000"), 0},
		"a leaf's entry above the leaves":  {entryPage(t, 0, 1), ginRecord(t, ginrec.OpInsert, "0200", "0100 0000"+tuple), 0},
		"an inner record on a leaf":        {postingLeaf(a), inner("0200 0000 6600 0000 0800 0300"), 0},
		"posting item 0":                   {postingInner(3), inner("0000 0000 6600 0000 0800 0300"), 0},
		"posting item 4 of 3":              {postingInner(3), inner("0400 0000 6600 0000 0800 0300"), 0},
		"more posting items than fit":      {many, inner("0100 0000 6600 0000 0800 0300"), 0},
		"one more than fit":                {full, inner("0100 0000 6600 0000 0800 0300"), 0},
		"a child of a leaf's record":       {postingLeaf(a), compressed("0000"), 1},
		"block 2 of INSERT":                {postingLeaf(a), compressed("0000"), 2},
		"a page with no opaque data":       {plain, ginRecord(t, ginrec.OpInsert, "0200", "0100 0000"+tuple), 0},
		"entry 0":                          {entryPage(t, ginrec.PageLeaf, 2), ginRecord(t, ginrec.OpInsert, "0200", "0000 0000"+tuple), 0},
		"entry 4 behind 2":                 {entryPage(t, ginrec.PageLeaf, 2), ginRecord(t, ginrec.OpInsert, "0200", "0400 0000"+tuple), 0},
		"replace of entry 3 of 2":          {entryPage(t, ginrec.PageLeaf, 2), ginRecord(t, ginrec.OpInsert, "0200", "0300 0100"+tuple), 0},
		"replace above the leaves":         {entryPage(t, 0, 2), ginRecord(t, ginrec.OpInsert, "0000 0000 0700 0000 0900", "0100 0100"+tuple), 0},
		"a downlink that is not there":     {entryPage(t, 0, 2), ginRecord(t, ginrec.OpInsert, "0000 0000 0700 0000 0900", "0300 0000"+tuple), 0},
		"deletion from an entry page":      {entryPage(t, 0, 2), ginRecord(t, ginrec.OpDeletePage, "0100 0000 0c000000 e8030000", ""), 1},
		"deletion from a leaf":             {postingLeaf(a), ginRecord(t, ginrec.OpDeletePage, "0100 0000 0c000000 e8030000", ""), 1},
		"deletion of posting item 0":       {postingInner(2), ginRecord(t, ginrec.OpDeletePage, "0000 0000 0c000000 e8030000", ""), 1},
		"deletion of posting item 3 of 2":  {postingInner(2), ginRecord(t, ginrec.OpDeletePage, "0300 0000 0c000000 e8030000", ""), 1},
		"block 3 of DELETE_PAGE":           {postingInner(2), ginRecord(t, ginrec.OpDeletePage, "0100 0000 0c000000 e8030000", ""), 3},
		"block 1 of CREATE_PTREE":          {newPage(), ginRecord(t, ginrec.OpCreatePostingTree, "00000000", ""), 1},
		"a list page's tuples cut":         {newPage(), ginRecord(t, ginrec.OpInsertListPage, "ffffffff 02000000", tuple), 0},
		"a list page too full":             {newPage(), ginRecord(t, ginrec.OpInsertListPage, "ffffffff 9a010000", strings.Repeat(tuple, 410)), 0},
		"block 1 of INSERT_LISTPAGE":       {newPage(), ginRecord(t, ginrec.OpInsertListPage, "ffffffff 00000000", ""), 1},
		"a metapage elsewhere":             {newPage(), ginRecord(t, ginrec.OpDeleteListPages, ginMeta+"0000000000000000", ""), 0},
		"a record type not known":          {postingLeaf(a), ginRecord(t, 0xA0, "", ""), 0},
	}
	for name, c := range cases {
		wantRefused(t, name, c.page, c.rec, c.id)
	}
}

// TestGinMask: a deleted page is as good as any other deleted one; the space between is hidden only where the page says where it is.
func TestGinMask(t *testing.T) {
	var s Scratch
	differ := func(p pg.Page, at int) bool {
		other := bytes.Clone(p)
		other[at] ^= 0x80
		equal, _, err := Compare(wal.RMGin, p, other, 7, &s)
		if err != nil {
			t.Fatal(err)
		}
		return !equal
	}
	leaf, deleted, old := postingLeaf(segment(t, 1, 2)), postingLeaf(segment(t, 1, 2)), postingLeaf()
	o, _ := ginrec.PageOpaque(deleted)
	o.SetFlags(o.Flags() | ginrec.PageDeleted)
	old.SetLower(pg.PageHeaderSize)
	for name, c := range map[string]struct {
		page   pg.Page
		at     int
		differ bool
	}{
		"LSN": {leaf, 0, false}, "checksum": {leaf, 8, false}, "prune XID": {leaf, 20, false}, "version": {leaf, 18, true},
		"segments": {leaf, ginrec.PostingAt, true}, "free space": {leaf, 4000, false}, "opaque data": {leaf, ginrec.Special, true},
		"a deleted page's segments": {deleted, ginrec.PostingAt, false}, "its right link": {deleted, ginrec.Special, false}, "its deletion": {deleted, ginrec.Special + 6, false},
		"items of a page from before 9.4": {old, 4000, true},
	} {
		if got := differ(c.page, c.at); got != c.differ {
			t.Errorf("%s: differs %v", name, got)
		}
	}
	if equal, _, _ := Compare(wal.RMGin, leaf, deleted, 7, &s); equal {
		t.Error("a deleted page equals one that is not")
	}
	if equal, _, _ := Compare(wal.RMGin, filledPage(t, 1), filledPage(t, 1), 7, &s); equal {
		t.Error("a page without opaque data was masked")
	}
}
