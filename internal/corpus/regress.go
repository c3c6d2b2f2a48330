package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// tests is the folder of a major version's regression tests (internal/tools/install-regress). 16 has no source package: its
// servers run what 15's did, without the functions in C.
func (o *options) tests(major int) string {
	if major == 16 {
		major = 15
	}
	return filepath.Join(o.root, ".cache", "regress", fmt.Sprint(major))
}

// needTests says what a corpus of regression tests lacks.
func needTests(o *options, major int) string {
	if _, err := os.Stat(filepath.Join(o.tests(major), ".stamp")); err != nil {
		return fmt.Sprintf("%s is not there: internal/tools/install-regress %s", o.tests(major), filepath.Base(o.tests(major)))
	}
	if _, err := os.Stat(pgRegress); err != nil {
		return pgRegress + " is not there: it is in the distribution's postgresql-client-15"
	}
	return ""
}

// The programs that run the tests are the distribution's of 15 for every server: other releases come without, and what a
// newer psql would print does not matter here.
const (
	clients     = "/usr/lib/postgresql/15/bin"
	pgRegress   = "/usr/lib/postgresql/15/lib/pgxs/src/test/regress/pg_regress"
	pgIsolation = "/usr/lib/postgresql/15/lib/pgxs/src/test/isolation/pg_isolation_regress"
)

// regression runs the server's own tests. That their output differs is of no concern: with another psql it must.
func regression(ctx context.Context, m *maker) error {
	dlpath := filepath.Join(m.scratch, "lib")
	if err := m.libraries(dlpath); err != nil {
		return err
	}
	input := filepath.Join(m.tests(m.major), "src/test/regress")
	if m.major == 16 {
		// They fail there and go on.
		lame, err := command(exec.CommandContext(ctx, "grep", "-rlw", "regresslib", filepath.Join(input, "sql")))
		if err != nil {
			return err
		}
		say("%s: without regress.so the functions in C are missing in %s", m.release, strings.ReplaceAll(lame, filepath.Join(input, "sql")+"/", ""))
	}
	return m.suite(ctx, pgRegress, "regress", input, "--dlpath="+dlpath, "--schedule=parallel_schedule", "--max-concurrent-tests=20")
}

