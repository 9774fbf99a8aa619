package cli

import (
	"context"
	"embed"
	"fmt"
	"slices"
	"strings"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/metrics"
	"hookrun/engine/rules"
)

const printingManual = `hookrun print
hookrun print WORD

Prints what goes with hookrun and is built into it:

  schema             JSON Schema of the rules files, for editors
  grafana            a dashboard for Grafana, to import: it shows what -metrics serves
  alerts             alert rules for Prometheus
  openapi            what the JSON API is: an OpenAPI document
  completion SHELL   a script that completes commands, flags, rules, runs, events
                     and buckets in bash, zsh or fish

Without a word it lists them.

An editor with the YAML language server reads the schema where the rules begin with
  # yaml-language-server: $schema=rules.schema.json

Examples:
  hookrun print schema > rules.schema.json
  hookrun print grafana > hookrun.json
  hookrun print alerts > /etc/prometheus/hookrun.yaml
  source <(hookrun print completion bash)
  hookrun print completion fish > ~/.config/fish/completions/hookrun.fish

Exit codes: 0 done, 2 wrong usage.`

// completions are the scripts, which ask complete.
//
//go:embed completion
var completions embed.FS

// builtIn is something that print prints.
type builtIn struct {
	words string // "completion bash"
	about string
	text  func() string
}

func allBuiltIn() []builtIn {
	script := func(shell string) func() string {
		return func() string {
			text, _ := completions.ReadFile("completion/hookrun." + shell) // built in
			return string(text)
		}
	}
	return []builtIn{
		{"schema", "JSON Schema of the rules files, for editors", func() string { return string(rules.Schema()) }},
		{"grafana", "a dashboard for Grafana", metrics.Grafana},
		{"alerts", "alert rules for Prometheus", metrics.Alerts},
		{"openapi", "what the JSON API is, as OpenAPI", func() string { return string(control.OpenAPI()) }},
		{"completion bash", "a script that completes command lines in bash", script("bash")},
		{"completion zsh", "a script that completes command lines in zsh", script("zsh")},
		{"completion fish", "a script that completes command lines in fish", script("fish")},
	}
}

func printCommand() command {
	return command{name: "print", summary: "print a schema for editors, a dashboard, alerts, completion", manual: printingManual, run: runPrint}
}

func runPrint(_ context.Context, p Process, c command, args []string) error {
	fs := flags(c)
	words, err := parseWords(p, c, fs, args, 2)
	if err != nil {
		return err
	}
	all := allBuiltIn()
	what := strings.Join(words, " ")
	if what == "" {
		for _, one := range all {
			fmt.Fprintf(p.Stdout, "hookrun print %-16s %s\n", one.words, one.about)
		}
		return nil
	}
	i := slices.IndexFunc(all, func(one builtIn) bool { return one.words == what })
	if i < 0 {
		return unprintable(what, all)
	}
	_, err = fmt.Fprint(p.Stdout, all[i].text())
	return err
}

func unprintable(what string, all []builtIn) error {
	var words []string
	for _, one := range all {
		words = append(words, one.words)
	}
	hint := engine.Nearest(what, slices.Clone(words))
	switch {
	case strings.HasPrefix(what, "completion"):
		hint = "completion is for bash, zsh and fish: hookrun print completion bash"
	case hint == "":
		hint = "the words are " + strings.Join(words, ", ")
	}
	return &usageError{fmt.Sprintf("print: there is no %q to print", what), hint}
}

// printWords complete what print prints: its words, one at a time.
func printWords(before []string) []candidate {
	var all []candidate
	for _, one := range allBuiltIn() {
		words := strings.Fields(one.words)
		if len(words) <= len(before) || !slices.Equal(words[:len(before)], before) {
			continue
		}
		c := candidate{words[len(before)], one.about}
		if len(words) > len(before)+1 {
			c.about = "a script that completes command lines"
		}
		if !slices.ContainsFunc(all, func(known candidate) bool { return known.text == c.text }) {
			all = append(all, c)
		}
	}
	return all
}
