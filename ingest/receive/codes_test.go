package receive

import (
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"
)

// TestEveryCodeHasAFault: each Code constant has its number in the registry of failures.
func TestEveryCodeHasAFault(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "attach.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		s, ok := node.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(s.Names[0].Name, "Code") {
			return true
		}
		n++
		code, err := strconv.Unquote(s.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if (&AttachError{Code: code}).FaultCode() == 0 {
			t.Errorf("%s has no fault code", s.Names[0].Name)
		}
		return true
	})
	if n < 15 {
		t.Errorf("only %d codes found", n)
	}
}
