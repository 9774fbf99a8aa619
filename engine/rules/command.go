package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/actions"
	"hookrun/engine"
)

func (a action) exec() *actions.Exec {
	x := &actions.Exec{
		Dir:   a.dir(),
		Env:   a.env(),
		Stdin: a.template("stdin", field{}),
	}
	n := a.values["exec"]
	if n.Kind == yaml.ScalarNode {
		a.d.fail(n, fmt.Sprintf("write exec: [%s], or shell: for a script", strings.Join(strings.Fields(shortened(n.Value)), ", ")), "exec takes a list: the command, then its arguments")
		return x
	}
	items := a.list("exec", false)
	for _, item := range items {
		x.Args = append(x.Args, a.arg(item))
	}
	if len(x.Args) == 0 || slices.ContainsFunc(x.Args, func(g actions.Arg) bool { return g.Text == nil }) {
		return x
	}
	a.noCode(items, x.Args)
	if program, ok := x.Args[0].Text.Literal(); !ok {
		a.d.fail(items[0], "what comes from outside is never code: name the command here", "the command must be fixed")
	} else if program == "" {
		a.d.fail(items[0], "", "the command is empty")
	} else if hint := builtinHint(program); hint != "" {
		a.d.warn(items[0], hint, "%s is a builtin of the shell, no program", program)
	} else if !slices.ContainsFunc(x.Env, func(v actions.Var) bool { return v.Name == "PATH" }) {
		a.look(items[0], program, x.Dir)
	}
	return x
}

// builtinHint says what to write in place of a command that only a shell has,
// "" for others.
func builtinHint(program string) string {
	switch program {
	case "cd":
		return "dir: is the folder that the command runs in; a script goes below shell:"
	case "export", "set":
		return "env: is what the command sees; a script goes below shell:"
	case "source", ".", "eval", "alias", "ulimit", "umask":
		return "a script goes below shell:"
	}
	return ""
}

func shortened(s string) string {
	if len(s) > 60 {
		return "command, argument"
	}
	return s
}

// arg reads one element of a command line: a text, or {value: …, dash: allow}.
func (a action) arg(n *yaml.Node) actions.Arg {
	f := field{
		what:    "an argument",
		refused: "a secret cannot be an argument: every user of the machine can read those",
		hint:    "pass it through env: or stdin:",
	}
	if n.Kind != yaml.MappingNode || braceHint(n) != "" {
		return actions.Arg{Text: a.d.template(n, a.c, f)}
	}
	o := a.d.object(n, "an argument", keys[argShape]()...)
	v := o.values["value"]
	if v == nil {
		a.d.fail(n, `a text, or {value: "{{ … }}", dash: allow}`, "an argument without value")
		return actions.Arg{}
	}
	dash := o.values["dash"]
	if dash != nil && dash.Value != "allow" {
		a.d.fail(dash, "", "dash can only be allow, not %s", show(dash))
	}
	return actions.Arg{Text: a.d.template(v, a.c, f), Dash: dash != nil}
}

// noCode refuses values from outside where a program takes an argument for
// code, or for the command that it is to run.
func (a action) noCode(items []*yaml.Node, args []actions.Arg) {
	flags, before := "", "" // of the program that stands last; the element before
	sticky := false         // that program's flags may come behind its other arguments
	operand := ""           // a program whose first operand, still to come, is a command or code
	for i, arg := range args {
		text, start := literal(arg.Text), arg.Text.LeadingLiteral()
		code := flags == everything || takesCode(before, flags) || operand != "" && start == ""
		option := strings.HasPrefix(start, "-") || strings.HasPrefix(start, "+")
		if arg.Text.HasExpr() && (code || takesCode(start, flags)) {
			a.d.fail(items[i], `pass it through env: and write "$NAME" in the code, or through stdin:`,
				"a value from outside would be run as code here")
			return
		}
		value := flags != "" && takesValue(before) // as in bash -o pipefail -c
		command := i == 0 || operand != ""
		if operand != "" && !option && !notACommand.MatchString(start) && !hasValue(operand, before) {
			operand = ""
		}
		if flags != everything && !option && (code || !value) {
			next := codeFlags(text, command)
			if next != "" || !sticky {
				flags, sticky = next, takesCommandLate(text)
			}
			if name := programName(text); command && firstOperandIsCode(name) {
				operand = name
			}
		}
		if !(code && option) { // bash -c -e takes the element after -e
			before = text
		}
	}
	a.noCodeOnStdin(args)
}

