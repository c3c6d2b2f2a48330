// Package slru knows the SLRUs: files of pages without header or LSN that hold what became of transactions (pg_xact,
// pg_commit_ts) and who is in a multixact (pg_multixact). It is pure: what a record does is a list of changes, each to
// one page or to whole segments; whoever holds the pages applies them.
package slru

import (
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
)

// Kind is one of the SLRUs. The numbers are part of the page store's keys.
type Kind uint8

// The SLRUs that outlive a server; pg_subtrans, pg_notify and pg_serial do not, and have no WAL.
const (
	CLOG     Kind = 0 // pg_xact
	Offsets  Kind = 1 // pg_multixact/offsets
	Members  Kind = 2 // pg_multixact/members
	CommitTs Kind = 3 // pg_commit_ts
	Kinds         = 4
)

// Folder is the SLRU's folder in a data directory.
func (k Kind) Folder() string {
	return [Kinds]string{"pg_xact", "pg_multixact/offsets", "pg_multixact/members", "pg_commit_ts"}[k]
}

func (k Kind) String() string { return k.Folder() }

// SegmentPages is how many pages a file holds (SLRU_PAGES_PER_SEGMENT).
const SegmentPages = 32

// SegmentName is a file's name: in all of 15-18 these four SLRUs have four digits, more when they run out
// (SlruFileName without long_segment_names).
func SegmentName(segment uint32) string { return fmt.Sprintf("%04X", segment) }

// Layout of the pages (access/transam/clog.c, commit_ts.c, multixact.c).
const (
	clogXactsByte   = 4
	CLOGXacts       = pg.BlockSize * clogXactsByte        // transactions on a page
	commitTsEntry   = 8 + 2                               // SizeOfCommitTimestampEntry: time, origin; bytes
	CommitTsXacts   = pg.BlockSize / commitTsEntry        // transactions on a page
	OffsetsPerPage  = pg.BlockSize / 4                    // multixacts on a page
	MembersPerGroup = 4                                   // members of a group: their 4 status bytes, then their 4 ids
	memberGroupSize = MembersPerGroup + 4*MembersPerGroup // bytes
	memberGroups    = pg.BlockSize / memberGroupSize      // groups on a page
	MembersPerPage  = memberGroups * MembersPerGroup      // members on a page
	pagesAll        = 1 << 32                             // ids that an SLRU can tell apart
)

// perPage is how many ids share a page.
func (k Kind) perPage() uint32 {
	return [Kinds]uint32{CLOGXacts, OffsetsPerPage, MembersPerPage, CommitTsXacts}[k]
}

// PagesMax is how many pages an SLRU can have: ids are 32 bits wide, and pages of wrapped ids are used again.
func (k Kind) PagesMax() uint32 { return uint32((pagesAll-1)/uint64(k.perPage())) + 1 }

// Page is the page an id is on: a transaction's, a multixact's, or a member's offset.
func (k Kind) Page(id uint32) uint32 { return id / k.perPage() }

// Precedes is the SLRU's PagePrecedes: whether all ids of page a precede all ids of page b, modulo 2^32
// (CLOGPagePrecedes, CommitTsPagePrecedes, MultiXactOffsetPagePrecedes). Members are not compared by page.
func (k Kind) Precedes(a, b uint32) bool {
	n := k.perPage()
	first := uint32(pg.FirstNormalXID) + 1
	if k == Offsets {
		first = 1 + 1 // FirstMultiXactId + 1
	}
	x, y := a*n+first, b*n+first
	if k == Offsets {
		return int32(x-y) < 0 && int32(x-(y+n-1)) < 0
	}
	return pg.XID(x).Precedes(pg.XID(y)) && pg.XID(x).Precedes(pg.XID(y+n-1))
}

// removable is SlruMayDeleteSegment: all of a segment lies before the page.
func (k Kind) removable(segment, cutoff uint32) bool {
	first := segment * SegmentPages
	return k.Precedes(first, cutoff) && k.Precedes(first+SegmentPages-1, cutoff)
}
