package rules

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"gopkg.in/yaml.v3"
)

// compiled is the schema as a validator reads it.
func compiled(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("rules.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("rules.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a YAML file as an editor's validator sees it.
func instance(data []byte) (any, error) {
	var v any
	err := yaml.Unmarshal(data, &v)
	return asJSON(v), err
}

// asJSON makes texts of the keys of mappings, as JSON has no others.
func asJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = asJSON(v[key])
		}
	case map[any]any:
		m := map[string]any{}
		for key, value := range v {
			m[fmt.Sprint(key)] = asJSON(value)
		}
		return m
	case []any:
		for i := range v {
			v[i] = asJSON(v[i])
		}
	case fmt.Stringer: // a time
		return v.String()
	}
	return v
}

func TestSchemaTakesGoodRules(t *testing.T) {
	schema := compiled(t)
	files, err := filepath.Glob("../../testdata/rules/good/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, path := range append(files, "../../rules.example.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := instance(data)
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Errorf("%s: %v", filepath.Base(path), err)
		}
	}
}

func TestSchemaTakesTheRulesOfTheReadme(t *testing.T) {
	schema := compiled(t)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)\n```yaml\n(.*?)```").FindAllSubmatch(text, -1)
	if len(blocks) == 0 {
		t.Fatal("the README shows no rules")
	}
	for _, block := range blocks {
		v, err := instance(block[1])
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			t.Errorf("%v:\n%s", err, block[1])
		}
	}
}

// unseen are the bad files that no schema can tell from good ones: what is wrong
// is in an expression, a text of another language, in another file, in how it is
// written, or in how two places go together.
func unseen() []string {
	return []string{
		"code-behind-values-of-flags", "code-by-ways-round", "exec-code", "comment-in-condition", "expression-errors", "expression-with-bang",
		"template-errors", "mistyped-secret", "http-url", "relay-url", // in a text
		"duplicate-name", "too-many-cancels", "file-outside-roots", "file-folder-from-outside", "relay-group-self-test", "admin-hosts", // how places go together
		"no-rules", "secrets-missing", // outside of the file
		"relay-self-test", "relay-self-test-long", "relay-unencrypted", // how much a text stands for
		"too-deep", "two-documents", // how it is written
	}
}

