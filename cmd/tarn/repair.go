package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/ingest/wal"
	"github.com/tarn-db/tarn/ingest/wal/waldir"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/pg/control"
	"github.com/tarn-db/tarn/internal/progress"
	"github.com/tarn-db/tarn/pageserver"
	"github.com/tarn-db/tarn/pageserver/datadir"
	"github.com/tarn-db/tarn/pageserver/repair"
)

// repairFlags are the flags of `tarn repair` as written.
type repairFlags struct {
	store  storeFlags
	dir    string
	dryRun bool
	json   bool
}

func repairCommand() *cobra.Command {
	var f repairFlags
	cmd := &cobra.Command{
		Use:   "repair -D PGDATA",
		Short: "Put torn pages of a crashed primary back from the page store, before it starts",
		Long: "Puts back, in the data directory of a primary that has crashed with full_page_writes off, every block that WAL since the last\n" +
			"checkpoint has touched, as the page store has it; the stock server's own recovery then finds each page whole. It is run while the server is\n" +
			"stopped, as the user it runs as, reads the store whether a tarn runs or not, and may be repeated. After a clean shutdown it does nothing,\n" +
			"so it may stand before every start.",
		Example: "  tarn repair -D /var/lib/postgresql/18/main --config tarn.yaml\n" +
			"  tarn repair -D /var/lib/postgresql/18/main --store s3://bucket/prefix --dry-run",
		Args: exactly(),
	}
	f.store.register(cmd)
	cmd.Flags().StringVarP(&f.dir, "pgdata", "D", "", "data `DIR` of the stopped server")
	cmd.Flags().BoolVarP(&f.dryRun, "dry-run", "n", false, "count, and write nothing")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.dir == "" {
			return usagef("no data directory is named: write -D PGDATA, the one of the server that has crashed")
		}
		r, err := f.run(cmd)
		if err != nil {
			return fmt.Errorf("repair of %s: %w", f.dir, err)
		}
		if f.json {
			return writeJSON(cmd.OutOrStdout(), r)
		}
		printRepair(cmd.OutOrStdout(), f.dir, r)
		return nil
	}
	return cmd
}

// repairReport is what --json prints.
type repairReport struct {
	Clean   bool   `json:"clean"` // the server was shut down cleanly: there is nothing to put back
	DryRun  bool   `json:"dry_run"`
	Redo    pg.LSN `json:"redo_lsn"` // recovery redoes WAL from here
	End     pg.LSN `json:"end_lsn"`  // to here
	Page    pg.LSN `json:"page_lsn"` // what was put back is as of this LSN
	Records int64  `json:"records"`
	Blocks  int64  `json:"blocks"`  // that recovery reads
	Rebuilt int64  `json:"rebuilt"` // that it builds without reading them
	repair.Report
}

func (f *repairFlags) run(cmd *cobra.Command) (r repairReport, err error) {
	ctx := cmd.Context()
	d, err := datadir.Open(f.dir)
	if err != nil {
		return r, fault.Errorf(fault.BaseFolder, "%w", err)
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	ctl, err := crashed(d)
	if err != nil {
		return r, err
	}
	r = repairReport{DryRun: f.dryRun, Redo: ctl.CheckPoint.Redo, End: ctl.CheckPoint.Redo, Clean: ctl.State == control.ShutDown}
	if r.Clean {
		return r, nil
	}
	local, err := waldir.Open(filepath.Join(f.dir, "pg_wal"), waldir.Options{Timeline: ctl.CheckPoint.TimelineID, SegmentSize: ctl.WALSegmentSize})
	if err != nil {
		return r, fault.Errorf(fault.WALFolder, "%w", err)
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	plan, err := scanWAL(ctx, local, ctl)
	if err != nil {
		return r, err
	}
	r.End, r.Records, r.Blocks, r.Rebuilt = plan.End, plan.Records, plan.Blocks(), plan.Rebuilt
	past, err := f.pages(ctx, plan, local, ctl)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, past.close()) }()
	r.Page = max(r.Redo, past.RedoLSN()) // between the last record's end and the redo LSN there may be a page header
	bar := bars(cmd.ErrOrStderr()).Start("repair", r.Blocks, progress.Items)
	r.Report, err = plan.PutBack(ctx, d, past, repair.Options{Checksums: ctl.ChecksumVersion != 0, DryRun: f.dryRun, Progress: bar.Add})
	bar.Done(err)
	return r, err
}

