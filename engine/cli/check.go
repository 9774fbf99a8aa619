package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"time"

	"hookrun/engine/rules"
	"hookrun/relay/filter"
)

const checkManual = `hookrun check -rules FILE [flags]
hookrun check -rules FILE -against 24h [-data FOLDER] [flags]
hookrun check -config relay.yaml

Reads the rules as hookrun would, and prints every problem and warning on
standard error, each with file, line and column, and the likely mend. With
-listen it reads them as a hookrun with that -listen does: commands that anybody
could start are a problem then, where other machines reach the address. With
-config it reads the file of a relay.

With -against it then asks the rules about the events that came since, and says
what they would decide otherwise than was decided, as hookrun replay does, and
what in their conditions hardly is as meant: a field or header that never came, a
number compared with a text, what was always true or always false, != where a
field is missing. These are warnings. It does so, too, where nothing is wrong with
the rules but what is not on this machine, such as a secret.

Examples:
  hookrun check -rules rules.yaml
  hookrun check -rules /etc/hookrun/rules
  hookrun check -rules rules.yaml -listen :8080
  hookrun check -rules rules.yaml -against 24h -data /var/lib/hookrun
  hookrun check -config relay.yaml

Exit codes: 0 the rules are good (there may be warnings), 1 they have a problem,
2 wrong usage.`

func checkCommand() command {
	return command{name: "check", summary: "read the rules and print every problem", manual: checkManual, run: runCheck}
}

func runCheck(ctx context.Context, p Process, c command, args []string) error {
	var paths list
	var listen, config string
	var since moment
	var desk deskFlags
	fs := flags(c)
	desk.add(fs)
	fs.Var(&since, "against", "also ask the rules about the events since this `TIME`: 24h, 7d, 2026-07-01 or RFC 3339")
	fs.StringVar(&config, "config", "", "relay `FILE` to read in place of rules")
	fs.StringVar(&listen, "listen", "", "check for a hookrun that listens on this `ADDRESS`")
	fs.Var(&paths, "rules", "rules `FILE`, or folder of *.yaml; may be repeated")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if config != "" {
		return checkRelay(p, fs, config)
	}
	if err := needRules(fs, paths); err != nil {
		return err
	}
	o := rules.Options{Exposed: exposed(listen)}
	g, problems := rules.Load(paths, o)
	printProblems(p, problems)
	var failed error
	asked := g
	if g != nil {
		printRules(p, paths, g)
	} else {
		failed = exitError(exitFailed)
		o.Dry = true // a secret that is not here says nothing about what the rules decide
		asked, _ = rules.Load(paths, o)
	}
	if time.Time(since).IsZero() || asked == nil {
		return failed
	}
	return cmp.Or(against(ctx, p, desk, time.Time(since), asked), failed)
}

// printRules says how many rules there are.
func printRules(p Process, paths list, g *rules.Generation) {
	fmt.Fprintf(p.Stdout, "%s: %s", paths.String(), count(len(g.Rules.Rules)+len(g.Rules.Off), "rule"))
	if n := len(g.Rules.Off); n > 0 {
		fmt.Fprintf(p.Stdout, ", %d of them switched off", n)
	}
	if n := len(g.Warnings); n > 0 {
		fmt.Fprintf(p.Stdout, ", %s", count(n, "warning"))
	}
	fmt.Fprintln(p.Stdout)
}

// checkRelay reads the file of a relay. Flags about rules don't go with it.
func checkRelay(p Process, fs *flag.FlagSet, path string) error {
	other := ""
	fs.Visit(func(f *flag.Flag) {
		if f.Name != "config" {
			other = f.Name
		}
	})
	if other != "" {
		return &usageError{"check: -config does not go with -" + other, "check the rules and the relay's file one after the other"}
	}
	f, problems := rules.LoadRelayFile(path, rules.Options{})
	if f != nil {
		problems = append(problems, badOutputRules(path, f)...)
	}
	printProblems(p, problems)
	if f == nil || countErrors(problems) > 0 {
		return exitError(exitFailed)
	}
	fmt.Fprintf(p.Stdout, "%s: %s, %s", path, count(len(f.Buckets), "bucket"), count(len(f.Tokens), "token"))
	if n := len(f.Warnings); n > 0 {
		fmt.Fprintf(p.Stdout, ", %s", count(n, "warning"))
	}
	fmt.Fprintln(p.Stdout)
	return nil
}

// badOutputRules are the rules of outputs that cost too much to be asked for each
// webhook.
func badOutputRules(path string, f *rules.RelayFile) []rules.Problem {
	var all []rules.Problem
	for _, b := range f.Buckets {
		for _, o := range b.Outputs {
			if _, err := filter.Compile(ruleOf(o.Rules)); err != nil {
				all = append(all, rules.Problem{File: path, Msg: fmt.Sprintf("bucket %q, output %q: %v", b.Name, o.Name, err)})
			}
		}
	}
	return all
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
