package main

import (
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

const sample = `package p

import "errors"

func f(a []int, n int) (int, error) {
	if n < 0 {
		return 0, errors.New("negative")
	}
	x := 1
	for i := range a {
		if a[i] == n && n > 2 {
			x += i
			continue
		}
		a[i]++
	}
	switch n {
	case 1:
		g(x)
	}
	_ = x
	if n == 7 {
		return 1, nil
	} else {
		return 2, nil
	}
}

func g(int) {}
`

// TestMutate: which statements and conditions get a switch; the result is Go.
func TestMutate(t *testing.T) {
	out, mutants, err := mutate("p/p.go", []byte(sample), 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.ParseFile(token.NewFileSet(), "p.go", out, 0); err != nil {
		t.Errorf("%v in\n%s", err, out)
	}
	var got []string
	for i, m := range mutants {
		if m.No != 10+i || m.Func != "f" {
			t.Errorf("%+v", m)
		}
		got = append(got, m.Kind+" "+m.Text)
	}
	want := []string{
		"deleted if n < 0 {", "deleted for i := range a {", "negated n < 0",
		"deleted if a[i] == n && n > 2 {", "deleted a[i]++", "negated a[i] == n && n > 2", "deleted x += i", "deleted continue",
		"deleted g(x)", "negated n == 7",
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
