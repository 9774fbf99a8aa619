package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/builtin"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// MaxExpr bounds the source of one expression, in bytes, and maxNodes the tree
// that it makes.
const (
	MaxExpr  = 64 << 10
	maxNodes = 2000
)

// Finding is a problem, or a warning, in a condition or a template.
type Finding struct {
	Offset  int    // in bytes, in the text that was compiled
	Msg     string // what is wrong, without its place
	Hint    string // the likely mend, or ""
	Warning bool   // it works, but hardly as meant
}

// StepShape is what the compiler knows of a step whose result is seen.
type StepShape struct {
	ID      string
	Kind    string   // Action.Kind
	Outputs []string // Step.Outputs
}

// World says what the expressions of one place of a rule see beside the event.
type World struct {
	Steps   []StepShape // `steps`; none: not even the name
	Element string      // the name of ForEach's element; "": there is none
	Closing bool        // `error` and `run`, as in closing steps and in a retry's condition
}

// Compiler compiles the conditions, keys and templates of one place of a rule.
type Compiler struct {
	world types.Map
}

// NewCompiler returns a compiler for expressions that see w.
func NewCompiler(w World) *Compiler {
	world := worldTypes()
	if w.Element != "" {
		world[w.Element] = types.Any
	}
	if w.Closing {
		world["error"] = types.String
		world["run"] = runTypes()
	}
	if len(w.Steps) > 0 {
		shapes := types.Map{}
		for _, s := range w.Steps {
			shapes[s.ID] = stepTypes(s)
		}
		world["steps"] = shapes
	}
	return &Compiler{world}
}

// Names are those that an expression without anything beside the event may use:
// an element can't take one of them.
func (c *Compiler) Names() []string { return c.names() }

// program is a compiled expression.
type program struct {
	src  string
	code *vm.Program
	lazy []string // of lazyNames, those it reads

	steps   []string // ids of the steps that it reads
	anyStep bool     // it reads a step by an id that it makes

	lead  lead            // conditions only
	trace func() *tracing // conditions only: compiled when it is first asked for
	whole string          // what a verdict says where all of it decided
}

// Condition is a compiled expression that answers yes or no.
type Condition struct{ prog *program }

// String returns the source of the condition.
func (c *Condition) String() string { return c.prog.src }

// Condition compiles src. It returns nil where a finding is more than a warning.
func (c *Compiler) Condition(src string) (*Condition, []Finding) {
	prog, findings := c.compile(src, expr.AsBool())
	if prog == nil {
		return nil, findings
	}
	prog.lead = leadOf(prog.code.Node())
	prog.trace = sync.OnceValue(func() *tracing { return c.trace(src) })
	return &Condition{prog}, findings
}

// Eval answers the condition. missing lists the fields of the body that were
// read and are not there. An error is an *EvalError.
func (c *Condition) Eval(s *Scope) (ok bool, missing []string, err error) {
	v, err := s.run(c.prog)
	if err != nil {
		return false, s.eval.missing, err
	}
	return v.(bool), s.eval.missing, nil // expr.AsBool: the machine gives nothing else
}

// Key is a compiled expression whose text tells events apart.
type Key struct{ prog *program }

// String returns the source of the key.
func (k *Key) String() string { return k.prog.src }

// Key compiles src. It returns nil where a finding is more than a warning.
func (c *Compiler) Key(src string) (*Key, []Finding) {
	prog, findings := c.compile(src)
	if prog == nil {
		return nil, findings
	}
	return &Key{prog}, findings
}

// maxKey bounds the text of a key, in bytes: of a longer one the rest stands as
// its hash.
const maxKey = 200

// Eval returns the text of the key. That a value is nil is an error that
// IsNil knows.
func (k *Key) Eval(s *Scope) (string, error) {
	text, err := s.text(k.prog)
	if err != nil || len(text) <= maxKey {
		return text, err
	}
	sum := sha256.Sum256([]byte(text))
	return strings.ToValidUTF8(text[:maxKey/2], "") + "…" + hex.EncodeToString(sum[:]), nil
}

// IsNil reports whether an expression came to nil where there had to be a text.
func IsNil(err error) bool { return errors.Is(err, errNil) }

// Value is a compiled expression of any type.
type Value struct{ prog *program }

// String returns the source of the expression.
func (v *Value) String() string { return v.prog.src }

// Value compiles src. It returns nil where a finding is more than a warning.
func (c *Compiler) Value(src string) (*Value, []Finding) {
	prog, findings := c.compile(src)
	if prog == nil {
		return nil, findings
	}
	return &Value{prog}, findings
}

