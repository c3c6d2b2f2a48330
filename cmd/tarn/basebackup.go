package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/progress"
	"github.com/tarn-db/tarn/pageserver/basebackup"
)

// basebackupFlags are the flags of `tarn basebackup` as written.
type basebackupFlags struct {
	past     pastFlags
	dir      string
	format   string
	mappings []string
	noSync   bool
	json     bool
}

func basebackupCommand() *cobra.Command {
	var f basebackupFlags
	cmd := &cobra.Command{
		Use:   "basebackup -D DIR",
		Short: "Write a data directory as it was at an LSN or a time, on which a stock server starts",
		Long: "Writes the data directory of a server that was shut down at the LSN: the stock server of the source's major version starts on it without\n" +
			"recovery. It is made of the store alone, whether the tarn that fills it runs or not, and nothing is asked of the source. The server has to\n" +
			"run as the user who owns the directory. With --format tar -D - the directory goes to standard output.",
		Example: "  tarn basebackup --config tarn.yaml --at '2026-11-26 12:00:00+01' -D /var/lib/postgresql/restored\n" +
			"  tarn basebackup --store s3://bucket/prefix --branch before-migration -D /srv/pg --tablespace-mapping /fast=/srv/pg-fast\n" +
			"  tarn basebackup --config tarn.yaml --format tar -D - | ssh db2 'tar -x -C /var/lib/postgresql/data'",
		Args: exactly(),
	}
	f.past.register(cmd)
	cmd.Flags().StringVarP(&f.dir, "pgdata", "D", "", "`DIR` to write, which is empty or not there yet; - is standard output")
	cmd.Flags().StringVarP(&f.format, "format", "F", "plain", "`FORMAT`: plain, a directory, or tar, a stream")
	cmd.Flags().StringArrayVarP(&f.mappings, "tablespace-mapping", "T", nil, "put a tablespace elsewhere than on the source: `OLD=NEW`, OLD its location or OID; may be repeated")
	cmd.Flags().BoolVarP(&f.noSync, "no-sync", "N", false, "do not wait until the directory is durable")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON for scripts, of what was written; not with -D -")
	if err := cmd.RegisterFlagCompletionFunc("format", oneOf("plain", "tar")); err != nil {
		panic("BUG: completion of --format: " + err.Error())
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return f.run(cmd) }
	return cmd
}

func (f *basebackupFlags) run(cmd *cobra.Command) (err error) {
	target, toStdout, err := f.target(cmd.OutOrStdout())
	if err != nil {
		return err
	}
	options := basebackup.Options{}
	if options.Tablespaces, err = parseMappings(f.mappings); err != nil {
		return err
	}
	p, err := f.past.open(cmd.Context())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	options.History = p.history(p.WALTimeline())
	bar := bars(cmd.ErrOrStderr()).Start("base backup", 0, progress.Bytes)
	options.Progress = bar.Set
	r, err := basebackup.Write(cmd.Context(), p.Timeline, target, options)
	bar.Done(err)
	if err != nil || toStdout {
		return err
	}
	if f.json {
		return writeJSON(cmd.OutOrStdout(), basebackupReport(&r))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: PostgreSQL %d at %s, %d relations, %s in %d files\n", f.dir, p.Major(), r.LSN, r.Relations, progress.Format(r.Bytes, progress.Bytes), r.Files)
	return nil
}

// target is where the directory goes, and whether that is standard output.
func (f *basebackupFlags) target(stdout io.Writer) (basebackup.Target, bool, error) {
	switch {
	case f.dir == "":
		return nil, false, usagef("no directory is named: write -D DIR, or --format tar -D - for standard output")
	case f.format != "plain" && f.format != "tar":
		return nil, false, usagef("--format %q: write plain or tar", f.format)
	case f.format == "tar" && f.dir != "-":
		return nil, false, usagef("a tar stream goes to standard output: write -D - and | or > FILE behind the command")
	case f.format == "plain" && f.dir == "-":
		return nil, false, usagef("a directory cannot go to standard output: write --format tar")
	case f.format == "plain":
		return &basebackup.Directory{Path: f.dir, NoSync: f.noSync}, false, nil
	case f.json:
		return nil, false, usagef("--json and the tar stream would both go to standard output: leave --json out")
	case isTerminal(stdout):
		return nil, false, usagef("a tar stream is nothing for a terminal: write > FILE or | tar -x -C DIR behind the command")
	}
	return &basebackup.Tar{W: stdout}, true, nil
}

// parseMappings reads OLD=NEW; a backslash stands before a = that belongs to a path (tablespace_list_append).
func parseMappings(texts []string) (map[string]string, error) {
	m := map[string]string{}
	for _, text := range texts {
		var sides [2]strings.Builder
		side := 0
		for i := 0; i < len(text); i++ {
			switch {
			case text[i] == '\\' && i+1 < len(text) && text[i+1] == '=':
				i++
				sides[side].WriteByte('=')
			case text[i] == '=' && side == 0:
				side = 1
			case text[i] == '=':
				return nil, usagef("--tablespace-mapping %q has more than one =: write \\= for one that belongs to a path", text)
			default:
				sides[side].WriteByte(text[i])
			}
		}
		from, to := sides[0].String(), sides[1].String()
		if from == "" || to == "" {
			return nil, usagef("--tablespace-mapping %q: write OLD=NEW, the tablespace's location on the source and where it is to go", text)
		}
		if _, ok := m[from]; ok {
			return nil, usagef("--tablespace-mapping names %s twice", from)
		}
		m[from] = to
	}
	return m, nil
}

// basebackupReport is what --json prints.
func basebackupReport(r *basebackup.Report) any {
	type tablespace struct {
		OID      pg.OID `json:"oid"`
		Source   string `json:"source"`
		Location string `json:"location"`
	}
	spaces := []tablespace{}
	for _, ts := range r.Tablespaces {
		spaces = append(spaces, tablespace(ts))
	}
	return map[string]any{
		"lsn": r.LSN, "checkpoint_lsn": r.CheckPoint, "end_lsn": r.End, "timeline": r.Timeline, "files": r.Files, "bytes": r.Bytes,
		"relations": r.Relations, "unlogged": r.Unlogged, "prepared": r.Prepared, "tablespaces": spaces,
	}
}
