package actions

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"hookrun/engine"
)

// hostile returns values that have broken programs like this one. marker is a
// file that one of them would make if anything took it for code.
func hostile(marker string) []string {
	touch := "touch " + marker
	return []string{
		"$(" + touch + ")", "`" + touch + "`", "; " + touch, "&& " + touch, "|| " + touch, "| " + touch,
		"& " + touch + " &", "\n" + touch + "\n", "\r\n" + touch, "';" + touch + ";'", `";` + touch + `;"`,
		`'"; ` + touch + ` #`, "$((1+$(" + touch + ")))", "${IFS}$(" + touch + ")", `zzz";` + strings.ReplaceAll(touch, " ", "${IFS}") + `;#`,
		"<(" + touch + ")", ">(" + touch + ")", "> " + marker, ">> " + marker, "2> " + marker, "< /etc/passwd",
		"%0a" + touch, "\\n" + touch, "\\$(" + touch + ")", "$'\\x60" + touch + "\\x60'", "!" + touch, "!!", "^a^b^",
		"() { :;}; " + touch, "{{ raw }}", "{{ 1 + 1 }}", "${env:RELAY_KEY}", "${file:/etc/passwd}", "$${env:X}", "{{", "}}", "${",
		"-oProxyCommand=" + touch, "--upload-pack=" + touch, "--config=alias.x=!" + touch, "-", "--", "---", "-c" + touch, "--exec=" + touch, "-\n", "–-x",
		"$HOME", "%PATH%", "%COMSPEC%", "~", "~root", "*", "?", "[a-z]*", "{a,b}", "#", "\\", "\\\\", "'", `"`, `\"`, `"" ""`, "a b  c", " ", "\t", "\n", "\r", "\x01\x02\x1b[31m", "\x7f",
		"../../etc/passwd", "/etc/passwd", "file:///etc/passwd", "@/etc/passwd", "", "null", "a=b", "=", "LD_PRELOAD=/tmp/x.so",
		"grüße 世界 🚀 \u202egnp", "e\u0301 \u00e9 \ufeff\u200b\u2028", "\xff\xfe not utf-8 \x80", strings.Repeat("A", 100<<10), strings.Repeat("é\n'", 20<<10),
	}
}

func TestValuesReachACommandAsTheyAre(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	payloads := hostile(marker)
	if len(payloads) < 60 {
		t.Fatalf("only %d payloads", len(payloads))
	}
	for _, detach := range []bool{false, true} {
		for _, p := range payloads {
			if runtime.GOOS == "windows" && (detach || len(p) > 30<<10 || strings.Contains(p, "\xff")) {
				continue // beyond what the system itself can pass on
			}
			e := Exec{
				Args:   append(argv(t, "a{{ raw }}z", "--", "{{ raw }}"), Arg{Text: text(t, "{{ raw }}"), Dash: true}),
				Env:    []Var{{"VALUE", text(t, "{{ raw }}")}},
				Stdin:  text(t, "{{ raw }}"),
				Detach: detach,
			}
			r := newRun(p)
			r.in.DetachDir = t.TempDir()
			g := probeWith(t, e, r)
			for i, want := range []string{"a" + p + "z", "--", p, p} {
				if len(g.Args) != 4 || string(g.Args[i]) != want {
					t.Errorf("%.60q: arguments %.200q, want %.60q at %d", p, g.Args, want, i)
				}
			}
			if got := g.env("VALUE"); got != p {
				t.Errorf("environment holds %.60q, want %.60q", got, p)
			}
			if got := string(g.Stdin); got != p {
				t.Errorf("stdin holds %.60q, want %.60q", got, p)
			}
			if got := string(g.Body); got != p {
				t.Errorf("body file holds %.60q, want %.60q", got, p)
			}
		}
	}
	if _, err := os.Stat(marker); !os.IsNotExist(err) {
		t.Errorf("a value was taken for code: marker: %v", err)
	}
}