// list evaluates an expression that is to be a list.
func (v *Value) list(s *Scope) ([]any, error) {
	got, err := s.run(v.prog)
	if err != nil {
		return nil, err
	}
	if got == nil {
		return nil, s.nilError(v.prog, "[]")
	}
	list := reflect.ValueOf(got)
	if list.Kind() != reflect.Slice {
		return nil, &EvalError{Src: v.prog.src, Msg: "a list is needed, not " + kindOf(got)}
	}
	all := make([]any, list.Len())
	for i := range all {
		all[i] = list.Index(i).Interface()
	}
	return all, nil
}

// compile compiles src with the options that are common to all expressions.
func (c *Compiler) compile(src string, extra ...expr.Option) (*program, []Finding) {
	if len(src) > MaxExpr {
		return nil, []Finding{{Msg: fmt.Sprintf("the expression is longer than %d KiB", MaxExpr>>10)}}
	}
	if strings.TrimSpace(src) == "" {
		return nil, []Finding{{Msg: "the expression is empty"}}
	}
	look := &reader{}
	top := conjunctionOf(src)
	code, err := expr.Compile(src, c.options(look, &patcher{top: top}, extra...)...)
	if err != nil {
		return nil, []Finding{c.finding(src, err)}
	}
	findings := look.findings(src)
	if slices.ContainsFunc(findings, func(f Finding) bool { return !f.Warning }) {
		return nil, findings
	}
	return &program{src: src, code: code, lazy: look.lazy, steps: look.steps, anyStep: look.stepsAtAll > 0, whole: top.whole}, findings
}

// options are those that an expression is compiled with.
func (c *Compiler) options(look *reader, patch *patcher, extra ...expr.Option) []expr.Option {
	options := append([]expr.Option{
		expr.Env(c.world),
		expr.MaxNodes(maxNodes),
		expr.Patch(look),
		expr.Patch(patch),
		expr.Patch(forgetter{}),
	}, extra...)
	return append(options, functions()...)
}

// run evaluates the program in the scope's world.
func (s *Scope) run(p *program) (any, error) {
	for _, name := range p.lazy {
		s.fill(name)
	}
	s.last = answer{prog: p, before: *s.used}
	if v, ok := s.directly(&p.lead); ok {
		s.last.value = v
		return v, nil
	}
	s.last.value, s.last.err = s.evaluate(p.src, p.code)
	return s.last.value, s.last.err
}

// evaluate runs code, compiled from src.
func (s *Scope) evaluate(src string, code *vm.Program) (any, error) {
	s.eval.reset()
	if err := s.eval.within(0); err != nil {
		return nil, evalError(src, err)
	}
	v, err := s.vm.Run(code, s.world)
	s.used.took += time.Since(s.eval.began)
	if err != nil {
		return nil, evalError(src, err)
	}
	return v, nil
}

// answer is what an expression came to, and what the event had used before.
type answer struct {
	prog   *program
	before usage
	value  any
	err    error
}

// EvalError is an expression that failed on an event.
type EvalError struct {
	Src    string // of the expression
	Offset int    // in bytes, where in Src
	Msg    string
	Hint   string // the likely mend, or ""
	cause  error
}

