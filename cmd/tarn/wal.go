package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/ingest/wal/waldump"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/progress"
	"github.com/tarn-db/tarn/pageserver/verify"
)

func walCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "wal",
		Short: "Look at WAL records, and check redo against the server's own pages",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(walDumpCommand(), walVerifyCommand())
	return cmd
}

// dumpFlags are the flags of `tarn wal dump` as written.
type dumpFlags struct {
	dir, store      string // one of them
	from, to, stats string
	rmgrs           []string
	timeline        uint32
	limit           int
	json            bool
}

func walDumpCommand() *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "dump --wal DIR | --store URL",
		Short: "Print WAL records, or statistics of them, as pg_waldump does",
		Example: "  tarn wal dump --wal /var/lib/postgresql/18/main/pg_wal --from 0/16B3740 --limit 20\n" +
			"  tarn wal dump --wal archive --rmgr Heap --rmgr Heap2\n" +
			"  tarn wal dump --wal archive --stats=record",
		Args: exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error { return walDump(cmd.Context(), cmd.OutOrStdout(), &f) },
	}
	cmd.Flags().StringVar(&f.dir, "wal", "", "`DIR` with WAL segments")
	cmd.Flags().StringVar(&f.store, "store", "", "`URL` of the object store whose WAL archive to read")
	cmd.Flags().StringVar(&f.from, "from", "", "first `LSN` to print (default the folder's first)")
	cmd.Flags().StringVar(&f.to, "to", "", "`LSN` to stop at (default the end)")
	cmd.Flags().StringArrayVar(&f.rmgrs, "rmgr", nil, "only this resource manager, by `NAME`; may be repeated")
	cmd.Flags().StringVar(&f.stats, "stats", "", "statistics instead of records: rmgr, or record for each record type")
	cmd.Flags().Lookup("stats").NoOptDefVal = "rmgr"
	cmd.Flags().Uint32Var(&f.timeline, "timeline", 0, "WAL timeline to follow (default the newest in the folder)")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "print at most this many records")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON, one object in a line")
	return cmd
}

func walDump(ctx context.Context, stdout io.Writer, f *dumpFlags) error {
	opts, err := f.options()
	if err != nil {
		return err
	}
	var src *walSource
	if f.dir != "" {
		src, err = openFolderWAL(f.dir, pg.TimelineID(f.timeline))
	} else {
		src, err = openStoreWAL(ctx, f.store, pg.TimelineID(f.timeline))
	}
	if err != nil {
		return err
	}
	defer src.close()
	opts.WAL = src.Options
	if opts.From < src.first {
		if f.from != "" {
			return fault.Errorf(fault.WALFolder, "--from %s is before the first WAL in %s: give %s or later", opts.From, src.name, src.first)
		}
		opts.From = src.first
	}
	return waldump.Dump(ctx, stdout, opts)
}

func (f *dumpFlags) options() (o waldump.Options, err error) {
	o = waldump.Options{RMGRs: f.rmgrs, JSON: f.json, Limit: f.limit}
	switch {
	case f.dir == "" && f.store == "":
		return o, usagef("neither --wal nor --store is given: write --wal DIR, a folder with WAL segments, or --store URL")
	case f.dir != "" && f.store != "":
		return o, usagef("--wal and --store are both given: choose one")
	}
	for _, l := range []struct {
		flag, text string
		lsn        *pg.LSN
	}{{"from", f.from, &o.From}, {"to", f.to, &o.To}} {
		if l.text == "" {
			continue
		}
		if *l.lsn, err = pg.ParseLSN(l.text); err != nil {
			return o, usagef("--%s %v", l.flag, err)
		}
	}
	if o.To != 0 && o.To <= o.From {
		return o, usagef("--to %s is not behind --from %s: give a later one", o.To, o.From)
	}
	for _, name := range f.rmgrs {
		if _, err := wal.ParseRMID(name); err != nil {
			return o, usagef("--rmgr: %v", err)
		}
	}
	if f.limit < 0 {
		return o, usagef("--limit %d: write a number from 1", f.limit)
	}
	switch f.stats {
	case "":
	case "rmgr":
		o.Stats = waldump.ByRMGR
	case "record":
		o.Stats = waldump.ByRecord
	default:
		return o, usagef("--stats %q: write --stats or --stats=record", f.stats)
	}
	return o, nil
}

func openWAL(dir string, tli pg.TimelineID) (*waldir.Source, error) {
	src, err := waldir.Open(dir, waldir.Options{Timeline: tli})
	switch {
	case err == nil:
		return src, nil
	case errors.Is(err, waldir.ErrNoSegments):
		return nil, fmt.Errorf("%w: name a folder such as a server's pg_wal with --wal", err)
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR):
		return nil, fault.Errorf(fault.WALFolder, "WAL folder %s cannot be read (%w): name a readable one with --wal", dir, fault.Cause(err))
	}
	return nil, fault.Errorf(fault.WALFolder, "WAL folder %s: %w", dir, err)
}

func walVerifyCommand() *cobra.Command {
	var o verify.Options
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "verify --base DIR --wal DIR",
		Short: "Redo WAL from a base directory and compare every page image the server wrote",
		Long: "Redoes the WAL from the base's last checkpoint on and compares each page with the image that a server run with\n" +
			"wal_consistency_checking = 'all' puts in its WAL. Exits 0 only if there were images and none differed.",
		Example: "  tarn wal verify --base base --wal wal",
		Args:    exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return walVerify(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), o, asJSON)
		},
	}
	cmd.Flags().StringVar(&o.Base, "base", "", "data `DIR` of a stopped server, or a copy of one")
	cmd.Flags().StringVar(&o.WAL, "wal", "", "`DIR` with the WAL from the base's checkpoint on")
	cmd.Flags().StringVar(&o.Final, "final", "", "data `DIR` of the same server stopped where the WAL ends: compare its pages too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	return cmd
}

