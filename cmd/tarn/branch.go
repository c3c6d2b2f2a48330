package main

import (
	"fmt"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/admin"
)

func branchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "branch",
		Short: "Name what the cluster was at an LSN, and keep it",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(branchCreateCommand(), branchListCommand(), branchDeleteCommand())
	return cmd
}

func branchCreateCommand() *cobra.Command {
	var flags clientFlags
	var from, at string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a branch at an LSN or a time",
		Long: "Makes a branch: a name for what another branch is at an LSN, which is kept from then on, whatever history.window says. It takes one\n" +
			"small write, whatever the size of the cluster. Its lake, the warehouse database@NAME of the catalog, is made in the background:\n" +
			"`tarn branch list` shows whether it is ready.",
		Example: "  tarn branch create before-migration\n  tarn branch create audit --at '2026-11-26 12:00:00+01' --config tarn.yaml",
		Args:    exactly("a name for the branch"),
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&from, "from", "main", "`BRANCH` to make it from")
	cmd.Flags().StringVar(&at, "at", "", "`LSN` or time in the history (default the end)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		to, err := parseTarget(at)
		if err != nil {
			return err
		}
		c, err := flags.client()
		if err != nil {
			return err
		}
		b, err := c.CreateBranch(cmd.Context(), admin.BranchRequest{Name: args[0], From: from, LSN: to.LSN, Time: to.Time})
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), b)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s of %s at %s\n", b.Name, b.Parent, b.LSN)
		return nil
	}
	return cmd
}

func branchListCommand() *cobra.Command {
	var flags clientFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the branches",
		Args:  exactly(),
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := flags.client()
		if err != nil {
			return err
		}
		branches, err := c.Branches(cmd.Context())
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), map[string]any{"branches": branches})
		}
		t := newTable(cmd.OutOrStdout(), "branch", "parent", "LSN", "created", "lake")
		for _, b := range branches {
			created := ""
			if !b.Created.IsZero() {
				created = b.Created.Local().Format(time.DateTime)
			}
			lake := b.Lake
			if b.LakeError != "" {
				lake += ": " + b.LakeError
			}
			t.AppendRow(table.Row{b.Name, b.Parent, b.LSN, created, lake})
		}
		t.Render()
		return nil
	}
	return cmd
}

func branchDeleteCommand() *cobra.Command {
	var flags clientFlags
	cmd := &cobra.Command{
		Use:   "delete NAME",
		Short: "Forget a branch, and let go of what was kept for it",
		Args:  exactly("a branch's name"),
	}
	flags.register(cmd)
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, _ string) (names []string, _ cobra.ShellCompDirective) {
		if c, err := flags.client(); err == nil && len(args) == 0 {
			branches, _ := c.Branches(cmd.Context()) // an error leaves nothing to complete
			for _, b := range branches {
				names = append(names, b.Name)
			}
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := flags.client()
		if err != nil {
			return err
		}
		return c.DeleteBranch(cmd.Context(), args[0])
	}
	return cmd
}
