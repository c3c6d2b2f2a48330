package main

import (
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/config"
)

// settingFlags are --config and the flags that override settings of the file: those of serve, doctor and config print.
type settingFlags struct {
	file string
	cmd  *cobra.Command
}

func (s *settingFlags) register(cmd *cobra.Command) {
	s.cmd = cmd
	cmd.Flags().StringVar(&s.file, "config", "", "settings `FILE` (tarn.yaml)")
	for _, f := range config.Settings() {
		if f.Flag != "" {
			cmd.Flags().String(f.Flag, "", f.Help+"; overrides "+f.Key)
		}
	}
}

// options are the file and the flags that were given.
func (s *settingFlags) options() config.Options {
	flags := map[string]string{}
	for _, f := range config.Settings() {
		if fl := s.cmd.Flags().Lookup(f.Flag); f.Flag != "" && fl.Changed {
			flags[f.Key] = fl.Value.String()
		}
	}
	return config.Options{File: s.file, Flags: flags}
}

func configCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Look at the settings",
		Args:  cobra.ArbitraryArgs,
		RunE:  group,
	}
	cmd.AddCommand(configPrintCommand())
	return cmd
}

func configPrintCommand() *cobra.Command {
	var flags settingFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "print",
		Short: "Show every setting, and where its value comes from",
		Long: "Prints every setting as `tarn serve` would take it, and where it was written: file:line, a variable, a flag, or default.\n" +
			"Variables of the environment that fill in what settings leave open come last. Secrets are shown as ***.",
		Example: "  tarn config print --config tarn.yaml\n  tarn config print --config tarn.yaml --json",
		Args:    exactly(),
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o := flags.options()
		cfg, err := config.Read(o)
		if err != nil {
			return err
		}
		bad := cfg.Check(o) // printed all the same: it may be what one looks for
		values := cfg.Values(o)
		if asJSON {
			if err := writeJSON(cmd.OutOrStdout(), map[string]any{"settings": values}); err != nil {
				return err
			}
			return bad
		}
		t := newTable(cmd.OutOrStdout(), "key", "value", "from")
		for _, v := range values {
			t.AppendRow(table.Row{v.Key, oneLine(v.Value), v.Origin})
		}
		t.Render()
		return bad
	}
	return cmd
}
