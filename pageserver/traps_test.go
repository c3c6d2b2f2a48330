package pageserver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pgtest"
)

// traps are what page stores and followers of physical WAL before this one have fallen into, and the tests that hold it
// does not. docs/REDO.md has the same table.
var traps = []struct{ trap, tests string }{
	{"a record ends where the next may begin, aligned; on a page boundary that is the page, not behind its header", "TestReadsWholeFixture TestServers"},
	{"a segment switch ends at the segment's end, whatever lies between; one begins right behind it", "TestEqualsPgWaldump TestServers"},
	{"WAL is read from the middle of a segment", "TestStartsAnywhere"},
	{"a record cut off by a crash is overwritten (OVERWRITE_CONTRECORD)", "TestOverwrittenContrecord TestOverwrittenWhileFollowed TestEveryTypeIsLookedAt"},
	{"records of megabytes, over several segments; of 33 blocks; of very many subtransactions", "TestSegmentSizes TestManyBlocks TestManySubtransactions"},
	{"images that are only to be compared are not applied; hints without an image", "TestImages TestFreeSpaceMap"},
	{"an image of a page of zeros gets no LSN", "TestImages"},
	{"the other pages of a record are needed to redo one", "TestUpdateAcrossPages TestFaults"},
	{"redo of heaps writes to the free space map on the side", "TestFreeSpaceMap"},
	{"hostile WAL panics, loops or takes memory", "TestEveryByteFlip FuzzFollow TestBadRecordEndsTimeline TestManySubtransactions"},
	{"a record that cannot be applied is tried for ever, unseen", "TestBadRecordEndsTimeline"},
	{"visibility map bits are cleared by records that do not name the map, the frozen bit alone by locks", "TestBothPagesOfAnUpdateOnOneMapPage TestVisible TestServers"},
	{"a map block is to be cleared that the map does not have", "TestClearBeyondTheMap"},
	{"a truncation leaves bits of blocks that are gone in the maps' last pages", "TestTruncateVM TestFreeSpaceMap TestServers"},
	{"a free space map is stale, or not there, or asked for before it is made", "TestFreeSpaceMap"},
	{"blocks the primary extended by and never logged", "TestFormerTenant TestServers"},
	{"wal_log_hints and checksums: an image for each hint", "TestServers TestDirtySetIsOfHeaps"},
	{"indexes that are logged when they are built, not while", "TestServers TestDirtySetIsOfHeaps"},
	{"a relation appears with its first page, without a record that makes it; the record that makes it may repeat", "TestFormerTenant TestInitForks"},
	{"a gap before a new block is of zeros, not of what was there", "TestFormerTenant"},
	{"a size is cached over a truncation or a drop", "TestFormerTenant TestServers"},
	{"drops come with commits and aborts, prepared ones too, tens of thousands in one record, and take all forks", "TestManyDrops TestInitForks TestServers"},
	{"a file number is used again", "TestFormerTenant"},
	{"one value lists all relations of a database", "TestManyDrops"},
	{"a database is copied as files: every fork, its relation map, what has not been flushed", "TestServers TestTornCopies TestFreeSpaceMap"},
	{"the relation map's size differs between versions", "TestFilesOfEachMajor TestServers"},
	{"tablespaces are passed over", "TestTablespaces TestServers"},
	{"unlogged relations have an init fork only; temporary ones are not there", "TestInitForks TestParsePath"},
	{"the next transaction id follows from 0, or loses its epoch; from a record that only names it", "TestNoteXID TestCheckpoints"},
	{"subtransactions over several pages of the commit log", "TestCommitIsWhole TestCommitTimes TestManySubtransactions"},
	{"parts of a commit record move between versions, a prepared transaction's name before its origin", "TestDecodeCommitInAllItsParts"},
	{"a two-phase file with its CRC twice, or without; its name's epoch; lost over a restart", "TestTwoPhaseFiles TestClusterFiles TestServers"},
	{"page numbers of SLRUs grew to 64 bits in 17", "TestPageNumbersGrewIn17 TestEveryTypeIsLookedAt"},
	{"a truncated commit log, a missing page at a boundary", "TestCutSegmentsStayAway TestCutWraps TestApparentWraparound"},
	{"multixact members over pages, segments and 2^32; the next id may be stored as 0", "TestMultiXacts TestMultiXactTruncation"},
	{"multixact truncation: members by segment, offsets too", "TestMultiXactTruncation TestClusterFiles"},
	{"minor releases set a multixact's end at different times, on pages that may not be there yet", "TestMultiXactPagesOfOldMinors TestMultiXactBehindIsNotLogged TestClusterFiles"},
	{"SLRU pages have no LSN: what was redone is redone again", "TestCommitIsWhole TestServers"},
	{"commit times: switched on and off, of origins, truncated", "TestCommitTimes TestClusterFiles"},
	{"progress of replication origins: with commits, aborts and prepares, backwards by force, dropped", "TestOrigins TestServers"},
	{"logical messages change nothing", "TestEveryTypeIsLookedAt TestServers"},
	{"counters of an online checkpoint are older than what was seen; a shutdown one has no oldest active transaction", "TestCheckpoints TestClusterFiles"},
	{"settings a standby needs, full_page_writes, the end of a recovery", "TestCheckpoints TestCommitTimes TestClusterFiles TestPromotion"},
	{"records that change nothing move the LSN all the same", "TestRecordsOfNothing"},
	{"a promotion, and records of two timelines", "TestPromotion TestReadsAcrossPromotion"},
	{"records of other databases, and of managers that nobody knows", "TestCustomManagers TestServers"},
	{"a base backup is served before its WAL is redone", "TestUnexplainedBlock TestTornCopies TestServers"},
	{"where to resume from depends on the primary's checkpoints", "TestReadersDuringFlush TestDirtyFollowsCommit"},
	{"sequences are dropped, or counted by hand", "TestServers TestDirtySetIsOfHeaps"},
	{"aborted subtransactions, COMMIT PREPARED after a restart, a truncation and inserts in one transaction", "TestServers"},
	{"ingest outruns the store and memory grows", "TestMemoryFull TestManyBlocks"},
	{"layers pile up", "TestMergeBesideFlushes"},
	{"two writers of one timeline", "TestFenced"},
	{"a store of an older version, or of a newer one", "TestStateOfVersion1 TestStoredFormats"},
}

