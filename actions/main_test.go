package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"hookrun/engine"
)

// probeVar makes the test binary a program that tells what it was given.
const probeVar = "ACTIONS_TEST_PROBE"

// keeperVar makes the test binary a hookrun that runs the script in it as a
// detached command, with its files in the current folder.
const keeperVar = "ACTIONS_TEST_KEEPER"

// starterVar makes the test binary a hookrun that runs the script in it in
// several ways and prints what that printed, with its files in the current
// folder.
const starterVar = "ACTIONS_TEST_STARTER"

// given is what the probe prints; []byte keeps what is not UTF-8.
type given struct {
	Args, Env [][]byte
	Stdin     []byte
	Dir       string
	Body      []byte
	BodyMode  os.FileMode
}

func TestMain(m *testing.M) {
	Launch(os.Args)
	if os.Getenv(probeVar) != "" {
		probe()
		return
	}
	if os.Getenv(keeperVar) != "" {
		keeper()
		return
	}
	if os.Getenv(starterVar) != "" {
		starter()
		return
	}
	goleak.VerifyTestMain(m)
}

func starter() {
	for _, s := range []Shell{{}, {Bounds: Bounds{Limits: Limits{Files: 100}}}, {Detach: true}, {Detach: true, Bounds: Bounds{Limits: Limits{Files: 100}}}} {
		s.Script = os.Getenv(starterVar)
		r := newRun("")
		r.in.DetachDir = "."
		_, err := s.Do(context.Background(), r.in)
		fmt.Printf("%s%v\n", &r.stdout, err)
	}
}

func probe() {
	var g given
	for _, a := range os.Args[1:] {
		g.Args = append(g.Args, []byte(a))
	}
	for _, v := range os.Environ() {
		g.Env = append(g.Env, []byte(v))
	}
	g.Stdin, _ = io.ReadAll(os.Stdin)
	g.Dir, _ = os.Getwd()
	g.Body, _ = os.ReadFile(os.Getenv(bodyFile))
	if info, err := os.Stat(os.Getenv(bodyFile)); err == nil {
		g.BodyMode = info.Mode()
	}
	json.NewEncoder(os.Stdout).Encode(g)
}

// keeper prints which process it started.
func keeper() {
	r := newRun("the body")
	r.in.DetachDir = "."
	r.in.Started = func(p engine.Process) { json.NewEncoder(os.Stdout).Encode(p) }
	Shell{Script: os.Getenv(keeperVar), Detach: true}.Do(context.Background(), r.in)
}

// env returns the value of a variable that the probe got.
func (g given) env(name string) string {
	for _, v := range g.Env {
		if value, ok := bytes.CutPrefix(v, []byte(name+"=")); ok {
			return string(value)
		}
	}
	return ""
}

// run is one run of an action, with what it printed.
type run struct {
	in             engine.Input
	stdout, stderr bytes.Buffer
}

// newRun makes the input of a run for an event with this body.
func newRun(body string) *run {
	ev := &engine.Event{ID: "ev1", Bucket: "deploys", Method: "POST", Path: "/", Body: []byte(body)}
	r := &run{}
	r.in = engine.Input{
		Scope: engine.NewScope(ev), Event: ev, Run: "run1", Rule: "deploy main", Attempt: 2, Step: "build",
		Stdout: &r.stdout, Stderr: &r.stderr, Started: func(engine.Process) {},
		Planned: func(engine.Plan) {},
	}
	return r
}

// text compiles a template in which ${env:NAME} is "secret-NAME".
func text(t testing.TB, src string) *engine.Template {
	t.Helper()
	tmpl, findings := engine.NewCompiler(engine.World{}).Template(src, func(ref string) (engine.Secret, error) {
		return engine.NewSecret("secret-" + strings.TrimPrefix(ref, "env:")), nil
	})
	if tmpl == nil {
		t.Fatalf("template %q: %v", src, findings)
	}
	return tmpl
}

func argv(t testing.TB, srcs ...string) []Arg {
	t.Helper()
	var args []Arg
	for _, src := range srcs {
		args = append(args, Arg{Text: text(t, src)})
	}
	return args
}

// probeWith runs the probe as an exec action and returns what it was given.
func probeWith(t *testing.T, e Exec, r *run) given {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e.Args = append(argv(t, self), e.Args...)
	// A program built with -race waits a second before it exits, unless told.
	e.Env = append(e.Env, Var{probeVar, text(t, "1")}, Var{"GORACE", text(t, "atexit_sleep_ms=0")})
	out, err := e.Do(t.Context(), r.in)
	if err != nil || out.ExitCode != 0 {
		t.Fatalf("probe: %v, exit code %d, stderr %s", err, out.ExitCode, &r.stderr)
	}
	var g given
	if err := json.Unmarshal(r.stdout.Bytes(), &g); err != nil {
		t.Fatalf("probe printed %.200q: %v", r.stdout.String(), err)
	}
	return g
}

// wantPermanent checks the exact text of an error that no other try mends.
func wantPermanent(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got error  %v\nwant error %s", err, want)
	} else if !engine.IsPermanent(err) {
		t.Errorf("error %q is worth another try, want permanent", err)
	}
}

// wantRetryable checks the exact text of an error that another try may mend.
func wantRetryable(t *testing.T, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got error  %v\nwant error %s", err, want)
	} else if engine.IsPermanent(err) {
		t.Errorf("error %q is permanent, want worth another try", err)
	}
}
