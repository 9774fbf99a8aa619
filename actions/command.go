package actions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"hookrun/engine"
)

// maxArg is the most bytes of one argument or one NAME=value: MAX_ARG_STRLEN of
// Linux (32 pages of 4 KiB) without the NUL at its end. It holds everywhere, so
// that a rule means the same everywhere.
const maxArg = 128<<10 - 1

// useStdin is the hint for values that are too long.
const useStdin = "pass it through stdin: or read the file named in HOOKRUN_BODY_FILE"

// bodyFile is the variable that names the file with the event's body.
const bodyFile = "HOOKRUN_BODY_FILE"

// command is what a rule and an event come to: all but the files for the body
// and the outputs, which are made when the command runs.
type command struct {
	argv    []string         // the program as the rule names it, then its arguments
	name    string           // of the program, for people: nothing from outside
	outside bool             // an argument holds something from outside
	dir     string           // "": hookrun's own
	vars    []engine.PlanVar // what the rule adds to the environment
	env     []string         // NAME=value; of two the later one counts
	stdin   *string          // nil: empty
	outputs []string         // names that it has to write to the file of HOOKRUN_OUTPUT
	detach  bool
	bounds  Bounds
}

// plan is what of c the rule says.
func (c command) plan() engine.Plan {
	return engine.Plan{Argv: c.argv, Dir: c.dir, Env: c.vars, Stdin: c.stdin}
}

// check refuses what no system runs.
func (c command) check() error {
	for i, arg := range c.argv {
		what := fmt.Sprintf("argument %d", i)
		if i == 0 {
			what = "the program"
		}
		if err := checkValue(what, arg, len(arg)); err != nil {
			return err
		}
	}
	for _, v := range c.env {
		name, value, _ := strings.Cut(v, "=")
		if err := checkValue("env "+name, value, len(v)); err != nil {
			return err
		}
	}
	if strings.ContainsRune(c.dir, 0) {
		return engine.Permanent(errors.New("dir holds a NUL byte"))
	}
	return nil
}

func checkValue(what, value string, size int) error {
	if strings.ContainsRune(value, 0) {
		return engine.Permanent(fmt.Errorf("%s holds a NUL byte; %s", what, useStdin))
	}
	if size > maxArg {
		return engine.Permanent(fmt.Errorf("%s has %d bytes, more than the %d that the system takes; %s", what, size, maxArg, useStdin))
	}
	return nil
}

// run runs the command to its end. Its exit status decides, or the end of ctx
// where that comes first.
func (c command) run(ctx context.Context, in engine.Input) (engine.Output, error) {
	out := engine.Output{ExitCode: -1}
	if ctx.Err() != nil {
		return out, cutOff(ctx)
	}
	if c.detach {
		return c.runDetached(ctx, in)
	}
	files, err := c.makeFiles(in)
	defer files.remove()
	if err != nil {
		return out, err
	}
	p, err := c.start(in, files)
	if err != nil {
		return out, err
	}
	in.Started(p.group.process())
	cut := p.wait(ctx, in)
	state, err := p.result()
	if state != nil {
		out.ExitCode = state.ExitCode()
		out.Signal = signalName(state)
	}
	switch {
	case cut:
		return out, cutOff(ctx)
	case p.flooded():
		return out, engine.Permanent(outputError(c.bounds.Limits.Output))
	case err != nil:
		return out, fmt.Errorf("wait for %q: %w", c.name, err)
	case out.Signal == "SIGXCPU" && c.bounds.Limits.CPU > 0:
		return out, fmt.Errorf("ended by SIGXCPU: it used more than the %s of CPU time that limits.cpu allows", c.bounds.Limits.CPU)
	case out.Signal != "":
		return out, fmt.Errorf("ended by %s", out.Signal)
	case out.ExitCode != 0:
		return out, fmt.Errorf("exit status %d", out.ExitCode)
	}
	out.Outputs, err = c.readOutputs(files.output)
	return out, err
}

// files are those that a command finds through its environment.
type files struct {
	body   string // path
	output string // likewise; "": the command has no outputs
}

