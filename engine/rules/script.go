package rules

import (
	"path/filepath"
	"runtime"
	"strings"

	"gopkg.in/yaml.v3"
)

// maxFirstLine is how much of a script's first line is looked at, in bytes, as
// Linux does.
const maxFirstLine = 256

const windowsEnds = "the file has Windows line ends"

// lookInto warns of a command that is a script whose interpreter is not there.
func (a action) lookInto(n *yaml.Node, command, path string) {
	if runtime.GOOS == "windows" {
		return // where a first line means nothing
	}
	wrong, looked := a.d.l.scripts[path]
	if !looked {
		wrong = a.d.l.interpreter(path)
		a.d.l.scripts[path] = wrong
	}
	switch wrong {
	case "":
	case windowsEnds:
		a.d.warn(n, "save it with Unix ones: the interpreter's name ends with a CR now", "command %s: %s", command, wrong)
	default:
		a.d.warn(n, "", "command %s: %s", command, wrong)
	}
}

// interpreter says what is wrong with the interpreter that a script names; ""
// where nothing is, or the file is no script.
func (l *loader) interpreter(script string) string {
	start, err := readStart(script, maxFirstLine)
	line, isScript := strings.CutPrefix(string(start), "#!")
	line, _, whole := strings.Cut(line, "\n")
	if err != nil || !isScript || !whole && len(start) == maxFirstLine {
		return ""
	}
	if strings.HasSuffix(line, "\r") {
		return windowsEnds
	}
	words := strings.Fields(line)
	if len(words) == 0 || !filepath.IsAbs(words[0]) {
		return "" // a relative one counts from the folder that it will run in
	}
	if _, err := l.lookPath(words[0]); err != nil {
		return "its interpreter " + words[0] + " does not exist or cannot be executed"
	}
	if filepath.Base(words[0]) != "env" {
		return ""
	}
	program := programOfEnv(words[1:])
	if program == "" || strings.Contains(program, "/") {
		return ""
	}
	if _, err := l.lookPath(program); err != nil {
		return "its interpreter " + program + " is not in PATH"
	}
	return ""
}

// programOfEnv returns what env(1) would run with the arguments, "" where that
// is not sure.
func programOfEnv(args []string) string {
	for i := 0; i < len(args); i++ {
		word := args[i]
		if split, ok := strings.CutPrefix(word, "-S"); ok {
			word = split // -S bash, or -Sbash
		}
		switch {
		case strings.ContainsAny(word, `"'\$`), strings.HasPrefix(word, "--"), strings.HasPrefix(word, "PATH="):
			return ""
		case word == "-u", word == "-C", word == "-P":
			i++ // it takes a value
		case word == "", strings.HasPrefix(word, "-"), strings.Contains(word, "="):
		default:
			return word
		}
	}
	return ""
}
