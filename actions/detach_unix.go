//go:build unix

package actions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"hookrun/engine"
)

// wrapper is all that the shell between hookrun and a detached command is told:
// to wait for the command, as only its parent can, and to write its exit code
// to the file named by "$0". A signal to the group must not end the shell
// before that; what it handles, unlike what it ignores, the command meets as
// ever. The first line takes back what a shell adds to the environment.
const wrapper = `unset PWD OLDPWD SHLVL
trap : HUP INT QUIT USR1 USR2 PIPE ALRM TERM
"$@"
echo "$?" >"$0"`

// ofShells are the variables that a shell does not hand on as it got them.
const ofShells = " _ BASHOPTS IFS LINENO OLDPWD OPTIND PPID PWD RANDOM SECONDS SHELLOPTS SHLVL "

// What the folder of a detached command holds.
const (
	inBody   = "body"
	inStdin  = "stdin"
	inOutput = "output"
	inStdout = "stdout"
	inStderr = "stderr"
	inStatus = "status" // the exit code and a line end, once there is one
)

// followBuffer is how much of a stream one look takes.
const followBuffer = 64 << 10

// errGone and errLost are worth another try: nobody knows what was done.
var (
	errGone = errors.New("what the detached command left is gone")
	errLost = errors.New("ended without a word: killed, or the machine went down")
)

// detached is a command that outlives hookrun, in a session of its own, with
// nothing but files between the two:
//
//	start ─► wrapper ─► command ─► exit code in a file ─► found by whoever looks
//	  │
//	  ├─ hookrun stops, or crashes ─► it goes on; the next start resumes
//	  └─ ctx ends for another reason ─► end of the group ─► cut off
type detached struct {
	group          *group
	dir            string
	seen           bool // it was running when we came; else its number may be another's
	stdout, stderr *tail
	of             command
}

func (c command) runDetached(ctx context.Context, in engine.Input) (engine.Output, error) {
	d, err := c.startDetached(in)
	if err != nil {
		return engine.Output{ExitCode: -1}, err
	}
	in.Started(d.process())
	return d.run(ctx, in)
}

// resume goes on with what an earlier hookrun started. What it printed is told
// again from the beginning.
func (c command) resume(ctx context.Context, in engine.Input) (engine.Output, error) {
	p := *in.Resume
	g := leftGroup(p)
	g.reap = true
	d := &detached{group: g, dir: p.Dir, seen: Leftover(p), of: c}
	if err := d.open(in); err != nil {
		if d.seen {
			g.end(in.Hurry) // else the next try would run beside it
		}
		return engine.Output{ExitCode: -1}, err
	}
	in.Started(p)
	return d.run(ctx, in)
}

func (c command) startDetached(in engine.Input) (*detached, error) {
	program, err := c.checkDetached(in)
	if err != nil {
		return nil, engine.Permanent(err)
	}
	if err := c.lookAhead(program); err != nil {
		return nil, err
	}
	dir, err := c.makeFolder(in)
	if err != nil {
		return nil, fmt.Errorf("make the folder of a detached command in %s: %w", in.DetachDir, bare(err))
	}
	d := &detached{dir: dir, seen: true, of: c}
	if err = d.open(in); err == nil {
		if d.group, err = c.startWrapper(program, dir); err != nil {
			d.close()
			err = c.startError(shellProgram, err)
		}
	}
	if err != nil {
		os.RemoveAll(dir)
		return nil, err
	}
	return d, nil
}

// checkDetached refuses what would not be the same with and without detach. It
// returns the path of the program, which holds a slash: a bare name could be
// one of the shell's own commands.
func (c command) checkDetached(in engine.Input) (program string, err error) {
	if in.DetachDir == "" {
		return "", errors.New("detach needs a data folder")
	}
	if c.bounds.another() {
		return "", errors.New("detach and run_as do not go together; let the command change the user: exec: [sudo, -u, NAME, --, …]")
	}
	if processStart(os.Getpid()) == "" {
		return "", errors.New("detach: this system does not tell when a process started, so that none is found again")
	}
	for _, v := range c.env {
		name, _, _ := strings.Cut(v, "=")
		if !identifier.MatchString(name) || strings.Contains(ofShells, " "+name+" ") {
			return "", fmt.Errorf("env %s: the shell around a detached command does not hand it on; choose another name", name)
		}
	}
	return lookPath(c.argv[0], c.env)
}

