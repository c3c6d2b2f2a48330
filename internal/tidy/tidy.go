// Package tidy holds the tree to its own rules, as ordinary tests: imports follow the flow of data, heavy dependencies
// stay in the folder that needs them, files stay short, exported names are documented, and nothing speaks of the machine
// it was written on.
package tidy

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Module is the path all packages of the tree begin with.
const Module = "github.com/tarn-db/tarn"

// Flow is the order of the top-level folders: a package imports its own folder and those before it.
var Flow = []string{"internal", "ingest", "pageserver", "materialize", "catalog", "sql", "cmd"}

// LinesMax is the length of the longest source file. Generated files may be longer.
const LinesMax = 400

// Heavy says in which folders a heavy dependency may be imported, by the prefix of its path. Test support (internal/pgtest,
// internal/lakecheck, internal/demo, internal/corpus, internal/e2e) speaks to real servers as a client does and may import clients.
var Heavy = []struct {
	Dependency string
	Folders    []string
}{
	{"github.com/aws/aws-sdk-go-v2", []string{"internal/objstore"}},
	{"github.com/jackc/pgx", []string{"ingest", "internal/pgtest", "internal/lakecheck", "internal/demo", "internal/corpus", "internal/e2e", "internal/pg/syscat/gen"}},
	{"github.com/jackc/pglogrepl", []string{"ingest"}},
	{"github.com/hashicorp/raft", []string{"ingest"}},
	{"google.golang.org/grpc", []string{"pageserver"}},
	{"github.com/apache/arrow-go", []string{"materialize"}},
	{"github.com/parquet-go/parquet-go", []string{"materialize"}},
	{"github.com/apache/iceberg-go", []string{"catalog"}},
	{"github.com/spf13/", []string{"cmd"}},
	{"github.com/goccy/go-yaml", []string{"internal/config"}},
	{"github.com/fergusstrange/embedded-postgres", []string{"internal/pgtest", "internal/demo"}},
	{"github.com/rogpeppe/go-internal", []string{"cmd"}},
}

// File is one Go source file.
type File struct {
	Path   string // from the root, with slashes
	Source []byte
	AST    *ast.File

	set *token.FileSet
}

func (f *File) oneLine(d *ast.FuncDecl) bool {
	return f.set.Position(d.Pos()).Line == f.set.Position(d.End()).Line
}

// Test says whether the file is compiled for tests only.
func (f *File) Test() bool { return strings.HasSuffix(f.Path, "_test.go") }

// Generated says whether a program wrote the file.
func (f *File) Generated() bool { return ast.IsGenerated(f.AST) }

// Parse reads a Go file.
func Parse(path string, source []byte) (*File, error) {
	set := token.NewFileSet()
	a, err := parser.ParseFile(set, path, source, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	return &File{Path: path, Source: source, AST: a, set: set}, nil
}

// Walk calls fn for each file of the tree under root that belongs to the project.
func Walk(root string, fn func(path string, source []byte) error) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case ".git", ".cache", "bin", "testdata", "node_modules":
				return filepath.SkipDir
			}
			return nil
		}
		switch filepath.Ext(path) {
		case ".go", ".md", ".py", ".sh", ".yaml", ".yml", ".txt", ".mod", "":
		default:
			return nil
		}
		if !d.Type().IsRegular() {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return fn(filepath.ToSlash(rel), source)
	})
}

// CheckImports says which imports of a file go against the flow or fetch a heavy dependency where it does not belong.
func CheckImports(f *File) (problems []string) {
	folder, _, _ := strings.Cut(f.Path, "/")
	for _, spec := range f.AST.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		if rest, ok := strings.CutPrefix(path, Module+"/"); ok {
			if to, _, _ := strings.Cut(rest, "/"); rank(to) > rank(folder) {
				problems = append(problems, fmt.Sprintf("%s imports %s, which is to the right of %s: data flows %s", f.Path, rest, folder, strings.Join(Flow, " -> ")))
			}
			continue
		}
		for _, h := range Heavy {
			// Tests may drive a real server by any client; nothing of it is in the program.
			if !f.Test() && strings.HasPrefix(path, h.Dependency) && !under(f.Path, h.Folders) {
				problems = append(problems, fmt.Sprintf("%s imports %s, which belongs to %s alone", f.Path, path, strings.Join(h.Folders, ", ")))
			}
		}
	}
	return problems
}