// makeFiles makes the files of a command among those that need not last. The
// caller removes what was made, even where there is an error.
func (c command) makeFiles(in engine.Input) (f files, err error) {
	dir := cmp.Or(in.TempDir, os.TempDir())
	if c.bounds.another() {
		dir = os.TempDir() // nobody but hookrun's user gets into the other one
	}
	if f.body, err = c.writeTemp(dir, "hookrun-body-*", in.Event.Body); err != nil {
		return f, fmt.Errorf("make the file for %s in %s: %w", bodyFile, dir, err)
	}
	if len(c.outputs) == 0 {
		return f, nil
	}
	if f.output, err = c.writeTemp(dir, "hookrun-output-*", nil); err != nil {
		return f, fmt.Errorf("make the file for %s in %s: %w", outputFile, dir, err)
	}
	return f, nil
}

// writeTemp makes a file that only the command's user reads, and returns its
// path.
func (c command) writeTemp(dir, pattern string, content []byte) (string, error) {
	f, err := os.CreateTemp(dir, pattern) // 0600
	if err != nil {
		return "", bare(err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, c.bounds.give(f), f.Close()); err != nil {
		os.Remove(f.Name())
		return "", bare(err)
	}
	return f.Name(), nil
}

func (f files) remove() {
	for _, path := range []string{f.body, f.output} {
		if path != "" {
			os.Remove(path)
		}
	}
}

// environment returns all that the command gets to see.
func (c command) environment(f files) []string {
	env := append(c.env[:len(c.env):len(c.env)], bodyFile+"="+f.body)
	if f.output != "" {
		env = append(env, outputFile+"="+f.output)
	}
	return env
}

func (c command) start(in engine.Input, files files) (*process, error) {
	program, err := lookPath(c.argv[0], c.env)
	if err != nil {
		return nil, engine.Permanent(err)
	}
	// cmd.exe parses its command line anew, so that there is no quoting that
	// keeps an argument of a batch file one argument.
	if ext := strings.ToLower(filepath.Ext(program)); runtime.GOOS == "windows" && c.outside && (ext == ".bat" || ext == ".cmd") {
		return nil, engine.Permanent(fmt.Errorf("%s is a batch file, which must not get arguments from outside; pass them through env: or stdin: instead", c.name))
	}
	cmd := &exec.Cmd{
		Path: program,
		Args: c.argv,
		Dir:  c.dir,
		Env:  c.environment(files),
	}
	p, err := startProcess(cmd, c.bounds, c.stdin, in.Stdout, in.Stderr)
	if err != nil {
		return nil, c.startError(program, err)
	}
	return p, nil
}

// startError adds what people need to mend it, and says which errors another
// try can't mend.
func (c command) startError(program string, err error) error {
	err = bare(err) // "fork/exec /the/program" says nothing more

	if c.dir != "" { // the system reports it as if the program were missing
		if _, err := os.Stat(c.dir); err != nil {
			return engine.Permanent(fmt.Errorf("dir %s: %w", showPath(c.dir), bare(err)))
		}
	}
	if problem := c.launchProblem(err); problem != nil {
		return engine.Permanent(fmt.Errorf("start %q: %w", c.name, problem))
	}
	_, statErr := os.Stat(program)
	switch {
	case tooMuch(err):
		err = fmt.Errorf("arguments and environment together are more than the system takes; %s", useStdin)
	case errors.Is(err, os.ErrNotExist) && statErr == nil && filepath.IsAbs(program):
		err = fmt.Errorf("%w: the interpreter that its first line names is missing", err)
	case errors.Is(err, syscall.ENOEXEC):
		err = fmt.Errorf("%w: neither a program for this system nor a script with a #! line", err)
	case errors.Is(err, os.ErrNotExist), errors.Is(err, os.ErrPermission), errors.Is(err, syscall.ENOTDIR):
	default: // too many processes, no memory, being written just now
		return fmt.Errorf("start %q: %w", c.name, err)
	}
	return engine.Permanent(fmt.Errorf("start %q: %w", c.name, err))
}
