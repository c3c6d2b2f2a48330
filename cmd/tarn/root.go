package main

import (
	"errors"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/tarn-db/tarn/internal/config"
)

// version is set by the linker for releases.
var version = ""

// rootCommand builds the tree of verbs; one file for each.
func rootCommand(stdout, stderr io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:           "tarn",
		Short:         "Turn the WAL of a stock PostgreSQL into Iceberg tables",
		Long:          "tarn attaches to a stock PostgreSQL 15-18 as a replica does and keeps every table as an Iceberg table, all at one LSN.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE:          group,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(serveCommand(), demoCommand(), statusCommand(), waitCommand(), tablesCommand(), resyncCommand(), walCommand(), pageCommand(), branchCommand(), exportCommand(), scrubCommand(), basebackupCommand(), repairCommand(), fpwCommand(), doctorCommand(), connectCommand(), configCommand(), errorsCommand(), manCommand(), versionCommand())
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE = cobra.ArbitraryArgs, group
		}
	}
	return root
}

// group is what a command with sub-commands does when none of them was named.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	hint := "try one of " + strings.Join(names, ", ")
	if near := config.Nearest(args[0], names); near != "" {
		hint = "did you mean " + near + "?"
	}
	return usagef("unknown command %q of %s: %s", args[0], cmd.CommandPath(), hint)
}

func flagError(cmd *cobra.Command, err error) error {
	msg := err.Error()
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near := config.Nearest(unknown.GetSpecifiedName(), names); near != "" {
			return usagef("%s: did you mean --%s?", msg, near)
		}
	}
	return usagef("%s: see `%s --help`", msg, cmd.CommandPath())
}

// exactly checks the number of arguments; names are what the usage calls them.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("`%s` needs %s: see `%s --help`", cmd.CommandPath(), names[len(args)], cmd.CommandPath())
		case len(args) > len(names):
			return usagef("`%s` has no use for %q: see `%s --help`", cmd.CommandPath(), args[len(names)], cmd.CommandPath())
		}
		return nil
	}
}

func versionCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  exactly(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"version": versionString(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH})
			}
			_, err := io.WriteString(cmd.OutOrStdout(), "tarn "+versionString()+" "+runtime.Version()+" "+runtime.GOOS+"/"+runtime.GOARCH+"\n")
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	return cmd
}

// versionString is the release, or for a build from the tree its commit.
func versionString() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	v, dirty := "devel", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			v = "devel-" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "-dirty"
		}
	}
	return v + dirty
}
