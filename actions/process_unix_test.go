//go:build unix

package actions

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hookrun/engine"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

// heard is a writer that counts, and calls when first it has seen a text.
type heard struct {
	mu   sync.Mutex // guards all below
	n    int
	last []byte
	want string
	seen chan struct{} // closed when want was written
}

func listen(want string) *heard { return &heard{want: want, seen: make(chan struct{})} }

func (h *heard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.n += len(p)
	if h.want == "" {
		return len(p), nil
	}
	h.last = append(h.last, p...)
	if bytes.Contains(h.last, []byte(h.want)) {
		h.want = ""
		close(h.seen)
	}
	return len(p), nil
}

func (h *heard) wait(t *testing.T) string {
	t.Helper()
	select {
	case <-h.seen:
	case <-time.After(patience):
		t.Fatal("the command did not say what was waited for")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.last)
}

// begun is an action that runs in the background.
type begun struct {
	process chan engine.Process
	err     chan error
	out     engine.Output // valid after err
	cancel  context.CancelCauseFunc
}

func begin(t *testing.T, a engine.Action, in engine.Input) *begun {
	ctx, cancel := context.WithCancelCause(t.Context())
	b := &begun{process: make(chan engine.Process, 1), err: make(chan error, 1), cancel: cancel}
	in.Started = func(p engine.Process) { b.process <- p }
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		b.out, err = a.Do(ctx, in)
		b.err <- err
	})
	t.Cleanup(func() { cancel(nil); wg.Wait() })
	return b
}

func (b *begun) wait(t *testing.T) error {
	t.Helper()
	select {
	case err := <-b.err:
		return err
	case <-time.After(patience):
		t.Fatal("the action does not end")
		return nil
	}
}

// survivors lists the processes of a group that still run.
func survivors(t *testing.T, pgid int) (pids []string) {
	t.Helper()
	list, err := exec.Command("ps", "-A", "-o", "pgid=,pid=,stat=").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		if len(f) == 3 && f[0] == strconv.Itoa(pgid) && !strings.HasPrefix(f[2], "Z") {
			pids = append(pids, f[1])
		}
	}
	return pids
}

func closed() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}

func TestNothingOfAGroupSurvivesItsTime(t *testing.T) {
	tests := []struct {
		name   string
		script string
	}{
		{"ignores SIGTERM", `trap '' TERM; echo ready; while :; do sleep 1000; done`},
		{"its child ignores SIGTERM", `(trap '' TERM; sleep 1000) & echo ready; wait`},
		{"double fork", `((trap '' TERM; sleep 1000) &); echo ready; sleep 1000`},
		{"double fork, streams closed", `((trap '' TERM; exec sleep 1000 </dev/null >/dev/null 2>&1) &); echo ready; sleep 1000`},
		{"forks many", `i=0; while [ $i -lt 100 ]; do (trap '' TERM; exec sleep 1000) & i=$((i+1)); done; echo ready; wait`},
		{"stopped by SIGSTOP", `trap '' TERM; (kill -STOP $$; echo ready; sleep 1000) & wait`},
		{"closes its streams", `echo ready; exec <&- >&- 2>&-; trap '' TERM; while :; do sleep 1000; done`},
		{"prints without end", `trap '' TERM; echo ready; exec yes`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRun("")
			out := listen("ready")
			r.in.Stdout, r.in.Hurry = out, closed()
			b := begin(t, Shell{Script: tt.script}, r.in)
			p := <-b.process
			out.wait(t)
			b.cancel(engine.ErrTimeout)
			if err := b.wait(t); !errors.Is(err, engine.ErrTimeout) || engine.IsPermanent(err) {
				t.Errorf("got %v, want an error that wraps ErrTimeout", err)
			}
			if left := survivors(t, p.PID); len(left) != 0 {
				t.Errorf("still running: %v", left)
			}
		})
	}
}