// Error names the expression, shortened, the place in it and the hint.
func (e *EvalError) Error() string {
	s := fmt.Sprintf("%s: at %s: %s", shorten(e.Src), e.place(), e.Msg)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// place is where in its source the expression failed.
func (e *EvalError) place() string {
	before := e.Src[:e.Offset]
	line := strings.Count(before, "\n") + 1
	column := e.Offset - strings.LastIndex(before, "\n")
	if line == 1 {
		return fmt.Sprintf("column %d", column)
	}
	return fmt.Sprintf("line %d, column %d", line, column)
}

// Unwrap returns the cause.
func (e *EvalError) Unwrap() error { return e.cause }

// shorten keeps an expression to a line that people can read.
func shorten(src string) string {
	const most = 80
	src = oneLine(src)
	if r := []rune(src); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return src
}

var (
	conversion = regexp.MustCompile(`^interface conversion: interface \{\} is (.+), not (.+)$`)
	called     = regexp.MustCompile(`^(\w+)\(`)
	zeroValue  = regexp.MustCompile(`^reflect: call of reflect\.Value\.\w+ on (\w+) Value$`)
	notBool    = regexp.MustCompile(`^invalid operation: bool\((.+)\)$`)
	operation  = regexp.MustCompile(`^invalid operation: (\S+(?: \{\})?) ([-+*/%<>=!]+|in|\*\*) (\S+(?: \{\})?)$`)
)

// evalError makes of an error of expr's machine one for people. What the machine
// says may hold values of the event: only what is known not to is passed on.
func evalError(src string, err error) *EvalError {
	e := &EvalError{Src: src, Msg: err.Error(), cause: err}
	var at *file.Error
	if errors.As(err, &at) {
		e.Offset = byteOffset(src, at.From)
		e.Msg = at.Message
	}
	var ours fault
	switch {
	case errors.Is(err, errBudget):
		return e
	case errors.As(err, &ours):
		e.Msg = ours.Error()
	default:
		e.Msg = plain(e.Msg)
		if m := called.FindStringSubmatch(src[e.Offset:]); m != nil && e.Msg == noWord {
			e.Msg = m[1] + e.Msg[len("it"):]
		}
	}
	e.Hint = evalHint(src[e.Offset:], e.Msg)
	return e
}

// plain says what expr's machine says in the words of rules, without values.
func plain(msg string) string {
	if m := conversion.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("got %s where %s is needed", goKind(m[1]), goKind(m[2]))
	}
	if m := zeroValue.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("got %s where a list is needed", goKind(m[1]))
	}
	if m := notBool.FindStringSubmatch(msg); m != nil {
		return notAnAnswer(goKind(m[1]))
	}
	if m := operation.FindStringSubmatch(msg); m != nil {
		return fmt.Sprintf("%s does not work between %s and %s", m[2], goKind(m[1]), goKind(m[3]))
	}
	for _, known := range []string{"memory budget exceeded", "index out of range", "integer divide by zero"} {
		if strings.Contains(msg, known) {
			return known
		}
	}
	return noWord
}

// noWord is said where what the machine says may hold a value.
const noWord = "it does not work on what this event has there"

func notAnAnswer(kind string) string {
	return fmt.Sprintf("the answer is %s, not true or false", kind)
}

// evalHint says how an expression that failed at rest, the tail of its source,
// is mostly mended.
func evalHint(rest, msg string) string {
	switch {
	case strings.HasPrefix(rest, "contains") && strings.Contains(msg, "a list"):
		return `to look in a list write "x" in body.list`
	case strings.Contains(msg, "nothing") && strings.Contains(msg, "yes or no"):
		return "a field may be absent: write == true or != true"
	case strings.HasPrefix(msg, "the answer is"):
		return `compare it with something: == true, != nil, == "…"`
	case strings.Contains(msg, "nothing"), strings.Contains(msg, "nil"):
		return `a field may be absent: write (body.field ?? 0), or ?? "" for a text, ?? [] for a list`
	}
	return ""
}

// goKind puts the name of a Go type as a user of rules would.
func goKind(t string) string {
	switch {
	case t == "nil", t == "<nil>", t == "zero":
		return "nothing (nil)"
	case t == "string":
		return "a text"
	case t == "bool":
		return "yes or no (bool)"
	case strings.HasPrefix(t, "int"), strings.HasPrefix(t, "float"):
		return "a number"
	case strings.HasPrefix(t, "[]"):
		return "a list"
	case strings.HasPrefix(t, "map["):
		return "an object"
	}
	return t
}

func kindOf(v any) string {
	if v == nil {
		return goKind("nil")
	}
	return goKind(fmt.Sprintf("%T", v))
}

// byteOffset turns a position in runes into one in bytes.
func byteOffset(src string, runes int) int {
	for i := range src {
		if runes == 0 {
			return i
		}
		runes--
	}
	return len(src)
}

var (
	unknownName  = regexp.MustCompile(`^unknown name (\S+)$`)
	unknownField = regexp.MustCompile(`unknown field (\S+)$`)
	wrongToken   = regexp.MustCompile(`^unexpected token (\w+)(?:\((".*")\))?$`)
	wrongCall    = regexp.MustCompile(`^(?:not enough|too many) arguments to call (\w+)`)
	dottedHeader = regexp.MustCompile(`\bheaders\.([A-Za-z]+(?:-[A-Za-z0-9]+)+)`)
)

