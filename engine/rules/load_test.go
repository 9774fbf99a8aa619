package rules

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/actions"
	"hookrun/engine"
)

// parse loads one file that has to be good.
func parse(t *testing.T, text string, o Options) *Generation {
	t.Helper()
	g, problems := Parse([]File{{"rules.yaml", []byte(text)}}, o)
	if g == nil {
		t.Fatalf("Parse: %v", problems)
	}
	return g
}

// problems loads one file and returns what is said of it.
func problemsOf(t *testing.T, text string, o Options) string {
	t.Helper()
	g, problems := Parse([]File{{"rules.yaml", []byte(text)}}, o)
	if failed(problems) != (g == nil) {
		t.Errorf("a generation: %v, with problems %v", g != nil, problems)
	}
	var lines []string
	for _, p := range trusting(problems) {
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// trusting leaves out the warnings that nobody is asked who they are: most tests
// are about something else.
func trusting(problems []Problem) []Problem {
	return slices.DeleteFunc(slices.Clone(problems), func(p Problem) bool {
		return p.Warning && strings.HasSuffix(p.Msg, "nothing says how the sender is known")
	})
}

func TestRuleSaysWhatItsFileSays(t *testing.T) {
	o := testOptions(t)
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "rules", "good", "whole.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g := parse(t, string(data), o)
	if got := names(g); !slices.Equal(got, []string{"deploy main", "log"}) {
		t.Fatalf("enabled rules = %q", got)
	}
	r := g.Rules.Rule("deploy main")
	if r.Place != "rules.yaml:12" || !r.Stop || r.Timeout != 10*time.Minute || r.When == nil {
		t.Errorf("rule = %+v", r)
	}
	if want := (engine.Retry{Attempts: 3, Backoff: 10 * time.Second, Max: 5 * time.Minute}); r.Retry != want {
		t.Errorf("retry = %+v, want %+v", r.Retry, want)
	}
	if !slices.Equal(r.Buckets, []string{"deploys"}) || !slices.Equal(r.Methods, []string{"POST"}) {
		t.Errorf("buckets %q, methods %q", r.Buckets, r.Methods)
	}
	var ids []string
	for _, s := range r.Steps {
		ids = append(ids, s.ID+" "+s.Action.Kind())
	}
	if want := []string{"build exec", "2 shell", "3 file", "4 http"}; !slices.Equal(ids, want) {
		t.Errorf("steps = %q, want %q", ids, want)
	}
	if r.Steps[0].Timeout != 90*time.Second || r.Steps[3].If == nil {
		t.Errorf("steps = %+v", r.Steps)
	}
	if log := g.Rules.Rule("log"); log.Timeout != 10*time.Minute || log.Retry != (engine.Retry{Attempts: 2, Backoff: time.Second}) {
		t.Errorf("a rule that says nothing has timeout %s and retry %+v, want the defaults", log.Timeout, log.Retry)
	}
	testSteps(t, r, o.Dir)
}

func testSteps(t *testing.T, r *engine.Rule, dir string) {
	t.Helper()
	scope := engine.NewScope(&engine.Event{Method: "POST", Body: []byte(`{"after":"abc","ref":"-x"}`), Header: map[string][]string{"Content-Type": {"application/json"}}})
	render := func(tmpl *engine.Template) string {
		t.Helper()
		s, err := tmpl.Render(scope)
		if err != nil {
			t.Errorf("Render: %v", err)
		}
		return s
	}
	x := r.Steps[0].Action.(*actions.Exec)
	var argv []string
	for _, a := range x.Args {
		argv = append(argv, fmt.Sprintf("%s %v", render(a.Text), a.Dash))
	}
	if want := []string{"make false", "deploy false", "REF=abc false", "-x true", "7 false", "true false"}; !slices.Equal(argv, want) {
		t.Errorf("arguments = %q, want %q", argv, want)
	}
	if len(x.Env) != 2 || x.Env[1].Name != "TOKEN" || render(x.Env[1].Value) != secretInEnv {
		t.Errorf("env = %+v", x.Env)
	}
	if s := r.Steps[1].Action.(*actions.Shell); !strings.HasPrefix(s.Script, `git -C "$APP"`) {
		t.Errorf("script = %q", s.Script)
	}
	f := r.Steps[2].Action.(*actions.File)
	if f.Write != actions.Replace || f.Mode != 0o600 || !slices.Equal(f.Roots, []string{filepath.Join(dir, "deploys")}) {
		t.Errorf("file = %+v", f)
	}
	h := r.Steps[3].Action.(*actions.HTTP)
	if want := []actions.StatusRange{{From: 200, To: 299}, {From: 304, To: 304}, {From: 400, To: 409}}; !slices.Equal(h.Expect, want) {
		t.Errorf("expect = %v, want %v", h.Expect, want)
	}
	json := h.JSON.(map[string]any)
	if json["n"] != 1 || json["f"] != 1.5 || json["yes"] != true || json["none"] != nil || len(json["list"].([]any)) != 2 {
		t.Errorf("json = %v", json)
	}
	if got := render(json["text"].(*engine.Template)); got != "deployed abc" {
		t.Errorf("json text = %q", got)
	}
}

func names(g *Generation) []string {
	var names []string
	for _, r := range g.Rules.Rules {
		names = append(names, r.Name)
	}
	return names
}

func TestMergedKeysAndAliases(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "rules", "good", "anchors.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	g := parse(t, string(data), testOptions(t))
	one, two := g.Rules.Rule("one"), g.Rules.Rule("two")
	if one.Retry.Attempts != 3 || two.Retry.Attempts != 1 || !two.Stop || one.Methods[0] != "POST" {
		t.Errorf("rules = %+v, %+v", one, two)
	}
	var env []string
	for _, v := range one.Steps[0].Action.(*actions.Exec).Env {
		text, _ := v.Value.Literal()
		env = append(env, v.Name+"="+text)
	}
	if want := []string{"LEVEL=debug", "APP=/srv/app"}; !slices.Equal(env, want) {
		t.Errorf("env = %q, want %q", env, want)
	}
}

func TestRelay(t *testing.T) {
	const rule = "rules: [{name: a, bucket: x, actions: [{exec: [echo]}]}, {name: b, bucket: [y, x], actions: [{exec: [echo]}]}"
	const swapped = "rules: [{name: b, bucket: [y, x], actions: [{exec: [echo]}]}, {name: a, bucket: x, actions: [{exec: [echo]}]}"
	off := strings.ReplaceAll(swapped, "bucket:", "enabled: false, bucket:")
	none := func(string) (string, bool) { return "", false }
	half := func(name string) (string, bool) { return "k", name == "RELAY_KEY" }
	tests := []struct {
		name, text string
		getenv     func(string) (string, bool)
		want       Relay
		problems   string
	}{
		{"from the environment", rule + "]", testEnv,
			Relay{URL: DefaultRelay, Key: engine.NewSecret("s3cret-key"), Secret: engine.NewSecret("s3cret-secret"), Buckets: []string{"x", "y"}}, ""},
		{"none", rule + "]", none, Relay{URL: DefaultRelay, Buckets: []string{"x", "y"}}, ""},
		{"a rule for every bucket", rule + ", {name: c, actions: [{exec: [echo]}]}]", none, Relay{URL: DefaultRelay, All: true}, ""},
		{"in another order", swapped + "]", none, Relay{URL: DefaultRelay, Buckets: []string{"x", "y"}}, ""},
		{"none is enabled", off + "]", none, Relay{URL: DefaultRelay, Buckets: []string{"x", "y"}}, ""},
		{"none is enabled, one names no bucket", off + ", {name: c, enabled: false, actions: [{exec: [echo]}]}]", none, Relay{URL: DefaultRelay, Buckets: []string{"x", "y"}}, ""},
		{"none is enabled or names a bucket", "rules: [{name: c, enabled: false, actions: [{exec: [echo]}]}]", none, Relay{URL: DefaultRelay}, ""},
		{"one that is not enabled", rule + ", {name: c, enabled: false, actions: [{exec: [echo]}]}]", none, Relay{URL: DefaultRelay, Buckets: []string{"x", "y"}}, ""},
		{"asked for", "relay: {buckets: [z]}\n" + rule + "]", testEnv,
			Relay{URL: DefaultRelay, Key: engine.NewSecret("s3cret-key"), Secret: engine.NewSecret("s3cret-secret"), Buckets: []string{"z"}}, ""},
		{"asked for without credentials", "relay: {buckets: [z]}\n" + rule + "]", none, Relay{},
			"rules.yaml:1:8: the environment variable RELAY_KEY is not set\nrules.yaml:1:8: the environment variable RELAY_SECRET is not set"},
		{"half of the credentials", rule + "]", half, Relay{},
			"rules.yaml:1:1: the environment variable RELAY_KEY is set, but not RELAY_SECRET"},
		{"own credentials", "relay: {url: 'ws://127.0.0.1:1/', key: 'k-${env:RELAY_KEY}', secret: s}\n" + rule + "]", testEnv,
			Relay{URL: "ws://127.0.0.1:1/", Key: engine.NewSecret("k-s3cret-key"), Secret: engine.NewSecret("s"), Buckets: []string{"x", "y"}}, ""},
		{"of a group", "relay: {url: 'ws://127.0.0.1:1/', key: k, secret: s, group: deployers}\n" + rule + "]", none,
			Relay{URL: "ws://127.0.0.1:1/", Key: engine.NewSecret("k"), Secret: engine.NewSecret("s"), Buckets: []string{"x", "y"}, Group: "deployers"}, ""},
		{"tested", "relay: {url: 'ws://127.0.0.1:1/', key: k, secret: s, self_test: 5m}\n" + rule + "]", none,
			Relay{URL: "ws://127.0.0.1:1/", Key: engine.NewSecret("k"), Secret: engine.NewSecret("s"), Buckets: []string{"x", "y"}, SelfTest: 5 * time.Minute}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			o.Getenv = tt.getenv
			if tt.problems != "" {
				if got := problemsOf(t, tt.text, o); got != tt.problems {
					t.Errorf("problems = %s, want %s", got, tt.problems)
				}
				return
			}
			got := parse(t, tt.text, o).Relay
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("relay = %s with buckets %q, want %s with %q", got.URL, got.Buckets, tt.want.URL, tt.want.Buckets)
			}
			if got.Configured() != (tt.want.Key.Reveal() != "") {
				t.Errorf("Configured = %v", got.Configured())
			}
		})
	}
}

