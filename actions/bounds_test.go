//go:build unix

package actions

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"hookrun/engine"
)

func umask(mode fs.FileMode) *fs.FileMode { return &mode }

// shell runs a script and returns what it printed, without the end of its last
// line.
func shell(t *testing.T, b Bounds, script string) (string, engine.Output, error) {
	t.Helper()
	r := newRun("the body")
	out, err := Shell{Script: script, Bounds: b}.Do(t.Context(), r.in)
	if r.stderr.Len() > 0 {
		t.Logf("stderr: %s", &r.stderr)
	}
	return strings.TrimSuffix(r.stdout.String(), "\n"), out, err
}

func TestBoundsOfACommand(t *testing.T) {
	tests := []struct {
		name   string
		bounds Bounds
		script string
		want   string
	}{
		{"umask", Bounds{Umask: umask(0o027)}, "umask", "0027"},
		{"no umask of its own", Bounds{Limits: Limits{CPU: time.Minute}}, "umask", fmt.Sprintf("%04o", currentUmask())},
		{"cpu", Bounds{Limits: Limits{CPU: 30 * time.Second}}, "ulimit -St; ulimit -Ht", "30\n35"},
		{"files", Bounds{Limits: Limits{Files: 64}}, "ulimit -Sn; ulimit -Hn", "64\n64"},
		{"all but memory", Bounds{Umask: umask(0o077), Limits: Limits{CPU: time.Second, Files: 32}}, "umask; ulimit -St; ulimit -Sn", "0077\n1\n32"},
		{"none", Bounds{}, "ulimit -Ss; echo x", limitOf(t, "s") + "\nx"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, _, err := shell(t, tt.bounds, tt.script)
			if err != nil || got != tt.want {
				t.Errorf("got %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func currentUmask() int {
	mask := syscall.Umask(0)
	syscall.Umask(mask)
	return mask
}

// limitOf is what a command without bounds gets.
func limitOf(t *testing.T, letter string) string {
	t.Helper()
	got, _, err := shell(t, Bounds{}, "ulimit -S"+letter)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestMemoryIsBounded(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux keeps to the limit")
	}
	b := Bounds{Umask: umask(0o022), Limits: Limits{Memory: 256 << 20}}
	got, _, err := shell(t, b, "ulimit -Sv; ulimit -Hv; ulimit -Sn; umask")
	if want := "262144\n262144\n" + limitOf(t, "n") + "\n0022"; err != nil || got != want {
		t.Errorf("got %q, %v, want %q", got, err, want)
	}
	// dd takes its buffer in one piece.
	if _, _, err := shell(t, b, "dd if=/dev/zero of=/dev/null bs=512M count=1"); err == nil {
		t.Error("a command got more memory than the limit")
	}
	if _, _, err := shell(t, b, "dd if=/dev/zero of=/dev/null bs=64M count=1"); err != nil {
		t.Errorf("less than the limit: %v", err)
	}
	_, err = Exec{Args: argv(t, "/no/such/program"), Bounds: b}.Do(t.Context(), newRun("").in)
	wantPermanent(t, err, `start "/no/such/program": no such file or directory`)
}

func TestCPUIsBounded(t *testing.T) {
	_, out, err := shell(t, Bounds{Limits: Limits{CPU: time.Second}}, "while :; do :; done")
	wantRetryable(t, err, "ended by SIGXCPU: it used more than the 1s of CPU time that limits.cpu allows")
	if out.Signal != "SIGXCPU" {
		t.Errorf("signal %q, want SIGXCPU", out.Signal)
	}
}

func TestOutputIsBounded(t *testing.T) {
	const limit = 1 << 20
	tests := []struct {
		name, script string
		over         bool
	}{
		{"without end", "yes", true},
		{"over both streams", "head -c 600000 /dev/zero; head -c 600000 /dev/zero >&2; sleep 60", true},
		{"ends by itself", "head -c 2000000 /dev/zero", true},
		{"just fits", "head -c 1048570 /dev/zero; printf 123456 >&2", false},
		{"a byte more", "head -c 1048570 /dev/zero; printf 1234567 >&2", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRun("")
			began := time.Now()
			_, err := Shell{Script: tt.script, Bounds: Bounds{Limits: Limits{Output: limit}}}.Do(t.Context(), r.in)
			if tt.over {
				wantPermanent(t, err, "printed more than the 1 MiB that limits.output allows")
			} else if err != nil {
				t.Error(err)
			}
			if got := r.stdout.Len() + r.stderr.Len(); got > limit || tt.over && got != limit {
				t.Errorf("%d bytes came through, want the limit of %d", got, limit)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestLaunchChangesNothingElse: arguments, environment, stdin and folder of a
// command with bounds are those of one without.
func TestLaunchChangesNothingElse(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	e := Exec{
		Args: argv(t, "", "--", "-x", "a b", "é\xff\n", "$(x)", launchWord), Dir: text(t, dir), Stdin: text(t, "in\xff\n"),
		Env: []Var{{"A", text(t, "é\xff\n")}, {"EMPTY", text(t, "")}, {"GODEBUG", text(t, "x=1")}},
	}
	plain := probeWith(t, e, newRun("the body"))
	e.Bounds = Bounds{Umask: umask(0o022), Limits: Limits{CPU: time.Hour, Files: 100}}
	bound := probeWith(t, e, newRun("the body"))
	unlike := func(v []byte) bool { return strings.HasPrefix(string(v), bodyFile+"=") } // another file each time
	plain.Env, bound.Env = slices.DeleteFunc(plain.Env, unlike), slices.DeleteFunc(bound.Env, unlike)
	if fmt.Sprintf("%q", plain) != fmt.Sprintf("%q", bound) {
		t.Errorf("with bounds  %q\nwithout them %q", bound, plain)
	}
}

// TestLaunchErrors: they are those of a command without bounds.
func TestLaunchErrors(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{"not-executable": 0o600, "no-program": 0o700, "no-interpreter": 0o700} {
		content := "neither"
		if name == "no-interpreter" {
			content = "#!/no/such/interpreter\n"
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, program := range []string{"/no/such/program", dir, dir + "/not-executable", dir + "/no-program", dir + "/no-interpreter", dir + "/no-program/below"} {
		_, plain := Exec{Args: argv(t, program)}.Do(t.Context(), newRun("").in)
		for _, b := range []Bounds{{Umask: umask(0o022)}, {Limits: Limits{CPU: time.Minute}}} {
			_, err := Exec{Args: argv(t, program), Bounds: b}.Do(t.Context(), newRun("").in)
			wantPermanent(t, err, plain.Error())
		}
	}
}

func TestDetachedWithBounds(t *testing.T) {
	run := func(t *testing.T, b Bounds, script string) (string, error) {
		r := newRun("the body")
		r.in.DetachDir = t.TempDir()
		_, err := Shell{Script: script, Bounds: b, Detach: true}.Do(t.Context(), r.in)
		return r.stdout.String(), err
	}
	if got, err := run(t, Bounds{Umask: umask(0o027), Limits: Limits{Files: 64}}, `umask; ulimit -n; cat "$HOOKRUN_BODY_FILE"`); err != nil || got != "0027\n64\nthe body" {
		t.Errorf("got %q, %v, want umask, limit and body", got, err)
	}
	if _, err := run(t, Bounds{Limits: Limits{Output: 100 << 10}}, "yes"); err == nil {
		t.Error("a detached command printed more than limits.output")
	} else {
		wantPermanent(t, err, "printed more than the 100 KiB that limits.output allows")
	}
	if _, err := run(t, Bounds{Limits: Limits{Output: 100 << 10}}, "head -c 200000 /dev/zero"); err == nil {
		t.Error("a detached command that ended printed more than limits.output")
	}
	if _, err := run(t, Bounds{Limits: Limits{CPU: time.Second}}, "while :; do :; done"); err == nil || !strings.Contains(err.Error(), "XCPU") {
		t.Errorf("got error %v, want one of SIGXCPU", err)
	}
}

// nobody is another user than root.
func nobody(t *testing.T) *Account {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can be another user")
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	return &Account{Name: "nobody", Home: "/var/empty", UID: uid, GID: 4321, Groups: []int{4321, 5432}}
}

func TestRunAs(t *testing.T) {
	who := nobody(t)
	private := t.TempDir()
	if err := os.Chmod(private, 0o700); err != nil {
		t.Fatal(err)
	}
	shared, err := os.MkdirTemp("", "hookrun-test-") // t.TempDir lies in one that is not shared
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(shared)
	if err := os.Chmod(shared, 0o777|fs.ModeSticky); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", shared)
	r := newRun("the body")
	r.in.TempDir = private // as that of the daemon
	script := `id -u; id -g; id -G; echo "$HOME $USER $LOGNAME"
cat "$HOOKRUN_BODY_FILE"; echo
echo to-stderr >/dev/stderr; echo to-stdout >/dev/stdout
echo made=by-it >>"$HOOKRUN_OUTPUT"
cat /proc/self/environ >/dev/null && grep -c . "$SECRET"
touch /etc/hookrun-test 2>/dev/null || echo refused`
	secret := filepath.Join(r.in.TempDir, "secret")
	if err := os.WriteFile(secret, []byte("x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := Shell{
		Script: script, Dir: text(t, "/"), Env: []Var{{"SECRET", text(t, secret)}}, Outputs: []string{"made"}, Bounds: Bounds{RunAs: who},
	}.Do(t.Context(), r.in)
	want := fmt.Sprintf("%d\n4321\n4321 5432\n/var/empty nobody nobody\nthe body\nto-stdout\nrefused\n", who.UID)
	if err != nil || r.stdout.String() != want {
		t.Errorf("got %q, %v, want %q", r.stdout.String(), err, want)
	}
	if !strings.HasPrefix(r.stderr.String(), "to-stderr\n") || out.Outputs["made"] != "by-it" {
		t.Errorf("stderr %q, outputs %v, want what it wrote", &r.stderr, out.Outputs)
	}
	if left, err := os.ReadDir(shared); err != nil || len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v, %v", left, err)
	}
}

func TestRunAsErrors(t *testing.T) {
	who := nobody(t)
	locked := t.TempDir() // 0755, below one that is 0700 only where the system makes it so
	if err := os.Chmod(locked, 0o700); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(locked, "program")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	do := func(e Exec) error {
		r := newRun("")
		r.in.DetachDir = locked
		e.Bounds.RunAs = who
		_, err := e.Do(t.Context(), r.in)
		return err
	}
	wantPermanent(t, do(Exec{Args: argv(t, "true"), Dir: text(t, locked)}), `start "true": run_as: nobody may not enter dir "`+locked+`"`)
	wantPermanent(t, do(Exec{Args: argv(t, program), Dir: text(t, "/")}), fmt.Sprintf("start %q: permission denied", program))
	t.Setenv("TMPDIR", locked)
	wantPermanent(t, do(Exec{Args: argv(t, "true"), Dir: text(t, "/")}),
		`start "true": run_as: nobody can't read the files for the step in `+locked+"; start hookrun with a TMPDIR that everybody may enter")
	wantPermanent(t, do(Exec{Args: argv(t, "true"), Dir: text(t, "/"), Detach: true}),
		"detach and run_as do not go together; let the command change the user: exec: [sudo, -u, NAME, --, …]")
}

// TestOutputsOfAnotherUserLeadNowhere: root must not read for them what they may
// not.
func TestOutputsOfAnotherUserLeadNowhere(t *testing.T) {
	who := nobody(t)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("key=canary\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{
		`ln -sf "$SECRET" "$HOOKRUN_OUTPUT"`,
		`rm "$HOOKRUN_OUTPUT"; mkfifo "$HOOKRUN_OUTPUT"`,
		`rm "$HOOKRUN_OUTPUT"; mkdir "$HOOKRUN_OUTPUT"`,
	} {
		out, err := Shell{
			Script: script, Dir: text(t, "/"), Env: []Var{{"SECRET", text(t, secret)}}, Outputs: []string{"key"}, Bounds: Bounds{RunAs: who},
		}.Do(t.Context(), newRun("").in)
		if err == nil || out.Outputs != nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: got %v, %v, want an error", script, out.Outputs, err)
		}
	}
}
