package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"hookrun/engine"
	"hookrun/engine/rehearse"
	"hookrun/engine/rules"
	"hookrun/engine/store"
)

// Bounds of check -against.
const (
	againstEvents = 20_000 // the newest
	againstTime   = 30 * time.Second
)

// against prints what the rules would have made of what came, and what in their
// conditions hardly is as meant.
func against(ctx context.Context, p Process, desk deskFlags, since time.Time, g *rules.Generation) error {
	reader, err := store.OpenReader(ctx, desk.data)
	if err != nil {
		return desk.noStore(err)
	}
	window := rehearse.Window{Since: since, Limit: againstEvents, Time: againstTime}
	report, err := rehearse.Compare(ctx, reader, rehearse.Options{
		Window: window, Rules: g.Rules, Plans: true, Made: generations(openArchive(desk.data)),
	})
	var found *rehearse.Linted
	if err == nil {
		window.Limit = rehearse.LintLimit
		found, err = rehearse.Lint(ctx, reader, rehearse.LintOptions{Window: window, Rules: g.Rules})
	}
	if err = errors.Join(err, reader.Close()); err != nil {
		return err
	}
	printProblems(p, lintProblems(g, found))
	printReport(screenOf(p.Stdout), report, false)
	if hint := noEvents(report, "", g); hint != "" {
		fmt.Fprintf(p.Stderr, "hookrun: there are no such events\nhookrun: hint: %s\n", hint)
	}
	if !report.Same() {
		fmt.Fprintln(p.Stdout, "\nhookrun explain -event ID says why; hookrun replay -v prints more")
	}
	return nil
}

// lintProblems are findings with their places, in the order of these.
func lintProblems(g *rules.Generation, found *rehearse.Linted) []rules.Problem {
	var all []rules.Problem
	for _, f := range found.Findings {
		problem := g.InWhen(f.Rule, f.Offset)
		problem.Warning, problem.Msg, problem.Hint = true, printable(f.Msg), printable(f.Hint)
		all = append(all, problem)
	}
	slices.SortStableFunc(all, func(a, b rules.Problem) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
	return all
}

// maxNamedRules is how many rules a hint lists.
const maxNamedRules = 20

// nearestRule is the hint for a rule that is not there.
func nearestRule(rule string, g *rules.Generation) string {
	if hint := nearestName(rule, ruleNames(g.Rules)); hint != "" {
		return hint
	}
	return "hookrun check -rules FILE says whether a file can be read; its rules with enabled: false are not asked"
}

// nearestName is the hint for a name that is none of these; "": there is nothing to
// say.
func nearestName(name string, names []string) string {
	if hint := engine.Nearest(name, slices.Clone(names)); hint != "" {
		return hint
	}
	if len(names) == 0 || len(names) > maxNamedRules {
		return ""
	}
	return "the rules are " + strings.Join(names, ", ")
}

// generations are the rules of an archive by RuleSet.Hash, read when one is first
// asked for.
func generations(archive *rules.Archive) func(hash string) *engine.RuleSet {
	all := sync.OnceValue(func() map[string]*engine.RuleSet {
		sets := map[string]*engine.RuleSet{}
		entries, _ := archive.List() // without them all rules are asked
		for _, e := range entries {
			if g := parsed(archive, e.N); g != nil {
				sets[g.Rules.Hash] = g.Rules
			}
		}
		return sets
	})
	return func(hash string) *engine.RuleSet { return all()[hash] }
}