func TestGraceLetsACommandCleanUp(t *testing.T) {
	r := newRun("")
	out := listen("ready")
	r.in.Stdout = out
	file := filepath.Join(t.TempDir(), "cleaned")
	b := begin(t, Shell{
		Script: `trap 'echo bye >"$FILE"; exit 7' TERM; echo ready; while :; do sleep 0.01; done`,
		Env:    []Var{{"FILE", text(t, file)}},
	}, r.in)
	out.wait(t)
	b.cancel(engine.ErrStopping)
	err := b.wait(t)
	wantRetryable(t, err, "cut off: hookrun is stopping")
	if !errors.Is(err, engine.ErrStopping) {
		t.Error("the error does not wrap its cause")
	}
	if b.out.ExitCode != 7 {
		t.Errorf("exit code %d, want 7 of the trap", b.out.ExitCode)
	}
	if got, _ := os.ReadFile(file); string(got) != "bye\n" {
		t.Errorf("the trap wrote %q, want bye", got)
	}
}

func TestStoppedCommandHearsSIGTERM(t *testing.T) {
	r := newRun("")
	out := listen("ready")
	r.in.Stdout = out
	b := begin(t, Shell{Script: `trap 'exit 7' TERM; (kill -STOP $$; echo ready) & while :; do sleep 0.01; done`}, r.in)
	out.wait(t)
	b.cancel(engine.ErrStopping)
	b.wait(t)
	if b.out.ExitCode != 7 {
		t.Errorf("exit code %d, want 7 of the trap", b.out.ExitCode)
	}
}

func TestSIGKILLFollowsTheGrace(t *testing.T) {
	t.Parallel() // it takes the whole grace
	r := newRun("")
	out := listen("ready")
	r.in.Stdout = out
	b := begin(t, Shell{Script: `trap '' TERM; echo ready; while :; do sleep 1000; done`}, r.in)
	p := <-b.process
	out.wait(t)
	b.cancel(engine.ErrTimeout)
	if err := b.wait(t); !errors.Is(err, engine.ErrTimeout) {
		t.Errorf("got %v, want an error that wraps ErrTimeout", err)
	}
	if b.out.Signal != "SIGKILL" || b.out.ExitCode != -1 {
		t.Errorf("got signal %q, exit code %d, want SIGKILL, -1", b.out.Signal, b.out.ExitCode)
	}
	if left := survivors(t, p.PID); len(left) != 0 {
		t.Errorf("still running: %v", left)
	}
}

// TestAnEndedCommandDecides: what ended by itself did not time out, however
// close to its time.
func TestAnEndedCommandDecides(t *testing.T) {
	t.Parallel() // it waits most of the time
	tests := []struct {
		name   string
		script string
		held   bool // a child holds the output
		exit   int
	}{
		{"success", `exit 0`, false, 0},
		{"failure", `exit 3`, false, 3},
		{"a service goes on", `sleep 1000 >/dev/null 2>&1 & echo $!; exit 0`, false, 0},
		{"a child holds stdout", `(trap '' TERM; exec sleep 1000) & exit 0`, true, 0},
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(engine.ErrTimeout)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for range 20 { // it was a matter of chance
				r := newRun("")
				r.in.Hurry = closed()
				p, err := startProcess(&exec.Cmd{Path: shellProgram, Args: []string{"sh", "-c", tt.script}}, Bounds{}, nil, &r.stdout, &r.stderr)
				if err != nil {
					t.Fatal(err)
				}
				<-p.exited
				if p.wait(ctx, r.in) {
					t.Fatal("it counts as cut off")
				}
				if state, err := p.result(); err != nil || state.ExitCode() != tt.exit {
					t.Errorf("ended with %v, %v, want exit status %d", state, err, tt.exit)
				}
				if held := r.stderr.String() == leftRunning; held != tt.held {
					t.Errorf("stderr %q, want word of a held output: %v", &r.stderr, tt.held)
				}
				left := survivors(t, p.group.pid)
				if goesOn := strings.Fields(r.stdout.String()); !slices.Equal(left, goesOn) {
					t.Errorf("still running: %v, want %v", left, goesOn)
				}
				p.group.kill()
			}
		})
	}
}

