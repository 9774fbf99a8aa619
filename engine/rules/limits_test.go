package rules

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"hookrun/actions"
	"hookrun/engine"
)

func TestBoundsAreWhatTheFileSays(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("memory is bounded on Linux alone")
	}
	data, err := os.ReadFile(filepath.Join("..", "..", "testdata", "rules", "good", "limits.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	r := parse(t, string(data), testOptions(t)).Rules.Rule("deploy")
	x := r.Steps[0].Action.(*actions.Exec)
	if want := (actions.Limits{CPU: 30 * time.Second, Memory: 512 << 20, Files: 256, Output: 10 << 20}); x.Bounds.Limits != want {
		t.Errorf("limits = %+v, want %+v", x.Bounds.Limits, want)
	}
	if x.Bounds.Umask == nil || *x.Bounds.Umask != fs.FileMode(0o027) || x.Bounds.RunAs != nil {
		t.Errorf("umask %v, run_as %v, want 027 and none", x.Bounds.Umask, x.Bounds.RunAs)
	}
	s := r.Steps[1].Action.(*actions.Shell)
	if s.Bounds.Umask == nil || *s.Bounds.Umask != fs.FileMode(0o077) || s.Bounds.Limits != (actions.Limits{Output: 1 << 30}) || !s.Detach {
		t.Errorf("shell = %+v, want umask 077, output 1 GiB and detach", s)
	}
}

// TestWhatARetryKnowsAnActionBy: with a higher limit it is the same action, as
// another user another one.
func TestWhatARetryKnowsAnActionBy(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("not on Windows")
	}
	key := func(keys string) string {
		g := parse(t, "rules: [{name: deploy, actions: [{exec: [make]"+keys+"}]}]", testOptions(t))
		return g.Rules.Rules[0].Steps[0].Key
	}
	if key("") != key(", limits: {cpu: 1m}") {
		t.Error("a limit makes another action of it")
	}
	if key("") == key(", umask: '077'") {
		t.Error("another umask is the same action")
	}
}

func TestHTTPAllowIsPartOfTheRules(t *testing.T) {
	hash := func(top, keys string) string {
		g := parse(t, top+"\nrules: [{name: tell, actions: [{http: 'https://{{ body.host }}/'"+keys+"}]}]", testOptions(t))
		return g.Rules.Rules[0].Hash
	}
	seen := map[string]string{}
	for _, tt := range []struct{ top, keys string }{{"", ""}, {"http_allow: [app]", ""}, {"http_allow: [app, 10.0.0.0/8]", ""}, {"", ", http_allow: app"}} {
		h := hash(tt.top, tt.keys)
		if other, ok := seen[h]; ok {
			t.Errorf("rules with %q have the hash of those with %q", tt, other)
		}
		seen[h] = tt.top + tt.keys
	}
	g := parse(t, "http_allow: [app]\nrules: [{name: tell, actions: [{http: 'https://{{ body.host }}/', http_allow: [10.0.0.0/8]}]}]", testOptions(t))
	if allow := g.Rules.Rules[0].Steps[0].Action.(*actions.HTTP).Allow; len(allow) != 2 {
		t.Errorf("allowed: %+v, want what the file and the action say", allow)
	}
}

// TestPatternsDoNotBacktrack: what keeps other engines busy for years comes to an
// end, in a pattern of the rule and in one of the event.
func TestPatternsDoNotBacktrack(t *testing.T) {
	text := strings.Repeat("a", 100_000) + "!"
	for _, pattern := range []string{`^(a+)+$`, `^(a|aa)+$`, `^(a|a?)+$`, `(.*a){20}$`, `^([a-zA-Z]+)*$`, `(x+x+)+y`} {
		for _, when := range []string{"body.t matches '" + pattern + "'", "body.t matches body.p"} {
			g := parse(t, fmt.Sprintf("rules: [{name: r, verify: none, when: %q, actions: [{exec: [make]}]}]", when), testOptions(t))
			body, err := json.Marshal(map[string]string{"t": text, "p": pattern})
			if err != nil {
				t.Fatal(err)
			}
			verdicts, _ := g.Rules.Match(engine.NewScope(&engine.Event{Bucket: "b", Method: "POST", Body: body}), nil)
			if len(verdicts) != 1 || verdicts[0].Outcome == engine.Errored || verdicts[0].Outcome == engine.Matched && !strings.Contains(pattern, "x") && pattern != `(.*a){20}$` {
				t.Errorf("%s with %s: %+v, want no match", when, pattern, verdicts)
			}
		}
	}
}
