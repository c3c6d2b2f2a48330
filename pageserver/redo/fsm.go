package redo

import "github.com/tarn-db/tarn/internal/pg"

// Layout of a free space map page (storage/fsm_internals.h): after the page header a next-slot hint of 4 bytes, then a binary
// tree of bytes, each node the greatest of its two; its leaves are blocks of the heap, or pages of the level below.
const (
	fsmNodesAt = pg.PageHeaderSize + 4
	fsmNodes   = pg.BlockSize - fsmNodesAt // NodesPerPage
	fsmNonLeaf = pg.BlockSize/2 - 1        // NonLeafNodesPerPage
	FSMPerPage = fsmNodes - fsmNonLeaf     // heap blocks of a page of the lowest level (SlotsPerFSMPage)
	fsmDepth   = 3                         // FSM_TREE_DEPTH
)

// FSMBlock is the map's block that has a heap block (fsm_get_location, fsm_logical_to_physical).
func FSMBlock(heap pg.BlockNumber) pg.BlockNumber {
	n, pages := heap/FSMPerPage, pg.BlockNumber(0)
	for range fsmDepth {
		pages += n + 1
		n /= FSMPerPage
	}
	return pages - 1
}

// TruncateFSM clears what the map's last page that stays says of heap blocks from n on (fsm_truncate_avail). It has no LSN
// of its own. Upper pages keep what they said: a search that is led astray by them mends them.
func TruncateFSM(page pg.Page, n pg.BlockNumber) (changed bool) {
	if page.IsNew() {
		return false
	}
	nodes := page[fsmNodesAt:pg.BlockSize]
	for i := fsmNonLeaf + int(n%FSMPerPage); i < fsmNodes; i++ {
		changed = changed || nodes[i] != 0
		nodes[i] = 0
	}
	if !changed {
		return false
	}
	for i := fsmNonLeaf - 1; i >= 0; i-- { // fsm_rebuild_page
		best := byte(0)
		for child := 2*i + 1; child <= 2*i+2 && child < fsmNodes; child++ {
			best = max(best, nodes[child])
		}
		nodes[i] = best
	}
	return true
}