// rank is a folder's place in the flow; tools and the like may import all.
func rank(folder string) int {
	for i, f := range Flow {
		if f == folder {
			return i
		}
	}
	return len(Flow)
}

func under(path string, folders []string) bool {
	for _, f := range folders {
		if strings.HasPrefix(path, f+"/") {
			return true
		}
	}
	return false
}

// CheckLength says whether a file is too long to be about one thing.
func CheckLength(f *File) (problems []string) {
	if n := strings.Count(string(f.Source), "\n"); n > LinesMax && !f.Generated() {
		problems = append(problems, fmt.Sprintf("%s has %d lines, %d are allowed: split it by idea", f.Path, n, LinesMax))
	}
	return problems
}

// Interfaces adds to known the documented methods of a file's interfaces. Whoever implements one need not say it again.
func Interfaces(f *File, known map[string]bool) {
	ast.Inspect(f.AST, func(n ast.Node) bool {
		if t, ok := n.(*ast.InterfaceType); ok {
			for _, m := range t.Methods.List {
				if len(m.Names) == 1 && (m.Doc != nil || m.Comment != nil) {
					known[m.Names[0].Name] = true
				}
			}
		}
		return true
	})
}

// CheckDocs says which exported names have no comment. None is needed by a method whose name is inherited (of a documented
// interface, or in wellKnown), by an accessor of a single line, or by a member of a group whose head has one.
func CheckDocs(f *File, inherited map[string]bool) (problems []string) {
	if f.Test() || f.Generated() {
		return nil
	}
	missing := func(name string) { problems = append(problems, f.Path+": exported "+name+" has no comment") }
	for _, decl := range f.AST.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Doc == nil && d.Name.IsExported() && exportedReceiver(d) && !wellKnown[name] && !(d.Recv != nil && (inherited[name] || f.oneLine(d))) {
				missing(name)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					if s.Name.IsExported() && d.Doc == nil && s.Doc == nil && s.Comment == nil {
						missing(s.Name.Name)
					}
				case *ast.ValueSpec:
					if d.Doc == nil && s.Doc == nil && s.Comment == nil && s.Names[0].IsExported() && !namedInGroup(d, s.Names[0].Name) {
						missing(s.Names[0].Name)
					}
				}
			}
		}
	}
	return problems
}

// namedInGroup says whether a neighbour's comment in the same group speaks of the name: "A and B are the ...".
func namedInGroup(d *ast.GenDecl, name string) bool {
	for _, spec := range d.Specs {
		if s, ok := spec.(*ast.ValueSpec); ok && slices.Contains(strings.Fields(s.Doc.Text()), name) {
			return true
		}
	}
	return false
}

var wellKnown = map[string]bool{
	"Error": true, "Unwrap": true, "String": true, "Is": true, "Close": true, "Len": true, "Less": true, "Swap": true, "Read": true,
	"Write": true, "MarshalText": true, "UnmarshalText": true, "MarshalJSON": true, "UnmarshalJSON": true, "ServeHTTP": true, "Format": true,
}

// exportedReceiver says whether a function can be seen from outside: it has no receiver, or an exported type's.
func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	t := d.Recv.List[0].Type
	for {
		switch u := t.(type) {
		case *ast.StarExpr:
			t = u.X
		case *ast.IndexExpr:
			t = u.X
		case *ast.Ident:
			return u.IsExported()
		default:
			return false
		}
	}
}