// finding makes of an error of expr's compiler one for people.
func (c *Compiler) finding(src string, err error) Finding {
	f := Finding{Msg: err.Error()}
	var at *file.Error
	if errors.As(err, &at) {
		f.Offset = byteOffset(src, at.From)
		f.Msg = at.Message
	}
	if m := unknownName.FindStringSubmatch(f.Msg); m != nil {
		f.Msg = fmt.Sprintf("unknown name %q", m[1])
		f.Hint = c.nameHint(src, m[1])
	} else if m := unknownField.FindStringSubmatch(f.Msg); m != nil {
		f.Msg = fmt.Sprintf("unknown field %q", m[1])
		f.Hint = c.fieldHint(src[:f.Offset], m[1])
	} else if strings.HasPrefix(f.Msg, "bad number syntax") && strings.Contains(src, "steps.") {
		f.Msg, f.Hint = "a number is no name", `write steps["1"], or give the action an id`
	} else if strings.Contains(f.Msg, "mismatched types string and int") || strings.Contains(f.Msg, "mismatched types int and string") {
		f.Msg, f.Hint = "a text and a number can't be compared", `a text that holds a number is read by int(…)`
	} else if m := wrongCall.FindStringSubmatch(f.Msg); m != nil {
		f.Hint = callHint(m[1])
	} else if m := wrongToken.FindStringSubmatch(f.Msg); m != nil {
		f.Msg, f.Hint = tokenFinding(m[1], m[2])
	} else if strings.HasPrefix(f.Msg, "expected bool, but got") {
		f.Msg = "the condition must be true or false, but this is " + goKind(strings.TrimPrefix(f.Msg, "expected bool, but got "))
		f.Hint = "compare it with something"
	}
	return f
}

// tokenFinding tells of a token, by its kind and text, where it can't stand.
func tokenFinding(kind, text string) (msg, hint string) {
	switch {
	case kind == "EOF":
		return "the expression ends too early", ""
	case text == `"="`:
		return `unexpected "="`, "to compare write =="
	case text == "":
		return "unexpected " + kind, ""
	}
	return "unexpected " + text, ""
}

// nameHint says what somebody who wrote an unknown name will have meant.
func (c *Compiler) nameHint(src, name string) string {
	if m := dottedHeader.FindStringSubmatch(src); m != nil {
		return fmt.Sprintf("write headers[%q]", m[1])
	}
	switch name {
	case "env":
		return "conditions and templates do not see the environment; ${env:NAME} works in actions"
	case "steps":
		return "steps are known in the actions after them and in closing actions"
	case "error", "run":
		return name + " is known in on_success, on_failure, always, on_trip and retry.if"
	case "payload", "json", "data", "request":
		return "the parsed body is named body"
	case "findLast":
		return "write last(filter(list, …))"
	case "header":
		return `did you mean "headers"?`
	}
	if hint := Nearest(name, c.names()); hint != "" {
		return hint
	}
	if hint := Nearest(name, operators()); hint != "" || slices.Contains(operators(), name) {
		return "startsWith, endsWith, contains and matches stand between two texts: body.ref startsWith \"refs/\""
	}
	return ""
}

// names are all names that an expression may use: of the world, of our
// functions, of expr's.
func (c *Compiler) names() []string {
	names := []string{"changed", "match"}
	for n := range c.world {
		if n != stateName {
			names = append(names, n)
		}
	}
	for _, b := range builtin.Builtins {
		names = append(names, b.Name)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return n == "findLast" || n == "findLastIndex" })
	return names
}

// operators are words between two values that other languages have as functions.
func operators() []string { return []string{"startsWith", "endsWith", "contains", "matches"} }

func callHint(function string) string {
	switch function {
	case "match":
		return `match("docs/**", text)`
	case "changed":
		return "changed(body)"
	case "now":
		return "now()"
	}
	return ""
}

// fieldHint names the field that was likely meant, or those that there are.
func (c *Compiler) fieldHint(before, name string) string {
	if hint := Nearest(name, c.fieldNames()); hint != "" {
		return hint
	}
	steps, ok := c.world["steps"].(types.Map)
	if !ok || !strings.HasSuffix(strings.TrimRight(before, ` ["`), "steps") && !strings.HasSuffix(before, "steps.") {
		return ""
	}
	return "the actions before this one are " + strings.Join(slices.Sorted(maps.Keys(steps)), ", ")
}

// fieldNames are the fields of event, of a file, of steps and of each step.
func (c *Compiler) fieldNames() []string {
	var names []string
	add := func(t types.Type) {
		if m, ok := t.(types.Map); ok {
			for n := range m {
				names = append(names, n)
			}
		}
	}
	add(c.world["event"])
	add(fileTypes())
	add(c.world["run"])
	if steps, ok := c.world["steps"].(types.Map); ok {
		add(steps)
		for _, s := range steps {
			add(s)
			if fields, ok := s.(types.Map); ok && fields["outputs"] != nil {
				add(fields["outputs"])
			}
		}
	}
	return names
}
