package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/ingest/receive"
	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/progress"
)

// fpwFlags are the flags of `tarn fpw` as written.
type fpwFlags struct {
	client   clientFlags
	adminURL string
	force    bool
	timeout  time.Duration
	json     bool
}

func fpwCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "fpw",
		Short: "Switch the source's full_page_writes, and wait until tarn has seen it in the WAL",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(fpwSwitchCommand("off", false, "Stop the source from writing whole pages into its WAL",
		"tarn needs no full pages. A primary on its own disk does: without them its recovery cannot make good pages that a power loss has torn,\n"+
			"and `tarn repair` has to put them back before it is started. So this is refused unless source.atomic_writes says that its storage tears no\n"+
			"pages, or --force says that `tarn repair` will be run; and with --force only if the store has what that needs."),
		fpwSwitchCommand("on", true, "Have the source write whole pages into its WAL again", "From the checkpoint after it on the source's recovery needs no help."))
	return cmd
}

func fpwSwitchCommand(name string, on bool, short, long string) *cobra.Command {
	var f fpwFlags
	cmd := &cobra.Command{
		Use:   name,
		Short: short,
		Long: long + "\n\nPrints the SQL, to be piped to psql. With source.admin_url or --admin-url it runs it instead, waits until tarn has seen the change in the\n" +
			"WAL, and says at which LSN.",
		Example: "  tarn fpw " + name + " --config tarn.yaml\n  tarn fpw " + name + " --admin-url postgres://postgres@db/postgres",
		Args:    exactly(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return f.run(cmd, on) },
	}
	f.client.register(cmd)
	cmd.Flags().StringVar(&f.adminURL, "admin-url", "", "connection `URL` that may ALTER SYSTEM and reload; overrides source.admin_url")
	if !on {
		cmd.Flags().BoolVar(&f.force, "force", false, "the source's storage may tear pages, and `tarn repair` will put them back")
	}
	cmd.Flags().DurationVar(&f.timeout, "timeout", time.Minute, "how long to wait until tarn has seen it")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON for scripts")
	return cmd
}

// fpwReport is what --json prints.
type fpwReport struct {
	FullPageWrites bool     `json:"full_page_writes"` // what was asked for
	SQL            []string `json:"sql"`              // that switches it; empty if it is so already
	Ran            bool     `json:"ran"`              // the SQL was run, and tarn has seen the change
	LSN            pg.LSN   `json:"lsn"`              // of the record that switched it; 0 if that is yet to come, or it has been so since the base backup
}

func (f *fpwFlags) run(cmd *cobra.Command, on bool) error {
	ctx := cmd.Context()
	cfg, err := config.Only(config.Options{File: f.client.file}, "source.admin_url", "source.atomic_writes")
	if err != nil {
		return err
	}
	if f.adminURL == "" {
		f.adminURL = cfg.Source.AdminURL
	}
	c, err := f.client.client()
	if err != nil {
		return err
	}
	s, err := c.Status(ctx)
	if err != nil {
		return err
	}
	r := fpwReport{FullPageWrites: on, SQL: []string{}}
	if switched(&s, on) {
		r.LSN = s.Source.FullPageWritesLSN
		return f.print(cmd.OutOrStdout(), r)
	}
	if !on && !cfg.Source.AtomicWrites && !s.Source.AtomicWrites {
		if err := f.mayTear(&s); err != nil {
			return err
		}
	}
	r.SQL = receive.FullPageWritesSQL(on)
	if f.adminURL == "" {
		return f.print(cmd.OutOrStdout(), r)
	}
	if err := receive.SetFullPageWrites(ctx, f.adminURL, s.Source.SystemID, on); err != nil {
		return err
	}
	if r.LSN, err = f.await(ctx, c, on); err != nil {
		return err
	}
	r.Ran = true
	return f.print(cmd.OutOrStdout(), r)
}

// switched says that tarn knows the setting to be so.
func switched(s *admin.Status, on bool) bool {
	return s.Source.FullPageWrites != nil && *s.Source.FullPageWrites == on
}

// repairLagMax is how much WAL, bytes, a repair may have to redo that is not in the store yet.
const repairLagMax = 64 << 20

// mayTear refuses to have pages torn that nobody puts back: unless the user says that `tarn repair` will, and unless it could, from a
// page store that has all pages and WAL that leads from them to now. The slot holds back what is not archived, so that a repair finds it.
func (f *fpwFlags) mayTear(s *admin.Status) error {
	switch lag := int64(s.SourceLSN - min(s.SourceLSN, s.ArchivedLSN)); {
	case !f.force:
		return fault.Errorf(fault.FullPageWrites, "without full pages a power loss may leave pages on the source's disk that its recovery cannot make good: set source.atomic_writes: true if its storage writes 8 KiB whole; "+
			"or give --force, and run `tarn repair -D <data directory>` after a crash, before the server is started")
	case s.State != admin.StateStreaming || s.History.LSN == 0:
		return fault.Errorf(fault.FullPageWrites, "`tarn repair` could put no torn page back: tarn is in state %s; wait until `tarn status` says streaming", s.State)
	case lag > repairLagMax:
		return fault.Errorf(fault.FullPageWrites, "`tarn repair` would have to redo %s of WAL that is not in the store yet: wait until archived_lsn is within %s of source_lsn in `tarn status`",
			progress.Format(lag, progress.Bytes), progress.Format(repairLagMax, progress.Bytes))
	}
	return nil
}

// statusPause is how often the server is asked whether it has seen the change.
const statusPause = 100 * time.Millisecond

// await waits until redo has passed the change. A server that nothing is written to flushes its WAL within 15 seconds (LOG_SNAPSHOT_INTERVAL_MS).
func (f *fpwFlags) await(ctx context.Context, c *admin.Client, on bool) (pg.LSN, error) {
	for end := time.Now().Add(f.timeout); ; {
		s, err := c.Status(ctx)
		if err != nil {
			return 0, err
		}
		if switched(&s, on) {
			return s.Source.FullPageWritesLSN, nil
		}
		if time.Now().After(end) {
			return 0, fault.Errorf(fault.WaitTimeout, "timed out after %s: the source was told, and redo, at %s, has not seen it: see `tarn status`, and what else sets it on the source: SELECT * FROM pg_settings WHERE name = 'full_page_writes'", f.timeout, s.RedoLSN)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(statusPause):
		}
	}
}

// print writes SQL that psql takes, with the rest as its comments; or what has been done.
func (f *fpwFlags) print(w io.Writer, r fpwReport) error {
	if f.json {
		return writeJSON(w, r)
	}
	value := "off"
	if r.FullPageWrites {
		value = "on"
	}
	switch {
	case len(r.SQL) == 0 && r.LSN == 0:
		fmt.Fprintf(w, "full_page_writes has been %s since the base backup\n", value)
		return nil
	case len(r.SQL) == 0 || r.Ran:
		fmt.Fprintf(w, "full_page_writes is %s since %s\n", value, r.LSN)
	}
	if r.FullPageWrites {
		fmt.Fprintln(w, "-- Pages torn by a power loss are made good by the source's own recovery from its next checkpoint on.")
	} else {
		fmt.Fprintln(w, "-- After a loss of power or a kill -9 the source cannot make torn pages good. Unless its storage writes 8 KiB whole, run this")
		fmt.Fprintln(w, "-- before it is started then: tarn repair -D <data directory> --config tarn.yaml")
	}
	if len(r.SQL) > 0 && !r.Ran {
		for _, sql := range r.SQL {
			fmt.Fprintln(w, sql+";")
		}
	}
	return nil
}
