package basebackup

import (
	"context"
	"fmt"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/pageserver"
)

// forkSegment is a part of a fork that is one file, of at most SegmentBlocks blocks.
type forkSegment struct {
	rel       pg.RelFileLocator
	fork      pg.ForkNumber
	from, to  pg.BlockNumber
	checksums bool
}

// relations adds the databases' folders and in them all relations.
func (b *backup) relations(ctx context.Context, c *control.Control) error {
	locs := b.t.Relations()
	for _, loc := range locs {
		if b.t.Opaque(loc) {
			return fmt.Errorf("%s (tablespace/database/file): %w", loc, pageserver.ErrOpaque)
		}
	}
	for _, ts := range b.report.Tablespaces {
		b.folder(tablespaceFolder(ts.OID, c))
	}
	made := map[string]bool{"global": true}
	database := func(spc, db pg.OID) string {
		name := databaseFolder(spc, db, c)
		if !made[name] {
			made[name] = true
			b.folder(name)
		}
		return name
	}
	for _, m := range b.t.RelMapFiles() {
		name := database(m.Spc, m.DB)
		if m.DB != 0 {
			b.text(name+"/PG_VERSION", b.version())
		}
		b.bytes(name+"/pg_filenode.map", m.Data)
	}
	for _, loc := range locs {
		if err := b.relation(ctx, database(loc.Spc, loc.DB), loc, c.ChecksumVersion != 0); err != nil {
			return err
		}
	}
	return nil
}

// relation adds a relation's forks. An unlogged one has an init fork: what it was when it was made. Its other forks are not in the WAL;
// after a crash a server makes it anew of the init fork (ResetUnloggedRelations), and so does this.
func (b *backup) relation(ctx context.Context, folder string, loc pg.RelFileLocator, checksums bool) error {
	b.report.Relations++
	add := func(from, as pg.ForkNumber) (bool, error) {
		n, ok, err := b.t.NBlocks(ctx, loc, from)
		if err != nil || !ok {
			return false, err
		}
		for i := 0; i == 0 || pg.BlockNumber(i)*pg.SegmentBlocks < n; i++ {
			start := pg.BlockNumber(i) * pg.SegmentBlocks
			s := forkSegment{rel: loc, fork: from, from: start, to: start + min(n-start, pg.SegmentBlocks), checksums: checksums}
			b.file(folder+"/"+forkFile(loc.Rel, as, i), int64(s.to-s.from)*pg.BlockSize,
				func(ctx context.Context) error { return b.forkPages(ctx, s) })
		}
		return true, nil
	}
	unlogged, err := add(pg.InitFork, pg.InitFork)
	if err != nil {
		return err
	}
	if unlogged {
		b.report.Unlogged++
		_, err := add(pg.InitFork, pg.MainFork)
		return err
	}
	for fork := pg.MainFork; fork <= pg.VMFork; fork++ {
		if _, err := add(fork, fork); err != nil {
			return err
		}
	}
	return nil
}

// forkPages writes a segment. Blocks that were never initialised are zeros, as the server has them.
func (b *backup) forkPages(ctx context.Context, s forkSegment) error {
	next := s.from
	gap := func(to pg.BlockNumber) error {
		n := int64(to-next) * pg.BlockSize
		next = to
		return b.zeros(ctx, n)
	}
	err := b.t.Scan(ctx, s.rel, s.fork, s.from, s.to, func(blk pg.BlockNumber, page pg.Page) error {
		if err := gap(blk); err != nil {
			return err
		}
		into, err := b.room(pg.BlockSize)
		if err != nil {
			return err
		}
		copy(into, page)
		next = blk + 1
		// Redo leaves in place what the checksum was when the page was last written out (PageSetChecksumCopy).
		if s.checksums {
			pg.Page(into).SetChecksum(pg.Page(into).ChecksumAs(blk))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return gap(s.to)
}
