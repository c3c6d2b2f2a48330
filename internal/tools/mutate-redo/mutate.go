package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strings"
)

// mutant is one change to the source, made when mutant.On answers its number.
type mutant struct {
	No   int
	File string // from the module's root
	Line int
	Func string
	Kind string // what is done to Text
	Text string // the first line of it
}

// The kinds.
const (
	deleted = "deleted"
	negated = "negated"
)

// edit is text put into a file.
type edit struct {
	at   int // byte offset
	text string
}

// mutator finds the mutants of one file and writes switches for them into its source.
type mutator struct {
	set     *token.FileSet
	source  []byte
	file    string
	fn      *ast.FuncDecl
	first   int
	mutants []mutant
	edits   []edit
}

// mutate puts a switch around every statement that can go and every condition that can be negated, numbered from first on.
// What it returns compiles if source does, in a module that has mutantPackage.
func mutate(file string, source []byte, first int) ([]byte, []mutant, error) {
	m := mutator{set: token.NewFileSet(), source: source, file: file, first: first}
	tree, err := parser.ParseFile(m.set, file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range tree.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Body != nil {
			m.fn = fn
			ast.Inspect(fn.Body, m.visit)
		}
	}
	if len(m.mutants) == 0 {
		return source, nil, nil
	}
	// A second import declaration may stand right behind the package clause.
	m.edits = append(m.edits, edit{m.offset(tree.Name.End()), fmt.Sprintf("; import mutant_ %q", mutantPackage)})
	slices.SortStableFunc(m.edits, func(a, b edit) int { return a.at - b.at })
	var out bytes.Buffer
	at := 0
	for _, e := range m.edits {
		out.Write(source[at:e.at])
		out.WriteString(e.text)
		at = e.at
	}
	out.Write(source[at:])
	return out.Bytes(), m.mutants, nil
}

func (m *mutator) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.BlockStmt:
		m.statements(n.List)
	case *ast.CaseClause:
		m.statements(n.Body)
	case *ast.IfStmt:
		m.add(n.Cond, negated, "mutant_.On(%d) != (", ")")
	}
	return true
}

// statements puts a switch around each statement of a list that can go without the rest failing to compile.
func (m *mutator) statements(list []ast.Stmt) {
	for i, s := range list {
		if canGo(s, i == len(list)-1) {
			m.add(s, deleted, "if !mutant_.On(%d) { ", " }")
		}
	}
}

// canGo says which statements are taken out: not those that declare, nor the last of a list if it may be what ends the function.
func canGo(s ast.Stmt, last bool) bool {
	switch s := s.(type) {
	case *ast.AssignStmt:
		return s.Tok != token.DEFINE && !blank(s)
	case *ast.ExprStmt:
		return !strings.HasPrefix(fmt.Sprint(s.X), "panic")
	case *ast.IncDecStmt, *ast.BranchStmt, *ast.RangeStmt:
		return true
	case *ast.IfStmt:
		return !last || s.Else == nil
	case *ast.ForStmt:
		return s.Cond != nil
	}
	return false
}

// blank says that an assignment only keeps a compiler quiet.
func blank(s *ast.AssignStmt) bool {
	id, ok := s.Lhs[0].(*ast.Ident)
	return ok && len(s.Lhs) == 1 && id.Name == "_"
}

// add notes a mutant: what stands before and after the node makes it. before takes its number.
func (m *mutator) add(n ast.Node, kind, before, after string) {
	no := m.first + len(m.mutants)
	from, to := m.offset(n.Pos()), m.offset(n.End())
	text, _, _ := strings.Cut(string(m.source[from:to]), "\n")
	m.mutants = append(m.mutants, mutant{
		No: no, File: m.file, Line: m.set.Position(n.Pos()).Line, Func: m.fn.Name.Name, Kind: kind, Text: text,
	})
	m.edits = append(m.edits, edit{from, fmt.Sprintf(before, no)}, edit{to, after})
}

func (m *mutator) offset(p token.Pos) int { return m.set.Position(p).Offset }
