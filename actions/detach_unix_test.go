//go:build unix

package actions

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"hookrun/engine"
)

// gate is a FIFO that commands wait at.
type gate struct {
	path string
	file *os.File
}

func newGate(t *testing.T) gate {
	t.Helper()
	path := filepath.Join(t.TempDir(), "gate")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // for reading too, so that it waits for nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return gate{path, f}
}

// let lets one command go on.
func (g gate) let(t *testing.T) {
	t.Helper()
	if _, err := g.file.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
}

// newDetachedRun makes the input of a run that has a folder for what outlasts
// it.
func newDetachedRun(t *testing.T) *run {
	r := newRun("the body")
	r.in.DetachDir = filepath.Join(t.TempDir(), "detached")
	return r
}

// leave starts a detached command that says ready, and stops hookrun.
func leave(t *testing.T, s Shell, r *run) engine.Process {
	t.Helper()
	s.Detach = true
	out := listen("ready")
	in := r.in
	in.Stdout, in.Stderr = out, io.Discard
	b := begin(t, s, in)
	p := <-b.process
	out.wait(t)
	b.cancel(engine.ErrStopping)
	err := b.wait(t)
	wantRetryable(t, err, "left running: hookrun is stopping")
	if !errors.Is(err, engine.ErrStopping) {
		t.Error("the error does not wrap its cause")
	}
	if !Leftover(p) || !processLives(p.PID) {
		t.Error("the command ended with hookrun")
	}
	t.Cleanup(func() { unix.Kill(-p.PID, unix.SIGKILL) })
	return p
}

// killAll kills what leave left.
func killAll(t *testing.T, p engine.Process) {
	t.Helper()
	unix.Kill(-p.PID, unix.SIGKILL)
	unix.Wait4(p.PID, nil, 0, nil)
	if !leftGroup(p).goneWithin(patience, nil) {
		t.Fatal("it can't be killed")
	}
}