func TestSecretsAreKnownAndMasked(t *testing.T) {
	o := testOptions(t)
	g := parse(t, `
relay: {key: "${env:RELAY_KEY}", secret: "literal"}
rules:
  - name: a
    actions:
      - exec: [make]
        env: {A: "x ${env:CHAT_TOKEN}", B: "${file:token}", C: "$${env:CHAT_TOKEN}"}
      - exec: [make]
        stdin: "${env:CHAT_TOKEN}"
`, o)
	var got []string
	for _, s := range g.Secrets {
		got = append(got, s.Reveal())
	}
	slices.Sort(got)
	want := []string{"literal", "s3cret-key", secretInEnv, secretInFile}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("secrets = %q, want %q", got, want)
	}
	if shown := fmt.Sprintf("%+v %v", g.Relay, g.Secrets); strings.Contains(shown, "s3cret") || strings.Contains(shown, "literal") {
		t.Errorf("printed: %s", shown)
	}
}

func TestHashOfARuleIsOfItsMeaning(t *testing.T) {
	const base = "rules: [{name: a, bucket: x, timeout: 60s, when: 'body.n == 1', actions: [{http: 'https://x.example/', json: {n: 1, t: '${env:CHAT_TOKEN}'}}]}]"
	hash := func(text string, o Options) string { return parse(t, text, o).Rules.Rules[0].Hash }
	o := testOptions(t)
	want := hash(base, o)
	other := o
	other.Getenv = func(name string) (string, bool) { return "another value", name == "CHAT_TOKEN" }
	same := []string{
		"# a comment\n" + strings.ReplaceAll(base, "60s", "1m"),
		strings.ReplaceAll(base, "bucket: x", "bucket: [x]"),
		"defaults: {timeout: 1m}\n" + strings.ReplaceAll(base, "timeout: 60s,", ""),
		strings.ReplaceAll(base, "when: 'body.n == 1'", "enabled: true, stop: false, when: \"body.n == 1\""),
	}
	for _, text := range same {
		if got := hash(text, o); got != want {
			t.Errorf("another hash for %s", text)
		}
	}
	if got := hash(base, other); got != want {
		t.Error("the hash depends on the value of a secret")
	}
	differ := []string{
		"defaults: {retry: {attempts: 2}}\n" + base,
		strings.ReplaceAll(base, "n: 1", "n: '1'"),
		strings.ReplaceAll(base, "== 1", "== 2"),
		strings.ReplaceAll(base, "bucket: x", "bucket: y"),
		strings.ReplaceAll(base, "60s", "61s"),
		strings.ReplaceAll(base, "bucket: x", "stop: true, bucket: x"),
		strings.ReplaceAll(base, "CHAT_TOKEN", "RELAY_KEY"),
	}
	for _, text := range differ {
		if got := hash(text, o); got == want {
			t.Errorf("the same hash for %s", text)
		}
	}
}

