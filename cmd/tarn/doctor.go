package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/cmd/tarn/doctor"
	"github.com/tarn-db/tarn/internal/config"
	"github.com/tarn-db/tarn/internal/fault"
)

func doctorCommand() *cobra.Command {
	var flags settingFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the source, the store and this machine, and say how to put right what is wrong",
		Long: "Looks at everything `tarn serve` with the same settings depends on, and prints for each check what was found and, where\n" +
			"something is to do, the SQL, setting or command that does it. It changes nothing: it writes probe objects to the store and\n" +
			"to data_dir, and removes them. Exits 0 if no check failed.",
		Example: "  tarn doctor --config tarn.yaml\n" +
			"  tarn doctor --source postgres://replicator@db/app --store file:///srv/lake --data-dir /var/lib/tarn --json",
		Args: exactly(),
	}
	flags.register(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := config.Load(flags.options())
		if err != nil {
			return err
		}
		o := doctor.Options{Config: cfg}
		if flags.file != "" { // with its certificate and tokens
			if o.Client, err = (&clientFlags{file: flags.file}).client(); err != nil {
				return err
			}
		}
		report := doctor.Run(cmd.Context(), o)
		if err := cmd.Context().Err(); err != nil {
			return err
		}
		failed := report.Failed()
		if asJSON {
			if err := writeJSON(cmd.OutOrStdout(), map[string]any{"ok": len(failed) == 0, "checks": report.Checks}); err != nil {
				return err
			}
		} else {
			printDoctor(cmd.OutOrStdout(), report)
		}
		if len(failed) > 0 {
			return fault.Errorf(fault.DoctorFailed, "%d of %d checks failed, the first is %s: do what is printed below each", len(failed), len(report.Checks), failed[0].Name)
		}
		return nil
	}
	return cmd
}

func printDoctor(w io.Writer, r doctor.Report) {
	paint := painter(w)
	colours := map[doctor.State]text.Color{doctor.OK: text.FgGreen, doctor.Warn: text.FgYellow, doctor.Fail: text.FgRed, doctor.Unknown: text.FgHiBlack}
	width := 0
	for _, c := range r.Checks {
		width = max(width, len(c.Name))
	}
	for _, c := range r.Checks {
		found := oneLine(c.Found)
		if c.Code != 0 {
			found = c.Code.String() + ": " + found
		}
		fmt.Fprintf(w, "%s  %-*s  %s\n", paint(colours[c.State], fmt.Sprintf("%-7s", c.State)), width, c.Name, found)
		if c.Fix != "" {
			fmt.Fprintf(w, "%s→ %s\n", strings.Repeat(" ", width+len("unknown")+4), oneLine(c.Fix))
		}
	}
	fmt.Fprintf(w, "\n%d checks: %d ok, %d warn, %d fail, %d unknown\n", len(r.Checks), r.Count(doctor.OK), r.Count(doctor.Warn), r.Count(doctor.Fail), r.Count(doctor.Unknown))
}
