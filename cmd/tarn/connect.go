package main

import (
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tarn-db/tarn/internal/admin"
	"github.com/tarn-db/tarn/internal/connect"
	"github.com/tarn-db/tarn/internal/fault"
)

func connectCommand() *cobra.Command {
	var flags clientFlags
	var warehouse, name, ca string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "connect ENGINE",
		Short: "Print what to paste to read the lake with an engine",
		Long: "Prints a snippet for " + strings.Join(connect.Engines(), ", ") + " that runs as it is against the running server and shows one of its\n" +
			"tables. For an S3 store the engine takes its keys from the AWS variables, unless the catalog hands them out (s3.vend), and the\n" +
			"token of a catalog that asks for one from " + connect.TokenVariable + ". psql waits for what was written to be in the lake.",
		Example: "  tarn connect duckdb | duckdb\n" +
			"  tarn connect spark --warehouse app@0/1A2B3C4D --table public.orders\n" +
			"  tarn connect pyiceberg --ca /etc/tarn/ca.pem\n" +
			"  tarn connect psql --http 127.0.0.1:8080",
		Args:              exactly("an engine: one of " + strings.Join(connect.Engines(), ", ")),
		ValidArgsFunction: oneOf(connect.Engines()...),
	}
	flags.register(cmd)
	cmd.Flags().StringVar(&warehouse, "warehouse", "", "database to read, or `DB@LSN` for every table at that LSN (default the table's)")
	cmd.Flags().StringVar(&name, "table", "", "`TABLE` to show, as schema.table or database.schema.table (default one with rows)")
	cmd.Flags().StringVar(&ca, "ca", "", "PEM `FILE` of the CA that signed the catalog's certificate, where the system does not know it")
	if err := cmd.RegisterFlagCompletionFunc("table", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return flags.tables(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}); err != nil {
		panic("BUG: completion of --table: " + err.Error())
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON for scripts")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if known := connect.Engines(); !slices.Contains(known, args[0]) {
			return usagef("%q is no engine with a snippet: write one of %s", args[0], strings.Join(known, ", "))
		}
		c, err := flags.client()
		if err != nil {
			return err
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		target, err := connectTarget(&s, c.Addr, warehouse, name)
		if err != nil {
			return err
		}
		if target.CA, err = caFile(ca, target.CatalogURL); err != nil {
			return err
		}
		snippet, err := connect.Snippet(args[0], target)
		if err != nil {
			return err
		}
		if asJSON {
			return writeJSON(cmd.OutOrStdout(), map[string]any{
				"engine": args[0], "catalog": target.CatalogURL, "catalog_token": target.Token, "catalog_vends": target.Vends, "warehouse": target.Warehouse,
				"schema": target.Table.Namespace, "table": target.Table.Name, "store_properties": target.Store, "snippet": snippet,
			})
		}
		_, err = io.WriteString(cmd.OutOrStdout(), snippet)
		return err
	}
	return cmd
}

// caFile is the absolute path of a CA for a snippet, which may run in any folder.
func caFile(ca, url string) (string, error) {
	if ca == "" {
		return "", nil
	}
	if !strings.HasPrefix(url, "https://") {
		return "", usagef("--ca %s is of no use: the catalog at %s has no TLS; leave it out, or set catalog.tls.cert and catalog.tls.key", ca, url)
	}
	if _, err := readCA("--ca", ca); err != nil {
		return "", err
	}
	path, err := filepath.Abs(ca)
	if err != nil {
		return "", fmt.Errorf("--ca %s: %w", ca, err)
	}
	return path, nil
}

// connectTarget is the warehouse and table to show of a running server.
func connectTarget(s *admin.Status, httpAddr, warehouse, name string) (connect.Target, error) {
	t := connect.Target{
		CatalogURL: s.Endpoints.Catalog, Token: s.Endpoints.CatalogToken, Vends: s.Endpoints.CatalogVends, Warehouse: warehouse, Store: s.Endpoints.StoreProperties, HTTP: httpAddr, Source: s.Endpoints.Source,
	}
	database, _, _ := strings.Cut(warehouse, "@")
	var best *admin.Table
	for i := range s.Tables {
		r := &s.Tables[i]
		switch {
		case database != "" && r.Database != database, r.State == admin.TableExcluded:
			continue
		case name != "" && name != r.Name && name != r.Schema+"."+r.Table:
			continue
		case name == "" && r.State != admin.TableLive:
			continue
		case best == nil, best.Rows == 0 && r.Rows > 0:
			best = r
		}
	}
	if best == nil {
		return t, noTable(s, database, name)
	}
	t.Table = connect.Table{Namespace: best.Schema, Name: best.Table}
	if t.Warehouse == "" {
		t.Warehouse = best.Database
	}
	return t, nil
}

func noTable(s *admin.Status, database, name string) error {
	where := "the lake"
	if database != "" {
		where = "database " + database + " of the lake"
	}
	if name != "" {
		return fault.Errorf(fault.TableUnknown, "there is no table %s in %s: see `tarn tables`", name, where)
	}
	return fault.New(fault.TableUnknown, fmt.Sprintf("there is no table in %s yet (state %s): wait until one is published, see `tarn tables`", where, s.State))
}

// completeFlag completes a flag's value from a list.
func completeFlag(cmd *cobra.Command, flag string, values ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic("BUG: completion of --" + flag + ": " + err.Error())
	}
}

// oneOf completes the first argument from a list of values.
func oneOf(values ...string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}