// wantNothingLeft checks that neither a process, not even a zombie, nor a file
// of a detached command is there.
func wantNothingLeft(t *testing.T, p engine.Process) {
	t.Helper()
	if p.PID != 0 && processStart(p.PID) == p.Start {
		t.Errorf("process %d is still there, or its zombie", p.PID)
	}
	if left := survivors(t, p.PID); p.PID != 0 && len(left) != 0 {
		t.Errorf("still running: %v", left)
	}
	if left := tree(t, filepath.Dir(p.Dir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestEndOfADetachedCommand(t *testing.T) {
	dir := t.TempDir()
	notExecutable := filepath.Join(dir, "notexecutable")
	if err := os.WriteFile(notExecutable, []byte("#!/bin/sh\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	long := Exec{Args: argv(t, "true")}
	for range 100 {
		long.Args = append(long.Args, argv(t, strings.Repeat("x", 100<<10))...)
	}
	script := func(s string) Exec { return Exec{Args: argv(t, "/bin/sh", "-c", s)} }
	env := func(name string) Exec { return Exec{Args: argv(t, "true"), Env: []Var{{name, text(t, "x")}}} }
	tests := []struct {
		name      string
		exec      Exec
		want      string // the error; "": none
		permanent bool
		exit      int
		signal    string
	}{
		{"success", script("exit 0"), "", false, 0, ""},
		{"exit status", script("exit 3"), "exit status 3", false, 3, ""},
		{"highest exit status", script("exit 255"), "exit status 255", false, 255, ""},
		{"signal", script("kill -SEGV $$"), "exit status 139, as after SIGSEGV", false, 139, "SIGSEGV"},
		{"SIGTERM to all", script("kill -TERM 0; sleep 1000"), "exit status 143, as after SIGTERM", false, 143, "SIGTERM"},
		{"SIGHUP to all", script("kill -HUP 0; sleep 1000"), "exit status 129, as after SIGHUP", false, 129, "SIGHUP"},
		{"SIGUSR1 to all", script("trap 'exit 7' USR1; kill -USR1 0; sleep 1000"), "exit status 7", false, 7, ""},
		{"SIGTERM that it survives", script("trap : TERM; kill -TERM 0; exit 0"), "", false, 0, ""},
		{"SIGKILL to all", script("kill -KILL 0"), "ended without a word: killed, or the machine went down", false, -1, ""},
		{"its shell is killed", script("kill -KILL $PPID; exec sleep 1000"), "ended without a word: killed, or the machine went down", false, -1, ""},
		{"it removes its folder", script(`rm -r "${HOOKRUN_BODY_FILE%/*}"`), "ended without a word: killed, or the machine went down", false, -1, ""},
		{"no such program", Exec{Args: argv(t, "no-such-program")}, `program "no-such-program" is not in PATH`, true, -1, ""},
		{"one of the shell's own", Exec{Args: argv(t, "exit", "3")}, `program "exit" is not in PATH`, true, -1, ""},
		{"no such file", Exec{Args: argv(t, "/no/such/program")}, `start "/no/such/program": no such file or directory`, true, -1, ""},
		{"not executable", Exec{Args: argv(t, notExecutable)}, `start "` + notExecutable + `": permission denied`, true, -1, ""},
		{"no such dir", Exec{Args: argv(t, "true"), Dir: text(t, "/no/such/dir")}, `dir "/no/such/dir": no such file or directory`, true, -1, ""},
		{"relative to dir", Exec{Args: argv(t, "./sh", "-c", "exit 3"), Dir: text(t, "/bin")}, "exit status 3", false, 3, ""},
		{"more than the system takes", long, `start "true": arguments and environment together are more than the system takes; pass it through stdin: or read the file named in HOOKRUN_BODY_FILE`, true, -1, ""},
		{"a variable of the shell", env("PWD"), "env PWD: the shell around a detached command does not hand it on; choose another name", true, -1, ""},
		{"a variable that no shell knows", env("a.b"), "env a.b: the shell around a detached command does not hand it on; choose another name", true, -1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.signal == "SIGHUP" && signal.Ignored(unix.SIGHUP) {
				t.Skip("the tests were started with nohup, which commands inherit")
			}
			r := newDetachedRun(t)
			var p engine.Process
			r.in.Started = func(started engine.Process) { p = started }
			tt.exec.Detach = true
			out, err := tt.exec.Do(t.Context(), r.in)
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
			if p.Dir == "" {
				p.Dir = filepath.Join(r.in.DetachDir, "none")
			}
			if _, err := os.Stat(r.in.DetachDir); err == nil {
				wantNothingLeft(t, p)
			}
		})
	}
}

func TestDetachNeedsAFolder(t *testing.T) {
	r := newRun("")
	r.in.Started = func(engine.Process) { t.Error("a process was started") }
	_, err := Shell{Script: "true", Detach: true}.Do(t.Context(), r.in)
	wantPermanent(t, err, "detach needs a data folder")
}

func TestDetachedCommandOutlivesAStop(t *testing.T) {
	tests := []struct {
		name   string
		script string // behind the gate
		exit   int
		err    string // "": none
	}{
		{"success", `echo "version=1.2" >>"$HOOKRUN_OUTPUT"; cat "$HOOKRUN_BODY_FILE"`, 0, ""},
		{"failure", `cat "$HOOKRUN_BODY_FILE"; exit 3`, 3, "exit status 3"},
		{"without its outputs", `cat "$HOOKRUN_BODY_FILE"`, 0, `HOOKRUN_OUTPUT: the command did not write "version"; in a script: echo "version=…" >>"$HOOKRUN_OUTPUT"`},
	}
	for _, tt := range tests {
		for _, early := range []bool{false, true} { // it ends before hookrun is back
			t.Run(tt.name+" "+map[bool]string{false: "after", true: "before"}[early], func(t *testing.T) {
				g := newGate(t)
				r := newDetachedRun(t)
				s := Shell{
					Script:  `echo ready; echo to stderr >&2; read x <"$GATE"; ` + tt.script,
					Env:     []Var{{"GATE", text(t, g.path)}},
					Outputs: []string{"version"},
				}
				p := leave(t, s, r)
				if want := filepath.Join(r.in.DetachDir, "run1-build-2-"); !strings.HasPrefix(p.Dir, want) {
					t.Errorf("its folder is %s, want %s…", p.Dir, want)
				}
				if early {
					g.let(t)
					unix.Wait4(p.PID, nil, 0, nil)
				}
				r.in.Resume = &p
				b := begin(t, s, r.in)
				if again := <-b.process; again != p {
					t.Errorf("went on with %+v, want %+v", again, p)
				}
				if !early {
					g.let(t)
				}
				err := b.wait(t)
				if tt.err == "" && err != nil || tt.err != "" && (err == nil || err.Error() != tt.err) {
					t.Errorf("got error %v, want %q", err, tt.err)
				}
				if b.out.ExitCode != tt.exit {
					t.Errorf("exit code %d, want %d", b.out.ExitCode, tt.exit)
				}
				if want := map[string]string{"version": "1.2"}; err == nil && !maps.Equal(b.out.Outputs, want) {
					t.Errorf("outputs %q, want %q", b.out.Outputs, want)
				}
				if r.stdout.String() != "ready\nthe body" || r.stderr.String() != "to stderr\n" {
					t.Errorf("printed %q and %q, want all of it", &r.stdout, &r.stderr)
				}
				wantNothingLeft(t, p)
			})
		}
	}
}

// TestDetachedCommandOutlivesACrash: the second hookrun is not its parent.
func TestDetachedCommandOutlivesACrash(t *testing.T) {
	g := newGate(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first := exec.Command(self)
	first.Dir = t.TempDir()
	first.Env = append(os.Environ(), keeperVar+`=echo ready; read x <'`+g.path+`'; echo bye; exit 3`)
	told, err := first.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Start(); err != nil {
		t.Fatal(err)
	}
	var p engine.Process
	err = json.NewDecoder(told).Decode(&p)
	first.Process.Kill()
	first.Wait()
	if err != nil || p.Dir == "" {
		t.Fatalf("it told of %+v, %v", p, err)
	}
	t.Cleanup(func() { unix.Kill(-p.PID, unix.SIGKILL) })

	r := newRun("the body")
	r.in.Resume = &p
	out := listen("ready")
	r.in.Stderr = out
	b := begin(t, Shell{}, r.in)
	<-b.process
	g.let(t)
	wantRetryable(t, b.wait(t), "exit status 3")
	if r.stdout.String() != "ready\nbye\n" || b.out.ExitCode != 3 {
		t.Errorf("printed %q, exit code %d, want all of it and 3", &r.stdout, b.out.ExitCode)
	}
	if left := tree(t, filepath.Dir(p.Dir)); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestDetachedCommandKilledWhileNobodyLooked(t *testing.T) {
	r := newDetachedRun(t)
	p := leave(t, Shell{Script: "echo ready; sleep 1000"}, r)
	killAll(t, p)
	r.in.Resume = &p
	out, err := Shell{}.Do(t.Context(), r.in)
	wantRetryable(t, err, "ended without a word: killed, or the machine went down")
	if out.ExitCode != -1 || r.stdout.String() != "ready\n" {
		t.Errorf("exit code %d, printed %q, want -1 and what it had printed", out.ExitCode, &r.stdout)
	}
	wantNothingLeft(t, p)
}

// TestAnotherProcessHasTheNumber: it is not waited for, and not ended.
func TestAnotherProcessHasTheNumber(t *testing.T) {
	r := newDetachedRun(t)
	p := leave(t, Shell{Script: "echo ready; sleep 1000"}, r)
	other := p
	other.Start = "another time"
	r.in.Resume = &other
	_, err := Shell{}.Do(t.Context(), r.in)
	wantRetryable(t, err, "ended without a word: killed, or the machine went down")
	if !processLives(p.PID) {
		t.Error("the other process was ended")
	}
	killAll(t, p)
}

func TestResumeWithoutItsFolder(t *testing.T) {
	r := newDetachedRun(t)
	p := leave(t, Shell{Script: "echo ready; sleep 1000"}, r)
	if err := os.RemoveAll(p.Dir); err != nil {
		t.Fatal(err)
	}
	r.in.Resume = &p
	_, err := Shell{}.Do(t.Context(), r.in)
	wantRetryable(t, err, "what the detached command left is gone")
	wantNothingLeft(t, p)
}

func TestResumeNeedsNothingOfTheRule(t *testing.T) {
	r := newDetachedRun(t)
	g := newGate(t)
	p := leave(t, Shell{Script: `echo ready; read x <"$GATE"`, Env: []Var{{"GATE", text(t, g.path)}}}, r)
	g.let(t)
	r.in.Resume = &p
	_, err := Exec{Args: argv(t, "no-such-program"), Dir: text(t, "{{ body.nothing }}")}.Do(t.Context(), r.in)
	if err != nil || r.stdout.String() != "ready\n" {
		t.Errorf("got %v, printed %q, want the end of what was left", err, &r.stdout)
	}
	wantNothingLeft(t, p)
}

func TestNothingOfADetachedGroupSurvivesItsTime(t *testing.T) {
	for _, resumed := range []bool{false, true} {
		for name, script := range map[string]string{
			"ends":                       `echo ready; sleep 1000`,
			"ignores SIGTERM":            `trap '' TERM; echo ready; while :; do sleep 1000; done`,
			"grandchild ignores SIGTERM": `((trap '' TERM; exec sleep 1000 </dev/null >/dev/null 2>&1) &); echo ready; sleep 1000`,
		} {
			t.Run(name+" "+map[bool]string{false: "started", true: "resumed"}[resumed], func(t *testing.T) {
				r := newDetachedRun(t)
				s := Shell{Script: script, Detach: true}
				if resumed {
					p := leave(t, s, r)
					r.in.Resume = &p
				}
				out := listen("ready")
				r.in.Stdout, r.in.Hurry = out, closed()
				b := begin(t, s, r.in)
				p := <-b.process
				out.wait(t)
				b.cancel(engine.ErrTimeout)
				if err := b.wait(t); !errors.Is(err, engine.ErrTimeout) || engine.IsPermanent(err) {
					t.Errorf("got %v, want an error that wraps ErrTimeout", err)
				}
				wantNothingLeft(t, p)
			})
		}
	}
}

func TestDetachedCommandCleansUpInItsGrace(t *testing.T) {
	r := newDetachedRun(t)
	out := listen("ready")
	said := listen("bye")
	r.in.Stdout, r.in.Stderr = out, said
	b := begin(t, Shell{Script: `trap 'echo bye >&2; exit 7' TERM; echo ready; while :; do sleep 0.01; done`, Detach: true}, r.in)
	p := <-b.process
	out.wait(t)
	b.cancel(engine.ErrStopped)
	wantRetryable(t, b.wait(t), "cut off: stopped")
	said.wait(t)
	if b.out.ExitCode != 7 {
		t.Errorf("exit code %d, want 7 of the trap", b.out.ExitCode)
	}
	wantNothingLeft(t, p)
}

func TestDetachedCommandHasASessionOfItsOwn(t *testing.T) {
	r := newDetachedRun(t)
	p := leave(t, Shell{Script: "echo ready; sleep 1000"}, r)
	if sid, err := unix.Getsid(p.PID); err != nil || sid != p.PID {
		t.Errorf("its session is %d, %v, want %d", sid, err, p.PID)
	}
	if own, err := unix.Getsid(0); err != nil || own == p.PID {
		t.Errorf("ours is %d, %v", own, err)
	}
	for _, name := range []string{inBody, inStdout, inStderr} {
		if info, err := os.Stat(filepath.Join(p.Dir, name)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s: %v, %v, want -rw-------", name, info, err)
		}
	}
	if info, err := os.Stat(p.Dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its folder: %v, %v, want drwx------", info, err)
	}
}

func TestDetachedCommandSeesTheSameEnvironment(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		var got [2]given
		for i, detach := range []bool{false, true} {
			r := newRun("the body")
			r.in.DetachDir = filepath.Join(t.TempDir(), "a folder's $(name)")
			e := Exec{Args: argv(t, "one", ""), Env: []Var{{"A", text(t, "x")}, {"A", text(t, "it's\n$HOME")}, {"EMPTY", text(t, "")}}, Detach: detach, Outputs: nil}
			if dir != "" {
				e.Dir = text(t, dir)
			}
			got[i] = probeWith(t, e, r)
			got[i].Env = slices.DeleteFunc(got[i].Env, func(v []byte) bool {
				return strings.HasPrefix(string(v), bodyFile+"=") || strings.HasPrefix(string(v), "_=") // bash tells every command its path
			})
			slices.SortFunc(got[i].Env, func(a, b []byte) int { return strings.Compare(string(a), string(b)) })
		}
		attached, _ := json.Marshal(got[0])
		detached, _ := json.Marshal(got[1])
		if string(attached) != string(detached) {
			t.Errorf("a detached command gets\n%s\nwant as without detach\n%s", detached, attached)
		}
	}
}

func TestShellGetsValuesWhenDetached(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "marker")
	for _, p := range hostile(marker) {
		r := newRun(p)
		r.in.DetachDir = t.TempDir()
		_, err := Shell{
			Script: `printf %s "$VALUE" && cat >&2`, Detach: true,
			Env: []Var{{"VALUE", text(t, "{{ raw }}")}}, Stdin: text(t, "{{ raw }}"),
		}.Do(t.Context(), r.in)
		if err != nil || r.stdout.String() != p || r.stderr.String() != p {
			t.Errorf("%.60q: the shell saw %.60q and %.60q, %v", p, &r.stdout, &r.stderr, err)
		}
	}
	if _, err := os.Stat(marker); !os.IsNotExist(err) {
		t.Errorf("a value was taken for code: marker: %v", err)
	}
}

func TestOutputOfADetachedCommand(t *testing.T) {
	const lines = 100_000
	r := newDetachedRun(t)
	_, err := Shell{Script: `i=0; while [ $i -lt 100000 ]; do echo $i; i=$((i+1)); done`, Detach: true}.Do(t.Context(), r.in)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(r.stdout.String()) {
		if line != strconv.Itoa(n)+"\n" {
			t.Fatalf("line %d is %q", n, line)
		}
		n++
	}
	if n != lines {
		t.Errorf("got %d lines, want %d", n, lines)
	}
}

// TestTruncatedOutput: a script that means to write to a pipe truncates a file.
func TestTruncatedOutput(t *testing.T) {
	g := newGate(t)
	r := newDetachedRun(t)
	out := listen("a long line that is gone")
	r.in.Stdout = out
	b := begin(t, Shell{
		Script: `echo "a long line that is gone"; read x <"$GATE"; echo short >"${HOOKRUN_BODY_FILE%/*}/stdout"`,
		Env:    []Var{{"GATE", text(t, g.path)}}, Detach: true,
	}, r.in)
	out.wait(t)
	g.let(t)
	if err := b.wait(t); err != nil {
		t.Error(err)
	}
	if want := len("a long line that is gone\nshort\n"); out.n != want {
		t.Errorf("got %d bytes of output, want %d", out.n, want)
	}
}

func TestDetachedOutputIsBounded(t *testing.T) {
	r := newDetachedRun(t)
	r.in.Hurry = closed()
	out := listen("")
	r.in.Stdout = out
	var p engine.Process
	r.in.Started = func(started engine.Process) { p = started }
	_, err := Shell{ // a hole: it takes no place
		Script: `dd if=/dev/null of="${HOOKRUN_BODY_FILE%/*}/stdout" bs=1048576 seek=300 2>/dev/null; sleep 1000`, Detach: true,
	}.Do(t.Context(), r.in)
	wantPermanent(t, err, "printed more than the 268435456 bytes that a detached command may; redirect its output")
	if most := maxDetachedOutput + followBuffer; out.n > most {
		t.Errorf("%d bytes were read, want at most %d", out.n, most)
	}
	wantNothingLeft(t, p)
}

func TestOutputsOfCommands(t *testing.T) {
	tests := []struct {
		name   string
		script string
		want   map[string]string
		err    string // "": none
	}{
		{"written", `echo "sha=0a1b" >>"$HOOKRUN_OUTPUT"`, map[string]string{"sha": "0a1b"}, ""},
		{"private and empty", `echo "sha=$(wc -c <"$HOOKRUN_OUTPUT" | tr -d ' ') $(ls -l "$HOOKRUN_OUTPUT" | cut -c1-10)" >>"$HOOKRUN_OUTPUT"`, map[string]string{"sha": "0 -rw-------"}, ""},
		{"replaced by another file", `echo sha=x >"$HOOKRUN_OUTPUT.new"; mv "$HOOKRUN_OUTPUT.new" "$HOOKRUN_OUTPUT"`, map[string]string{"sha": "x"}, ""},
		{"not written", `true`, nil, `HOOKRUN_OUTPUT: the command did not write "sha"; in a script: echo "sha=…" >>"$HOOKRUN_OUTPUT"`},
		{"removed", `rm "$HOOKRUN_OUTPUT"`, nil, `HOOKRUN_OUTPUT: the command did not write "sha"; in a script: echo "sha=…" >>"$HOOKRUN_OUTPUT"`},
		{"another name", `echo "sah=canary" >>"$HOOKRUN_OUTPUT"`, nil, `HOOKRUN_OUTPUT: line 1: "sah" is none of the step's outputs; did you mean "sha"?`},
		{"a FIFO", `rm "$HOOKRUN_OUTPUT"; mkfifo "$HOOKRUN_OUTPUT"`, nil, "HOOKRUN_OUTPUT: the command put something else in the place of the file"},
		{"a folder", `rm "$HOOKRUN_OUTPUT"; mkdir "$HOOKRUN_OUTPUT"`, nil, "HOOKRUN_OUTPUT: the command put something else in the place of the file"},
		{"just fits", `echo sha=x >"$HOOKRUN_OUTPUT"; head -c 65530 /dev/zero | tr '\0' '\n' >>"$HOOKRUN_OUTPUT"`, map[string]string{"sha": "x"}, ""},
		{"a byte more", `echo sha=x >"$HOOKRUN_OUTPUT"; head -c 65531 /dev/zero | tr '\0' '\n' >>"$HOOKRUN_OUTPUT"`, nil, "HOOKRUN_OUTPUT: more than 65536 bytes"},
		{"failed", `echo "canary" >>"$HOOKRUN_OUTPUT"; exit 3`, nil, "exit status 3"},
		{"failed with all of it", `echo "sha=x" >>"$HOOKRUN_OUTPUT"; exit 3`, nil, "exit status 3"},
	}
	for _, tt := range tests {
		for _, detach := range []bool{false, true} {
			t.Run(tt.name+map[bool]string{true: " detached"}[detach], func(t *testing.T) {
				defer syscall.Umask(syscall.Umask(0))
				r := newDetachedRun(t)
				r.in.TempDir = t.TempDir()
				out, err := Shell{Script: tt.script, Outputs: []string{"sha"}, Detach: detach}.Do(t.Context(), r.in)
				switch {
				case tt.err == "" && err != nil:
					t.Error(err)
				case strings.HasPrefix(tt.err, outputFile):
					wantPermanent(t, err, tt.err)
				case tt.err != "":
					wantRetryable(t, err, tt.err)
				}
				if !maps.Equal(out.Outputs, tt.want) {
					t.Errorf("got outputs %q, want %q", out.Outputs, tt.want)
				}
				if left := tree(t, r.in.TempDir); len(left) != 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	}
}

func TestWithoutOutputsThereIsNoFile(t *testing.T) {
	r := newRun("")
	_, err := Shell{Script: `echo "${HOOKRUN_OUTPUT-none}"`}.Do(t.Context(), r.in)
	if err != nil || r.stdout.String() != "none\n" {
		t.Errorf("HOOKRUN_OUTPUT is %q, %v, want none", &r.stdout, err)
	}
}

func TestCleanDetached(t *testing.T) {
	r := newDetachedRun(t)
	keep := leave(t, Shell{Script: "echo ready; sleep 1000"}, r)
	drop := leave(t, Shell{Script: "echo ready; sleep 1000"}, r)
	note := filepath.Join(r.in.DetachDir, "note")
	if err := os.WriteFile(note, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Dir(r.in.DetachDir)) // a relative path means the same
	if err := CleanDetached("detached", func(folder string) bool { return folder == keep.Dir }); err != nil {
		t.Error(err)
	}
	for path, want := range map[string]bool{keep.Dir: true, drop.Dir: false, note: true} {
		if _, err := os.Stat(path); (err == nil) != want {
			t.Errorf("%s: %v, want it there: %v", path, err, want)
		}
	}
	for _, dir := range []string{"", filepath.Join(t.TempDir(), "none")} {
		if err := CleanDetached(dir, nil); err != nil {
			t.Errorf("CleanDetached(%q): %v", dir, err)
		}
	}
}
