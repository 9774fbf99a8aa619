package cli

import (
	"context"
	"fmt"
	"io"
	"strings"

	"hookrun/engine/control"
)

const pauseManual = `hookrun pause [RULE] [flags]

Keeps runs of the rule from starting, or without RULE those of all rules, also
after a restart of hookrun, until hookrun resume. What runs already goes on.
Events are taken as ever, and their runs are queued. What is paused then is
printed.

Where no hookrun runs it takes effect at the next start.

Examples:
  hookrun pause
  hookrun pause 'deploy main'

Exit codes: 0 done, 1 there is no such rule, 2 wrong usage.`

const resumeManual = `hookrun resume [RULE] [flags]

Ends hookrun pause for the rule, or without RULE for all that is paused. What is
paused still is printed.

Where no hookrun runs it takes effect at the next start.

Examples:
  hookrun resume
  hookrun resume 'deploy main'

Exit codes: 0 done, 1 there is no such rule, 2 wrong usage.`

func pauseCommand() command {
	return command{name: "pause", summary: "keep runs of a rule, or all, from starting", manual: pauseManual, run: runPause}
}

func resumeCommand() command {
	return command{name: "resume", summary: "end pause", manual: resumeManual, run: runResume}
}

func runPause(ctx context.Context, p Process, c command, args []string) error {
	return runPausing(ctx, p, c, args, control.Desk.Pause)
}

func runResume(ctx context.Context, p Process, c command, args []string) error {
	return runPausing(ctx, p, c, args, control.Desk.Resume)
}

// pausing is control.Desk's Pause or Resume.
type pausing func(d control.Desk, ctx context.Context, rule string) (control.Paused, error)

func runPausing(ctx context.Context, p Process, c command, args []string, do pausing) error {
	var desk deskFlags
	fs := flags(c)
	desk.add(fs)
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return err
	}
	rule, err := ruleWord(c, words, "without a word it is for all rules")
	if err != nil {
		return err
	}
	return desk.change(ctx, p, c, func(d control.Desk) error {
		paused, err := do(d, ctx, rule)
		if err != nil {
			return err
		}
		printPaused(p.Stdout, paused, c.name == "resume" && rule != "")
		return nil
	})
}

// ruleWord is the rule that a word names, where there is one.
func ruleWord(c command, words []string, hint string) (string, error) {
	rule := strings.Join(words, "")
	if len(words) == 1 && rule == "" { // an empty variable of a script
		return "", &usageError{c.name + `: "" is no rule`, hint}
	}
	return rule, nil
}

// printPaused prints what is paused; a person who resumed one rule may not know
// that all are.
func printPaused(out io.Writer, paused control.Paused, one bool) {
	fmt.Fprintln(out, pausedLine(paused))
	if one && paused.All {
		fmt.Fprintln(out, "hookrun resume, without a rule, ends that")
	}
}

func pausedLine(p control.Paused) string { return rulesLine("paused", "all rules", p.All, p.Rules) }

// rulesLine says which rules are so; all is how they are called together.
func rulesLine(so, all string, isAll bool, names []string) string {
	rules := printable(strings.Join(names, ", "))
	switch {
	case isAll && rules != "":
		return fmt.Sprintf("%s: %s, and by themselves %s", so, all, rules)
	case isAll:
		return so + ": " + all
	case rules != "":
		return so + ": " + rules
	}
	return "nothing is " + so
}
