package main

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
)

func pageCommand() *cobra.Command {
	var flags pastFlags
	var rel, fork string
	var block uint32
	cmd := &cobra.Command{
		Use:   "page --rel S/D/R --block N",
		Short: "Write a page as it was at an LSN to standard output",
		Long: "Writes the 8,192 bytes of a relation's page, as they were behind the last record that ends at or below the LSN. The relation is\n" +
			"named by tablespace, database and file number: SELECT t.oid, d.oid, pg_relation_filenode('name') FROM pg_database d, pg_tablespace t.\n" +
			"The page comes from the store, whether its server runs or not.",
		Example: "  tarn page --store file:///srv/lake --rel 1663/5/16384 --block 0 --at 0/1A2B3C4D | xxd\n" +
			"  tarn page --config tarn.yaml --rel 1663/5/16384 --fork vm --block 0 --at '2026-11-26 12:00:00' > page",
		Args: exactly(),
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&rel, "rel", "", "relation: `TABLESPACE/DATABASE/FILE` numbers, as pg_waldump writes them")
	cmd.Flags().StringVar(&fork, "fork", "main", "`FORK`: main, fsm, vm or init")
	cmd.Flags().Uint32Var(&block, "block", 0, "block `NUMBER`")
	if err := cmd.RegisterFlagCompletionFunc("fork", oneOf("main", "fsm", "vm", "init")); err != nil {
		panic("BUG: completion of --fork: " + err.Error())
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		loc, num, err := parseFork(rel, fork)
		if err != nil {
			return err
		}
		if isTerminal(cmd.OutOrStdout()) {
			return usagef("a page is 8,192 bytes that no terminal can show: write | xxd or > FILE behind the command")
		}
		s, err := flags.find(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.close()) }()
		p, err := flags.pages(cmd.Context(), s)
		if err != nil {
			return err
		}
		return writePage(cmd.Context(), cmd.OutOrStdout(), p, loc, num, pg.BlockNumber(block))
	}
	return cmd
}

func parseFork(rel, fork string) (loc pg.RelFileLocator, num pg.ForkNumber, err error) {
	if rel == "" {
		return loc, 0, usagef("--rel is not given: write --rel TABLESPACE/DATABASE/FILE, such as 1663/5/16384")
	}
	parts := strings.Split(rel, "/")
	var oids [3]pg.OID
	for i, p := range parts {
		n, err := strconv.ParseUint(p, 10, 32)
		if err != nil || len(parts) != 3 {
			return loc, 0, usagef("--rel %q: write three numbers, tablespace, database and file, such as 1663/5/16384", rel)
		}
		oids[i] = pg.OID(n)
	}
	for num := pg.MainFork; num <= pg.InitFork; num++ {
		if num.String() == fork {
			return pg.RelFileLocator{Spc: oids[0], DB: oids[1], Rel: oids[2]}, num, nil
		}
	}
	return loc, 0, usagef("--fork %q: write main, fsm, vm or init", fork)
}

// pagesThen is pages as they were at an LSN.
type pagesThen interface {
	LSN() pg.LSN
	NBlocks(context.Context, pg.RelFileLocator, pg.ForkNumber) (n pg.BlockNumber, ok bool, err error)
	// Page copies a block into dst; ok is false if it did not exist.
	Page(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber, dst []byte) (ok bool, err error)
}

// pages reads the moment by its delta layers or, where none lead there, redoes it.
func (f *pastFlags) pages(ctx context.Context, s *pastStore) (pagesThen, error) {
	snap, err := f.snapshot(ctx, s)
	if err != nil {
		return nil, err
	}
	if snap != nil {
		return snap, nil
	}
	p, err := f.replay(ctx, s)
	if err != nil {
		return nil, err
	}
	return replayed{p}, nil
}

// replayed is the pages of a timeline that was redone.
type replayed struct{ *past }

// LSN implements pagesThen.
func (p replayed) LSN() pg.LSN { return p.RedoLSN() }

// Page implements pagesThen.
func (p replayed) Page(ctx context.Context, loc pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber, dst []byte) (bool, error) {
	page, err := p.Timeline.Page(ctx, loc, num, blk)
	clear(dst)
	copy(dst, page) // nil: extended, and never initialised
	return err == nil, err
}

func writePage(ctx context.Context, w io.Writer, p pagesThen, loc pg.RelFileLocator, num pg.ForkNumber, blk pg.BlockNumber) error {
	n, ok, err := p.NBlocks(ctx, loc, num)
	if err != nil {
		return err
	}
	if !ok {
		return fault.Errorf(fault.PageMissing, "relation %s has no fork %s at %s: see `tarn page --help` for its numbers, or name another --at", loc, num, p.LSN())
	}
	if blk >= n {
		return fault.Errorf(fault.PageMissing, "relation %s fork %s has %d blocks at %s, no block %d: blocks are counted from 0", loc, num, n, p.LSN(), blk)
	}
	page := make([]byte, pg.BlockSize)
	if _, err := p.Page(ctx, loc, num, blk, page); err != nil {
		return err
	}
	_, err = w.Write(page)
	return err
}
