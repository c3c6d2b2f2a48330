package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/pg"
)

func waitCommand() *cobra.Command {
	var flags clientFlags
	var lsnText, stageText string
	var timeout time.Duration
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "wait --lsn X",
		Short: "Block until the lake, or an earlier stage, has reached an LSN",
		Long:  "Blocks until the stage has reached the LSN. Exits 0 when it has, 3 when the time ran out.",
		Example: "  tarn wait --lsn \"$(psql -Atc 'select pg_current_wal_flush_lsn()')\"\n" +
			"  tarn wait --lsn 0/16B3740 --for redo --timeout 5s",
		Args: exactly(),
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&lsnText, "lsn", "", "position to wait for, as `X/Y`")
	cmd.Flags().StringVar(&stageText, "for", string(admin.StagePublished), "stage: published, cut, redo or commit")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	completeFlag(cmd, "for", "published", "cut", "redo", "commit")
	cmd.Flags().DurationVar(&timeout, "timeout", 30*time.Second, "how long to wait")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if lsnText == "" {
			return usagef("--lsn is not given: write --lsn X/Y, such as the answer of select pg_current_wal_flush_lsn()")
		}
		lsn, err := pg.ParseLSN(lsnText)
		if err != nil {
			return usagef("--lsn %v", err)
		}
		stage := admin.Stage(stageText)
		if !slices.Contains(admin.Stages, stage) {
			return usagef("--for %q: write published, cut, redo or commit", stageText)
		}
		if timeout < 0 {
			return usagef("--timeout %s: write a duration such as 30s", timeout)
		}
		c, err := flags.client()
		if err != nil {
			return err
		}
		r, err := c.Wait(cmd.Context(), stage, lsn, timeout)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), r)
		}
		_, err = fmt.Fprintln(cmd.OutOrStdout(), r.Reached)
		return err
	}
	return cmd
}