// libraries lays out what the tests load into the server: regress.so and, from the server's own, what is looked for beside it.
func (m *maker) libraries(dlpath string) error {
	if err := os.Mkdir(dlpath, 0o755); err != nil {
		return err
	}
	tests := m.tests(m.major)
	if m.major != 16 {
		if err := copyFile(filepath.Join(tests, "lib", "regress.so"), filepath.Join(dlpath, "regress.so")); err != nil {
			return err
		}
	}
	for _, name := range []string{"refint.so", "autoinc.so"} {
		for _, lib := range []string{"lib/postgresql", "lib"} {
			err := copyFile(filepath.Join(m.srv.BinDir(), "..", lib, name), filepath.Join(dlpath, name))
			if err == nil {
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return nil
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

func isolation(ctx context.Context, m *maker) error {
	return m.suite(ctx, pgIsolation, "isolation", filepath.Join(m.tests(m.major), "src/test/isolation"), "--schedule=isolation_schedule")
}

// modules are those of contrib that write WAL of their own kind: index access methods and operator classes for them, what rewrites
// pages, and logical decoding.
var modules = []string{
	"bloom", "hstore", "amcheck", "btree_gist", "btree_gin", "intarray", "ltree", "pg_trgm", "seg", "cube", "citext", "lo", "tsm_system_rows",
	"pageinspect", "pg_visibility", "pg_surgery", "pgstattuple", "test_decoding",
}

// contrib runs the tests of modules one after the other.
func contrib(ctx context.Context, m *maker) error {
	for _, name := range modules {
		input := filepath.Join(m.tests(m.major), "contrib", name)
		list, err := testsOf(filepath.Join(input, "Makefile"))
		if err != nil {
			return err
		}
		if err := m.suite(ctx, pgRegress, name, input, append([]string{"--dbname=contrib_regression"}, list...)...); err != nil {
			return err
		}
	}
	return nil
}

var regressList = regexp.MustCompile(`(?m)^REGRESS\s*=((?:.*\\\n)*.*)$`)

// testsOf are the names after REGRESS in a module's Makefile.
func testsOf(makefile string) ([]string, error) {
	b, err := os.ReadFile(makefile)
	if err != nil {
		return nil, err
	}
	found := regressList.FindSubmatch(b)
	if found == nil {
		return nil, fmt.Errorf("%s names no tests", makefile)
	}
	return strings.Fields(strings.ReplaceAll(string(found[1]), "\\\n", " ")), nil
}

// suite runs a test program over a copy of its inputs that the server can read; it writes beside them.
func (m *maker) suite(ctx context.Context, program, name, input string, args ...string) error {
	in, out := filepath.Join(m.scratch, name+".in"), filepath.Join(m.scratch, name+".out")
	if err := os.CopyFS(in, os.DirFS(input)); err != nil {
		return err
	}
	if err := withoutPsql(filepath.Join(in, "parallel_schedule")); err != nil {
		return err
	}
	// Tests have the server write files into results.
	for _, dir := range []string{out, filepath.Join(out, "results"), filepath.Join(out, "results_iso")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return err
		}
	}
	cmd := exec.CommandContext(ctx, program, append([]string{"--inputdir=" + in, "--outputdir=" + out, "--bindir=" + clients, "--host=127.0.0.1",
		fmt.Sprintf("--port=%d", m.srv.Port()), "--user=postgres"}, args...)...)
	cmd.Dir = in
	text, err := command(cmd)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || ctx.Err() != nil) {
		return errors.Join(err, ctx.Err())
	}
	if !strings.Contains(text, "tests passed") && !strings.Contains(text, "tests failed") {
		return fmt.Errorf("%s did not run to its end: %s", name, text[max(0, len(text)-2000):])
	}
	say("%s: %s: %s", m.release, name, countLine(text))
	return errors.Join(os.RemoveAll(in), os.RemoveAll(out))
}

// withoutPsql takes the tests of psql itself out of a schedule: another psql than theirs runs some of their loops for ever.
func withoutPsql(schedule string) error {
	b, err := os.ReadFile(schedule)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.WriteFile(schedule, psqlTests.ReplaceAll(b, []byte("$1")), 0o644)
}

var psqlTests = regexp.MustCompile(`(?m)^(test:.*?)(?: psql\w*)+`)

// countLine is the line in which pg_regress counts.
func countLine(text string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.Contains(line, "tests passed") || strings.Contains(line, "tests failed") {
			return strings.Trim(line, " =")
		}
	}
	return ""
}

// pgvector runs the tests of another access method, whose pages are all of Generic records. The extension is created from its
// script alone: nothing is put into the server's folders.
func pgvector(ctx context.Context, m *maker) error {
	tests := m.tests(m.major)
	library := filepath.Join(m.scratch, "vector.so")
	if err := copyFile(filepath.Join(tests, "lib", "vector.so"), library); err != nil {
		return err
	}
	script, err := os.ReadFile(filepath.Join(tests, "pgvector", "sql", "vector.sql"))
	if err != nil {
		return err
	}
	_, sql, found := strings.Cut(string(script), `\quit`)
	if !found {
		return errors.New("vector.sql does not begin as an extension's script does")
	}
	if err := m.exec(ctx, "create database vector"); err != nil {
		return err
	}
	if err := m.srv.Exec(ctx, "vector", strings.ReplaceAll(sql, "MODULE_PATHNAME", library)); err != nil {
		return err
	}
	files, err := filepath.Glob(filepath.Join(tests, "pgvector", "test", "sql", "*.sql"))
	if err != nil {
		return err
	}
	args := []string{"--dbname=vector", "--use-existing"}
	for _, f := range files {
		args = append(args, strings.TrimSuffix(filepath.Base(f), ".sql"))
	}
	return m.suite(ctx, pgRegress, "pgvector", filepath.Join(tests, "pgvector", "test"), args...)
}

// needVector says why a release's pgvector cannot be had.
func needVector(o *options, major int) string {
	if major == 16 {
		return "no headers of 16 to compile pgvector with"
	}
	if why := needTests(o, major); why != "" {
		return why
	}
	if _, err := os.Stat(filepath.Join(o.tests(major), "lib", "vector.so")); err != nil {
		return "install-regress did not get pgvector"
	}
	return ""
}
