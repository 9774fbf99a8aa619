package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hookrun/engine/rules"
)

// completed are the lines that hookrun complete prints.
func completed(t *testing.T, args ...string) []string {
	t.Helper()
	var out, errs bytes.Buffer
	code := Main(t.Context(), append([]string{completeWord}, args...), Process{Stdout: &out, Stderr: &errs})
	if code != exitOK || errs.Len() > 0 {
		t.Errorf("complete %q: exit code %d, stderr %q; want 0 and nothing", args, code, errs.String())
	}
	if out.Len() == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// hostileNames are those of rules that a shell would make something else of.
func hostileNames() []string {
	return []string{
		"a b", `$(touch pwned)`, "`touch pwned`", `it's "quoted" \ and $HOME`, "a;touch pwned", "a&b|c>d<e", "*", "~root", "[a]{b,c}", "!x", "#y", "k=v: w", "größe",
	}
}

// withRules is a data folder in which rules of these names were in force.
func withRules(t *testing.T, names ...string) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("rules:\n")
	for _, name := range names {
		fmt.Fprintf(&text, "  - {name: %q, bucket: b, verify: none, actions: [{exec: [true]}]}\n", name)
	}
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(text.String())}}, rules.Options{})
	if g == nil {
		t.Fatalf("the rules have problems: %v", problems)
	}
	data := t.TempDir()
	if _, err := openArchive(data).Add(g, time.Now()); err != nil {
		t.Fatal(err)
	}
	return data
}

// everyCommand calls fn with each command, those behind words included.
func everyCommand(all []command, fn func(command)) {
	for _, c := range all {
		fn(c)
		everyCommand(behind(c), fn)
	}
}

func TestEachCommandTellsItsFlags(t *testing.T) {
	everyCommand(commands(), func(c command) {
		told := 0
		p := Process{Stdin: strings.NewReader(""), Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}, tell: func(*flag.FlagSet) { told++ }}
		if err := c.run(t.Context(), p, c, nil); err != flag.ErrHelp || told != 1 {
			t.Errorf("hookrun %s tells its flags %d times and returns %v; want once, and nothing done", c.name, told, err)
		}
	})
}

func TestEachCommandIsCompleted(t *testing.T) {
	everyCommand(commands(), func(c command) {
		words := strings.Fields(c.name)
		last := words[len(words)-1]
		got := completed(t, append([]string{"--"}, words...)...)
		if !slices.ContainsFunc(got, func(l string) bool { return strings.HasPrefix(l, last+"\t") && len(l) > len(last)+1 }) {
			t.Errorf("complete %q = %q, want %s and what it is", words, got, last)
		}
	})
}

func TestCompletion(t *testing.T) {
	data := withRules(t, "deploy main", "deploy docs", "heal")
	for _, tt := range []struct {
		name  string
		words []string
		want  []string // without what is said of them
	}{
		{"a command", []string{"run"}, []string{"run", "runs"}},
		{"a word behind it", []string{"runs", "re"}, []string{"retry", "release"}},
		{"a command that is none", []string{"rns", "re"}, nil},
		{"flags of the command without a name", []string{"-on"}, []string{"-on-corrupt"}},
		{"flags of a word", []string{"runs", "logs", "-f"}, []string{"-f"}},
		{"flags with two dashes", []string{"runs", "--sta"}, []string{"--state"}},
		{"the value of a flag", []string{"runs", "-state", "fai"}, []string{"failed"}},
		{"the last of several", []string{"runs", "-state", "done,fai"}, []string{"done,failed"}},
		{"behind an equals sign", []string{"runs", "-state=fai"}, []string{"-state=failed"}},
		{"a switch has no value", []string{"runs", "-json", "sh"}, []string{"show"}},
		{"a flag with its value", []string{"runs", "-limit", "5", "sh"}, []string{"show"}},
		{"a time", []string{"runs", "-since", "2"}, []string{"24h"}},
		{"rules of the data folder", []string{"pause", "-data", data, "de"}, []string{"deploy docs", "deploy main"}},
		{"the folder may stand behind an equals sign", []string{"pause", "-data=" + data, "he"}, []string{"heal"}},
		{"one rule is enough", []string{"pause", "-data", data, "heal", "de"}, nil},
		{"a rule in an open quote", []string{"pause", "-data", data, `"deploy m`}, []string{"deploy main"}},
		{"a rule as a flag", []string{"runs", "-data", data, "-rule", "h"}, []string{"heal"}},
		{"buckets", []string{"events", "-data", data, "-bucket", ""}, []string{"b"}},
		{"a relay's buckets are others", []string{"relay", "logs", "-bucket", ""}, nil},
		{"generations", []string{"rollback", "-data", data, ""}, []string{"1"}},
		{"what can be printed", []string{"print", ""}, []string{"schema", "grafana", "alerts", "openapi", "completion"}},
		{"its second word", []string{"print", "completion", "z"}, []string{"zsh"}},
		{"nothing behind the first", []string{"print", "schema", ""}, nil},
		{"ids of no store", []string{"runs", "show", "-data", data, ""}, nil},
		{"help", []string{"help", "vers"}, []string{"version"}},
		{"files are the shell's", []string{"check", "-rules", "ru"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, line := range completed(t, append([]string{"--"}, tt.words...)...) {
				text, _, _ := strings.Cut(line, "\t")
				got = append(got, text)
			}
			slices.Sort(got)
			slices.Sort(tt.want)
			if !slices.Equal(got, tt.want) {
				t.Errorf("complete %q = %q, want %q", tt.words, got, tt.want)
			}
		})
	}
}