// takesValue reports whether a flag may have its value in the next element: one
// letter, a group that ends in o as in bash -euo pipefail, or a long flag
// without "=".
func takesValue(flag string) bool {
	switch {
	case strings.HasPrefix(flag, "--"):
		return len(flag) > 2 && !strings.Contains(flag, "=")
	case !strings.HasPrefix(flag, "-") || len(flag) < 2:
		return false
	}
	return len(flag) == 2 || strings.HasSuffix(flag, "o") || strings.HasSuffix(flag, "O")
}

// hasValue reports whether a flag of a program in firstOperandIsCode has its
// value in the next element.
func hasValue(program, flag string) bool {
	letters := ""
	switch program {
	case "sudo", "doas":
		letters = "ughpCrtTUDR"
	case "env":
		letters = "uC"
	case "timeout":
		letters = "sk"
	case "nice", "ionice":
		letters = "nc"
	case "flock":
		letters = "wE"
	case "xargs":
		letters = "adEILnPs"
	case "awk", "gawk", "mawk", "nawk":
		letters = "Fvf"
	case "strace":
		letters = "eopsu"
	case "systemd-run":
		letters = "upHM"
	case "python", "python3":
		letters = "WX"
	case "sh", "bash", "dash", "ash", "zsh", "ksh":
		letters = "oO"
	case "perl", "ruby":
		letters = "I"
	case "node":
		letters = "r"
	}
	switch {
	case strings.HasPrefix(flag, "--"):
		return len(flag) > 2 && !strings.Contains(flag, "=")
	case len(flag) < 2 || flag[0] != '-':
		return false
	}
	return strings.Contains(letters, flag[len(flag)-1:])
}

// programName is the name of a program without its folder.
func programName(program string) string {
	return strings.TrimSuffix(path.Base(filepath.ToSlash(program)), ".exe")
}

