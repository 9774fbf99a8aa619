package engine

import (
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/expr-lang/expr/vm/runtime"
)

// Bounds of one evaluation. What is over them ends as a recorded error of that
// rule; the other rules go on.
const (
	maxSteps      = 100_000                // rounds through predicates, and reads of the body
	maxEventSteps = 50 * maxSteps          // over all rules that one event meets
	maxTime       = 500 * time.Millisecond // of one evaluation
	maxEventTime  = 2 * time.Second        // over all rules that one event meets
	maxText       = 64 << 20               // bytes of text made
	maxPattern    = 1 << 10                // bytes of a pattern that is not in the rule itself
	maxElements   = 1_000_000              // elements of lists and maps made: expr's memory budget
	maxMissing    = 16                     // absent fields that are remembered
)

var errBudget = errors.New("evaluation budget used up")

// fault is an error of ours in an evaluation. Its text holds no value of the
// event, so it may be logged.
type fault string

func (f fault) Error() string { return string(f) }

func faultf(format string, args ...any) error { return fault(fmt.Sprintf(format, args...)) }

// evaluation is what one run of an expression has used, and what it found
// missing. Expressions carry it under stateName to the functions below, which
// the patcher puts into them.
type evaluation struct {
	scope   *Scope
	steps   int
	text    int
	began   time.Time
	missing []string
	part    string // what a verdict says of the part of the conjunction that was evaluated last
	absent  bool   // the member that was read last is not there
	notes   *notes // of a traced evaluation; else nil
}

func (e *evaluation) reset() {
	e.forget()
	e.began = time.Now()
}

// forget is reset for what does not look at the clock.
func (e *evaluation) forget() {
	e.steps, e.text = 0, 0
	e.missing, e.part = nil, ""
}

// step counts one round, and looks at the clock at times.
func (e *evaluation) step() error {
	if err := e.count(); err != nil {
		return err
	}
	if e.steps%8 == 0 {
		return e.clock()
	}
	return nil
}

func (e *evaluation) count() error {
	e.steps++
	e.scope.used.spent++
	switch {
	case e.steps > maxSteps:
		return fmt.Errorf("%w: more than %d steps", errBudget, maxSteps)
	case e.scope.used.spent > maxEventSteps:
		return fmt.Errorf("%w: more than %d steps over all rules of this event", errBudget, maxEventSteps)
	}
	return nil
}

// clock looks whether there is time left.
func (e *evaluation) clock() error {
	took := time.Since(e.began)
	if e.notes != nil {
		took /= traceSlack
	}
	return e.within(took)
}

// within holds what an evaluation took against what it may take.
func (e *evaluation) within(took time.Duration) error {
	switch {
	case took > maxTime:
		return fmt.Errorf("%w: longer than %s", errBudget, maxTime)
	case e.scope.used.took+took > maxEventTime:
		return fmt.Errorf("%w: longer than %s over all rules of this event", errBudget, maxEventTime)
	}
	return nil
}

// grow counts text before it is made.
func (e *evaluation) grow(n int) error {
	if n < 0 || n > maxText-e.text { // below 0: it overflowed
		return fmt.Errorf("%w: more than %d MiB of text", errBudget, maxText>>20)
	}
	e.text += n
	return e.clock()
}

// miss remembers that a field was read and is not there; the fields of an
// absent field are not worth a word of their own.
func (e *evaluation) miss(path string) {
	if len(e.missing) == maxMissing || slices.Contains(e.missing, path) {
		return
	}
	for _, m := range e.missing {
		if rest, ok := strings.CutPrefix(path, m); ok && rest != "" && (rest[0] == '.' || rest[0] == '[') {
			return
		}
	}
	e.missing = append(e.missing, path)
}

// field names a member of data for evalMember.
type field struct {
	key  any    // string or int; nil: given at run time
	path string // as written, for people
}

// evalTick(state, value) is put around the body of every predicate.
func evalTick(args ...any) (any, error) {
	e := args[0].(*evaluation)
	if err := e.step(); err != nil {
		return nil, err
	}
	if s, ok := args[1].(string); ok {
		if err := e.grow(len(s)); err != nil {
			return nil, err
		}
	}
	return args[1], nil
}

// evalPart(state, why, value) is put around each part of a conjunction at the
// top. The part evaluated last is the one that decided, where it is false.
func evalPart(args ...any) (any, error) {
	args[0].(*evaluation).part = args[1].(string)
	return args[2], nil
}

