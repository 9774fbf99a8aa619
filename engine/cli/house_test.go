package cli

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

// imports says who may import whom, beside the standard library: the plan of
// the house. Test files may import more.
func imports() map[string][]string {
	const (
		expr, sqlite, sys = "github.com/expr-lang/expr", "github.com/ncruces/go-sqlite3", "golang.org/x/sys"
		websocket, uuid   = "github.com/gorilla/websocket", "github.com/google/uuid"
		prometheus        = "github.com/prometheus/client_golang"
	)
	return map[string][]string{
		".":                 {"hookrun/engine/cli"},
		"engine":            {"hookrun/engine/payload", expr, "github.com/bmatcuk/doublestar/v4", "github.com/agnivade/levenshtein", uuid},
		"engine/enginetest": {"hookrun/engine"},
		"engine/control":    {"hookrun/engine"},
		"engine/database":   {sqlite, sys},
		"engine/metrics":    {"hookrun/engine", prometheus},
		"engine/verify":     {"github.com/go-jose/go-jose/v4"},
		"engine/rehearse":   {"hookrun/engine"},
		"engine/payload":    {"github.com/klauspost/compress", "golang.org/x/text", "gopkg.in/yaml.v3"},
		"engine/rules":      {"hookrun/engine", "hookrun/engine/verify", "hookrun/actions", "gopkg.in/yaml.v3", "github.com/fsnotify/fsnotify"},
		"engine/ruletest":   {"hookrun/engine", "hookrun/engine/rules", "gopkg.in/yaml.v3", "github.com/rogpeppe/go-internal/diff"},
		"engine/store":      {"hookrun/engine", "hookrun/engine/database", sqlite, uuid},
		"engine/web":        {"hookrun/engine", "hookrun/engine/control", "golang.org/x/time"},
		"engine/bench":      {},
		"engine/cli": {"hookrun/engine", "hookrun/engine/control", "hookrun/engine/database", "hookrun/engine/metrics", "hookrun/engine/rehearse", "hookrun/engine/rules", "hookrun/engine/ruletest", "hookrun/engine/store", "hookrun/engine/verify", "hookrun/engine/web", "hookrun/actions",
			"hookrun/relay", "hookrun/relay/account", "hookrun/relay/api", "hookrun/relay/certs", "hookrun/relay/filter", "hookrun/relay/forward", "hookrun/relay/hub",
			"hookrun/relay/manage", "hookrun/relay/metrics", "hookrun/relay/server", "hookrun/relay/store",
			"github.com/lmittmann/tint", "github.com/mattn/go-isatty", "github.com/rogpeppe/go-internal", uuid, sys},
		"actions": {"hookrun/engine", sys},

		// What follows knows nothing of the engine; the database knows nothing at all.
		"relay":                 {"hookrun/relay/wire", websocket},
		"relay/account":         {uuid},
		"relay/api":             {"hookrun/relay/account", uuid, "golang.org/x/time"},
		"relay/certs":           {"golang.org/x/crypto"},
		"relay/certs/certstest": {"github.com/letsencrypt/pebble/v2", "github.com/miekg/dns"},
		"relay/filter":          {"hookrun/relay/account"},
		"relay/forward":         {"hookrun/relay/account"},
		"relay/hub":             {"hookrun/relay/account", "hookrun/relay/server", "hookrun/relay/wire", websocket, uuid, "golang.org/x/time"},
		"relay/manage":          {"hookrun/relay/account"},
		"relay/metrics":         {"hookrun/relay/account", "hookrun/relay/hub", prometheus},
		"relay/relaytest":       {"hookrun/relay/wire", websocket},
		"relay/server":          {"golang.org/x/time"},
		"relay/store":           {"hookrun/engine/database", "hookrun/relay/account", sqlite},
		"relay/wire":            {},
	}
}

// TestImportsKeepToThePlan fails where a package imports what the plan does
// not allow it, and where a package is in no plan.
func TestImportsKeepToThePlan(t *testing.T) {
	allowed := imports()
	seen := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != root {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(rel)
		seen[pkg] = true
		may, planned := allowed[pkg]
		if !planned {
			t.Errorf("package %s is not in the plan", pkg)
		}
		for _, imp := range importsOf(t, path) {
			if !isStandard(imp) && !slices.ContainsFunc(may, func(a string) bool {
				return imp == a || !strings.HasPrefix(a, "hookrun") && strings.HasPrefix(imp, a+"/")
			}) {
				t.Errorf("%s imports %s, which the plan does not allow", path, imp)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("the plan has package %s, but there is none", pkg)
		}
	}
}

func importsOf(t *testing.T, path string) []string {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, i := range f.Imports {
		imp, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, imp)
	}
	return all
}

// isStandard: the first element of other paths is a host, or this module.
func isStandard(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return !strings.Contains(first, ".") && first != "hookrun"
}

// TestTopLevel holds what is visible there.
func TestTopLevel(t *testing.T) {
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			got = append(got, e.Name())
		}
	}
	want := []string{"README.md", "actions", "engine", "go.mod", "go.sum", "main.go", "relay", "rules.example.yaml", "testdata"}
	got = slices.DeleteFunc(got, func(name string) bool { return name == "hookrun-example" }) // rules.example.yaml writes there
	if !slices.Equal(got, want) {
		t.Errorf("the top level shows %q, want %q", got, want)
	}
}
