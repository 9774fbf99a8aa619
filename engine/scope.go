package engine

import (
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
	query url.Values     // nil until asked for

	parsed bool
	doc    document
	docErr error

	eval  evaluation
	vm    vm.VM
	spent int           // steps of all evaluations, held against maxEventSteps
	took  time.Duration // of all evaluations, held against maxEventTime
}

// NewScope makes the world of an event. The event must not change any more.
func NewScope(ev *Event) *Scope {
	s := &Scope{event: ev}
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

// WithSteps returns the world of the same event with the results of finished
// steps in it, as `steps`.
func (s *Scope) WithSteps(results []*StepResult) *Scope {
	w := NewScope(s.event)
	w.parsed, w.doc, w.docErr = s.parsed, s.doc, s.docErr
	steps := make(map[string]any, len(results))
	for _, r := range results {
		steps[r.Step] = stepValue(r)
	}
	w.world["steps"] = steps
	return w
}

// BodyErr is why the body could not be parsed; nil where it was, and where
// nobody asked yet.
func (s *Scope) BodyErr() error { return s.docErr }

// worldTypes are the names that every expression sees.
func worldTypes() types.Map {
	texts := types.TypeOf(map[string]string{})
	return types.Map{
		"bucket":    types.String,
		"bucket_id": types.String,
		"input":     types.String,
		"method":    types.String,
		"path":      types.String,
		"query":     texts,
		"headers":   texts,
		"body":      types.Any,
		"raw":       types.String,
		"meta":      texts,
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

// lazyNames are filled into the world only for expressions that read them.
func lazyNames() []string { return []string{"body", "raw", "query", "headers", "meta"} }

// fill puts the lazy name into the world.
func (s *Scope) fill(name string) {
	if _, there := s.world[name]; there {
		return
	}
	switch name {
	case "body":
		s.parseBody()
		s.world["body"] = s.doc.value
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
	s.doc, s.docErr = parseBody(s.header("Content-Type"), s.event.Body)
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

// stepTypes are the fields of `steps.<id>` for a step of the given kind.
func stepTypes(kind string) types.Map {
	t := types.Map{"state": types.String, "error": types.String, "duration": types.TypeOf(time.Duration(0))}
	switch {
	case isCommand(kind):
		t["exit_code"], t["stdout"], t["stderr"] = types.Int, types.String, types.String
	case kind == "http":
		t["status"], t["headers"], t["body"], t["json"] = types.Int, types.TypeOf(map[string]string{}), types.String, types.Any
	case kind == "file":
		t["path"], t["size"] = types.String, types.Int
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
	}
}
