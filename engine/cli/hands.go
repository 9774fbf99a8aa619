package cli

import (
	"context"
	"fmt"
	"io"

	"hookrun/engine/control"
)

const retryManual = `hookrun runs retry ID [flags]

Queues a finished run again, whatever it came to: also one that was a duplicate,
skipped or cancelled. It goes on at the action that failed; one that was done
begins anew. It takes its place in its lane as every run does.

Where no hookrun runs it takes effect at the next start.

Examples:
  hookrun runs retry 0197f3c2-8a1b-7a2c
  hookrun runs retry 0197f3c2-8a1b-7a2c -all

Exit codes: 0 it is queued, 1 there is no such run, or it has not finished,
2 wrong usage.`

func retryCommand() command {
	return command{name: "runs retry", manual: retryManual, run: runRetry}
}

func runRetry(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	var all bool
	fs := flags(c)
	desk.add(fs)
	fs.BoolVar(&all, "all", false, "from the first action on")
	id, err := parseID(p, c, fs, args)
	if err != nil {
		return err
	}
	return desk.change(ctx, p, c, func(d control.Desk) error { return retry(ctx, d, id, all, p.Stdout) })
}

func retry(ctx context.Context, d control.Desk, id string, all bool, out io.Writer) error {
	run, err := d.Retry(ctx, id, all)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, printable(joinWords(fmt.Sprintf("run %s of rule %q is queued again", run.ID, run.Rule), run.Why)))
	return nil
}

const cancelManual = `hookrun runs cancel ID [flags]

Ends a run that waits or runs. A command that is running is stopped as by a
timeout: SIGTERM, 5 seconds, SIGKILL; the rule's actions for always are done.

Where no hookrun runs it takes effect at the next start.

Example:
  hookrun runs cancel 0197f3c2-8a1b-7a2c

Exit codes: 0 it has ended, or is about to, 1 there is no such run, or it has
finished already, 2 wrong usage.`

func cancelCommand() command {
	return command{name: "runs cancel", manual: cancelManual, run: runCancel}
}

func runCancel(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	fs := flags(c)
	desk.add(fs)
	id, err := parseID(p, c, fs, args)
	if err != nil {
		return err
	}
	return desk.change(ctx, p, c, func(d control.Desk) error { return cancel(ctx, d, id, p.Stdout) })
}

func cancel(ctx context.Context, d control.Desk, id string, out io.Writer) error {
	run, err := d.Cancel(ctx, id)
	if err != nil {
		return err
	}
	said := "is about to end"
	if run.State.Finished() {
		said = "is " + string(run.State)
	}
	fmt.Fprintln(out, printable(fmt.Sprintf("run %s of rule %q %s", run.ID, run.Rule, said)))
	return nil
}