func walVerify(ctx context.Context, stdout, stderr io.Writer, o verify.Options, asJSON bool) error {
	for _, d := range []struct {
		flag, dir string
		code      fault.Code
	}{{"base", o.Base, fault.BaseFolder}, {"wal", o.WAL, fault.WALFolder}} {
		if d.dir == "" {
			return usagef("--%s is not given: write --base DIR --wal DIR", d.flag)
		}
		if st, err := os.Stat(d.dir); err != nil || !st.IsDir() {
			return fault.Errorf(d.code, "--%s %s is no folder that can be read: check its name and rights", d.flag, d.dir)
		}
	}
	if isTerminal(stderr) {
		o.Progress = func(r verify.Report) {
			fmt.Fprintf(stderr, "\r%s records, %s images compared, %d differ  ", progress.Format(r.Records, progress.Rows), progress.Format(r.ImagesCompared, progress.Rows), r.Mismatches)
		}
	}
	start := time.Now()
	r, err := verify.Run(ctx, o)
	if o.Progress != nil {
		fmt.Fprint(stderr, "\r\x1b[K")
	}
	if err != nil {
		return fault.Or(fault.BaseFolder, err)
	}
	if asJSON {
		err = writeJSON(stdout, r)
	} else {
		printReport(stdout, &r, time.Since(start))
	}
	for _, m := range r.First {
		fmt.Fprintln(stderr, m)
	}
	if r.Final != nil {
		for _, d := range r.Final.First {
			fmt.Fprintln(stderr, d)
		}
	}
	switch {
	case err != nil:
		return err
	case r.OK():
		return nil
	case r.ImagesCompared == 0:
		return fault.Errorf(fault.WALDiffers, "no page image to compare in %s: run the server with wal_consistency_checking = 'all'", o.WAL)
	case r.Mismatches > 0:
		return fault.Errorf(fault.WALDiffers, "%d of %d page images differ: the first are above; please report them with the WAL", r.Mismatches, r.ImagesCompared)
	}
	if f := r.Final; f != nil && !f.OK() {
		return fault.Errorf(fault.WALDiffers, "at the end %d pages differ and %d are not the server's: the first are above; please report them with the WAL", f.Differ, f.Extra)
	}
	return fault.Errorf(fault.WALDiffers, "the pages do not add up (%d invalid pages): see the report", r.InvalidPages)
}

func printReport(w io.Writer, r *verify.Report, took time.Duration) {
	t := newTable(w, "resource manager", "records", "images", "mismatches")
	for _, n := range slices.Sorted(maps.Keys(r.ByRmgr)) {
		m := r.ByRmgr[n]
		t.AppendRow(table.Row{n, progress.Format(m.Records, progress.Rows), progress.Format(m.Images, progress.Rows), m.Mismatches})
	}
	t.Render()
	fmt.Fprintf(w, "\n%s records, %s of WAL from %s to %s in %s: %s images compared, %d differ, %s skipped\n",
		progress.Format(r.Records, progress.Rows), progress.Format(r.Bytes, progress.Bytes), r.Start, r.End, took.Round(time.Millisecond),
		progress.Format(r.ImagesCompared, progress.Rows), r.Mismatches, progress.Format(r.Skipped, progress.Rows))
	if r.Final != nil {
		printFinal(w, r.Final)
	}
	fmt.Fprintln(w)
	t = newTable(w, "record type", "records")
	for _, n := range slices.Sorted(maps.Keys(r.RecordTypes.Seen)) {
		t.AppendRow(table.Row{n, progress.Format(r.RecordTypes.Seen[n], progress.Rows)})
	}
	t.Render()
	if never := r.RecordTypes.NeverSeen; len(never) > 0 {
		fmt.Fprintf(w, "\nof PostgreSQL %d's record types there were none of: %s\n", r.RecordTypes.Major, strings.Join(never, ", "))
	}
}

// printFinal prints the comparison with a data directory.
func printFinal(w io.Writer, f *verify.Final) {
	fmt.Fprintln(w)
	t := newTable(w, "at the end", "pages", "differ", "unknown")
	for _, part := range []map[string]verify.FinalPages{f.ByRmgr, f.Files} {
		for _, n := range slices.Sorted(maps.Keys(part)) {
			p := part[n]
			t.AppendRow(table.Row{n, progress.Format(p.Pages, progress.Rows), p.Differ, progress.Format(p.Unknown, progress.Rows)})
		}
	}
	t.Render()
	fmt.Fprintf(w, "\nfinal pages: %s heap and %s visibility map pages compared; of all, %d differ, %s unknown, %d the server has not\n", progress.Format(f.HeapPages, progress.Rows),
		progress.Format(f.VMPages, progress.Rows), f.Differ, progress.Format(f.Unknown, progress.Rows), f.Extra)
	if f.Orphans > 0 {
		fmt.Fprintf(w, "left out: %d files that no catalog names, of %s\n", f.Orphans, strings.Join(f.FirstOrphans, ", "))
	}
}