// TestKeyOfAnActionStays: a retry knows what it did already, whatever was edited
// around it.
func TestKeyOfAnActionStays(t *testing.T) {
	keys := func(actions ...string) []string {
		t.Helper()
		text := "rules: [{name: a, actions: [" + strings.Join(actions, ", ") + "]}]"
		var keys []string
		for _, s := range parse(t, text, testOptions(t)).Rules.Rules[0].Steps {
			keys = append(keys, s.Key)
		}
		return keys
	}
	const make, build, call = "{exec: [make]}", "{id: build, exec: [make]}", "{http: 'https://x.example/', headers: {A: '${env:CHAT_TOKEN}', B: b}}"
	before := keys(make, build, call, make, make)
	if before[1] != "id:build" || before[3] != before[0]+"#2" || before[4] != before[0]+"#3" {
		t.Errorf("keys = %q, want id:build, and those of equal actions numbered", before)
	}
	short := regexp.MustCompile("^do:[0-9a-f]{16}$")
	for _, i := range []int{0, 2} {
		if !short.MatchString(before[i]) {
			t.Errorf("key = %q, want a short hash", before[i])
		}
	}
	if got := keys("{exec: [echo]}", make, "{id: build, exec: [make, other]}", "{headers: {B: \"b\", A: '${env:CHAT_TOKEN}'}, http: https://x.example/}", make, make)[1:]; !slices.Equal(got, before) {
		t.Errorf("keys behind an action that was put before them = %q, want %q", got, before)
	}
	if got := keys("{exec: [make, clean]}"); got[0] == before[0] {
		t.Error("two different actions have one key")
	}
}

