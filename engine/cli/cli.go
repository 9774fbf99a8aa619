// Package cli holds the commands of hookrun and wires its parts together. It
// imports every other package and is imported by main alone.
package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"hookrun/engine"
)

// Exit codes. The README lists them.
const (
	exitOK      = 0
	exitFailed  = 1  // the command could not do what it was asked to
	exitUsage   = 2  // it was asked in a way that it does not understand
	exitStorage = 75 // EX_TEMPFAIL: the disk failed under the store; a restart recovers
)

// Process is what a command sees of the process it runs in.
type Process struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer

	Hurry  <-chan struct{}  // closed by the second signal to end; nil: never
	Reload <-chan os.Signal // a value asks to read the rules again; nil: never

	tell func(*flag.FlagSet) // not nil: is told the flags of the command, which then does nothing
}

// command is one word behind hookrun.
type command struct {
	name    string
	summary string // one line for the list of commands
	manual  string // what -h prints before the flags
	run     func(ctx context.Context, p Process, c command, args []string) error
	words   func() []command // those behind it, as "runs show"; nil: none
}

func commands() []command {
	return []command{
		runCommand(), relayCommand(), checkCommand(), testCommand(), recordCommand(), replayCommand(), explainCommand(), tryCommand(), runsCommand(), eventsCommand(), tailCommand(), statusCommand(), armCommand(), pauseCommand(), resumeCommand(), rejectedCommand(), sendCommand(), forwardCommand(), signCommand(), rulesCommand(), rollbackCommand(), printCommand(), versionCommand(),
	}
}

// Main runs the command that args name, "run" where they name none, and
// returns the exit code. It returns soon after ctx ends.
func Main(ctx context.Context, args []string, p Process) int {
	if len(args) == 0 {
		fmt.Fprint(p.Stderr, usage())
		return exitUsage
	}
	name, rest := "run", args
	if !strings.HasPrefix(args[0], "-") {
		name, rest = args[0], args[1:]
	} else if args[0] == "-version" || args[0] == "--version" {
		name, rest = "version", nil
	} else if isHelp(args[0]) {
		fmt.Fprint(p.Stdout, usage())
		return exitOK
	}
	if name == "help" {
		return help(p, rest)
	}
	if name == completeWord {
		complete(ctx, p, rest)
		return exitOK
	}
	c, ok := find(name)
	if !ok {
		return report(p, unknownCommand(name))
	}
	return report(p, c.run(ctx, p, c, rest))
}

func find(name string) (command, bool) {
	for _, c := range commands() {
		if c.name == name {
			return c, true
		}
	}
	return command{}, false
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// help prints the manual of a command, or the overview.
func help(p Process, args []string) int {
	if len(args) == 0 {
		fmt.Fprint(p.Stdout, usage())
		return exitOK
	}
	c, ok := find(args[0])
	if !ok {
		return report(p, unknownCommand(args[0]))
	}
	return report(p, c.run(context.Background(), p, c, []string{"-h"}))
}

func unknownCommand(name string) error {
	var names []string
	for _, c := range commands() {
		names = append(names, c.name)
	}
	hint := engine.Nearest(name, names)
	if hint == "" {
		hint = "hookrun -h lists the commands"
	}
	return &usageError{fmt.Sprintf("unknown command %q", name), hint}
}

// usage is the first screen.
func usage() string {
	var b strings.Builder
	b.WriteString(`hookrun turns webhooks into actions on machines with no public IP.

Usage:
  hookrun -rules rules.yaml        receive webhooks and run what the rules say
  hookrun COMMAND [flags]

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-10s %s\n", c.name, c.summary)
	}
	b.WriteString(`
hookrun COMMAND -h prints the manual of a command, hookrun run -h that of
hookrun -rules.
`)
	return b.String()
}

// hinted is an error with the likely mend, on a line of its own.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func withHint(err error, format string, args ...any) error {
	return &hinted{err, fmt.Sprintf(format, args...)}
}

// usageError is a command line that can't be understood.
type usageError struct{ msg, hint string }

func (e *usageError) Error() string { return e.msg }

// exitError ends the command with a code, without a word: all was said.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// report prints what a command came to and returns the exit code for it.
func report(p Process, err error) int {
	var (
		code  exitError
		usage *usageError
		hint  *hinted
	)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		printError(p, usage.msg, usage.hint)
		return exitUsage
	case errors.As(err, &hint):
		printError(p, err.Error(), hint.hint)
		return exitFailed
	}
	printError(p, err.Error(), "")
	return exitFailed
}

func printError(p Process, msg, hint string) {
	fmt.Fprintf(p.Stderr, "hookrun: %s\n", msg)
	if hint != "" {
		fmt.Fprintf(p.Stderr, "hookrun: hint: %s\n", hint)
	}
}

// flags returns a flag set that prints nothing by itself.
func flags(c command) *flag.FlagSet {
	fs := flag.NewFlagSet(c.name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {} // parse prints the manual, on -h alone
	return fs
}

func printManual(p Process, c command, fs *flag.FlagSet) {
	fmt.Fprintln(p.Stdout, strings.TrimSpace(c.manual))
	flags := 0
	fs.VisitAll(func(*flag.Flag) { flags++ })
	if flags > 0 {
		fmt.Fprint(p.Stdout, "\nFlags:\n")
		fs.SetOutput(p.Stdout)
		fs.PrintDefaults()
	}
}

// parse reads the flags. Words behind them are an error unless the command
// takes up to words of them.
func parse(p Process, c command, fs *flag.FlagSet, args []string, words int) error {
	if p.tell != nil {
		p.tell(fs)
		return flag.ErrHelp
	}
	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		printManual(p, c, fs)
		return err
	case err != nil:
		return &usageError{err.Error(), flagHint(fs, err)}
	case fs.NArg() > words:
		return &usageError{fmt.Sprintf("%s: unexpected argument %q", fs.Name(), fs.Arg(words)), "hookrun " + fs.Name() + " -h prints the manual"}
	}
	return nil
}

// flagHint names the flag that an unknown one was likely meant to be.
func flagHint(fs *flag.FlagSet, err error) string {
	manual := "hookrun " + fs.Name() + " -h prints the manual"
	wrong, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !ok {
		return manual
	}
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, "-"+f.Name) })
	wrong = "-" + wrong
	if hint := engine.Nearest(wrong, names); hint != "" {
		return hint
	}
	return manual
}

// list is a flag that may be repeated.
type list []string

func (l *list) String() string     { return strings.Join(*l, ", ") }
func (l *list) Set(v string) error { *l = append(*l, v); return nil }
