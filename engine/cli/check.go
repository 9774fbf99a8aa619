package cli

import (
	"context"
	"fmt"

	"hookrun/engine/rules"
)

const checkManual = `hookrun check -rules FILE [flags]

Reads the rules as hookrun would, and prints every problem and warning on
standard error, each with file, line and column, and the likely mend. With
-listen it reads them as a hookrun with that -listen does: commands that anybody
could start are a problem then, where other machines reach the address.

Examples:
  hookrun check -rules rules.yaml
  hookrun check -rules /etc/hookrun/rules
  hookrun check -rules rules.yaml -listen :8080

Exit codes: 0 the rules are good (there may be warnings), 1 they have a problem,
2 wrong usage.`

func checkCommand() command {
	return command{name: "check", summary: "read the rules and print every problem", manual: checkManual, run: runCheck}
}

func runCheck(_ context.Context, p Process, c command, args []string) error {
	var paths list
	var listen string
	fs := flags(c)
	fs.StringVar(&listen, "listen", "", "check for a hookrun that listens on this `ADDRESS`")
	fs.Var(&paths, "rules", "rules `FILE`, or folder of *.yaml; may be repeated")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if err := needRules(fs, paths); err != nil {
		return err
	}
	g, problems := rules.Load(paths, rules.Options{Exposed: exposed(listen)})
	printProblems(p, problems)
	if g == nil {
		return exitError(exitFailed)
	}
	fmt.Fprintf(p.Stdout, "%s: %s", paths.String(), count(len(g.Rules.Rules)+len(g.Rules.Off), "rule"))
	if n := len(g.Rules.Off); n > 0 {
		fmt.Fprintf(p.Stdout, ", %d of them switched off", n)
	}
	if n := len(g.Warnings); n > 0 {
		fmt.Fprintf(p.Stdout, ", %s", count(n, "warning"))
	}
	fmt.Fprintln(p.Stdout)
	return nil
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