func TestRulesThatAreOffAreKnown(t *testing.T) {
	g := parse(t, "rules: [{name: a, enabled: false, bucket: x, actions: [{exec: [echo]}]}, {name: b, bucket: y, actions: [{exec: [echo]}]}]", testOptions(t))
	if off := g.Rules.Off; len(off) != 1 || off[0].Name != "a" || !slices.Equal(off[0].Buckets, []string{"x"}) {
		t.Errorf("rules that are off = %+v, want a with bucket x", off)
	}
	if !g.Rules.Known("x") || g.Rules.Known("z") || len(g.Rules.Rules) != 1 {
		t.Errorf("Known(x) = %v, Known(z) = %v, %d rules on", g.Rules.Known("x"), g.Rules.Known("z"), len(g.Rules.Rules))
	}
}

func TestRelayIsEncryptedUnlessItIsHere(t *testing.T) {
	tests := []struct {
		url  string
		good bool
	}{
		{"ws://relay.example/", false},
		{"WS://192.0.2.1:8080/", false},
		{"ws://localhost.example/", false},
		{"ws://LocalHost:8080/", true},
		{"ws://127.9.9.9/", true},
		{"ws://[::1]:8080/", true},
		{"WSS://relay.example/", true},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			text := "relay: {url: '" + tt.url + "', key: k, secret: s}\nrules: [{name: a, actions: [{exec: [echo]}]}]"
			got := problemsOf(t, text, testOptions(t))
			if tt.good != (got == "") || !tt.good && !strings.HasSuffix(got, " unencrypted") {
				t.Errorf("problems = %q", got)
			}
		})
	}
}

