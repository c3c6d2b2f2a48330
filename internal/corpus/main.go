// Command corpus makes WAL that redo is proved with, on real servers with wal_consistency_checking = 'all', and proves redo
// with it:
//
//	go run ./internal/corpus make     WAL under .cache/corpus/RELEASE/NAME; with -plain under NAME-plain, as any server writes it
//	go run ./internal/corpus verify   the same one after the other, each verified and deleted again
//	go run ./internal/corpus report   the tables of what was verified last, and whether docs/REDO.md says the same
//
// A corpus is three folders: base, a stopped server's data directory; wal, all that the server wrote from there on; final,
// its data directory when it was stopped again. tarn is run as its users run it: bin/tarn, from `make build`.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/tarn-db/tarn/internal/pgtest"
)

// options are the flags of every command.
type options struct {
	root     string // of the module
	releases []string
	corpora  []corpus
	tarn     string // the program
	keep     bool   // what verify made
	long     bool
	plain    bool // WAL without images that redo is verified with
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("say which: make, verify or report")
	}
	o, err := parse(args[0], args[1:])
	if err != nil {
		return err
	}
	switch args[0] {
	case "make":
		return o.each(func(release string, c corpus) error {
			_, err := o.make(ctx, release, c)
			return err
		})
	case "verify":
		return o.verifyAll(ctx)
	case "report":
		return o.report()
	}
	return fmt.Errorf("there is no command %q: make, verify or report", args[0])
}

// newest are the releases a run without -releases is of. 15 is the distribution's, with every compression and pg_waldump to
// compare with.
var newest = []string{"15", "16.15", "17.11", "18.6"}

func parse(name string, args []string) (o options, err error) {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	releases := fs.String("releases", strings.Join(newest, ","), "PostgreSQL `LIST`: 15 or those that internal/tools/install-postgres pins")
	names := fs.String("corpora", "", "`LIST` of corpora (default all): "+corpusNames())
	fs.BoolVar(&o.keep, "keep", os.Getenv("KEEP") == "1", "verify: keep what it made")
	fs.StringVar(&o.tarn, "tarn", "", "the `PROGRAM` to verify with (default bin/tarn)")
	if name == "make" {
		fs.BoolVar(&o.plain, "plain", false, "make WAL without wal_consistency_checking")
	}
	fs.BoolVar(&o.long, "long", pgtest.Long(), "larger corpora")
	if err := fs.Parse(args); err != nil {
		return o, err
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", fs.Arg(0))
	}
	if o.root = pgtest.ModuleRoot(); o.root == "" {
		return o, errors.New("run it in the tree")
	}
	if o.tarn == "" {
		o.tarn = filepath.Join(o.root, "bin", "tarn")
	}
	o.releases = strings.Split(*releases, ",")
	for _, r := range o.releases {
		if r != "15" && !slices.Contains(pgtest.Releases(), r) {
			return o, fmt.Errorf("no release %q: 15 or one of %v", r, pgtest.Releases())
		}
	}
	if *names == "" {
		o.corpora = corpora
		return o, nil
	}
	for _, n := range strings.Split(*names, ",") {
		i := slices.IndexFunc(corpora, func(c corpus) bool { return c.name == n })
		if i < 0 {
			return o, fmt.Errorf("no corpus %q: there are %s", n, corpusNames())
		}
		o.corpora = append(o.corpora, corpora[i])
	}
	return o, nil
}

func corpusNames() string {
	var names []string
	for _, c := range corpora {
		names = append(names, c.name)
	}
	return strings.Join(names, " ")
}

// each calls f for every corpus asked for that a release can have; all are tried, whatever becomes of one.
func (o *options) each(f func(release string, c corpus) error) error {
	var errs []error
	for _, release := range o.releases {
		for _, c := range o.corpora {
			if c.need != nil {
				if why := c.need(o, major(release)); why != "" {
					say("%s %s: left out: %s", release, c.name, why)
					continue
				}
			}
			if err := f(release, c); err != nil {
				err = fmt.Errorf("%s %s: %w", release, c.name, err)
				say("%v", err)
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// major is a release's major version.
func major(release string) int {
	m := 0
	_, _ = fmt.Sscanf(release, "%d", &m)
	return m
}

// dir is where a corpus lies.
func (o *options) dir(release, name string) string {
	if o.plain {
		name += "-plain"
	}
	return filepath.Join(o.root, ".cache", "corpus", release, name)
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}