// TestTraps: the tests named are there, and the documentation has the table.
func TestTraps(t *testing.T) {
	root := pgtest.ModuleRoot()
	have := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() && strings.HasPrefix(e.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		data, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(data), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	table := "| trap | tests |\n|---|---|\n"
	for _, trap := range traps {
		names := strings.Fields(trap.tests)
		for i, name := range names {
			if !have[name] {
				t.Errorf("%s: there is no test %s", trap.trap, name)
			}
			names[i] = "`" + name + "`"
		}
		table += fmt.Sprintf("| %s | %s |\n", trap.trap, strings.Join(names, ", "))
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "REDO.md"))
	if err != nil || !strings.Contains(string(page), table) {
		t.Errorf("docs/REDO.md has another table of traps (%v); it should be\n%s", err, table)
	}
}

// TestClearBeyondTheMap: a record says that bits of a visibility map are cleared which the map, or the relation, does not have.
func TestClearBeyondTheMap(t *testing.T) {
	ctx := context.Background()
	tl := importPages(t, Options{Store: objstore.NewMem()}, 4)
	defer tl.Close()
	for _, rel := range []pg.RelFileLocator{testRel, {Spc: 1663, DB: 5, Rel: 77}} {
		rec := fpi(tl.nextLSN(), 1001, rel, 5, 40_000) // of the map's second page
		rec.RMID, rec.Info, rec.Main = wal.RMHeap, 0x10, []byte{0xE9, 3, 0, 0, 1, 0, 0, 1}
		apply(t, tl, rec)
		if n, ok, err := tl.NBlocks(ctx, rel, pg.VMFork); n != 0 || ok || err != nil {
			t.Errorf("a map of %d blocks, %v, %v", n, ok, err)
		}
		if v := pageVersion(t, tl, rel, 40_000); v != 5 || tl.CheckPoint().NextXID != 1002 {
			t.Errorf("version %d, next transaction %d", v, tl.CheckPoint().NextXID)
		}
	}
	apply(t, tl, ofFork(fpi(tl.nextLSN(), 0, testRel, 1, 0), pg.VMFork))
	rec := fpi(tl.nextLSN(), 1001, testRel, 6, 40_000)
	rec.RMID, rec.Info, rec.Main = wal.RMHeap, 0x10, []byte{0xE9, 3, 0, 0, 1, 0, 0, 1}
	apply(t, tl, rec)
	if n, _, err := tl.NBlocks(ctx, testRel, pg.VMFork); n != 1 || err != nil {
		t.Errorf("the map has grown to %d blocks, %v", n, err)
	}
}

// TestRecordsOfNothing: the LSN moves, and is durable, though no page has changed.
func TestRecordsOfNothing(t *testing.T) {
	tl := importPages(t, Options{Store: objstore.NewMem()}, 1)
	for _, rec := range []*wal.Record{
		record(tl, wal.RMLogicalMsg, 0, 0, append(u32s(5, 1, 2, 0, 1, 0), "p\x00x"...)),
		record(tl, wal.RMXLog, 0x20, 0, nil), // NOOP
		record(tl, wal.RMID(250), 0, 0, []byte("x")),
	} {
		rec.LSN, rec.End = tl.RedoLSN(), tl.RedoLSN()+0x80
		apply(t, tl, rec)
		flush(t, tl)
		if tl.RedoLSN() != rec.End || tl.ResumeLSN() != rec.End {
			t.Errorf("at %s and %s after a record that ends at %s", tl.RedoLSN(), tl.ResumeLSN(), rec.End)
		}
		if tl = reopen(t, tl); tl.RedoLSN() != rec.End {
			t.Errorf("opened at %s", tl.RedoLSN())
		}
	}
	_ = tl.Close()
}