// TestSchemaRefusesBadRules: what Load refuses the schema refuses too, as far as it
// can be seen in it.
func TestSchemaRefusesBadRules(t *testing.T) {
	schema := compiled(t)
	files, err := filepath.Glob("../../testdata/rules/bad/*.yaml")
	if err != nil || len(files) < 50 {
		t.Fatalf("files %q, %v", files, err)
	}
	for _, path := range files {
		name := strings.TrimSuffix(filepath.Base(path), ".yaml")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		v, err := instance(data)
		if err == nil {
			err = schema.Validate(v)
		}
		if refused := err != nil; refused == slices.Contains(unseen(), name) {
			t.Errorf("%s: refused: %t, want %t", name, refused, !refused)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	schema := compiled(t)
	rule := func(keys string) string {
		return "rules: [{name: a, actions: [{exec: [make]}], " + keys + "}]"
	}
	for _, tt := range []struct{ name, text string }{
		{"an unknown key of the file", "rule: []"},
		{"an unknown key of a rule", rule("whenn: 'true'")},
		{"an unknown key of retry", rule("retry: {tries: 3}")},
		{"a retry that is a number", rule("retry: 3")},
		{"too many attempts", rule("retry: {attempts: 1001}")},
		{"a rule without a name", "rules: [{actions: [{exec: [make]}]}]"},
		{"a rule without actions", "rules: [{name: a}]"},
		{"an action that does two things", "rules: [{name: a, actions: [{exec: [make], shell: make}]}]"},
		{"an action that does nothing", "rules: [{name: a, actions: [{id: build}]}]"},
		{"a key of another action", "rules: [{name: a, actions: [{exec: [make], content: x}]}]"},
		{"a time in days", rule("timeout: 3d")},
		{"a time without a unit", rule("timeout: 3")},
		{"a mode that is none", rule("mode: shadows")},
		{"concurrency that is a number", rule("concurrency: 3")},
		{"a key that another scheme takes", rule("verify: {scheme: github, secret: x, tolerance: 5m}")},
		{"a scheme that is none", rule("verify: {scheme: githab, secret: x}")},
		{"a status of a bucket", "buckets: {a: {respond: {status: 700}}}"},
		{"a wait of a bucket", "buckets: {a: {respond: {wait: 3s}}}"},
		{"a file without content", "rules: [{name: a, actions: [{file: out/x}]}]"},
		{"two bodies", "rules: [{name: a, actions: [{http: 'https://a', body: x, json: {}}]}]"},
		{"a variable of hookrun's", "rules: [{name: a, actions: [{exec: [make], env: {HOOKRUN_X: a}}]}]"},
		{"an empty list", "rules: [{name: a, actions: []}]"},
		{"a certificate without a key", "admin: {tls: {cert: a.pem}}"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := instance([]byte(tt.text))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(v); err == nil {
				t.Error("the schema takes it")
			}
		})
	}
}

// TestSchemaSaysWhatEachKeyIsFor: an editor shows it.
func TestSchemaSaysWhatEachKeyIsFor(t *testing.T) {
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	var walk func(at string, v any)
	walk = func(at string, v any) {
		m, ok := v.(map[string]any)
		if !ok {
			return
		}
		properties, _ := m["properties"].(map[string]any)
		for key, p := range properties {
			n++
			said, _ := p.(map[string]any)["description"].(string)
			if !strings.HasSuffix(said, ".") && at != "if" {
				t.Errorf("%s: %s: described as %q, want a sentence", at, key, said)
			}
		}
		for key, p := range m {
			if key != "allOf" { // the schemes of verify: keys that were described
				walk(key, p)
			}
		}
	}
	walk("the file", v)
	if n < 100 {
		t.Errorf("the schema has %d keys, want all", n)
	}
}

// TestEachKeyOfTheShapeIsRead: what stands in the schema and is read nowhere would
// be ignored.
func TestEachKeyOfTheShapeIsRead(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, path := range files {
		if path == "shape.go" || path == "schema.go" || path == "hint.go" || strings.HasSuffix(path, "_test.go") {
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(data)
	}
	for key := range allKeys() {
		phase := strings.HasPrefix(key, "on_") || key == "always" // engine.PhaseSuccess …
		if !strings.Contains(source.String(), fmt.Sprintf("%q", key)) && !phase {
			t.Errorf("nothing reads the key %s", key)
		}
	}
}

// allKeys are the keys of all shapes.
func allKeys() map[string]bool {
	keys := map[string]bool{}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(s reflect.Type) {
		if seen[s] {
			return
		}
		seen[s] = true
		if parts, ok := reflect.Zero(s).Interface().(interface{ alternatives() []reflect.Type }); ok {
			for _, part := range parts.alternatives() {
				walk(part)
			}
			return
		}
		switch s.Kind() {
		case reflect.Slice, reflect.Map:
			walk(s.Elem())
		case reflect.Struct:
			for _, f := range fieldsOf(s) {
				keys[f.Tag.Get("yaml")] = true
				walk(f.Type)
			}
		}
	}
	walk(reflect.TypeFor[fileShape]())
	for _, kind := range kinds() {
		walk(kindShape(kind))
	}
	return keys
}

func TestVerifyTakesTheKeysOfItsSchemes(t *testing.T) {
	got, want := slices.Sorted(slices.Values(keys[verifyShape]())), slices.Sorted(slices.Values(verifyKeys()))
	if !slices.Equal(got, want) {
		t.Errorf("the shape has the keys %q, the schemes take %q", got, want)
	}
}
