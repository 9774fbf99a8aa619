//go:build unix

package cli

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// recipe is what the README says of one sender.
type recipe struct{ name, rules, line string }

// recipes reads the README's chapter of that name.
func recipes(t *testing.T) []recipe {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, chapter, _ := strings.Cut(string(text), "\n## Recipes\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	var all []recipe
	for _, m := range regexp.MustCompile("(?s)\n### ([^\n]*)\n.*?\n```yaml\n(.*?)```.*?\n```sh\n(.*?)\n```").FindAllStringSubmatch(chapter, -1) {
		all = append(all, recipe{name: m[1], rules: m[2], line: m[3]})
	}
	return all
}

// TestRecipesWork does for each recipe of the README what its reader would:
// starts hookrun with the rules, and sends the event with the line below them.
func TestRecipesWork(t *testing.T) {
	const text = "It's a Secret to Everybody"
	tests := []struct {
		name          string
		secret, wrong string
		rule          string
		file, want    string // what the rule leaves; a program leaves its arguments
	}{
		{"GitHub", text, "another", "deploy main", "deploy.ran", "<--><acme/widget><e0a741142facf77112a5d39017176b6d37cda7ff>"},
		{"GitLab", text, "another", "release", "release.ran", "<--><e0a741142facf77112a5d39017176b6d37cda7ff><John Smith>"},
		{"Gitea", text, "another", "deploy main", "deploy.ran", "<--><acme/widget><e0a741142facf77112a5d39017176b6d37cda7ff>"},
		{"Stripe", "whsec_a1b2c3d4", "a1b2c3d4", "book it", "paid/evt_1QwidgetAcme0000000001.txt", "order-1207 4998\n"},
		{"Slack", text, "another", "deploy on command", "deploy.ran", `<--><widget main --force; echo "no shell">`},
		{"Alertmanager", text, "another", "heal", "heal.ran", "<--><web-1.example.com:9100><97% of / on web-1.example.com:9100 is used & growing>"},
		{"Docker Hub", text, "another", "pull", "pull.ran", "<--><acme/widget><prod>"},
		{"Standard Webhooks", "whsec_SXQncyBhIFNlY3JldCB0byBFdmVyeWJvZHk=", "whsec_YSBzZWNyZXQgdGhhdCBub2JvZHkga25vd3M=", "invoice paid", "paid.ran", "<--><inv_1207>"},
	}
	all := recipes(t)
	if len(all) != len(tests) {
		t.Errorf("the README has %d recipes, the table %d", len(all), len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			i := slices.IndexFunc(all, func(r recipe) bool { return r.name == tt.name })
			if i < 0 {
				t.Fatal("the README has no such recipe")
			}
			tr := newTrial(t, all[i], tt.secret, tt.wrong)
			if code, _, stderr := tr.command("check", "-rules", "rules.yaml"); code != exitOK || stderr != "" {
				t.Errorf("hookrun check = %d, says %s, want nothing", code, stderr)
			}
			if code, _, stderr := tr.send("wrong.yaml"); code != exitFailed || !strings.Contains(stderr, "401 Unauthorized: not verified") {
				t.Errorf("sent with a wrong secret: exit code %d, %s, want 401", code, stderr)
			}
			if code, out, stderr := tr.send("rules.yaml"); code != exitOK {
				t.Fatalf("sent with the right secret: exit code %d, %s%s", code, out, stderr)
			}
			tr.log.await(t, `run done .*rule="?`+tt.rule+`"? `)
			if _, out, _ := tr.command("runs", "-data", "data", "-rule", tt.rule, "-json"); strings.Count(out, "\n") != 1 || !strings.Contains(out, `"state":"done"`) {
				t.Errorf("runs of %q are\n%swant one, done", tt.rule, out)
			}
			if got, err := os.ReadFile(tt.file); string(got) != tt.want {
				t.Errorf("%s holds %q, %v, want %q", tt.file, got, err, tt.want)
			}
			if _, out, _ := tr.command("rejected", "-data", "data", "-json"); strings.Count(out, "\n") != 1 {
				t.Errorf("rejected are\n%swant one", out)
			}
		})
	}
}

// trial is a folder in which a recipe is tried, and the hookrun that runs in
// it.
type trial struct {
	t    *testing.T
	line []string // to send the event with
	log  *spool
}

func newTrial(t *testing.T, r recipe, secret, wrong string) *trial {
	t.Helper()
	events, err := filepath.Abs(filepath.Join(root, "testdata"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	text := strings.ReplaceAll(r.rules, "every: 20s", "every: 100ms") // nothing more comes here
	write(t, "rules.yaml", text, 0o600)
	write(t, "wrong.yaml", strings.ReplaceAll(text, "${env:", "${env:WRONG_"), 0o600)
	for _, m := range regexp.MustCompile(`\$\{env:(\w+)\}`).FindAllStringSubmatch(text, -1) {
		t.Setenv(m[1], secret)
		t.Setenv("WRONG_"+m[1], wrong)
	}
	for _, m := range regexp.MustCompile(`\[\./(\w+),`).FindAllStringSubmatch(text, -1) {
		write(t, m[1], "#!/bin/sh\nprintf '<%s>' \"$@\" >>\"$0.ran\"\n", 0o700)
	}
	tr := &trial{t: t, log: newSpool()}
	tr.start()
	address := tr.log.await(t, `listening address=(\S+)`)[1]
	line := strings.ReplaceAll(r.line, "@testdata", "@"+events)
	tr.line = append(strings.Fields(line)[1:], "-to", "http://"+address)
	return tr
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// start runs hookrun until the test ends.
func (tr *trial) start() {
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		args := []string{"-rules", "rules.yaml", "-data", "data", "-listen", "127.0.0.1:0"}
		if code := Main(ctx, args, Process{Stdout: io.Discard, Stderr: tr.log}); code != exitOK {
			tr.t.Errorf("hookrun ended with exit code %d:\n%s", code, tr.log)
		}
	})
	tr.t.Cleanup(func() {
		stop()
		wg.Wait()
	})
}

// send plays the recipe's line, signed as these rules say.
func (tr *trial) send(rules string) (code int, stdout, stderr string) {
	args := slices.Clone(tr.line)
	args[slices.Index(args, "rules.yaml")] = rules
	return tr.command(args...)
}

func (tr *trial) command(args ...string) (code int, stdout, stderr string) {
	var out, errs strings.Builder
	code = Main(tr.t.Context(), args, Process{Stdout: &out, Stderr: &errs})
	return code, out.String(), errs.String()
}

// spool is a log that can be waited for.
type spool struct {
	more chan struct{} // holds a token when there is more; never closed

	mu   sync.Mutex // guards text
	text strings.Builder
}

func newSpool() *spool { return &spool{more: make(chan struct{}, 1)} }

// Write implements io.Writer.
func (s *spool) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.more <- struct{}{}:
	default:
	}
	return s.text.Write(p)
}

// String is what was written until now.
func (s *spool) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// await waits for a line that matches, and returns it with its groups.
func (s *spool) await(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		if m := re.FindStringSubmatch(s.String()); m != nil {
			return m
		}
		select {
		case <-s.more:
		case <-deadline.C:
			t.Fatalf("%q does not come in the log:\n%s", pattern, s)
		}
	}
}