// notACommand is what may stand before the command of env, timeout and their
// like: NAME=value, a number, a time.
var notACommand = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_]*=.*|[0-9.]+[smhd]?)$`)

// noCodeOnStdin refuses values from outside on the stdin of an interpreter that
// reads its program there.
func (a action) noCodeOnStdin(args []actions.Arg) {
	stdin := a.values["stdin"]
	if stdin == nil || !strings.Contains(stdin.Value, "{{") || codeFlags(literal(args[0].Text), false) == "" {
		return
	}
	for _, arg := range args[1:] {
		text := arg.Text.LeadingLiteral()
		if text == "-c" || text == "-e" || !strings.HasPrefix(text, "-") {
			return // the program comes from there
		}
	}
	a.d.fail(stdin, "give the program a script, which reads it from stdin", "a value from outside would be run as code by %s", literal(args[0].Text))
}

func literal(t *engine.Template) string {
	text, _ := t.Literal()
	return text
}

// everything stands for flags where all that follows a program is code.
const everything = "*"

// codeFlags returns the letters of the flags that a program takes code with, ""
// where there are none. command says that it stands where a command must.
func codeFlags(program string, command bool) string {
	name := programName(program)
	switch name {
	case "sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "tcsh", "csh", "su", "runuser", "flock", "script", "psql", "git":
		return "c"
	case "perl":
		return "eE"
	case "ruby", "lua", "Rscript", "osascript", "mysql", "mariadb":
		return "e"
	case "node", "bun":
		return "ep"
	case "php":
		return "r"
	case "cmd", "powershell", "pwsh", "ssh", "watch", "parallel", "eval":
		if command { // else a folder cmd, a service ssh
			return everything
		}
	}
	if strings.HasPrefix(name, "python") {
		return "c"
	}
	return ""
}

// takesCommandLate reports whether the program's -c may come behind operands:
// su app -c command.
func takesCommandLate(program string) bool {
	return slices.Contains([]string{"su", "runuser", "flock", "script", "psql", "mysql", "mariadb"}, programName(program))
}

// firstOperandIsCode reports whether the program runs its first operand: as a
// command, or as a program in a language of its own.
func firstOperandIsCode(program string) bool {
	return slices.Contains([]string{
		"env", "sudo", "doas", "nohup", "timeout", "nice", "ionice", "setsid", "stdbuf", "xargs", "time", "strace", "systemd-run", "unshare",
		"chroot", "flock", "npx", "awk", "gawk", "mawk", "nawk", "sed",
		"sh", "bash", "dash", "ash", "zsh", "ksh", "fish", "tcsh", "csh", "python", "python3", "perl", "ruby", "node", "php",
	}, program)
}

// takesCode reports whether arg is a flag with one of the letters, alone or in a
// group such as -ec.
func takesCode(arg, letters string) bool {
	if letters == "" || !strings.HasPrefix(arg, "-") {
		return false
	}
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		name, _, _ = strings.Cut(name, "=")
		return slices.Contains([]string{"eval", "command", "execute", "print", "run"}, name)
	}
	return strings.ContainsAny(arg, letters)
}

func (a action) shell() *actions.Shell {
	x := &actions.Shell{
		Dir:   a.dir(),
		Env:   a.env(),
		Stdin: a.template("stdin", field{}),
	}
	n := a.values["shell"]
	if n.Kind == yaml.SequenceNode {
		a.d.fail(n, "write the script as one text, or exec: for a list", "shell must be a text, not a list")
		return x
	}
	if !a.d.scalar(n, "shell") {
		return x
	}
	x.Script = n.Value
	if strings.TrimSpace(x.Script) == "" {
		a.d.fail(n, "", "the script is empty")
	}
	if strings.ContainsRune(x.Script, 0) {
		a.d.fail(n, "", "shell has a NUL character in it")
	}
	if at := strings.Index(x.Script, "{{"); at >= 0 {
		a.inScript(n, at, scriptHint(x.Script[at+2:]), "{{ }} cannot stand in a script: what comes from outside is never code")
	}
	if at := shellSecret.FindStringIndex(x.Script); at != nil {
		a.inScript(n, at[0], `pass it through env: and write "$NAME" here`, "a secret cannot stand in a script")
	}
	a.look(n, "/bin/sh", nil)
	return x
}

// maxOutputs bounds the outputs of one command.
const maxOutputs = 64

// outputs reads the names that a command writes to the file of HOOKRUN_OUTPUT.
func (o object) outputs() []string {
	items := o.list("outputs", false)
	if len(items) > maxOutputs {
		o.d.fail(items[maxOutputs], "", "more than %d outputs", maxOutputs)
		return nil
	}
	var names []string
	for _, n := range items {
		switch {
		case !o.d.scalar(n, "an item of outputs"):
		case !identifier.MatchString(n.Value) || len(n.Value) > maxName:
			o.d.fail(n, "letters, digits and _, a letter first: expressions say steps.build.outputs.version", "%s cannot be the name of an output", show(n))
		case slices.Contains(names, n.Value):
			o.d.fail(n, "", "the output %q is there twice", n.Value)
		default:
			names = append(names, n.Value)
		}
	}
	return names
}

// detach reads whether the command outlives hookrun.
func (a action) detach() bool {
	detach := a.flag("detach", false)
	if detach && runtime.GOOS == "windows" {
		a.d.fail(a.values["detach"], "leave it out", "detach needs a Unix system")
	}
	if n := a.keyNode("run_as"); detach && n != nil {
		a.d.fail(n, "let the command change the user: exec: [sudo, -u, NAME, --, …]", "detach and run_as do not go together")
	}
	return detach
}

func (a action) inScript(n *yaml.Node, at int, hint, msg string) {
	line, col := a.d.src.inScalar(n, at)
	a.d.note(line, col, hint, msg, false)
}

// scriptHint says how the text behind {{ gets into a script.
func scriptHint(rest string) string {
	inner, _, _ := strings.Cut(rest, "}}")
	inner = strings.TrimSpace(inner)
	if strings.HasPrefix(inner, ".") || strings.HasPrefix(inner, "json ") || strings.HasPrefix(inner, "range ") {
		return `if the braces are for another program, pass them through env: too: env: {FORMAT: '{{ "{{` + inner + `}}" }}'}`
	}
	if len(inner) > 60 || strings.ContainsAny(inner, "\n\"'") {
		inner = "…"
	}
	return fmt.Sprintf(`pass it through env: and write "$VALUE" here: env: {VALUE: "{{ %s }}"}`, inner)
}

// dir reads the folder that a command is run in.
func (a action) dir() *engine.Template {
	t := a.template("dir", field{refused: "no secret can stand in dir"})
	if t == nil {
		return nil
	}
	path, ok := t.Literal()
	if !ok {
		return t
	}
	if path == "" {
		a.d.fail(a.values["dir"], "", "dir is empty")
		return t
	}
	info, err := os.Stat(a.d.l.path(path))
	if err != nil {
		a.d.warn(a.values["dir"], unexpandedHint(path), "dir %s: %s", path, cause(err))
	} else if !info.IsDir() {
		a.d.warn(a.values["dir"], "", "dir %s is not a folder", path)
	}
	return t
}

// unexpandedHint is for a path that only a shell would understand.
func unexpandedHint(path string) string {
	if strings.HasPrefix(path, "~") || strings.Contains(path, "$") {
		return "~ and variables are not expanded here: write the whole path"
	}
	return ""
}

// env reads environment variables.
func (a action) env() []actions.Var {
	n := a.values["env"]
	if n == nil {
		return nil
	}
	var vars []actions.Var
	o := a.d.entries(n, "env")
	for _, key := range o.keys {
		name := key.Value
		if !identifier.MatchString(name) {
			a.d.fail(key, "letters, digits and _, a letter first", "%s cannot be the name of an environment variable", show(key))
			continue
		}
		if strings.HasPrefix(strings.ToUpper(name), "HOOKRUN_") {
			a.d.fail(key, "", "%s: names beginning with HOOKRUN_ are set by hookrun", name)
			continue
		}
		value := a.d.template(o.values[name], a.c, field{what: name})
		if value != nil && value.HasExpr() && steersPrograms(name) {
			a.d.fail(o.values[name], "give it a fixed value, and pass the outside one under another name",
				"%s decides what programs run: a value from outside cannot be put there", name)
		}
		vars = append(vars, actions.Var{Name: name, Value: value})
	}
	return vars
}

// steersPrograms reports whether a program that sees the variable may run what
// it says.
func steersPrograms(name string) bool {
	name = strings.ToUpper(name)
	switch name {
	case "PATH", "ENV", "BASH_ENV", "SHELL", "SHELLOPTS", "BASHOPTS", "PS4", "PROMPT_COMMAND", "IFS", "CDPATH", "HOME",
		"EDITOR", "VISUAL", "PAGER", "NODE_OPTIONS", "NODE_PATH", "RUBYOPT", "RUBYLIB", "JAVA_TOOL_OPTIONS", "_JAVA_OPTIONS",
		"CLASSPATH", "MAKEFLAGS", "GCONV_PATH", "COMSPEC", "PATHEXT":
		return true
	}
	return slices.ContainsFunc([]string{"LD_", "DYLD_", "GIT_", "PYTHON", "PERL5", "BASH_FUNC_"}, func(prefix string) bool {
		return strings.HasPrefix(name, prefix)
	})
}

// look warns of a command that is not there.
func (a action) look(n *yaml.Node, command string, dir *engine.Template) {
	file := command
	if strings.ContainsAny(command, `/\`) && !filepath.IsAbs(command) {
		base := a.d.l.o.Dir
		if dir != nil {
			literal, ok := dir.Literal()
			if !ok {
				return // only known when it runs
			}
			base = a.d.l.path(literal)
		}
		file = filepath.Join(base, command)
	}
	switch path, err := a.d.l.lookPath(file); {
	case err == nil:
		a.lookInto(n, command, path)
	case errors.Is(err, fs.ErrPermission):
		a.d.warn(n, "chmod +x "+file, "command %s cannot be executed", command)
	case file == command && !filepath.IsAbs(command):
		a.d.warn(n, unexpandedHint(command), "command %s is not in PATH", command)
	default:
		a.d.warn(n, unexpandedHint(command), "command %s does not exist", command)
	}
}

// found is what LookPath said.
type found struct {
	path string
	err  error
}

// lookPath asks once for each command, as many rules run the same.
func (l *loader) lookPath(file string) (path string, err error) {
	f, asked := l.found[file]
	if !asked {
		f.path, f.err = l.o.LookPath(file)
		l.found[file] = f
	}
	return f.path, f.err
}
