package engine

import (
	"cmp"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

// Scope is the world that expressions see of one event: its names are those of
// worldTypes. It reads the body when an expression first asks for it, and is
// used by one goroutine at a time.
type Scope struct {
	event *Event
	world map[string]any // what the expr machine looks names up in

	filled []string   // of lazyNames, those that are in world
	query  url.Values // nil until asked for

	parsed bool
	doc    document
	docErr error
	paths  []string // of View.Files

	eval evaluation
	last answer // of the expression that was evaluated last

	// answers has what the conditions of rules came to, where Rehearse wants to know;
	// else nil.
	answers map[*Rule]answer

	vm   vm.VM
	used *usage // shared with the worlds that With makes of this one

	open     []string  // View.Open
	standIns []standIn // for what of the open steps was asked for
	revealed []string  // what secrets came to in the templates rendered so far
}

// usage is what all evaluations of one event have used so far.
type usage struct {
	spent int           // steps, held against maxEventSteps
	took  time.Duration // held against maxEventTime
	text  int           // bytes that templates came to; see planBounds
}

// NewScope makes the world of an event. The event must not change any more.
func NewScope(ev *Event) *Scope {
	s := &Scope{event: ev, used: &usage{}}
	s.eval.scope = s
	s.vm.MemoryBudget = maxElements
	s.world = map[string]any{
		"bucket":    ev.Bucket,
		"bucket_id": ev.BucketID,
		"input":     ev.Input,
		"method":    ev.Method,
		"path":      ev.Path,
		"event": map[string]any{
			"id":       ev.ID,
			"received": ev.Received,
			"source":   ev.Source,
			"remote":   ev.Remote,
		},
		"now":           func() time.Time { return ev.Received },
		"header_values": s.headerValues,
		"query_values":  s.queryValues,
		stateName:       &s.eval,
	}
	return s
}

// View is what expressions see beside the event. The zero View adds nothing.
type View struct {
	Steps   []*StepResult // of all steps that can be named
	Element *Element      // nil: none
	Run     *Run          // `run`; nil: none
	Err     string        // `error`, where there is a Run
	Files   []string      // where the files of the event are on this machine, in their order; nil: nowhere
	Open    []string      // ids of steps that can be named and have not run: see Scope.standIn
}

// Element is the value that a run of ForEach is for.
type Element struct {
	As    string
	Value any
}

// With returns the world of the same event with v in it.
func (s *Scope) With(v View) *Scope {
	if v.Element != nil {
		s.parseBody() // it knows how numbers were written; and once for all elements
	}
	w := NewScope(s.event)
	w.parsed, w.doc, w.docErr, w.used, w.paths = s.parsed, s.doc, s.docErr, s.used, v.Files
	w.open = v.Open
	steps := make(map[string]any, len(v.Steps))
	for _, r := range v.Steps {
		steps[r.Step] = stepValue(r)
	}
	w.world["steps"] = steps
	if v.Element != nil {
		w.world[v.Element.As] = v.Element.Value
	}
	if v.Run != nil {
		w.world["run"] = runValue(v.Run)
		w.world["error"] = v.Err
	}
	return w
}

// BodyErr is why the body could not be parsed; nil where it was, and where
// nobody asked yet.
func (s *Scope) BodyErr() error { return s.docErr }

// worldTypes are the names that every expression sees.
func worldTypes() types.Map {
	texts := types.TypeOf(map[string]string{})
	return types.Map{
		"bucket":     types.String,
		"bucket_id":  types.String,
		"input":      types.String,
		"method":     types.String,
		"path":       types.String,
		"query":      texts,
		"headers":    texts,
		"body":       types.Any,
		"files":      types.Array(fileTypes()),
		"cloudevent": types.Any,
		"raw":        types.String,
		"meta":       texts,
		"event": types.Map{
			"id":       types.String,
			"received": types.TypeOf(time.Time{}),
			"source":   types.String,
			"remote":   types.String,
		},
		"now":           types.TypeOf(func() time.Time { return time.Time{} }),
		"header_values": types.TypeOf(func(string) []string { return nil }),
		"query_values":  types.TypeOf(func(string) []string { return nil }),
		stateName:       types.TypeOf((*evaluation)(nil)),
	}
}

// fileTypes are the fields of each of `files`.
func fileTypes() types.Map {
	return types.Map{"field": types.String, "name": types.String, "type": types.String, "size": types.Int, "path": types.String}
}

// lazyNames are filled into the world only for expressions that read them.
func lazyNames() []string {
	return []string{"body", "files", "cloudevent", "raw", "query", "headers", "meta"}
}

// fill puts the lazy name into the world.
func (s *Scope) fill(name string) {
	if slices.Contains(s.filled, name) {
		return
	}
	s.filled = append(s.filled, name)
	switch name {
	case "body":
		s.parseBody()
		s.world["body"] = s.doc.value
	case "files":
		s.parseBody()
		s.world["files"] = s.filesValue()
	case "cloudevent":
		s.parseBody()
		s.world["cloudevent"] = s.doc.event
	case "raw":
		s.world["raw"] = string(s.event.Body)
	case "query":
		s.world["query"] = firstValues(s.queryMap())
	case "headers":
		s.world["headers"] = firstValues(canonical(s.event.Header))
	case "meta":
		s.world["meta"] = s.event.Meta
	}
}

func (s *Scope) parseBody() {
	if s.parsed {
		return
	}
	s.parsed = true
	s.doc, s.docErr = parseBody(s.event.Header, s.event.Body)
}

// filesValue has the fields of fileTypes for each file of a multipart body. The
// path is "" in conditions, which nothing is written for.
func (s *Scope) filesValue() []any {
	list := make([]any, len(s.doc.files))
	for i, f := range s.doc.files {
		path := ""
		if i < len(s.paths) {
			path = s.paths[i]
		}
		list[i] = map[string]any{"field": f.Field, "name": f.Name, "type": f.Type, "size": len(f.Data), "path": path}
	}
	return list
}

// header returns the first value of a header, whatever its case on either side.
func (s *Scope) header(name string) string {
	if v := s.headerValues(name); len(v) > 0 {
		return v[0]
	}
	return ""
}

func (s *Scope) headerValues(name string) []string {
	if v, ok := s.event.Header[http.CanonicalHeaderKey(name)]; ok {
		return v
	}
	// A relay may pass names on in any case.
	for k, v := range s.event.Header {
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return nil
}

func (s *Scope) queryValues(name string) []string { return s.queryMap()[name] }

// queryMap keeps what of a broken query can be read, as net/url does.
func (s *Scope) queryMap() url.Values {
	if s.query == nil {
		s.query, _ = url.ParseQuery(s.event.Query)
	}
	return s.query
}

func firstValues(all map[string][]string) map[string]string {
	first := make(map[string]string, len(all))
	for k, v := range all {
		if len(v) > 0 {
			first[k] = v[0]
		}
	}
	return first
}

func canonical(h http.Header) http.Header {
	out := make(http.Header, len(h))
	for k, v := range h {
		key := http.CanonicalHeaderKey(k)
		out[key] = slices.Concat(out[key], v)
	}
	return out
}

// runTypes are the fields of `run`.
func runTypes() types.Map {
	return types.Map{
		"id": types.String, "rule": types.String, "attempt": types.Int, "state": types.String,
		"key": types.String, "created": types.TypeOf(time.Time{}),
	}
}

// runValue has the fields of runTypes. The state is how the run ends; before
// that is known it is the one that the run is in.
func runValue(r *Run) map[string]any {
	return map[string]any{
		"id": r.ID, "rule": r.Rule, "attempt": r.Attempt - r.Base, "state": string(cmp.Or(r.Outcome, r.State)),
		"key": r.Key, "created": r.Created,
	}
}

// stepTypes are the fields of `steps.<id>`.
func stepTypes(s StepShape) types.Map {
	t := types.Map{"state": types.String, "error": types.String, "duration": types.TypeOf(time.Duration(0))}
	switch {
	case isCommand(s.Kind):
		t["exit_code"], t["stdout"], t["stderr"] = types.Int, types.String, types.String
	case s.Kind == "http":
		t["status"], t["headers"], t["body"], t["json"] = types.Int, types.TypeOf(map[string]string{}), types.String, types.Any
	case s.Kind == "file":
		t["path"], t["size"] = types.String, types.Int
	}
	if len(s.Outputs) > 0 {
		outputs := types.Map{}
		for _, name := range s.Outputs {
			outputs[name] = types.String
		}
		t["outputs"] = outputs
	}
	return t
}

// stepValue holds the union of stepTypes over all kinds: the compiler lets an
// expression see its own kind's only.
func stepValue(r *StepResult) map[string]any {
	doc, _ := parseJSON([]byte(r.Output.Body))
	return map[string]any{
		"state":     string(r.State),
		"error":     r.Err,
		"duration":  r.Finished.Sub(r.Started),
		"exit_code": r.Output.ExitCode,
		"stdout":    r.Stdout.String(),
		"stderr":    r.Stderr.String(),
		"status":    r.Output.Status,
		"headers":   firstValues(canonical(r.Output.Header)),
		"body":      r.Output.Body,
		"json":      doc.value,
		"path":      r.Output.Path,
		"size":      int(r.Output.Size),
		"outputs":   outputsValue(r.Output.Outputs),
	}
}

// outputsValue has "" for what a step that did not succeed has not written: the
// compiler knows the names.
func outputsValue(outputs map[string]string) map[string]string {
	if outputs == nil {
		return map[string]string{}
	}
	return outputs
}
