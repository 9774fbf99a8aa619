package actions

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"hookrun/engine"
)

// renderVars returns what the rule adds to the environment.
func renderVars(in engine.Input, vars []Var) ([]engine.PlanVar, error) {
	var rendered []engine.PlanVar
	for _, v := range vars {
		if v.Name == "" || strings.ContainsAny(v.Name, "=\x00") {
			return nil, engine.Permanent(fmt.Errorf("env: %q is not the name of a variable", v.Name))
		}
		s, err := render("env "+v.Name, v.Value, in)
		if err != nil {
			return nil, err
		}
		rendered = append(rendered, engine.PlanVar{Name: v.Name, Value: s})
	}
	return rendered, nil
}

// environment returns all that a command gets to see: a few variables of
// hookrun's own, never its whole environment, which holds the relay's key; then
// what the rule adds; then what names the run.
func environment(in engine.Input, b Bounds, vars []engine.PlanVar) []string {
	env := append(cleanEnvironment(), b.variables()...)
	for _, v := range vars {
		env = append(env, v.Name+"="+v.Value)
	}
	env = append(env, runVars(in.Run, in.Step, in.Attempt)...)
	return append(env,
		"HOOKRUN_EVENT_ID="+in.Event.ID,
		"HOOKRUN_BUCKET="+in.Event.Bucket,
		"HOOKRUN_RULE="+in.Rule,
	)
}

// runVars are the variables that name one attempt of one step, so that what it
// started can be found by them.
func runVars(run, step string, attempt int) []string {
	return []string{"HOOKRUN_RUN_ID=" + run, "HOOKRUN_STEP=" + step, "HOOKRUN_ATTEMPT=" + strconv.Itoa(attempt)}
}

func cleanEnvironment() []string {
	var env []string
	for _, name := range inherited {
		value, ok := os.LookupEnv(name)
		if !ok || value == "" {
			value = fallback(name)
		}
		if value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// fallback is the value of an inherited variable that hookrun itself was
// started without, as under some supervisors; "" leaves it out.
func fallback(name string) string {
	switch name {
	case "PATH":
		return defaultPath
	case "LANG":
		return "C.UTF-8"
	case "TMPDIR":
		return os.TempDir()
	case "HOME":
		if u, err := user.Current(); err == nil && u.HomeDir != "" {
			return u.HomeDir
		}
		return "/"
	case "USER":
		if u, err := user.Current(); err == nil {
			return u.Username
		}
	}
	return ""
}

// lookPath finds a program by its name in the PATH of env. A path is taken as
// it is; a relative one counts from the command's folder.
func lookPath(program string, env []string) (string, error) {
	if program == "" {
		return "", errors.New("the program's name is empty")
	}
	if filepath.Base(program) != program {
		return program, nil
	}
	path := ""
	for _, v := range env { // the last one counts
		if p, ok := strings.CutPrefix(v, "PATH="); ok {
			path = p
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // what stands in the current folder is not for running by its name
		}
		if found, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("program %q is not in PATH", program)
}
