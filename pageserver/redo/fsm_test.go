package redo

import (
	"testing"

	"github.com/tarn-db/tarn/internal/pg"
)

// TestFSMBlock: the map's pages as fsm_logical_to_physical lays them out, 4069 blocks or pages to each.
func TestFSMBlock(t *testing.T) {
	const n = FSMPerPage
	for heap, want := range map[pg.BlockNumber]pg.BlockNumber{0: 2, n - 1: 2, n: 3, n*n - 1: n + 1, n * n: n + 3, n*n + n: n + 4} {
		if got := FSMBlock(heap); got != want || n != 4069 {
			t.Errorf("heap block %d: map block %d, want %d", heap, got, want)
		}
	}
}

// TestTruncateFSM: the leaves of blocks cut off go, and each node above is the greatest of its two again.
func TestTruncateFSM(t *testing.T) {
	page := newPage()
	page.Init(0)
	nodes := page[fsmNodesAt:]
	leaf := func(block int) *byte { return &nodes[fsmNonLeaf+block] }
	*leaf(0), *leaf(1), *leaf(2), *leaf(FSMPerPage - 1) = 10, 20, 200, 100
	for i := fsmNonLeaf - 1; i >= 0; i-- {
		nodes[i] = 200
	}
	if !TruncateFSM(page, 5*FSMPerPage+2) || *leaf(0) != 10 || *leaf(1) != 20 || *leaf(2) != 0 || *leaf(FSMPerPage - 1) != 0 {
		t.Errorf("leaves %d %d %d, the last %d", *leaf(0), *leaf(1), *leaf(2), *leaf(FSMPerPage - 1))
	}
	for i := range fsmNonLeaf {
		want := byte(0)
		for child := 2*i + 1; child <= 2*i+2 && child < fsmNodes; child++ {
			want = max(want, nodes[child])
		}
		if nodes[i] != want {
			t.Fatalf("node %d is %d, not %d", i, nodes[i], want)
		}
	}
	if nodes[0] != 20 || page.LSN() != 0 {
		t.Errorf("the root says %d, LSN %s", nodes[0], page.LSN())
	}
	if TruncateFSM(page, 2) || TruncateFSM(newPage(), 2) {
		t.Error("a page without anything to cut was changed")
	}
}