// evalMember(state, data, field) and evalMember(state, data, field, key) read a
// member of data that came from outside: nil where there is none, whatever the
// data is.
func evalMember(args ...any) (any, error) {
	e, f := args[0].(*evaluation), args[2].(*field)
	if err := e.step(); err != nil {
		return nil, err
	}
	key := f.key
	if len(args) == 4 {
		key = args[3]
	}
	return e.member(args[1], key, f.path), nil
}

// member reads a member of data that is written as path.
func (e *evaluation) member(data, key any, path string) any {
	v, ok := member(data, key)
	if e.absent = !ok; e.absent {
		e.miss(path)
	}
	return v
}

func member(data, key any) (any, bool) {
	switch data := data.(type) {
	case map[string]any:
		name, ok := key.(string)
		if !ok {
			return nil, false
		}
		v, ok := data[name]
		return v, ok
	case []any:
		i, ok := index(key, len(data))
		if !ok {
			return nil, false
		}
		return data[i], true
	case nil, bool, int, int64, float64, string:
		return nil, false
	}
	return otherMember(reflect.ValueOf(data), key)
}

// otherMember reads lists and maps that expr's own functions made.
func otherMember(v reflect.Value, key any) (any, bool) {
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		if i, ok := index(key, v.Len()); ok {
			return v.Index(i).Interface(), true
		}
	case reflect.Map:
		k := reflect.ValueOf(key)
		if !k.IsValid() || !k.Type().AssignableTo(v.Type().Key()) {
			return nil, false
		}
		if m := v.MapIndex(k); m.IsValid() {
			return m.Interface(), true
		}
	}
	return nil, false
}

// index reads a list index; one below 0 counts from the end.
func index(key any, length int) (int, bool) {
	i, ok := key.(int)
	if i < 0 {
		i += length
	}
	return i, ok && i >= 0 && i < length
}

// evalHeader(state, name) and evalHasHeader(state, name) know no case.
func evalHeader(args ...any) (any, error) {
	return args[0].(*evaluation).scope.header(args[1].(string)), nil
}

func evalHasHeader(args ...any) (any, error) {
	return args[0].(*evaluation).scope.headerValues(args[1].(string)) != nil, nil
}

// evalAdd(state, a, b) is a + b, with the length of texts checked first.
func evalAdd(args ...any) (any, error) {
	a, aText := args[1].(string)
	b, bText := args[2].(string)
	if aText && bText {
		if err := args[0].(*evaluation).grow(len(a) + len(b)); err != nil {
			return nil, err
		}
	}
	return runtime.Add(args[1], args[2]), nil
}

// The functions below stand for built-ins of expr whose result can be far
// larger than what they are given, or that take far longer than its length.

func evalRepeat(args ...any) (any, error) {
	s, n := args[1].(string), args[2].(int)
	if n < 0 {
		return nil, fault("repeat: less than no times")
	}
	if len(s) > 0 && n > maxText/len(s) {
		return nil, args[0].(*evaluation).grow(maxText + 1)
	}
	if err := args[0].(*evaluation).grow(n * len(s)); err != nil {
		return nil, err
	}
	return strings.Repeat(s, n), nil
}

func evalReplace(args ...any) (any, error) {
	s, old, with := args[1].(string), args[2].(string), args[3].(string)
	n := strings.Count(s, old)
	if len(args) == 5 && args[4].(int) >= 0 {
		n = min(n, args[4].(int))
	}
	if err := args[0].(*evaluation).grow(len(s) + n*max(0, len(with)-len(old))); err != nil {
		return nil, err
	}
	return strings.Replace(s, old, with, n), nil
}

func evalSplit(args ...any) (any, error)      { return split(strings.SplitN, args) }
func evalSplitAfter(args ...any) (any, error) { return split(strings.SplitAfterN, args) }

// elementSize is what an element of a list of texts costs beside its text.
const elementSize = 16

func split(cut func(s, sep string, n int) []string, args []any) (any, error) {
	s, sep, n := args[1].(string), args[2].(string), -1
	if len(args) == 4 {
		n = args[3].(int)
	}
	parts := strings.Count(s, sep) + 1
	if sep == "" {
		parts = utf8.RuneCountInString(s)
	}
	if n >= 0 {
		parts = min(parts, n)
	}
	if err := args[0].(*evaluation).grow(parts * elementSize); err != nil {
		return nil, err
	}
	return cut(s, sep, n), nil
}