// lookAhead finds what would keep the program from starting, of which the shell
// would tell nothing but 126 or 127.
func (c command) lookAhead(program string) error {
	path := program
	if !filepath.IsAbs(path) {
		path = filepath.Join(cmp.Or(c.dir, "."), path)
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = exec.LookPath(path)
	}
	if e, ok := errors.AsType[*exec.Error](err); ok {
		err = e.Err
	}
	if err == nil && c.dir != "" {
		_, err = os.Stat(c.dir)
	}
	if err != nil {
		return c.startError(program, err)
	}
	return nil
}

// unsafeInName is what does not go into the name of a folder.
var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9-]+`)

// maxFolderName is the most bytes of a folder's name that tell whose it is.
const maxFolderName = 100

func (c command) makeFolder(in engine.Input) (dir string, err error) {
	base, err := filepath.Abs(in.DetachDir) // the command may run elsewhere
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(base, 0o700); err != nil {
		return "", err
	}
	name := unsafeInName.ReplaceAllString(fmt.Sprintf("%s-%s-%d", in.Run, in.Step, in.Attempt), "_")
	if dir, err = os.MkdirTemp(base, name[:min(len(name), maxFolderName)]+"-*"); err != nil { // 0700
		return "", err
	}
	content := map[string][]byte{inBody: in.Event.Body, inStdout: nil, inStderr: nil}
	if c.stdin != nil {
		content[inStdin] = []byte(*c.stdin)
	}
	if len(c.outputs) > 0 {
		content[inOutput] = nil
	}
	for name, b := range content {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			os.RemoveAll(dir)
			return "", err
		}
	}
	return dir, nil
}

// startWrapper starts the command with the files of dir as its streams.
func (c command) startWrapper(program, dir string) (*group, error) {
	f := files{body: filepath.Join(dir, inBody)}
	if len(c.outputs) > 0 {
		f.output = filepath.Join(dir, inOutput)
	}
	cmd := &exec.Cmd{
		Path: shellProgram,
		Args: append([]string{shellProgram, "-c", wrapper, filepath.Join(dir, inStatus), program}, c.argv[1:]...),
		Dir:  c.dir,
		Env:  c.environment(f),
	}
	stdin := os.DevNull
	if c.stdin != nil {
		stdin = filepath.Join(dir, inStdin)
	}
	in, err := os.Open(stdin)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.OpenFile(filepath.Join(dir, inStdout), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	errOut, err := os.OpenFile(filepath.Join(dir, inStderr), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, err
	}
	defer errOut.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, errOut
	g, err := startLeader(cmd, c.bounds, &syscall.SysProcAttr{Setsid: true})
	if err != nil {
		return nil, err
	}
	g.reap = true
	cmd.Process.Release()
	return g, nil
}

func (d *detached) process() engine.Process {
	p := d.group.process()
	p.Dir = d.dir
	return p
}

// open opens the streams of the command for reading.
func (d *detached) open(in engine.Input) error {
	stdout, err := os.Open(filepath.Join(d.dir, inStdout))
	if err == nil {
		d.stdout = &tail{file: stdout, to: in.Stdout}
		var stderr *os.File
		if stderr, err = os.Open(filepath.Join(d.dir, inStderr)); err == nil {
			d.stderr = &tail{file: stderr, to: in.Stderr}
			return nil
		}
		stdout.Close()
	}
	if errors.Is(err, os.ErrNotExist) {
		return errGone
	}
	return fmt.Errorf("read the output of a detached command: %w", err)
}

func (d *detached) close() {
	d.stdout.file.Close()
	d.stderr.file.Close()
}

// run waits for the end of the command and tells how it ended.
func (d *detached) run(ctx context.Context, in engine.Input) (engine.Output, error) {
	defer d.close()
	out := engine.Output{ExitCode: -1}
	cut := d.follow(ctx)
	if errors.Is(cut, engine.ErrStopping) {
		return out, cut
	}
	defer os.RemoveAll(d.dir)
	code, known := d.exitCode()
	if d.seen && (cut != nil || !known) { // without its parent the command may still be there
		d.group.end(in.Hurry)
		d.group.ended()
		code, known = d.exitCode()
	}
	d.drain()
	if known {
		out.ExitCode = code
		out.Signal = unix.SignalName(syscall.Signal(code - signalBase))
	}
	switch {
	case cut != nil:
		return out, cut
	case d.flooded():
		return out, engine.Permanent(outputError(d.of.bounds.Limits.Output))
	case !known:
		return out, errLost
	case out.Signal != "":
		return out, fmt.Errorf("exit status %d, as after %s", code, out.Signal)
	case code != 0:
		return out, fmt.Errorf("exit status %d", code)
	}
	var err error
	out.Outputs, err = d.of.readOutputs(filepath.Join(d.dir, inOutput))
	return out, err
}

// follow copies what the command prints until it has ended, and returns why it
// has to end, or to be left, before.
func (d *detached) follow(ctx context.Context) error {
	for pause := minPause; d.seen && !d.group.ended(); pause = min(2*pause, maxPause) {
		more := d.stdout.look()
		more = d.stderr.look() || more
		switch {
		case ctx.Err() != nil: // first, as there is no cause before
			if errors.Is(context.Cause(ctx), engine.ErrStopping) {
				return fmt.Errorf("left running: %w", context.Cause(ctx))
			}
			return cutOff(ctx)
		case d.stdout.full() || d.stderr.full():
			return engine.Permanent(fmt.Errorf("printed more than the %d bytes that a detached command may; redirect its output", maxDetachedOutput))
		case d.flooded():
			return engine.Permanent(outputError(d.of.bounds.Limits.Output))
		case more:
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
	return nil
}

// flooded reports whether the command has printed more than limits.output.
func (d *detached) flooded() bool {
	limit := d.of.bounds.Limits.Output
	return limit > 0 && d.stdout.at+d.stderr.at > limit
}

// signalBase is what a shell adds to the number of a signal that ended a
// command.
const signalBase = 128

// exitCode reads what the wrapper left: nothing where it was killed.
func (d *detached) exitCode() (code int, known bool) {
	const most = len("255\n")
	text, _ := readSmall(filepath.Join(d.dir, inStatus), int64(most))
	digits, whole := strings.CutSuffix(string(text), "\n")
	code, err := strconv.Atoi(digits)
	return code, whole && err == nil && code >= 0
}

// drain copies what is left of the streams. Something that the command left
// running may print on.
func (d *detached) drain() {
	for _, t := range []*tail{d.stdout, d.stderr} {
		t.rewind()
		info, err := t.file.Stat()
		for err == nil && t.at < info.Size() && !t.full() && t.look() {
		}
	}
}

// tail reads a file while it grows.
type tail struct {
	file *os.File
	to   io.Writer
	at   int64
	buf  []byte
}

// look copies what is new, at most followBuffer bytes, and reports whether
// there may be more.
func (t *tail) look() bool {
	if t.buf == nil {
		t.buf = make([]byte, followBuffer)
	}
	n, _ := t.file.ReadAt(t.buf, t.at)
	if n == 0 {
		t.rewind()
		return false
	}
	t.to.Write(t.buf[:n])
	t.at += int64(n)
	return n == len(t.buf)
}

// rewind goes back to the beginning of a file that was truncated, as Linux does
// for echo >/dev/stderr where that is a file.
func (t *tail) rewind() {
	if info, err := t.file.Stat(); err == nil && info.Size() < t.at {
		t.at = 0
	}
}

func (t *tail) full() bool { return t.at > maxDetachedOutput }