func TestNamesThatATerminalWouldObeyAreLeftOut(t *testing.T) {
	data := withRules(t, "right\u202eto left", "plain")
	if got := completed(t, "--", "pause", "-data", data, ""); !slices.Equal(got, []string{"plain\t"}) {
		t.Errorf("complete = %q, want the plain one alone", got)
	}
}

// shell is a program of the shell, or skips the test.
func shell(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed", name)
	}
	return path
}

// inShell runs a script in a shell that knows hookrun and its completion, and
// returns the lines that it prints.
func inShell(t *testing.T, program, script string, args ...string) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, slices.Concat([]string{"-c", script}, args)...)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "HOME="+cmd.Dir, "XDG_CONFIG_HOME="+cmd.Dir, "XDG_DATA_HOME="+cmd.Dir,
		"PATH="+filepath.Dir(builtBinary)+string(os.PathListSeparator)+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
	if left, _ := filepath.Glob(filepath.Join(cmd.Dir, "pwned")); left != nil {
		t.Error("a name was run as a command")
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// TestBashCompletes has bash read what it completed: each name is one word again,
// and nothing of it is run.
func TestBashCompletes(t *testing.T) {
	bash := shell(t, "bash")
	names := hostileNames()
	data := withRules(t, names...)
	slices.Sort(names)
	for _, tt := range []struct{ name, open, end string }{
		{"no quotes", ``, ``}, {"double quotes", `"`, `"`}, {"single quotes", `'`, `'`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const script = `source <(hookrun print completion bash)
COMP_WORDS=(hookrun pause -data "$0" "$1") COMP_CWORD=4
_hookrun hookrun "$1" "$0"
for word in "${COMPREPLY[@]}"; do eval "printf '%s\n' $1$word$2"; done`
			got := inShell(t, bash, script, data, tt.open, tt.end)
			if slices.Sort(got); !slices.Equal(got, names) {
				t.Errorf("bash has the words %q, want %q", got, names)
			}
		})
	}
}

func TestFishCompletes(t *testing.T) {
	fish := shell(t, "fish")
	names := hostileNames()
	data := withRules(t, names...)
	got := inShell(t, fish, `hookrun print completion fish | source; complete -C "hookrun pause -data $argv[1] "`, data)
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], "\t")
	}
	slices.Sort(names)
	if slices.Sort(got); !slices.Equal(got, names) {
		t.Errorf("fish completes %q, want %q", got, names)
	}
}

// TestZshCompletes has stand-ins for what zsh has only while a key is pressed.
func TestZshCompletes(t *testing.T) {
	zsh := shell(t, "zsh")
	names := hostileNames()
	data := withRules(t, names...)
	got := inShell(t, zsh, `compdef() { :; }
compadd() { print -rl -- "${texts[@]}"; }
source <(hookrun print completion zsh)
words=(hookrun pause -data "$1" "")
CURRENT=5
_hookrun`, "zsh", data)
	slices.Sort(names)
	if slices.Sort(got); !slices.Equal(got, names) {
		t.Errorf("zsh completes %q, want %q", got, names)
	}
}
