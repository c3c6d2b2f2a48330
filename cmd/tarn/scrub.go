package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/ingest/archive"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/progress"
	"github.com/tarn-db/tarn/internal/scrub"
	"github.com/tarn-db/tarn/pageserver"
)

func scrubCommand() *cobra.Command {
	var flags storeFlags
	var deep, asJSON bool
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Check every object of a store against what names it",
		Long: "Checks that everything the indexes of pages, WAL and tables name is in the store, in its length, and that the indexes themselves can be\n" +
			"read; and lists objects that nothing names. It changes nothing, and the server may run meanwhile. Exits 0 if nothing is lost or damaged.",
		Example: "  tarn scrub --config tarn.yaml\n  tarn scrub --store s3://bucket/prefix --deep --json",
		Args:    exactly(),
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&deep, "deep", false, "also read all pages, WAL, TID sets and deletion vectors, and check their checksums")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		store, url, err := flags.open(cmd.Context())
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, store.Close()) }()
		bar := bars(cmd.ErrOrStderr()).Start("scrub", 0, progress.Items)
		rep, err := scrubStore(cmd.Context(), store, deep, func() { bar.Add(1) })
		bar.Done(err)
		if err != nil {
			return fmt.Errorf("store %s: %w", url, err)
		}
		if asJSON {
			err = writeJSON(cmd.OutOrStdout(), rep)
		} else {
			printScrub(cmd.OutOrStdout(), rep)
		}
		if err == nil && !rep.OK() {
			err = fault.Errorf(fault.StoreDamaged, "store %s: %d objects are lost and %d damaged: put them back from a copy of the store; `tarn resync --all` makes pages and tables anew from the source", url, rep.Lost, rep.Damaged)
		}
		return err
	}
	return cmd
}

func scrubStore(ctx context.Context, store objstore.Store, deep bool, reading func()) (*scrub.Report, error) {
	rep := &scrub.Report{Findings: []scrub.Finding{}, Progress: reading}
	for _, check := range []func() error{
		func() error { return archive.Scrub(ctx, store, deep, rep) },
		func() error { return pageserver.Scrub(ctx, store, deep, rep) },
		func() error { return catalog.Scrub(ctx, store, deep, rep) },
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	rep.Sort()
	return rep, nil
}

// bars draw progress on a terminal, and nothing elsewhere.
func bars(stderr io.Writer) progress.Sink {
	if isTerminal(stderr) {
		return progress.NewBars(stderr)
	}
	return progress.Discard
}

func printScrub(w io.Writer, r *scrub.Report) {
	if len(r.Findings) > 0 {
		t := newTable(w, "what", "object", "why")
		for _, f := range r.Findings {
			t.AppendRow(table.Row{f.Kind, f.Key, oneLine(f.What)})
		}
		t.Render()
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%d objects, %s: %d lost, %d damaged, %d orphans (%s)\n", r.Objects, progress.Format(r.Bytes, progress.Bytes), r.Lost, r.Damaged, r.Orphans,
		progress.Format(r.OrphanBytes, progress.Bytes))
}
