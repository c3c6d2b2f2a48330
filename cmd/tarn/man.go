package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"

	"github.com/tarn-db/tarn/internal/fault"
)

func manCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:     "man --dir DIR",
		Short:   "Write the manual pages of every verb",
		Example: "  tarn man --dir /usr/local/share/man/man1",
		Args:    exactly(),
	}
	cmd.Flags().StringVar(&dir, "dir", "", "`DIR` to write them to, made if it is not there")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if dir == "" {
			return usagef("--dir is not given: write --dir DIR, such as /usr/local/share/man/man1")
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return usagef("--dir %s cannot be made (%v): name a folder that can be written", dir, fault.Cause(err))
		}
		root := cmd.Root()
		root.DisableAutoGenTag = true // a date would make each build differ
		if err := doc.GenManTree(root, &doc.GenManHeader{Section: "1", Source: "tarn " + versionString(), Manual: "tarn"}, dir); err != nil {
			return usagef("manual pages cannot be written to %s (%v): name a folder that can be written", dir, fault.Cause(err))
		}
		fmt.Fprintln(cmd.ErrOrStderr(), "manual pages are in", dir)
		return nil
	}
	return cmd
}
