package cli

import (
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
)

// completeWord is the command that the scripts of hookrun print completion ask
// what the word at the cursor may become. It is in no list and never fails: who
// presses a key wants no errors.
//
//	hookrun complete [-shell bash|zsh|fish] -- WORDS…
//
// The last of the words is the one at the cursor. Each candidate is a line: for
// bash as it is to stand in the command line, else the candidate, a tab, and what
// it is. No lines: the shell offers files.
const completeWord = "complete"

// candidate is what a word may become.
type candidate struct{ text, about string }

func complete(ctx context.Context, p Process, args []string) {
	fs := flags(command{name: completeWord})
	shell := fs.String("shell", "", "")
	if fs.Parse(args) != nil || fs.NArg() == 0 {
		return
	}
	words := fs.Args()
	at := len(words) - 1
	typed := words[at]
	for i := range words {
		if i == at || *shell == "bash" { // the others take quotes off that are closed
			words[i] = unquote(words[i])
		}
	}
	for _, c := range candidates(ctx, words) {
		switch {
		case printable(c.text) != c.text:
			// It could be more than a word to a terminal.
		case *shell == "bash":
			fmt.Fprintln(p.Stdout, prefixOf(words[at])+bashQuoted(c.text, typed))
		default:
			fmt.Fprintf(p.Stdout, "%s\t%s\n", prefixOf(words[at])+c.text, printable(c.about))
		}
	}
}

// prefixOf is the part of -flag=value that stays.
func prefixOf(word string) string {
	if name, _, ok := strings.Cut(word, "="); ok && strings.HasPrefix(word, "-") {
		return name + "="
	}
	return ""
}

// candidates are those for the last of words that begin as it does.
func candidates(ctx context.Context, words []string) []candidate {
	at, args := reach(words)
	l := newTyped(ctx, at, args[:len(args)-1])
	now := args[len(args)-1]
	var all []candidate
	name, value, given := strings.Cut(now, "=")
	switch {
	case l.open != nil:
		all = l.ofFlag(ctx, l.open, now)
	case strings.HasPrefix(now, "-") && given:
		now = value
		if f := l.flags.Lookup(strings.TrimLeft(name, "-")); f != nil {
			all = l.ofFlag(ctx, f, now)
		}
	case strings.HasPrefix(now, "-"):
		all = l.flagNames(strings.HasPrefix(now, "--"))
	default:
		all = l.words(ctx, now)
	}
	return slices.DeleteFunc(all, func(c candidate) bool { return !strings.HasPrefix(c.text, now) })
}

// reach follows the words to the command that they are for, and returns it with
// the words that are its own: the one at the cursor at least. The command without
// a name has all commands behind it.
func reach(words []string) (command, []string) {
	at := command{words: commands}
	for len(words) > 1 {
		if at.name == "" && strings.HasPrefix(words[0], "-") {
			return runCommand(), words
		}
		if at.name == "" && words[0] == "help" {
			words = words[1:]
			continue
		}
		i := slices.IndexFunc(behind(at), func(c command) bool { return wordOf(c) == words[0] })
		if i < 0 {
			break
		}
		at, words = behind(at)[i], words[1:]
	}
	if at.name == "" && strings.HasPrefix(words[0], "-") {
		at = runCommand()
	}
	return at, words
}

// behind are the commands that are named by a word behind c.
func behind(c command) []command {
	if c.words == nil {
		return nil
	}
	return c.words()
}

// flagsOf are the flags of a command, which has it tell of them and do nothing.
func flagsOf(ctx context.Context, c command) *flag.FlagSet {
	found := flag.NewFlagSet(c.name, flag.ContinueOnError)
	if c.run == nil {
		return found
	}
	p := Process{Stdin: strings.NewReader(""), Stdout: io.Discard, Stderr: io.Discard, tell: func(fs *flag.FlagSet) { found = fs }}
	_ = c.run(ctx, p, c, nil) // flag.ErrHelp
	return found
}

// typed is a command line up to the word at the cursor.
type typed struct {
	at    command
	flags *flag.FlagSet
	given map[string]string // by flags so far
	said  []string          // words so far that are no flags
	open  *flag.Flag        // not nil: its value is at the cursor
}

func newTyped(ctx context.Context, at command, args []string) *typed {
	l := &typed{at: at, flags: flagsOf(ctx, at), given: map[string]string{}}
	for _, arg := range args {
		name, value, given := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		f := l.flags.Lookup(name)
		switch {
		case l.open != nil && arg == "=": // bash has it as a word of its own
		case l.open != nil:
			l.given[l.open.Name], l.open = arg, nil
		case !strings.HasPrefix(arg, "-"):
			l.said = append(l.said, arg)
		case f == nil:
		case given:
			l.given[name] = value
		case !isSwitch(f):
			l.open = f
		}
	}
	return l
}

// isSwitch reports whether a flag has no value behind it.
func isSwitch(f *flag.Flag) bool {
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}

// flagNames are the flags, with as many dashes as were typed.
func (l *typed) flagNames(long bool) []candidate {
	var all []candidate
	l.flags.VisitAll(func(f *flag.Flag) {
		_, usage := flag.UnquoteUsage(f)
		c := candidate{"-" + f.Name, usage}
		if long {
			c.text = "-" + c.text
		}
		all = append(all, c)
	})
	return all
}

// words are the commands behind the one of the line, or what it takes there.
func (l *typed) words(ctx context.Context, now string) []candidate {
	if len(l.said) > 0 {
		return l.operands(ctx, now)
	}
	var all []candidate
	for _, c := range behind(l.at) {
		all = append(all, candidate{wordOf(c), aboutOf(c)})
	}
	return append(all, l.operands(ctx, now)...)
}

// maxAbout bounds what is said of a candidate, in bytes.
const maxAbout = 80

// aboutOf says what a command is: those behind a word have no summary, and begin
// their manual with how they are called and then what they do.
func aboutOf(c command) string {
	if c.summary != "" {
		return c.summary
	}
	_, text, _ := strings.Cut(c.manual, "\n\n")
	text, _, _ = strings.Cut(text, "\n\n")
	text = strings.Join(strings.Fields(text), " ")
	for _, end := range []string{". ", ": ", "; "} {
		text, _, _ = strings.Cut(text, end)
	}
	if text = strings.TrimSuffix(text, "."); len(text) > maxAbout {
		text = strings.ToValidUTF8(text[:maxAbout], "") + "…"
	}
	return text
}
