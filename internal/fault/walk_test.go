package fault

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// sources parses every file that is shipped.
func sources(t *testing.T, fn func(path string, set *token.FileSet, f *ast.File)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", ".cache", "bin", "testdata":
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		set := token.NewFileSet()
		f, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		n++
		rel, _ := filepath.Rel(root, path)
		fn(filepath.ToSlash(rel), set, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n < 100 {
		t.Fatalf("only %d files found", n)
	}
}

// constants are the names of the codes, from the source.
func constants(t *testing.T) map[Code]string {
	t.Helper()
	out := map[Code]string{}
	sources(t, func(path string, _ *token.FileSet, f *ast.File) {
		if path != "internal/fault/codes.go" {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			v, err := strconv.Atoi(s.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			if other, ok := out[Code(v)]; ok {
				t.Errorf("%s and %s are both %d", other, s.Names[0].Name, v)
			}
			out[Code(v)] = s.Names[0].Name
			return true
		})
	})
	return out
}

// TestEveryCodeIsUsed: a code nothing can end with is no code.
func TestEveryCodeIsUsed(t *testing.T) {
	used := map[string]bool{"Unexpected": true}
	sources(t, func(path string, _ *token.FileSet, f *ast.File) {
		if strings.HasPrefix(path, "internal/fault/") {
			return
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := s.X.(*ast.Ident); ok && x.Name == "fault" {
					used[s.Sel.Name] = true
				}
			}
			return true
		})
	})
	for code, name := range constants(t) {
		if !used[name] {
			t.Errorf("%s (%s) is used nowhere", code, name)
		}
	}
}

// speaking are the packages whose errors reach the user as they are: an error made there from nothing must have a code.
// Those of internal/config are all *config.Error, which has one.
var speaking = []string{"cmd/tarn", "cmd/tarn/server", "cmd/tarn/doctor", "internal/admin", "internal/demo", "internal/connect"}

// caught are errors of the speaking packages that end before the user, by file and first word.
var caught = map[string]string{
	"cmd/tarn/server/server.go resync asked for": "the pipeline starts over",
	"cmd/tarn/server/rewind.go taken back":       "the pipeline goes on from there",
	"cmd/tarn/client.go ":                        "both end in errors that have one: a TLS error, and the usage error that names the file",
	"internal/demo/client.go rolled back":        "a transaction rolls back on purpose",
}

// TestErrorsMadeForUsersHaveCodes: no errors.New, and no fmt.Errorf that wraps nothing, in a speaking package.
func TestErrorsMadeForUsersHaveCodes(t *testing.T) {
	seen := 0
	sources(t, func(path string, set *token.FileSet, f *ast.File) {
		folder := filepath.ToSlash(filepath.Dir(path))
		speaks := false
		for _, s := range speaking {
			speaks = speaks || s == folder
		}
		if !speaks {
			return
		}
		seen++
		for _, p := range codeless(set, f) {
			excused := false
			for c := range caught {
				file, word, _ := strings.Cut(c, " ")
				excused = excused || file == path && strings.HasPrefix(p.text, word)
			}
			if !excused {
				t.Errorf("%s:%d: %q reaches the user without a code: make it by fault.Errorf", path, p.line, p.text)
			}
		}
	})
	if seen < 20 {
		t.Errorf("only %d files looked at", seen)
	}
}

type found struct {
	line int
	text string
}

// codeless finds errors made from nothing without a code.
func codeless(set *token.FileSet, f *ast.File) (out []found) {
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		sel, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		x, ok := sel.X.(*ast.Ident)
		if !ok {
			return true
		}
		name := x.Name + "." + sel.Sel.Name
		lit, _ := call.Args[0].(*ast.BasicLit)
		text := ""
		if lit != nil {
			text, _ = strconv.Unquote(lit.Value)
		}
		if name == "errors.New" || name == "fmt.Errorf" && !strings.Contains(text, "%w") {
			out = append(out, found{set.Position(call.Pos()).Line, text})
		}
		return true
	})
	return out
}

// silent are sentinels that never reach the user: what catches them.
var silent = map[string]string{
	"catalog ErrNoDatabase": "the REST catalog answers 404", "catalog ErrNotBegun": "a mistake of ours",
	"catalog/journal ErrUnknown": "retried, then the process ends and starts over", "catalog/journal ErrMoved": "read again",
	"ingest/raftlog ErrClosed": "the server is stopping", "ingest/raftlog ErrTrimmed": "read from the archive instead",
	"ingest/raftlog ErrNotCommitted": "waited for", "ingest/raftlog ErrNoBase": "Reset comes first",
	"ingest/wal ErrNoMoreYet": "waited for", "internal/lakecheck ErrReader": "wraps the reader's own words",
	"internal/objstore ErrInjected": "tests", "internal/s3test ErrNoServer": "tests",
	"internal/pg/pglz ErrCorrupt": "wrapped in pg.CorruptError", "materialize ErrRetry": "the cut is tried again",
	"materialize/datafile ErrShape":    "the history begins anew",
	"materialize/schema ErrNoCatalogs": "the database is left out until it has catalogs",
	"pageserver ErrNoTimeline":         "a base backup follows", "pageserver ErrNotConsistent": "redone further",
	"pageserver ErrOpaque": "the table is in error", "pageserver ErrTornCopy": "the base backup is taken again", "pageserver/redo ErrNoMask": "of the oracle alone",
}

// TestSentinelsHaveCodes: each package's exported Err… has a code, or is named above with what catches it.
func TestSentinelsHaveCodes(t *testing.T) {
	seen := 0
	sources(t, func(path string, _ *token.FileSet, f *ast.File) {
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.VAR {
				continue
			}
			for _, spec := range gen.Specs {
				s := spec.(*ast.ValueSpec)
				if len(s.Values) == 0 || !strings.HasPrefix(s.Names[0].Name, "Err") {
					continue
				}
				seen++
				call, ok := s.Values[0].(*ast.CallExpr)
				if !ok {
					continue // another name for a sentinel
				}
				x, _ := call.Fun.(*ast.SelectorExpr).X.(*ast.Ident)
				key := filepath.ToSlash(filepath.Dir(path)) + " " + s.Names[0].Name
				if x.Name != "fault" && silent[key] == "" {
					t.Errorf("%s: %s has no code: make it by fault.New, or say in silent what catches it", path, s.Names[0].Name)
				}
			}
		}
	})
	if seen < 30 {
		t.Errorf("only %d sentinels found", seen)
	}
}
