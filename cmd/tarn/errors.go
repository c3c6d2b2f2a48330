package main

import (
	"fmt"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/fault"
)

func errorsCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "errors [CODE]",
		Short:   "Explain an error code, or list all",
		Example: "  tarn errors TARN-0205\n  tarn errors --json",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			return exactly("a code")(cmd, args)
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var codes []string
			for _, e := range fault.Entries() {
				codes = append(codes, cobra.CompletionWithDesc(e.Code.String(), e.Summary))
			}
			return codes, cobra.ShellCompDirectiveNoFileComp
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		entries := fault.Entries()
		if len(args) == 1 {
			code, ok := fault.Parse(args[0])
			if !ok {
				return usagef("%q is no code of this release: write one such as %s; `tarn errors` lists them", args[0], fault.SourceHBA)
			}
			e, _ := fault.Lookup(code)
			entries = []fault.Entry{e}
		}
		w := cmd.OutOrStdout()
		switch {
		case asJSON:
			return writeJSON(w, map[string]any{"errors": entries})
		case len(args) == 1:
			e := entries[0]
			fmt.Fprintf(w, "%s  %s\n\ncause  %s\nfix    %s\n", e.Code, e.Summary, e.Cause, e.Fix)
		default:
			t := newTable(w, "code", "meaning")
			for _, e := range entries {
				t.AppendRow(table.Row{e.Code, e.Summary})
			}
			t.Render()
		}
		return nil
	}
	return cmd
}
