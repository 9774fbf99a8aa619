package cli

import (
	"context"
	"fmt"
	"time"

	"hookrun/engine/control"
)

const armManual = `hookrun arm [RULE] [flags]

Has the runs of the next event that the rule matches wait, before anything of
them is done, so that a person can look at what they would do: hookrun runs show
ID. hookrun runs release ID lets one go, hookrun runs cancel ID drops it. One
event spends it.

Without RULE it prints what is armed and what waits. -all is for any rule.

What is armed stays so when hookrun starts again, and what waits goes on waiting.

Examples:
  hookrun arm 'deploy main'
  hookrun arm
  hookrun arm 'deploy main' -off
  hookrun arm -all

Exit codes: 0 done, 1 there is no such rule, or no hookrun runs, 2 wrong usage.`

// armOptions are the flags of arm.
type armOptions struct {
	desk           deskFlags
	off, all, json bool
}

func armCommand() command {
	return command{name: "arm", summary: "hold the next event of a rule before it runs", manual: armManual, run: runArm}
}

func runArm(ctx context.Context, p Process, c command, args []string) error {
	var o armOptions
	fs := flags(c)
	o.desk.add(fs)
	fs.BoolVar(&o.off, "off", false, "take it back; without RULE for all rules")
	fs.BoolVar(&o.all, "all", false, "for any rule")
	fs.BoolVar(&o.json, "json", false, "print it as one JSON object")
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return err
	}
	rule, err := ruleWord(c, words, "-all is for any rule")
	if err != nil {
		return err
	}
	if rule != "" && o.all {
		return &usageError{"arm: -all and a rule are both given", "-all is for any rule"}
	}
	do := func(d control.Desk) error { return o.do(ctx, d, rule, screenOf(p.Stdout)) }
	if rule == "" && !o.off && !o.all {
		return o.desk.read(ctx, p, c, do)
	}
	return o.desk.ask(ctx, c, do)
}

func (o *armOptions) do(ctx context.Context, d control.Desk, rule string, out screen) error {
	var armed control.Armed
	var err error
	switch {
	case o.off:
		armed, err = d.Disarm(ctx, rule)
	case rule != "" || o.all:
		armed, err = d.Arm(ctx, rule)
	default:
		armed, err = d.Armed(ctx)
	}
	if err != nil {
		return err
	}
	if o.json {
		return out.json(armed)
	}
	fmt.Fprintln(out, armedLine(armed))
	if len(armed.Runs) > 0 {
		fmt.Fprint(out, "\nheld: hookrun runs show ID says what they would do, hookrun runs release ID lets one go\n")
		printTable(out, armed.Runs, time.Now())
	}
	return nil
}

func armedLine(a control.Armed) string { return rulesLine("armed", "any rule", a.All, a.Rules) }

const releaseManual = `hookrun runs release ID [flags]

Lets a run go that waits for a person since its rule was armed. hookrun arm
lists those.

Example:
  hookrun runs release 0197f3c2-8a1b-7a2c

Exit codes: 0 it goes, 1 there is no such run, it is not held, or no hookrun
runs, 2 wrong usage.`

func releaseCommand() command {
	return command{name: "runs release", manual: releaseManual, run: runRelease}
}

func runRelease(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	fs := flags(c)
	desk.add(fs)
	id, err := parseID(p, c, fs, args)
	if err != nil {
		return err
	}
	return desk.ask(ctx, c, func(d control.Desk) error {
		run, err := d.Release(ctx, id)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.Stdout, printable(joinWords(fmt.Sprintf("run %s of rule %q is released", run.ID, run.Rule), run.Why)))
		return nil
	})
}