func TestBodyFileIsRemoved(t *testing.T) {
	dir := t.TempDir()
	defer syscall.Umask(syscall.Umask(0))
	for _, script := range []string{"exit 0", "exit 3", "kill -KILL $$", "sleep 1000", "exec no-such-program"} {
		t.Run(script, func(t *testing.T) {
			r := newRun("the body")
			out := listen("ready")
			r.in.Stdout, r.in.TempDir, r.in.Hurry = out, dir, closed()
			b := begin(t, Shell{Script: `ls -ld "$HOOKRUN_BODY_FILE"; cat "$HOOKRUN_BODY_FILE"; echo ready; ` + script}, r.in)
			said := out.wait(t)
			if !strings.HasPrefix(said, "-rw-------") || !strings.Contains(said, filepath.Join(dir, "hookrun-body-")) || !strings.Contains(said, "\nthe body") {
				t.Errorf("the command saw %q, want the body in a private file in %s", said, dir)
			}
			if script == "sleep 1000" {
				b.cancel(engine.ErrTimeout)
			}
			b.wait(t)
			if left := tree(t, dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 200*time.Millisecond, fmt.Errorf("%w after 200ms", engine.ErrTimeout))
	defer cancel()
	out, err := Exec{Args: argv(t, "sleep", "1000")}.Do(ctx, newRun("").in)
	wantRetryable(t, err, "timed out after 200ms")
	if out.Signal != "SIGTERM" || out.ExitCode != -1 {
		t.Errorf("got signal %q, exit code %d, want SIGTERM, -1", out.Signal, out.ExitCode)
	}
}

func TestNothingStartsWhenTimeIsOver(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(engine.ErrStopping)
	r := newRun("")
	r.in.Started = func(engine.Process) { t.Error("a process was started") }
	dir := t.TempDir()
	for _, a := range []engine.Action{
		Exec{Args: argv(t, "true")},
		File{Path: text(t, "x"), Content: text(t, "x"), Roots: []string{dir}},
	} {
		if _, err := a.Do(ctx, r.in); !errors.Is(err, engine.ErrStopping) {
			t.Errorf("%s: got %v, want ErrStopping", a.Kind(), err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("a file was written: %v", left)
	}
}

func TestEndOfACommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	noShebang := write("noshebang", "echo hello\n", 0o755)
	noInterpreter := write("nointerpreter", "#!/no/such/interpreter\n", 0o755)
	notExecutable := write("notexecutable", "#!/bin/sh\n", 0o644)
	huge := Exec{Args: argv(t, "true")}
	for range 100 {
		huge.Args = append(huge.Args, argv(t, strings.Repeat("x", 100<<10))...)
	}
	tests := []struct {
		name      string
		action    engine.Action
		want      string // the error; "": none
		permanent bool
		exit      int
		signal    string
	}{
		{"success", Shell{Script: "exit 0"}, "", false, 0, ""},
		{"exit status", Shell{Script: "exit 3"}, "exit status 3", false, 3, ""},
		{"signal", Shell{Script: "kill -SEGV $$"}, "ended by SIGSEGV", false, -1, "SIGSEGV"},
		{"stdin is not read", Shell{Script: "exec <&-; exit 0", Stdin: text(t, strings.Repeat("x", 1<<20))}, "", false, 0, ""},
		{"a background child holds stdin", Shell{Script: "exec >/dev/null 2>&1; sleep 0.1 <&0 & exit 0", Stdin: text(t, strings.Repeat("x", 1<<20))}, "", false, 0, ""},
		{"no such program", Exec{Args: argv(t, "no-such-program")}, `program "no-such-program" is not in PATH`, true, -1, ""},
		{"empty program", Exec{Args: argv(t, "")}, `the program's name is empty`, true, -1, ""},
		{"no such file", Exec{Args: argv(t, "/no/such/program")}, `start "/no/such/program": no such file or directory`, true, -1, ""},
		{"not executable", Exec{Args: argv(t, notExecutable)}, `start "` + notExecutable + `": permission denied`, true, -1, ""},
		{"no interpreter", Exec{Args: argv(t, noInterpreter)}, `start "` + noInterpreter + `": no such file or directory: the interpreter that its first line names is missing`, true, -1, ""},
		{"no #!", Exec{Args: argv(t, noShebang)}, `start "` + noShebang + `": exec format error: neither a program for this system nor a script with a #! line`, true, -1, ""},
		{"no such dir", Exec{Args: argv(t, "true"), Dir: text(t, "/no/such/dir")}, `dir "/no/such/dir": no such file or directory`, true, -1, ""},
		{"more than the system takes", huge, `start "true": arguments and environment together are more than the system takes; pass it through stdin: or read the file named in HOOKRUN_BODY_FILE`, true, -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun("")
			out, err := tt.action.Do(t.Context(), r.in)
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && tt.permanent:
				wantPermanent(t, err, tt.want)
			case tt.want != "":
				wantRetryable(t, err, tt.want)
			}
			if out.ExitCode != tt.exit || out.Signal != tt.signal {
				t.Errorf("got exit code %d, signal %q, want %d, %q", out.ExitCode, out.Signal, tt.exit, tt.signal)
			}
		})
	}
}

func TestShellGetsValuesThroughItsEnvironment(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	for _, p := range hostile(marker) {
		r := newRun(p)
		_, err := Shell{
			Script: `printf %s "$VALUE" && cat >&2`,
			Env:    []Var{{"VALUE", text(t, "{{ raw }}")}}, Stdin: text(t, "{{ raw }}"),
		}.Do(t.Context(), r.in)
		if err != nil || r.stdout.String() != p || r.stderr.String() != p {
			t.Errorf("%.60q: the shell saw %.60q and %.60q, %v", p, &r.stdout, &r.stderr, err)
		}
	}
	if _, err := os.Stat(marker); !os.IsNotExist(err) {
		t.Errorf("a value was taken for code: marker: %v", err)
	}
}

func TestDirAndPATHOfTheRule(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(dir, "bin")
	os.Mkdir(bin, 0o755)
	if err := os.WriteFile(filepath.Join(bin, "where"), []byte("#!/bin/sh\npwd\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		exec Exec
	}{
		{"by name", Exec{Args: argv(t, "where"), Env: []Var{{"PATH", text(t, "relative:"+bin)}}}},
		{"relative to dir", Exec{Args: argv(t, "./where")}},
		{"chosen by the event", Exec{Args: argv(t, bin+"/{{ raw }}")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun("where")
			tt.exec.Dir = text(t, bin)
			if _, err := tt.exec.Do(t.Context(), r.in); err != nil || r.stdout.String() != bin+"\n" {
				t.Errorf("printed %q, %v, want %s", &r.stdout, err, bin)
			}
		})
	}
}

func TestBackgroundChildrenAfterACommandsOwnEnd(t *testing.T) {
	tests := []struct {
		name   string
		script string
		lives  bool
		stderr string
	}{
		{"streams redirected", `sleep 1000 >/dev/null 2>&1 </dev/null & echo $!`, true, ""},
		{"holds the output", `sleep 1000 & echo $!`, false, leftRunning},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel() // one takes outputWait
			r := newRun("")
			if _, err := (Shell{Script: tt.script}).Do(t.Context(), r.in); err != nil {
				t.Fatal(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(r.stdout.String()))
			if err != nil {
				t.Fatal(err)
			}
			if lives := processLives(pid); lives != tt.lives {
				t.Errorf("the child lives: %v, want %v", lives, tt.lives)
			}
			if r.stderr.String() != tt.stderr {
				t.Errorf("stderr %q, want %q", &r.stderr, tt.stderr)
			}
			if tt.lives {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}

// processLives reports whether a process runs and is no zombie.
func processLives(pid int) bool {
	stat, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && !strings.HasPrefix(string(stat), "Z")
}

func TestGigabytesOfOutputCostNoMemory(t *testing.T) {
	const size = 256 << 20
	r := newRun("")
	out := listen("")
	r.in.Stdout = out
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Shell{Script: "yes | head -c 268435456"}.Do(t.Context(), r.in)
	runtime.ReadMemStats(&after)
	if err != nil || out.n != size {
		t.Errorf("printed %d bytes, %v, want %d", out.n, err, size)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("allocated %d bytes in all, want less than 4 MiB", grown)
	}
}

func TestLeftover(t *testing.T) {
	r := newRun("")
	out := listen("ready")
	r.in.Stdout = out
	b := begin(t, Shell{Script: `sleep 1000 & echo ready; wait`}, r.in)
	p := <-b.process
	out.wait(t)
	if p.Start == "" {
		t.Skip("this system does not tell when a process started")
	}
	for _, other := range []engine.Process{{PID: p.PID}, {PID: p.PID, Start: "another time"}, {PID: 1, Start: processStart(1)}, {}} {
		if Leftover(other) {
			t.Errorf("Leftover(%+v) = true, want false", other)
		}
		if err := KillLeftover(t.Context(), engine.Leftover{Process: other}); err != nil {
			t.Errorf("KillLeftover(%+v): %v", other, err)
		}
	}
	if !processLives(p.PID) || !Leftover(p) {
		t.Fatal("the process is gone, or not known")
	}
	if err := KillLeftover(t.Context(), engine.Leftover{Process: p}); err != nil {
		t.Error(err)
	}
	wantRetryable(t, b.wait(t), "ended by SIGTERM")
	if left := survivors(t, p.PID); len(left) != 0 || Leftover(p) {
		t.Errorf("still running: %v", left)
	}
}

func TestKillLeftoverWithoutTime(t *testing.T) {
	r := newRun("")
	out := listen("ready")
	r.in.Stdout = out
	b := begin(t, Shell{Script: `trap '' TERM; echo ready; while :; do sleep 1000; done`}, r.in)
	p := <-b.process
	out.wait(t)
	if p.Start == "" {
		t.Skip("this system does not tell when a process started")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := KillLeftover(ctx, engine.Leftover{Process: p}); err != nil {
		t.Error(err)
	}
	wantRetryable(t, b.wait(t), "ended by SIGKILL")
}

// TestKillLeftoversAtOnce: one stubborn process does not hold up the others,
// and none holds up a hookrun that has to stop.
func TestKillLeftoversAtOnce(t *testing.T) {
	var runs []*begun
	var left []engine.Process
	var asked []*heard
	for range 3 {
		r := newRun("")
		out, term := listen("ready"), listen("heard")
		r.in.Stdout, r.in.Stderr = out, term
		b := begin(t, Shell{Script: `trap 'echo heard >&2' TERM; echo ready; while :; do sleep 0.1; done`}, r.in)
		p := <-b.process
		out.wait(t)
		if p.Start == "" {
			t.Skip("this system does not tell when a process started")
		}
		runs, left, asked = append(runs, b), append(left, p), append(asked, term)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for _, p := range slices.Concat(left, left) { // each twice
		wg.Go(func() {
			if err := KillLeftover(ctx, engine.Leftover{Process: p}); err != nil {
				t.Error(err)
			}
		})
	}
	for _, term := range asked {
		term.wait(t)
	}
	cancel()
	wg.Wait()
	for i, b := range runs {
		wantRetryable(t, b.wait(t), "ended by SIGKILL")
		if alive := survivors(t, left[i].PID); len(alive) != 0 {
			t.Errorf("still running: %v", alive)
		}
	}
}
