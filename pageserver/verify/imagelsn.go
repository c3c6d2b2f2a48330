package verify

import (
	"slices"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/pageserver/redo"
)

// compareLSN compares the LSN a page had before a record with that of the server's image, which has just been compared. The image is
// of the page as the record leaves it but for the LSN: that is set only when the record has its place. A page begun anew for the
// record has none (_hash_freeovflpage). Maps are left out: servers that do not name them in records do not stamp them.
func (v *verifier) compareLSN(before pg.LSN, hints []pg.LSN, rec *wal.Record, blk *wal.BlockRef) {
	if lsn := v.scratch.ImageLSN; lsn == before || lsn == 0 || slices.Contains(hints, lsn) {
		return
	}
	v.report.LSNMismatches++
	v.note(rec, blk, []redo.Range{{Offset: 0, Length: 8}})
}