func evalJoin(args ...any) (any, error) {
	e, sep := args[0].(*evaluation), ""
	if len(args) == 3 {
		sep = args[2].(string)
	}
	list := reflect.ValueOf(args[1])
	if list.Kind() != reflect.Slice {
		return nil, faultf("join: %s is not a list", kindOf(args[1]))
	}
	var texts []string
	size := 0
	for i := range list.Len() {
		s, ok := list.Index(i).Interface().(string)
		if !ok {
			return nil, faultf("join: element %d is not a text but %s", i, kindOf(list.Index(i).Interface()))
		}
		texts = append(texts, s)
		size += len(s) + len(sep)
	}
	if err := e.grow(size); err != nil {
		return nil, err
	}
	return strings.Join(texts, sep), nil
}

func evalFromJSON(args ...any) (any, error) {
	e, s := args[0].(*evaluation), args[1].(string)
	if err := e.grow(len(s)); err != nil {
		return nil, err
	}
	doc, err := parseJSON([]byte(s))
	if err != nil {
		return nil, faultf("fromJSON: %v", err)
	}
	return doc.value, nil
}

func evalToJSON(args ...any) (any, error) {
	e := args[0].(*evaluation)
	s, err := e.scope.doc.json(args[1])
	if err != nil {
		return nil, err
	}
	return s, e.grow(len(s))
}

// evalString is the text that {{ }} would put there; nil is "nil", as in expr.
func evalString(args ...any) (any, error) {
	e := args[0].(*evaluation)
	s, err := e.scope.doc.text(args[1])
	if errors.Is(err, errNil) {
		return "nil", nil
	}
	if err != nil {
		return nil, err
	}
	return s, e.grow(len(s))
}

// evalMatches(state, text, pattern) is text matches pattern. A pattern of the
// rule itself comes compiled.
func evalMatches(args ...any) (any, error) {
	if err := args[0].(*evaluation).clock(); err != nil {
		return nil, err
	}
	if args[1] == nil || args[2] == nil {
		return false, nil
	}
	text, ok := args[1].(string)
	if !ok {
		return nil, faultf("matches looks in a text, not in %s", kindOf(args[1]))
	}
	if own, ok := args[2].(*pattern); ok {
		return own.match(text)
	}
	source, ok := args[2].(string)
	if !ok {
		return nil, faultf("the pattern of matches is a text, not %s", kindOf(args[2]))
	}
	if len(source) > maxPattern {
		return nil, faultf("the pattern of matches is longer than %d bytes", maxPattern)
	}
	foreign, err := compilePattern(source, maxForeignMatch)
	if err != nil {
		return nil, fault("the pattern of matches is no regular expression")
	}
	return foreign.match(text)
}

// What a match may cost: the bytes of the text times the instructions of the
// pattern, as package regexp visits each instruction once for a byte at most. It
// can't be interrupted, so it is looked at before.
const (
	maxOwnMatch     = 512 << 20 // of a pattern that the rule wrote
	maxForeignMatch = 16 << 20  // of one that the sender did
)

// pattern is a regular expression (RE2) that knows what it costs.
type pattern struct {
	re           *regexp.Regexp
	instructions int
	most         int // bytes × instructions
}

func compilePattern(source string, most int) (*pattern, error) {
	re, err := regexp.Compile(source)
	if err != nil {
		return nil, err
	}
	tree, err := syntax.Parse(source, syntax.Perl)
	if err != nil {
		return nil, err
	}
	prog, err := syntax.Compile(tree.Simplify())
	if err != nil {
		return nil, err
	}
	return &pattern{re, len(prog.Inst), most}, nil
}

func (p *pattern) match(text string) (any, error) {
	if len(text) > p.most/p.instructions {
		return nil, faultf("matches would cost too much: the text has %d bytes, and its pattern takes %d at most", len(text), p.most/p.instructions)
	}
	return p.re.MatchString(text), nil
}

// evalUniq compares every element with every other kept one, so each
// comparison is a step.
func evalUniq(args ...any) (any, error) {
	e := args[0].(*evaluation)
	list := reflect.ValueOf(args[1])
	if list.Kind() != reflect.Slice {
		return nil, faultf("uniq: %s is not a list", kindOf(args[1]))
	}
	out := []any{}
	for i := range list.Len() {
		v := list.Index(i).Interface()
		known := false
		for _, o := range out {
			if err := e.step(); err != nil {
				return nil, err
			}
			if known = runtime.Equal(v, o); known {
				break
			}
		}
		if !known {
			out = append(out, v)
		}
	}
	return out, nil
}