func FuzzArgv(f *testing.F) {
	for _, p := range hostile("marker") {
		f.Add([]byte(p))
	}
	f.Add([]byte("a\x00b"))
	e := Exec{
		Args:  append(argv(f, "prog", "--x={{ raw }}", "--", "{{ raw }}"), Arg{Text: text(f, "{{ raw }}"), Dash: true}),
		Env:   []Var{{"VALUE", text(f, "{{ raw }}")}},
		Stdin: text(f, "{{ raw }}"),
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := e.render(newRun(string(value)).in)
		if bytes.IndexByte(value, 0) >= 0 || len(value)+len("VALUE=") > maxArg {
			if !engine.IsPermanent(err) {
				t.Fatalf("no permanent error for a value that can't be passed: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"prog", "--x=" + string(value), "--", string(value), string(value)}
		if strings.Join(c.argv, "\x00") != strings.Join(want, "\x00") {
			t.Errorf("argv %q, want %q", c.argv, want)
		}
		if got := lastEnv(c.env, "VALUE"); got != string(value) {
			t.Errorf("VALUE is %q, want %q", got, value)
		}
		if *c.stdin != string(value) {
			t.Errorf("stdin is %q, want %q", *c.stdin, value)
		}
	})
}

func lastEnv(env []string, name string) string {
	value := ""
	for _, v := range env {
		if s, ok := strings.CutPrefix(v, name+"="); ok {
			value = s
		}
	}
	return value
}

func TestOptionFromOutside(t *testing.T) {
	const dashed = "-oProxyCommand=touch /tmp/x"
	const refused = `argument 1 begins with "-", as an option does; put "--" before it, or write {value: …, dash: allow}`
	tests := []struct {
		name string
		args []Arg
		body string
		want string // the error; "": allowed
	}{
		{"bare", argv(t, "ssh", "{{ raw }}"), dashed, refused},
		{"with a tail", argv(t, "ssh", "{{ raw }}.git"), dashed, refused},
		{"empty value before a literal dash", argv(t, "ssh", "{{ raw }}-x"), "", refused},
		{"the -- comes later", argv(t, "ssh", "{{ raw }}", "--"), dashed, refused},
		{"the -- comes from outside", argv(t, "ssh", "{{ raw }}", "{{ raw }}"), "--", refused},
		{"behind --", argv(t, "ssh", "--", "{{ raw }}"), dashed, ""},
		{"dash allowed", []Arg{{Text: text(t, "ssh")}, {Text: text(t, "{{ raw }}"), Dash: true}}, dashed, ""},
		{"behind a literal", argv(t, "ssh", "REF={{ raw }}"), dashed, ""},
		{"the rule's own option", argv(t, "ssh", "-o{{ raw }}"), dashed, ""},
		{"no dash", argv(t, "ssh", "{{ raw }}"), "main", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Exec{Args: tt.args}.render(newRun(tt.body).in)
			if tt.want != "" {
				wantPermanent(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestRenderingErrors(t *testing.T) {
	big := strings.Repeat("x", 2<<20)
	fits := strings.Repeat("x", 128<<10-1)
	const hint = "more than the 131071 that the system takes; pass it through stdin: or read the file named in HOOKRUN_BODY_FILE"
	tests := []struct {
		name   string
		action interface {
			render(engine.Input) (command, error)
		}
		body string
		want string // "": none
	}{
		{"2 MB argument", Exec{Args: argv(t, "echo", "x", "{{ raw }}")}, big, "argument 2 has 2097152 bytes, " + hint},
		{"2 MB in the environment", Exec{Args: argv(t, "echo"), Env: []Var{{"SHA", text(t, "{{ raw }}")}}}, big, "env SHA has 2097156 bytes, " + hint},
		{"an argument that just fits", Exec{Args: argv(t, "echo", "{{ raw }}")}, fits, ""},
		{"one byte more", Exec{Args: argv(t, "echo", "{{ raw }}")}, fits + "x", "argument 1 has 131072 bytes, " + hint},
		{"a variable that just fits", Exec{Args: argv(t, "echo"), Env: []Var{{"A", text(t, "{{ raw }}")}}}, fits[2:], ""},
		{"a variable with a byte more", Exec{Args: argv(t, "echo"), Env: []Var{{"A", text(t, "{{ raw }}")}}}, fits[1:], "env A has 131072 bytes, " + hint},
		{"2 MB on stdin", Exec{Args: argv(t, "echo"), Stdin: text(t, "{{ raw }}")}, big, ""},
		{"NUL in an argument", Exec{Args: argv(t, "echo", "{{ raw }}")}, "a\x00b", "argument 1 holds a NUL byte; pass it through stdin: or read the file named in HOOKRUN_BODY_FILE"},
		{"NUL in the environment", Shell{Script: "true", Env: []Var{{"A", text(t, "{{ raw }}")}}}, "a\x00b", "env A holds a NUL byte; pass it through stdin: or read the file named in HOOKRUN_BODY_FILE"},
		{"NUL in dir", Exec{Args: argv(t, "echo"), Dir: text(t, "/srv/{{ raw }}")}, "a\x00b", "dir holds a NUL byte"},
		{"variable without a name", Exec{Args: argv(t, "echo"), Env: []Var{{"A=B", text(t, "x")}}}, "", `env: "A=B" is not the name of a variable`},
		{"no program", Exec{}, "", "exec: no program"},
		{"long script", Shell{Script: big}, "", "the script has 2097152 bytes, more than the 131071 that the system takes; put it in a file and run that"},
		{"dir leads out", Exec{Args: argv(t, "echo"), Dir: text(t, "/srv/apps/{{ raw }}")}, "../../etc", `dir: what the event makes of it is not below the folder that the rule names ("/srv/apps/")`},
		{"dir from a longer name", Exec{Args: argv(t, "echo"), Dir: text(t, "/srv/app-{{ raw }}")}, "x/../../etc", `dir: what the event makes of it is not below the folder that the rule names ("/srv/")`},
		{"dir is all from outside", Exec{Args: argv(t, "echo"), Dir: text(t, "{{ raw }}")}, "etc", `dir: what the event makes of it is not below the folder that the rule names ("")`},
		{"dir is the named folder itself", Exec{Args: argv(t, "echo"), Dir: text(t, "/srv/apps/{{ raw }}")}, "", `dir: what the event makes of it is not below the folder that the rule names ("/srv/apps/")`},
		{"program leads out", Exec{Args: argv(t, "/srv/hooks/{{ raw }}")}, "../../bin/sh", `the program: what the event makes of it is not below the folder that the rule names ("/srv/hooks/")`},
		{"program is all from outside", Exec{Args: argv(t, "{{ raw }}")}, "sh", `the program: what the event makes of it is not below the folder that the rule names ("")`},
		{"dir below", Exec{Args: argv(t, "echo"), Dir: text(t, "/srv/apps/{{ raw }}")}, "shop/v2", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.action.render(newRun(tt.body).in)
			if tt.want != "" {
				wantPermanent(t, err, tt.want)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestFailedTemplateNamesItsField(t *testing.T) {
	nothing := text(t, "{{ body.nothing }}")
	_, cause := nothing.Render(newRun(`{}`).in.Scope)
	tests := []struct {
		field  string
		action engine.Action
	}{
		{"the program", Exec{Args: []Arg{{Text: nothing}}}},
		{"argument 1", Exec{Args: []Arg{{Text: text(t, "echo")}, {Text: nothing}}}},
		{"dir", Exec{Args: argv(t, "echo"), Dir: nothing}},
		{"env SHA", Exec{Args: argv(t, "echo"), Env: []Var{{"SHA", nothing}}}},
		{"env SHA", Shell{Script: "true", Env: []Var{{"SHA", nothing}}}},
		{"stdin", Shell{Script: "true", Stdin: nothing}},
		{"file", File{Path: nothing, Content: text(t, "x"), Roots: []string{t.TempDir()}}},
		{"content", File{Path: text(t, "x"), Content: nothing, Roots: []string{t.TempDir()}}},
		{"http", HTTP{URL: text(t, "http://127.0.0.1/{{ body.nothing }}")}},
		{"header X-A", HTTP{URL: text(t, "http://127.0.0.1/"), Header: []Var{{"X-A", nothing}}}},
		{"body", HTTP{URL: text(t, "http://127.0.0.1/"), Body: nothing}},
		{"json.list[1].text", HTTP{URL: text(t, "http://127.0.0.1/"), JSON: map[string]any{"list": []any{1, map[string]any{"text": nothing}}}}},
	}
	for _, tt := range tests {
		t.Run(tt.action.Kind()+" "+tt.field, func(t *testing.T) {
			_, err := tt.action.Do(t.Context(), newRun(`{}`).in)
			wantPermanent(t, err, fmt.Sprintf("%s: %v", tt.field, cause))
			if e, ok := errors.AsType[*engine.EvalError](err); !ok || e.Hint == "" {
				t.Errorf("got %v, want the template's own error with its hint", err)
			}
		})
	}
}

func TestEnvironmentIsClean(t *testing.T) {
	for _, name := range []string{"RELAY_KEY", "RELAY_SECRET", "NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "INVOCATION_ID", "CREDENTIALS_DIRECTORY", "DATABASE_URL", "LD_LIBRARY_PATH", bodyFile} {
		t.Setenv(name, "canary")
	}
	t.Setenv("LANG", "")
	t.Setenv("TZ", "")
	r := newRun(`{"after": "0a1b2c"}`)
	g := probeWith(t, Exec{Env: []Var{
		{"SHA", text(t, "{{ body.after }}")}, {"TOKEN", text(t, "${env:TOKEN}")},
		{"HOOKRUN_RUN_ID", text(t, "of the rule")}, // does not count
	}}, r)
	want := map[string]string{
		"HOOKRUN_EVENT_ID": "ev1", "HOOKRUN_RUN_ID": "run1", "HOOKRUN_RULE": "deploy main", "HOOKRUN_BUCKET": "deploys",
		"HOOKRUN_ATTEMPT": "2", "HOOKRUN_STEP": "build", "SHA": "0a1b2c", "TOKEN": "secret-TOKEN", "LANG": "C.UTF-8", "PATH": os.Getenv("PATH"),
	}
	for name, value := range want {
		if got := g.env(name); got != value {
			t.Errorf("%s is %q, want %q", name, got, value)
		}
	}
	known := map[string]bool{probeVar: true, "GORACE": true, bodyFile: true, "TZ": false, "SYSTEMROOT": true, "GOCOVERDIR": true}
	for _, v := range g.Env {
		name, value, _ := bytes.Cut(v, []byte("="))
		_, given := want[string(name)]
		inherits := strings.Contains(" "+strings.Join(inherited, " ")+" ", " "+string(name)+" ")
		if !given && !inherits && !known[string(name)] {
			t.Errorf("the command got %s, which nobody gave it", v)
		}
		if bytes.Contains(value, []byte("canary")) || string(name) == "TZ" {
			t.Errorf("the command got %s", v)
		}
	}
	if _, err := os.Stat(g.env(bodyFile)); !os.IsNotExist(err) {
		t.Errorf("the body's file after the step: %v, want it gone", err)
	}
	if runtime.GOOS != "windows" && g.BodyMode != 0o600 {
		t.Errorf("the body's file had mode %v, want -rw-------", g.BodyMode)
	}
}

func TestBodyFileIsRemovedWhenNothingStarts(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	_, err := Exec{Args: argv(t, "no-such-program")}.Do(t.Context(), newRun("x").in)
	wantPermanent(t, err, `program "no-such-program" is not in PATH`)
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "hookrun-body-*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestMissingTempDir(t *testing.T) {
	r := newRun("x")
	r.in.TempDir = filepath.Join(t.TempDir(), "none")
	_, err := Exec{Args: argv(t, "true")}.Do(t.Context(), r.in)
	wantRetryable(t, err, "make the file for HOOKRUN_BODY_FILE in "+r.in.TempDir+": "+bare(statError(r.in.TempDir)).Error())
}

// statError returns what the system says of a path that is not there.
func statError(path string) error {
	_, err := os.Stat(path)
	return err
}

// TestErrorsTellNoValues: errors get into the log, values of an event must not.
func TestErrorsTellNoValues(t *testing.T) {
	folder := filepath.ToSlash(t.TempDir()) + "/"
	value := text(t, "{{ raw }}")
	tests := []struct {
		name   string
		action engine.Action
		before string // what the canary follows
	}{
		{"option", Exec{Args: []Arg{{Text: text(t, "true")}, {Text: value}}}, "-"},
		{"long argument", Exec{Args: []Arg{{Text: text(t, "true")}, {Text: value}}}, strings.Repeat("x", 128<<10)},
		{"NUL in an argument", Exec{Args: []Arg{{Text: text(t, "true")}, {Text: value}}}, "\x00"},
		{"long variable", Exec{Args: argv(t, "true"), Env: []Var{{"A", value}}}, strings.Repeat("x", 128<<10)},
		{"NUL in a variable", Shell{Script: "true", Env: []Var{{"A", value}}}, "\x00"},
		{"program that leads out", Exec{Args: argv(t, "/srv/{{ raw }}")}, "../"},
		{"program that is not there", Exec{Args: argv(t, folder+"{{ raw }}")}, ""},
		{"dir that leads out", Exec{Args: argv(t, "true"), Dir: text(t, "/srv/{{ raw }}")}, "../"},
		{"header", HTTP{URL: text(t, "http://127.0.0.1/"), Header: []Var{{"X-A", value}}}, "\n"},
		{"path of a URL", HTTP{URL: text(t, "http://127.0.0.1/{{ raw }}")}, "../"},
		{"host of a URL", HTTP{URL: text(t, "http://{{ raw }}/"), Client: client(t), resolver: names(nil)}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := tt.action.Do(t.Context(), newRun(tt.before+"canary").in)
			if err == nil || strings.Contains(err.Error(), "canary") {
				t.Errorf("got error %v, want one without the value", err)
			}
		})
	}
}

func TestPathsInErrorsAreBounded(t *testing.T) {
	long := strings.Repeat("é/", 1000)
	tests := []struct{ name, path, want string }{
		{"short", "a/b.json", `"a/b.json"`},
		{"control characters", "a\nb\x1b[31m\x00", `"a\nb\x1b[31m\x00"`},
		{"what turns text around", "a\u202eb", `"a\u202eb"`},
		{"not UTF-8", "a\xff", `"a\xff"`},
		{"just fits", strings.Repeat("x", 198), `"` + strings.Repeat("x", 198) + `"`},
		{"a byte more", strings.Repeat("x", 199), `"` + strings.Repeat("x", 97) + "…" + strings.Repeat("x", 97) + `"`},
		{"long", long, `"` + strings.Repeat("é/", 32) + "…/" + strings.Repeat("é/", 32) + `"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := showPath(tt.path); got != tt.want || len(got) > 200 {
				t.Errorf("showPath(%.40q) = %s (%d bytes), want %s", tt.path, got, len(got), tt.want)
			}
		})
	}
}
