package cli

import (
	"context"
	"errors"
	"fmt"

	"hookrun/engine"
	"hookrun/engine/control"
)

const logsManual = `hookrun runs logs ID [flags]

Prints what the commands of a run have printed, of all its attempts: stdout to
stdout, stderr to stderr. Of each stream the first and the last 32 KiB are kept.

-f follows a run that waits or runs until it has finished, and says how it ended.
On a terminal, characters that it would obey are shown as escapes; -raw prints
the bytes as they are.

Examples:
  hookrun runs logs 0197f3c2-8a1b-7a2c
  hookrun runs logs 0197f3c2-8a1b-7a2c -f

Exit codes: 0 done, however the run ended, 1 there is no such run, or hookrun has
ended meanwhile, 2 wrong usage.`

// logsOptions are the flags of runs logs.
type logsOptions struct {
	desk        deskFlags
	follow, raw bool
}

func logsCommand() command {
	return command{name: "runs logs", manual: logsManual, run: runLogs}
}

func runLogs(ctx context.Context, p Process, c command, args []string) error {
	var o logsOptions
	fs := flags(c)
	o.desk.add(fs)
	fs.BoolVar(&o.follow, "f", false, "follow it until it has finished")
	fs.BoolVar(&o.raw, "raw", false, "print the bytes as they are, on a terminal too")
	id, err := parseID(p, c, fs, args)
	if err != nil {
		return err
	}
	err = o.desk.read(ctx, p, c, func(d control.Desk) error {
		return o.print(ctx, d, id, screenOf(p.Stdout), screenOf(p.Stderr))
	})
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return nil // a person has seen enough
	}
	return err
}

func (o *logsOptions) print(ctx context.Context, d control.Desk, id string, stdout, stderr screen) error {
	l := logPrinter{o: o, stdout: stdout, stderr: stderr}
	return d.Log(ctx, id, o.follow, l.piece)
}

// logPrinter prints the pieces of a log.
type logPrinter struct {
	o              *logsOptions
	stdout, stderr screen
	inLine         bool // the last piece did not end its line
}

func (l *logPrinter) piece(p control.Piece) error {
	if p.Stream == "" {
		l.state(p)
		return nil
	}
	out := l.stdout
	if p.Stream == engine.Stderr {
		out = l.stderr
	}
	if p.Cut > 0 {
		l.say(fmt.Sprintf("%d bytes of %s are not kept", p.Cut, p.Stream))
	}
	text := string(p.Data)
	if out.terminal && !l.o.raw {
		text = readable(text)
	}
	l.inLine = len(p.Data) > 0 && p.Data[len(p.Data)-1] != '\n'
	_, err := fmt.Fprint(out, text)
	return err
}

// state says what becomes of the run: how it ended to one who follows it, and
// that it has not to one who does not.
func (l *logPrinter) state(p control.Piece) {
	switch {
	case l.o.follow && p.State.Finished():
		l.say(joinWords("the run has ended as "+string(p.State), p.Why))
	case l.o.follow && p.State == engine.Queued:
		l.say(joinWords("the run is queued", p.Why))
	case !l.o.follow && !p.State.Finished():
		l.say(joinWords(fmt.Sprintf("the run is %s, -f follows it", p.State), p.Why))
	}
}

// say tells of the log itself, on a line of its own.
func (l *logPrinter) say(what string) {
	if l.inLine && l.stderr.terminal {
		fmt.Fprintln(l.stderr)
	}
	l.inLine = false
	fmt.Fprintf(l.stderr, "hookrun: %s\n", printable(what))
}
