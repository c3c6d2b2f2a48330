package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/catalog"
	"github.com/tarn-db/tarn/catalog/export"
	"github.com/tarn-db/tarn/internal/fault"
	"github.com/tarn-db/tarn/internal/objstore"
	"github.com/tarn-db/tarn/internal/pg"
	"github.com/tarn-db/tarn/internal/progress"
)

// exportsPrefix is where exports lie that are not sent elsewhere. Nothing of tarn looks there.
const exportsPrefix = "exports/"

// exportFlags are the flags of `tarn export` as written.
type exportFlags struct {
	store  storeFlags
	to, at string
	json   bool
}

func exportCommand() *cobra.Command {
	var f exportFlags
	cmd := &cobra.Command{
		Use:   "export TABLE",
		Short: "Make an Iceberg table of its own of a synced table",
		Long: "Copies a table as it is at one LSN to a location of its own, with its own metadata, history and files: engines may write to it, rewrite it and\n" +
			"expire it, and tarn never looks at it again. Data files are copied as they are, by the store itself where source and target are of one S3\n" +
			"service. It is read from the store alone, whether the tarn that fills it runs or not. Engines open the table by its location (Iceberg's Hadoop\n" +
			"catalog), or register the metadata file that is printed.",
		Example: "  tarn export app.public.orders --config tarn.yaml\n  tarn export app.public.orders --config tarn.yaml --to s3://warehouse/db/orders --at 0/1A2B3C4D --json",
		Args:    exactly("a table, as database.schema.table"),
	}
	f.store.register(cmd)
	cmd.Flags().StringVar(&f.to, "to", "", "`URL` of the new table, where nothing is yet: s3://bucket/prefix or file:///dir (default exports/TABLE in the store)")
	cmd.Flags().StringVar(&f.at, "at", "", "`LSN` of the publication to export, such as 0/1A2B3C4D (default the newest)")
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) }
	return cmd
}

func (f *exportFlags) run(cmd *cobra.Command, name string) (err error) {
	ctx := cmd.Context()
	at, err := parseExportAt(f.at)
	if err != nil {
		return err
	}
	cfg, err := f.store.config()
	if err != nil {
		return err
	}
	options := objstore.Options{S3: cfg.S3}
	store, err := openStore(ctx, cfg.Store, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	target, closeTarget, err := exportTarget(ctx, store, f.to, name, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeTarget()) }()
	cat, err := catalog.Open(ctx, catalog.Options{Store: store})
	if err != nil {
		return fmt.Errorf("store %s: %w", cfg.Store, err)
	}
	defer func() { err = errors.Join(err, cat.Close()) }()
	bar := bars(cmd.ErrOrStderr()).Start("export", 0, progress.Bytes)
	r, err := export.Run(ctx, cat, export.Options{Table: name, At: at, Target: target, Engine: versionString(), Progress: bar.Set})
	bar.Done(err)
	if err != nil {
		return err
	}
	if f.json {
		return writeJSON(cmd.OutOrStdout(), r)
	}
	printExport(cmd.OutOrStdout(), r)
	return nil
}

func parseExportAt(text string) (pg.LSN, error) {
	if text == "" {
		return 0, nil
	}
	lsn, err := pg.ParseLSN(text)
	switch {
	case err != nil:
		return 0, usagef("--at %v", err)
	case lsn == 0:
		return 0, usagef("--at 0/0 is no LSN of a server: leave --at out for the newest")
	}
	return lsn, nil
}

// plainName is a table's name that can be a part of an object's key as it is.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)+$`)

// exportTarget is where --to leads, or the usual place in the store.
func exportTarget(ctx context.Context, store objstore.Store, to, name string, o objstore.Options) (t export.Target, closeStore func() error, err error) {
	none := func() error { return nil }
	if to == "" {
		if !plainName.MatchString(name) {
			return t, none, usagef("%q has characters that engines read differently in a location: name one with --to", name)
		}
		return export.Target{Store: store, Root: exportsPrefix + name}, none, nil
	}
	if err := emptyFolder(to); err != nil {
		return t, none, err
	}
	inside := func(location string) error {
		if key, ok := store.Key(location); ok && !strings.HasPrefix(key, exportsPrefix) {
			return usagef("--to %s lies among tarn's own objects: name one below %s, or outside of the store", to, store.URL(exportsPrefix))
		}
		return nil
	}
	to = strings.TrimRight(to, "/")
	if err := inside(to); err != nil {
		return t, none, err
	}
	if key, ok := store.Key(to); ok {
		return export.Target{Store: store, Root: key}, none, nil
	}
	other, err := objstore.Open(ctx, to, o)
	if err != nil {
		return t, none, fault.Or(fault.StoreOpen, fmt.Errorf("--to %s cannot be opened: %w", to, err))
	}
	if err := inside(other.URL("x")); err != nil { // said in another way
		return t, none, errors.Join(err, other.Close())
	}
	return export.Target{Store: other}, other.Close, nil
}

// emptyFolder refuses a folder with a file in it, before a store is made of it. What a store keeps for itself may be there.
func emptyFolder(to string) error {
	u, err := url.Parse(to)
	if err != nil || u.Scheme != "file" {
		return nil
	}
	err = filepath.WalkDir(u.Path, func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".tarn":
			return filepath.SkipDir
		case !d.IsDir():
			return fault.Errorf(fault.ExportTaken, "%s is not empty (%s): name another --to", to, name)
		}
		return nil
	})
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist):
		return nil
	case fault.CodeOf(err) == fault.ExportTaken:
		return err
	}
	return fault.Errorf(fault.StoreOpen, "--to %s cannot be looked into (%w): name another folder", to, fault.Cause(err))
}

func printExport(w io.Writer, r export.Report) {
	fmt.Fprintf(w, "%s at %s: %s rows in %d data files and %d delete files, %s\n", r.Table, r.LSN, progress.Format(r.Rows, progress.Rows), r.DataFiles, r.DeleteFiles, progress.Format(r.Bytes, progress.Bytes))
	if r.Stopped != "" {
		fmt.Fprintf(w, "stopped   the table is in error and not newer than that: %s\n", oneLine(r.Stopped))
	}
	fmt.Fprintf(w, "location  %s\nmetadata  %s\n", r.Location, r.Metadata)
	fmt.Fprintf(w, "register  CALL catalog.system.register_table(table => 'namespace.name', metadata_file => '%s')\n", strings.ReplaceAll(r.Metadata, "'", "''"))
}
