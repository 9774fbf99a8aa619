package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"hookrun/engine"
)

// Exec runs a command without a shell: every element of Args is one argument,
// whatever is in it. The program is looked up in the PATH that the command
// gets.
type Exec struct {
	Args  []Arg            // the program, then its arguments; at least one
	Dir   *engine.Template // nil: the folder that hookrun was started in
	Env   []Var            // added to the clean environment, in order
	Stdin *engine.Template // nil: empty

	// Outputs are the names that the command has to write, as name=value lines,
	// to the file of HOOKRUN_OUTPUT. Empty: there is no such file.
	Outputs []string

	// Detach lets the command outlive hookrun, whose next start goes on with it.
	// Unix only, and under systemd only with KillMode=process. Its output goes to
	// files, at most 256 MiB each. Its environment can't hold what shells keep for
	// themselves, such as PWD and IFS. The exit code of one that a signal ended is
	// 128 and the signal's number.
	Detach bool

	Bounds Bounds // what the command runs with; not RunAs and Detach both
}

// Arg is one element of a command line.
type Arg struct {
	Text *engine.Template
	Dash bool // an outside value at its beginning may begin with "-"
}

// Var is a named value: an environment variable or an HTTP header.
type Var struct {
	Name  string
	Value *engine.Template
}

// Shell runs a constant script with /bin/sh, elsewhere than on Unix with the sh
// of PATH; values from outside reach it through Env and Stdin only.
type Shell struct {
	Script string // at most 128 KiB
	Dir    *engine.Template
	Env    []Var
	Stdin  *engine.Template

	Outputs []string // as those of Exec
	Detach  bool     // as that of Exec
	Bounds  Bounds
}

var (
	_ engine.Action = Exec{}
	_ engine.Action = Shell{}
)

// Kind implements engine.Action.
func (e Exec) Kind() string { return "exec" }

// Plan implements engine.Action.
func (e Exec) Plan(in engine.Input) (engine.Plan, error) {
	c, err := e.render(in)
	if err != nil {
		return engine.Plan{}, err
	}
	return c.plan(), nil
}

// Kind implements engine.Action.
func (s Shell) Kind() string { return "shell" }

// Plan implements engine.Action.
func (s Shell) Plan(in engine.Input) (engine.Plan, error) {
	c, err := s.render(in)
	if err != nil {
		return engine.Plan{}, err
	}
	return c.plan(), nil
}

// Do implements engine.Action.
func (e Exec) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	return do(ctx, in, e.begin(), e.render)
}

// Do implements engine.Action.
func (s Shell) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	return do(ctx, in, s.begin(), s.render)
}

// do runs the command that render gives, or goes on with one that an earlier
// hookrun left, of which no more than its begin has to be known.
func do(ctx context.Context, in engine.Input, begin command, render func(engine.Input) (command, error)) (engine.Output, error) {
	if in.Resume != nil {
		return begin.resume(ctx, in)
	}
	c, err := render(in)
	if err != nil {
		return engine.Output{ExitCode: -1}, err
	}
	in.Planned(c.plan())
	return c.run(ctx, in)
}

// begin is what is the same for every event.
func (e Exec) begin() command {
	return command{outputs: e.Outputs, detach: e.Detach, bounds: e.Bounds}
}

func (s Shell) begin() command {
	return command{outputs: s.Outputs, detach: s.Detach, bounds: s.Bounds}
}

func (e Exec) render(in engine.Input) (command, error) {
	if len(e.Args) == 0 {
		return command{}, engine.Permanent(errors.New("exec: no program"))
	}
	program, err := renderPath("the program", e.Args[0].Text, in)
	if err != nil {
		return command{}, err
	}
	c := e.begin()
	c.argv, c.name = []string{program}, program
	if e.Args[0].Text.HasExpr() {
		c.name = e.Args[0].Text.LeadingLiteral() + "…"
	}
	noOptions := false // behind "--"
	for i, a := range e.Args[1:] {
		s, err := a.render(i+1, noOptions, in)
		if err != nil {
			return command{}, err
		}
		c.argv = append(c.argv, s)
		c.outside = c.outside || a.Text.HasExpr()
		if lit, ok := a.Text.Literal(); ok && lit == "--" {
			noOptions = true
		}
	}
	return c.surround(in, e.Dir, e.Env, e.Stdin)
}

// render returns argument n. What a sender wrote must not turn into an option
// of the program.
func (a Arg) render(n int, noOptions bool, in engine.Input) (string, error) {
	s, err := render(fmt.Sprintf("argument %d", n), a.Text, in)
	if err != nil {
		return "", err
	}
	fromOutside := a.Text.HasExpr() && a.Text.LeadingLiteral() == ""
	if fromOutside && strings.HasPrefix(s, "-") && !noOptions && !a.Dash {
		return "", engine.Permanent(fmt.Errorf(
			`argument %d begins with "-", as an option does; put "--" before it, or write {value: …, dash: allow}`, n))
	}
	return s, nil
}

func (s Shell) render(in engine.Input) (command, error) {
	c := s.begin()
	c.argv, c.name = []string{shellProgram, "-c", s.Script}, shellProgram
	if len(s.Script) > maxArg {
		return command{}, engine.Permanent(fmt.Errorf(
			"the script has %d bytes, more than the %d that the system takes; put it in a file and run that", len(s.Script), maxArg))
	}
	return c.surround(in, s.Dir, s.Env, s.Stdin)
}

// surround adds to c what is around its arguments, and checks the whole.
func (c command) surround(in engine.Input, dir *engine.Template, vars []Var, stdin *engine.Template) (command, error) {
	var err error
	if dir != nil {
		if c.dir, err = renderPath("dir", dir, in); err != nil {
			return c, err
		}
	}
	if c.vars, err = renderVars(in, vars); err != nil {
		return c, err
	}
	c.env = environment(in, c.bounds, c.vars)
	if stdin != nil {
		s, err := render("stdin", stdin, in)
		if err != nil {
			return c, err
		}
		c.stdin = &s
	}
	return c, c.check()
}

// renderPath renders the path of a program or a folder. What an expression adds
// stays below the last folder that the rule itself names; symbolic links are
// followed.
func renderPath(field string, t *engine.Template, in engine.Input) (string, error) {
	path, err := render(field, t, in)
	if err != nil || !t.HasExpr() {
		return path, err
	}
	lead := t.LeadingLiteral()
	fixed := 0 // length of lead up to its last separator
	for i := range len(lead) {
		if os.IsPathSeparator(lead[i]) {
			fixed = i + 1
		}
	}
	if fixed == 0 || !filepath.IsLocal(path[fixed:]) {
		return "", engine.Permanent(fmt.Errorf("%s: what the event makes of it is not below the folder that the rule names (%q)", field, lead[:fixed]))
	}
	return path, nil
}
