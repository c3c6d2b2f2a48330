package main

import (
	"bufio"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

//go:embed mutant.go.txt
var mutantSource []byte

//go:embed driver.go.txt
var driverSource []byte

// module is the copy of the module with mutants in it.
type module struct {
	dir     string
	stop    <-chan os.Signal
	mutants []mutant
	tests   []string // packages with mutants, from the module's root
}

// copyModule copies the files that belong to the project.
func (c *module) copyModule() error {
	list, err := exec.Command("git", "ls-files", "-co", "--exclude-standard", "-z").Output()
	if err != nil {
		return fmt.Errorf("list the module's files: %w", err)
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if err := copyFile(name, filepath.Join(c.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return errors.Join(
		c.write("internal/mutant/mutant.go", mutantSource),
		c.write("pageserver/verify/mutants_test.go", driverSource))
}

func copyFile(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o644)
}

func (c *module) write(name string, b []byte) error {
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}

// mutateAll puts mutants into redo and the packages that decode its records.
func (c *module) mutateAll() error {
	dirs, err := filepath.Glob(filepath.Join(c.dir, "internal/pg/*rec"))
	if err != nil {
		return err
	}
	for _, dir := range append(dirs, filepath.Join(c.dir, "pageserver/redo")) {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			return err
		}
		before := len(c.mutants)
		for _, path := range files {
			if strings.HasSuffix(path, "_test.go") {
				continue
			}
			name, err := filepath.Rel(c.dir, path)
			if err != nil {
				return err
			}
			source, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			out, found, err := mutate(name, source, len(c.mutants))
			if err != nil {
				return err
			}
			if err := os.WriteFile(path, out, 0o644); err != nil {
				return err
			}
			c.mutants = append(c.mutants, found...)
		}
		if len(c.mutants) > before {
			name, err := filepath.Rel(c.dir, dir)
			if err != nil {
				return err
			}
			c.tests = append(c.tests, name)
		}
	}
	return nil
}

// build compiles a package's tests and returns the program.
func (c *module) build(pkg string) (string, error) {
	program := filepath.Join(c.dir, "bin", strings.ReplaceAll(pkg, "/", "-")+".test")
	cmd := exec.Command("go", "test", "-vet=off", "-c", "-o", program, "./"+pkg)
	cmd.Dir = c.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compile %s with mutants: %w\n%s", pkg, err, out)
	}
	return program, nil
}

// runFixtures has the driver redo the fixtures, with the mutants in question. It is started again behind a mutant that it does not survive.
func (c *module) runFixtures(wanted *regexp.Regexp) (map[int]result, error) {
	program, err := c.build("pageserver/verify")
	if err != nil {
		return nil, err
	}
	results := map[int]result{}
	for _, run := range runs(c.mutants, wanted) {
		for from := run[0]; from < run[1]; {
			next, err := c.drive(program, from, run[1], results)
			if err != nil {
				return nil, err
			}
			from = next
		}
	}
	return results, nil
}

// runs are the ranges of numbers of mutants that match.
func runs(mutants []mutant, wanted *regexp.Regexp) (list [][2]int) {
	for _, m := range mutants {
		if !wanted.MatchString(m.File + ":" + m.Func) {
			continue
		}
		if n := len(list); n > 0 && list[n-1][1] == m.No {
			list[n-1][1]++
		} else {
			list = append(list, [2]int{m.No, m.No + 1})
		}
	}
	return list
}

// drive runs the driver once and returns the number to go on with.
func (c *module) drive(program string, from, to int, results map[int]result) (next int, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-c.stop:
			cancel()
		case <-ctx.Done():
		}
	}()
	cmd := exec.CommandContext(ctx, program, "-test.run", "^TestMutants$", "-test.timeout", "0")
	cmd.Dir = filepath.Join(c.dir, "pageserver/verify")
	cmd.Env = append(os.Environ(), fmt.Sprintf("TARN_MUTANTS_FROM=%d", from), fmt.Sprintf("TARN_MUTANTS_TO=%d", to))
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	next = from
	begun, rest := false, []string{}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		var r result
		switch {
		case scan(lines.Text(), "begin %d", &n):
			next, begun = n, true
		case scan(lines.Text(), "end %d %s %s", &n, &r.outcome, &r.by):
			results[n], next, begun = r, n+1, false
		default:
			rest = append(rest, lines.Text())
		}
	}
	_, _ = io.Copy(io.Discard, out)
	err = cmd.Wait()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case begun:
		results[next] = result{"crash", "-"}
		next++
	case err != nil && next == from:
		return 0, fmt.Errorf("redo the fixtures: %w\n%s", err, strings.Join(rest[:min(len(rest), 50)], "\n"))
	}
	fmt.Fprintf(os.Stderr, "\r%d of %d", next, len(c.mutants))
	return next, nil
}

func scan(line, format string, args ...any) bool {
	n, err := fmt.Sscanf(line, format, args...)
	return err == nil && n == len(args)
}

// testTimeout bounds a package's own tests with a mutant.
const testTimeout = 60 * time.Second

// runTests has each package's own tests run with each mutant of it that the fixtures do not notice.
func (c *module) runTests(results map[int]result) error {
	for _, pkg := range c.tests {
		program, err := c.build(pkg)
		if err != nil {
			return err
		}
		numbers := []int{}
		for _, m := range c.mutants {
			if r, ok := results[m.No]; ok && !r.noticed() && filepath.Dir(m.File) == pkg {
				numbers = append(numbers, m.No)
			}
		}
		if _, err := os.Stat(program); err != nil {
			continue // no tests
		}
		for i, n := range numbers {
			fmt.Fprintf(os.Stderr, "\r%s %d of %d  ", pkg, i+1, len(numbers))
			ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
			cmd := exec.CommandContext(ctx, program, "-test.failfast", "-test.run", "^(Test|Fuzz)")
			cmd.Dir = filepath.Join(c.dir, pkg)
			cmd.Env = append(os.Environ(), fmt.Sprintf("TARN_MUTANT=%d", n))
			if err := cmd.Run(); err != nil {
				results[n] = result{"tested", pkg}
			}
			cancel()
			if len(c.stop) > 0 {
				return errors.New("stopped")
			}
		}
	}
	return nil
}
