package verify

import (
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"os"
	"strings"
	"testing"
)

// TestComparisons reads this package: bytes that depend on a secret are
// compared in constant time only.
func TestComparisons(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	equal := 0
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		set := gotoken.NewFileSet()
		file, err := parser.ParseFile(set, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if why := badComparison(n); why != "" {
				t.Errorf("%s: %s", set.Position(n.Pos()), why)
			}
			if call, ok := n.(*ast.CallExpr); ok && (callee(call) == "hmac.Equal" || callee(call) == "subtle.ConstantTimeCompare") {
				equal++
			}
			return true
		})
	}
	if equal < 3 {
		t.Errorf("%d comparisons in constant time found, want at least 3: does this test still see them?", equal)
	}
}

// badComparison says what is wrong with a node, or "".
func badComparison(n ast.Node) string {
	switch n := n.(type) {
	case *ast.CallExpr:
		switch callee(n) {
		case "bytes.Equal", "bytes.EqualFold", "bytes.Compare", "strings.Compare", "strings.EqualFold", "slices.Equal", "slices.Compare", "reflect.DeepEqual", "cmp.Compare":
			return callee(n) + " ends at the first byte that differs"
		}
	case *ast.BinaryExpr:
		if n.Op != gotoken.EQL && n.Op != gotoken.NEQ || isConstant(n.X) || isConstant(n.Y) {
			return ""
		}
		for _, side := range []ast.Expr{n.X, n.Y} {
			if name := lastName(side); isSecret(name) {
				return name + " is compared with " + n.Op.String()
			}
		}
	}
	return ""
}

func callee(c *ast.CallExpr) string {
	s, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := s.X.(*ast.Ident); ok {
		return x.Name + "." + s.Sel.Name
	}
	return ""
}

// isConstant is for "" and nil, which tell nothing but whether there is one.
func isConstant(e ast.Expr) bool {
	if id, ok := e.(*ast.Ident); ok {
		return id.Name == "nil"
	}
	_, ok := e.(*ast.BasicLit)
	return ok
}

func lastName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	case *ast.IndexExpr:
		return lastName(e.X)
	case *ast.SliceExpr:
		return lastName(e.X)
	case *ast.CallExpr:
		if id, ok := e.Fun.(*ast.Ident); ok && id.Name == "len" {
			return "" // how long a signature is, its scheme says
		}
		if len(e.Args) == 1 {
			return lastName(e.Args[0]) // string(x)
		}
		return lastName(e.Fun)
	}
	return ""
}

func isSecret(name string) bool {
	if strings.HasSuffix(name, "Size") {
		return false
	}
	name = strings.ToLower(name)
	for _, part := range []string{"secret", "sum", "mac", "signature", "token", "password", "clientstate", "private", "want", "got"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func TestBadComparisonsAreSeen(t *testing.T) {
	for _, text := range []string{"bytes.Equal(a, b)", "secret == x", "x != k.secret", "string(sum) == y", "mac[0] == y", "m.Signature == y", "strings.EqualFold(a, b)"} {
		e, err := parser.ParseExpr(text)
		if err != nil {
			t.Fatal(err)
		}
		if badComparison(e) == "" {
			t.Errorf("%s is not seen", text)
		}
	}
}