func TestDiff(t *testing.T) {
	o := testOptions(t)
	old := parse(t, "rules: [{name: a, actions: [{exec: [echo]}]}, {name: b, actions: [{exec: [echo]}]}, {name: c, actions: [{exec: [echo]}]}]", o)
	now := parse(t, "rules: [{name: d, actions: [{exec: [echo]}]}, {name: b, actions: [{exec: [make]}]}, {name: c, actions: [{exec: [echo]}]}]", o)
	added, changed, removed := Diff(old.Rules, now.Rules)
	if got := fmt.Sprint(added, changed, removed); got != "[d] [b] [a]" {
		t.Errorf("Diff = %s", got)
	}
	if added, changed, removed := Diff(nil, old.Rules); len(added) != 3 || changed != nil || removed != nil {
		t.Errorf("Diff from nothing = %s %s %s", added, changed, removed)
	}
}

func TestAFolderIsOneGeneration(t *testing.T) {
	o := testOptions(t)
	dir := filepath.Join(o.Dir, "rules")
	if err := os.MkdirAll(filepath.Join(dir, "sub.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	rule := func(name string) string { return "rules: [{name: " + name + ", actions: [{exec: [echo]}]}]\n" }
	for _, name := range []string{"b.yaml", "a.yml", ".hidden.yaml", "c.yaml~", "notes.txt"} {
		write(t, filepath.Join(dir, name), rule(strings.ReplaceAll(name, ".", "-")))
	}
	write(t, filepath.Join(dir, "base.yaml"), "defaults: {timeout: 7s}\n")
	write(t, filepath.Join(dir, "sub.yaml", "x.yaml"), rule("deeper"))

	g, problems := Load([]string{dir, filepath.Join(dir, "a.yml")}, o) // named twice, read once
	if g == nil {
		t.Fatal(problems)
	}
	if got := fmt.Sprint(names(g)); got != "[a-yml b-yaml]" {
		t.Errorf("rules = %s", got)
	}
	if got := g.Rules.Rules[0].Timeout; got != 7*time.Second {
		t.Errorf("timeout = %s, want the defaults of another file", got)
	}

	write(t, filepath.Join(dir, "z.yaml"), "defaults: {timeout: 8s}\n"+rule("b-yaml"))
	g, problems = Load([]string{dir}, o)
	want := `DIR/rules/z.yaml:1:11: defaults is set in DIR/rules/base.yaml:1 already
    hint: one file says it for all
DIR/rules/z.yaml:2:16: rule "b-yaml": the name is taken by the rule in DIR/rules/b.yaml:1
    hint: names are unique over all files
`
	if got := text(problems, o.Dir); g != nil || got != want {
		t.Errorf("problems = %s, want %s", got, want)
	}
}

func TestFilesThatCannotBeRead(t *testing.T) {
	o := testOptions(t)
	good := filepath.Join(o.Dir, "good.yaml")
	write(t, good, "rules: [{name: a, actions: [{exec: [echo]}]}]")
	write(t, filepath.Join(o.Dir, "large.yaml"), "#"+strings.Repeat("x", maxFile))
	tests := []struct {
		name  string
		paths []string
		want  string
	}{
		{"none", nil, "no rules file is given"},
		{"missing", []string{good, filepath.Join(o.Dir, "none.yaml")}, "DIR/none.yaml: no such file or folder"},
		{"folder without rules", []string{filepath.Join(o.Dir, "srv")}, "DIR/srv: the folder holds no *.yaml file"},
		{"too large", []string{filepath.Join(o.Dir, "large.yaml")}, "DIR/large.yaml: larger than 4096 KiB"},
		{"device", []string{os.DevNull}, os.DevNull + ": not a regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g, problems := Load(tt.paths, o)
			got, _, _ := strings.Cut(text(problems, o.Dir), "\n")
			if g != nil || got != tt.want {
				t.Errorf("problem = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestManyProblemsAreCut(t *testing.T) {
	text := "rules:\n" + strings.Repeat("  - nonsense\n", 150)
	_, problems := Parse([]File{{"rules.yaml", []byte(text)}}, testOptions(t))
	if len(problems) != maxProblems+1 || problems[maxProblems].Msg != "and 50 problems more" {
		t.Errorf("%d problems, the last: %s", len(problems), problems[len(problems)-1])
	}
}

func TestTenThousandRules(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("rules:\n")
	for i := range maxRules {
		fmt.Fprintf(&b, "  - name: rule %d\n    bucket: b%d\n    when: body.ref == \"refs/heads/%d\"\n    actions:\n      - exec: [make, \"{{ body.after }}\"]\n", i, i%100, i)
	}
	g := parse(t, b.String(), testOptions(t))
	if len(g.Rules.Rules) != maxRules || len(g.Relay.Buckets) != 100 {
		t.Errorf("%d rules, %d buckets", len(g.Rules.Rules), len(g.Relay.Buckets))
	}
	b.WriteString("  - {name: one more, actions: [{exec: [make]}]}\n")
	if got := problemsOf(t, b.String(), testOptions(t)); got != "rules.yaml:50002:5: more than 10000 rules" {
		t.Errorf("problems = %s", got)
	}
}

// TestBombsStaySmall loads files that stand for far more than they hold, and
// looks at what that takes of memory.
func TestBombsStaySmall(t *testing.T) {
	const most = 256 << 20
	laughs := "x-a: &a [" + strings.Repeat("1,", 1000) + "1]\n"
	for c := 'b'; c <= 'z'; c++ {
		laughs += fmt.Sprintf("x-%c: &%c [%s*%c]\n", c, c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 200), c-1)
	}
	tests := []struct{ name, text string }{
		{"billion laughs", laughs},
		{"merges", "x-a: &a {" + strings.Repeat("k: 1, ", 5000) + "l: 1}\nx-b:\n" + strings.Repeat("  - <<: *a\n", 50_000)},
		{"brackets", strings.Repeat("[", 1<<20)},
		{"dashes", strings.Repeat("- ", 1<<20)},
		{"mappings", strings.Repeat("{a: ", 1<<20)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			g, problems := Parse([]File{{"rules.yaml", []byte(tt.text)}}, o)
			runtime.ReadMemStats(&after)
			if g != nil || len(problems) == 0 {
				t.Fatal("it was taken")
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > most {
				t.Errorf("%d MiB allocated for %s, want at most %d", got>>20, problems[0], most>>20)
			}
		})
	}
}

func TestPlacesInScalars(t *testing.T) {
	// The place looked for is that of the X in the value.
	tests := []struct {
		name, text string
		line, col  int
	}{
		{"plain", "a: one X", 1, 8},
		{"after wide characters", "a: \"é… X\"", 1, 8},
		{"single quotes", "a: 'it''s X'", 1, 11},
		{"double quotes", `a: "\"\x41\u00e9\U0001F600\t\\ \n X"`, 1, 35},
		{"double quotes over lines", "a: \"one \\\n   two\n   X\"", 3, 4},
		{"plain over lines", "a: one\n  two\n\n  X", 4, 3},
		{"literal", "a: |\n  one\n    two X", 3, 9},
		{"literal with indicator and comment", "a: |2- # X\n   one\n  X", 3, 3},
		{"folded", "a: >\n  one\n  two\n\n  X", 5, 3},
		{"anchor and tag", "a: &X !!str one X", 1, 17},
		{"anchored literal", "a: &b |\n  one\n  X", 3, 3},
		{"windows line ends", "a: |\r\n  one\r\n  X\r\n", 3, 3},
		{"in brackets", "a: [b, {c: X}]", 1, 12},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			src, problem := newSource(File{"x", []byte(tt.text)})
			if problem != nil {
				t.Fatal(problem)
			}
			root, problem := src.parse(rulesKind())
			if problem != nil {
				t.Fatal(problem)
			}
			n := root
			for n.Kind != yaml.ScalarNode {
				n = n.Content[len(n.Content)-1]
			}
			line, col := src.inScalar(n, strings.Index(n.Value, "X"))
			if line != tt.line || col != tt.col {
				t.Errorf("place = %d:%d, want %d:%d", line, col, tt.line, tt.col)
			}
		})
	}
}

func FuzzRules(f *testing.F) {
	for _, pattern := range []string{"good", "bad"} {
		paths, _ := filepath.Glob(filepath.Join("..", "..", "testdata", "rules", pattern, "*.yaml"))
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	o := testOptions(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		g, problems := Parse([]File{{"rules.yaml", data}}, o)
		if failed(problems) != (g == nil) {
			t.Errorf("a generation: %v, with %v", g != nil, problems)
		}
		lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) + 1
		for _, p := range problems {
			if p.Line < 1 || p.Line > lines+bytes.Count(data, []byte{0xe2, 0x80})+bytes.Count(data, []byte{0xc2, 0x85}) || p.Col < 0 || p.Msg == "" {
				t.Errorf("a problem without a place: %+v", p)
			}
		}
	})
}

// TestBucketsThatChanged: the log tells of them, as of rules.
func TestBucketsThatChanged(t *testing.T) {
	load := func(buckets, secret string) *Generation {
		o := testOptions(t)
		o.Getenv = func(string) (string, bool) { return secret, true }
		return parse(t, "buckets: {"+buckets+"}\nrules: [{name: a, bucket: a, actions: [{exec: [make]}]}]", o)
	}
	before := load(`a: {verify: {scheme: github, secret: "${env:S}"}}, b: {verify: none}, c: {verify: none}`, "one")
	for _, tt := range []struct {
		buckets, secret string
		want            []string
	}{
		{`c: {verify: none}, b: {verify: none}, a: {verify: {secret: "${env:S}", scheme: github}}`, "one", nil},
		{`a: {verify: {scheme: github, secret: "${env:S}"}}, b: {verify: none}, c: {verify: none}`, "two", []string{"a"}},
		{`a: {verify: {scheme: gitea, secret: "${env:S}"}}, b: {verify: none}, d: {verify: none}`, "one", []string{"a", "c", "d"}},
	} {
		if got := DiffBuckets(before, load(tt.buckets, tt.secret)); !slices.Equal(got, tt.want) {
			t.Errorf("with %s and secret %s: %q, want %q", tt.buckets, tt.secret, got, tt.want)
		}
	}
}