// crashed reads pg_control of a primary that does not run. What a server would not recover by itself from pg_control's
// checkpoint on is refused.
func crashed(d *datadir.Dir) (*control.Control, error) {
	for _, name := range []string{"backup_label", "standby.signal", "recovery.signal"} {
		if _, err := os.Lstat(filepath.Join(d.Root(), name)); err == nil {
			return nil, fault.Errorf(fault.RepairState, "it holds %s, so recovery does not begin at pg_control's checkpoint: start it as it is", name)
		}
	}
	if err := notRunning(d.Root()); err != nil {
		return nil, err
	}
	c, err := d.Control()
	if err != nil {
		return nil, fault.Errorf(fault.BaseFolder, "%w", err)
	}
	switch c.State {
	case control.ShutDown, control.ShuttingDown, control.InCrashRecovery, control.InProduction:
		return &c, nil
	}
	return nil, fault.Errorf(fault.RepairState, "pg_control says %q: only a primary is repaired", c.State)
}

// scanWAL reads the server's own WAL from where recovery begins.
func scanWAL(ctx context.Context, local *waldir.Source, c *control.Control) (*repair.Plan, error) {
	r, err := wal.NewReader(wal.Options{Source: local, Start: c.CheckPoint.Redo, Timeline: c.CheckPoint.TimelineID, SystemID: c.SystemID, SegmentSize: c.WALSegmentSize, Major: c.Major, EndAtInvalid: true})
	if err != nil {
		return nil, err
	}
	plan, err := repair.Scan(ctx, r, c.CheckPoint.Redo)
	if err == nil && plan.End <= c.CheckPointLSN {
		err = fault.Errorf(fault.RepairWAL, "pg_wal ends at %s, before the checkpoint record at %s: the server cannot recover from it; `tarn basebackup` writes a data directory", plan.End, c.CheckPointLSN)
	}
	return plan, err
}

// pages opens the page store at an LSN that serves the plan: where it has a point with nothing to redo, or where recovery begins.
func (f *repairFlags) pages(ctx context.Context, plan *repair.Plan, local wal.Source, c *control.Control) (*past, error) {
	flags := pastFlags{store: f.store, branch: pageserver.MainBranch}
	s, err := flags.find(ctx)
	if err != nil {
		return nil, err
	}
	if err = sameCluster(s.wal, s.url, c); err == nil {
		err = plan.Compare(s.wal.Source, local, s.wal.first, s.wal.archived)
	}
	var p *past
	if err == nil {
		s.wal.Source, s.wal.EndAtInvalid = &repair.Joined{Archive: s.wal.Source, Local: local, Archived: s.wal.archived}, true
		s.to = pageserver.Target{LSN: plan.End}
		s.further = func(point *pageserver.Timeline) pageserver.Target {
			return pageserver.Target{LSN: max(plan.Redo, point.ResumeLSN(), point.ConsistentLSN())}
		}
		p, err = flags.replay(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return p, nil
}

// sameCluster compares what the store's WAL is of with the data directory.
func sameCluster(src *walSource, url string, c *control.Control) error {
	switch {
	case src.SystemID != c.SystemID:
		return fault.Errorf(fault.RepairOther, "its system identifier is %d, that of store %s is %d: name the store of the tarn that follows this server", c.SystemID, url, src.SystemID)
	case src.Timeline != c.CheckPoint.TimelineID:
		return fault.Errorf(fault.RepairOther, "it is on WAL timeline %d, store %s follows %d: one of the two went on without the other", c.CheckPoint.TimelineID, url, src.Timeline)
	}
	return nil
}

func printRepair(w io.Writer, dir string, r repairReport) {
	if r.Clean {
		fmt.Fprintf(w, "%s: the server was shut down cleanly at %s; there is nothing to put back\n", dir, r.Redo)
		return
	}
	done, what := "put back", "start the server"
	if r.DryRun {
		done, what = "to put back", "nothing was written"
	}
	n := func(v int64) string { return progress.Format(v, progress.Rows) }
	fmt.Fprintf(w, "%s: WAL from %s to %s touches %s blocks that recovery reads, and %s that it builds anew\n", dir, r.Redo, r.End, n(r.Blocks), n(r.Rebuilt))
	fmt.Fprintf(w, "%s blocks of %s relations %s as of %s, %s were so already, %s are not in the files", n(r.PutBack), n(r.Relations), done, r.Page, n(r.Same), n(r.Absent))
	if r.FSM > 0 {
		fmt.Fprintf(w, ", %s of free space maps made empty", n(r.FSM))
	}
	if r.Torn > 0 {
		fmt.Fprintf(w, "; %s had a wrong checksum", n(r.Torn))
	}
	fmt.Fprintf(w, ": %s\n", what)
}
