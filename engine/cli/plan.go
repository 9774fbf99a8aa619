package cli

import (
	"fmt"
	"strings"

	"hookrun/engine"
)

// planLines is what a step does, or would do, in lines of at most so many
// characters, fit for a terminal, with the first shownLines of a text; 0: of any
// length. texts says that what goes to a command's input, a file or a server is
// among it; a script is in any case.
func planLines(p *engine.Plan, most int, texts bool) []string {
	d := &planDrawing{most: most}
	switch {
	case len(p.Argv) > 0:
		d.command(p.Argv)
		d.line("dir", p.Dir)
		d.line("env", assignments(p.Env))
	case p.Path != "":
		d.line(p.Write, p.Path)
	case p.URL != "":
		d.line("call", p.Method+" "+p.URL)
		for _, h := range p.Header {
			d.line("header", h.Name+": "+h.Value)
		}
	}
	if texts {
		d.text("stdin", p.Stdin)
		d.text("content", p.Content)
		d.text("body", p.Body)
	}
	return d.lines
}

// planDrawing makes the lines of a plan.
type planDrawing struct {
	most  int
	lines []string
}

func (d *planDrawing) line(name, value string) {
	if value == "" {
		return
	}
	if value = printable(value); d.most > 0 {
		value = clip(value, d.most)
	}
	d.lines = append(d.lines, name+": "+value)
}

// command draws a script of several lines as one reads it.
func (d *planDrawing) command(argv []string) {
	last := len(argv) - 1
	if last < 2 || argv[last-1] != "-c" || !strings.Contains(argv[last], "\n") {
		d.line("command", shellArgs(argv))
		return
	}
	d.line("command", shellArgs(argv[:last])+" …")
	d.text("script", &argv[last])
}

func (d *planDrawing) text(name string, text *string) {
	if text == nil {
		return
	}
	lines := strings.Split(strings.TrimRight(readable(*text), "\n"), "\n")
	switch {
	case *text == "":
		d.line(name, "(empty)")
	case len(lines) == 1:
		d.line(name, lines[0])
	default:
		d.block(name, lines)
	}
}

// block draws lines that are fit for a terminal.
func (d *planDrawing) block(name string, lines []string) {
	over := 0
	if d.most > 0 {
		over = max(0, len(lines)-shownLines)
	}
	d.lines = append(d.lines, name+":")
	for _, line := range lines[:len(lines)-over] {
		if d.most > 0 {
			line = clip(line, d.most)
		}
		d.lines = append(d.lines, strings.TrimRight("  "+line, " "))
	}
	if over > 0 {
		d.lines = append(d.lines, fmt.Sprintf("  … %s more", count(over, "line")))
	}
}

// shellArgs are arguments as they are typed in a shell.
func shellArgs(argv []string) string {
	words := make([]string, len(argv))
	for i, arg := range argv {
		words[i] = shellArg(arg)
	}
	return strings.Join(words, " ")
}

func assignments(vars []engine.PlanVar) string {
	words := make([]string, len(vars))
	for i, v := range vars {
		words[i] = fmt.Sprintf("%s=%s", v.Name, shellArg(v.Value))
	}
	return strings.Join(words, " ")
}

// shellArg is shellWord without quotes around what is usual in a command.
func shellArg(text string) string {
	if plain := strings.Map(unlessUsual, text); plain == "" && text != "" {
		return text
	}
	return shellWord(text)
}

// unlessUsual leaves out what no shell does anything with inside of a word.
func unlessUsual(r rune) rune {
	if 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_.-/:=@%+,", r) {
		return -1
	}
	return r
}
