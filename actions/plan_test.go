package actions

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"hookrun/engine"
)

// hostileValues are bodies that templates get into texts.
func hostileValues() []string {
	return []string{
		"plain", "", "two words", "-rf", "a\nb", "'; rm -rf / #", `"\`, "$(id) `id` ${env:TOKEN}", "{{ raw }}", "ü…\u202e", "a\xffb", "../../etc/passwd", "a/b", "?q=1&x#y", strings.Repeat("x", 70_000),
	}
}

// planned is the plan that Do told of, and how often it told.
func planned(r *run) (last *engine.Plan, times *int) {
	last, times = &engine.Plan{}, new(int)
	r.in.Planned = func(p engine.Plan) {
		*last = p
		*times++
	}
	return last, times
}

// TestPlanIsWhatDoDoes has each kind plan and do the same with hostile values, and
// looks at what was done.
func TestPlanIsWhatDoDoes(t *testing.T) {
	var got *http.Request
	var body []byte
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, body = r, make([]byte, r.ContentLength)
		for n := 0; n < len(body); {
			m, err := r.Body.Read(body[n:])
			if n += m; err != nil {
				break
			}
		}
	}))
	defer srv.Close()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := Exec{
		Args:  argv(t, self, "--x={{ raw }}", "--", "{{ raw }}"),
		Env:   []Var{{probeVar, text(t, "1")}, {"GORACE", text(t, "atexit_sleep_ms=0")}, {"VALUE", text(t, "{{ raw }}")}},
		Stdin: text(t, "{{ raw }}!"),
		Dir:   text(t, dir),
	}
	tests := []struct {
		name   string
		action engine.Action
		did    func(t *testing.T, r *run, p engine.Plan) // holds the plan against what was done
	}{
		{"exec", command, func(t *testing.T, r *run, p engine.Plan) {
			var g given
			if err := json.Unmarshal(r.stdout.Bytes(), &g); err != nil {
				t.Fatalf("the probe printed %.200q: %v", r.stdout.String(), err)
			}
			for i, arg := range g.Args {
				if string(arg) != p.Argv[i+1] {
					t.Errorf("argument %d is %q, planned %q", i+1, arg, p.Argv[i+1])
				}
			}
			if len(g.Args) != len(p.Argv)-1 || string(g.Stdin) != *p.Stdin || g.env("VALUE") != p.Env[2].Value || p.Env[2].Name != "VALUE" || p.Dir != dir {
				t.Errorf("the probe got %q, %q, %q in %s; planned %+v", g.Args, g.Stdin, g.env("VALUE"), g.Dir, p)
			}
		}},
		{"file", File{Path: text(t, "x/{{ raw }}.txt"), Content: text(t, "{{ raw }}"), Roots: []string{dir}}, func(t *testing.T, r *run, p engine.Plan) {
			if data, err := os.ReadFile(p.Path); err != nil || string(data) != *p.Content || p.Write != "replace" {
				t.Errorf("the file has %.50q (%v), planned %+v", data, err, p)
			}
		}},
		{"http", HTTP{
			URL: text(t, srv.URL+"/p/{{ raw }}?q={{ raw }}"), Header: []Var{{"X-A", text(t, "{{ raw }}")}},
			JSON: map[string]any{"t": text(t, "{{ raw }}")}, Client: http.DefaultClient,
		}, func(t *testing.T, r *run, p engine.Plan) {
			if srv.URL+got.URL.RequestURI() != p.URL || got.Method != p.Method || string(body) != *p.Body || got.Header.Get("X-A") != strings.Trim(p.Header[0].Value, " \t") {
				t.Errorf("the call was %s %s with %q and %q, planned %+v", got.Method, got.URL, got.Header.Get("X-A"), body, p)
			}
		}},
	}
	if runtime.GOOS != "windows" {
		tests = append(tests, tests[0])
		shell := &tests[len(tests)-1]
		shell.name = "shell"
		shell.action = Shell{Script: `printf %s "$VALUE"`, Env: []Var{{"VALUE", text(t, "{{ raw }}")}}}
		shell.did = func(t *testing.T, r *run, p engine.Plan) {
			if want := []string{"/bin/sh", "-c", `printf %s "$VALUE"`}; !reflect.DeepEqual(p.Argv, want) || r.stdout.String() != p.Env[0].Value {
				t.Errorf("the shell printed %q, planned %+v", r.stdout.String(), p)
			}
		}
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fits := 0
			for _, value := range hostileValues() {
				r := newRun(value)
				want, planErr := tt.action.Plan(r.in)
				p, times := planned(r)
				_, err := tt.action.Do(t.Context(), r.in)
				if planErr != nil {
					if err == nil || err.Error() != planErr.Error() || *times != 0 {
						t.Errorf("%.30q: Plan: %v\nDo: %v, and it told of %d plans", value, planErr, err, *times)
					}
					continue
				}
				if err != nil {
					t.Errorf("%.30q: %v, want it done as planned: %+v", value, err, want)
					continue
				}
				fits++
				if *times != 1 || !reflect.DeepEqual(*p, want) {
					t.Errorf("%.30q: Do told %d times of %+v\nPlan: %+v", value, *times, *p, want)
				}
				tt.did(t, r, want)
			}
			if fits < 5 {
				t.Errorf("%d values fit, want more", fits)
			}
		})
	}
}

// TestResumeTellsNoPlan: what goes on was told of before.
func TestResumeTellsNoPlan(t *testing.T) {
	r := newRun("")
	_, times := planned(r)
	r.in.Resume = &engine.Process{PID: 1, Dir: filepath.Join(t.TempDir(), "gone")}
	if _, err := (Exec{Args: argv(t, "echo"), Detach: true}).Do(t.Context(), r.in); err == nil || *times != 0 {
		t.Errorf("Do told of %d plans (%v), want none and an error", *times, err)
	}
}
