package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func resyncCommand() *cobra.Command {
	var flags clientFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "resync TABLE | --all",
		Short: "Rebuild one table from pages, or everything from a new base backup",
		Long: "Rebuilds one table of the lake from tarn's pages, without asking the source for anything.\n" +
			"With --all it takes a new base backup and rebuilds every table: the way out of wal_gap and diverged.",
		Example: "  tarn resync app.public.orders\n  tarn resync --all",
		Args: func(cmd *cobra.Command, args []string) error {
			if all {
				return exactly()(cmd, args)
			}
			return exactly("a table as database.schema.table, or --all")(cmd, args)
		},
	}
	flags.register(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return flags.tables(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
	cmd.Flags().BoolVar(&all, "all", false, "everything, from a new base backup")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.client()
		if err != nil {
			return err
		}
		table := ""
		if !all {
			table = args[0]
		}
		if err := c.Resync(cmd.Context(), table, all); err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "accepted: follow it with `tarn status`")
		return nil
	}
	return cmd
}
