package control

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"hookrun/engine"
)

var rewrite = flag.Bool("u", false, "write openapi.json anew")

// operation is what the API answers at one route.
type operation struct {
	route   string
	summary string
	params  []param
	request any    // a value of the body's type; nil: there is none
	answer  any    // likewise of the answer
	media   string // of the answer; "": JSON

	// example is a request that is answered: what stands behind the path, and the body.
	example, body string
}

// param is a parameter of a request, in its path or in its query.
type param struct{ name, kind, about string }

func id(what string) param {
	return param{"{id}", "string", "The id of the " + what + ", or its beginning, of 6 characters or more, where no other has the same."}
}

// Parameters that several operations have.
func ruleParam(about string) param { return param{"rule", "string", about} }

func limitParam() param {
	return param{"limit", "integer", fmt.Sprintf("At most so many, up to %d; %d where it is not given.", MaxLimit, engine.DefaultEventLimit)}
}

func beforeParam() param {
	return param{"before", "integer", "The next of the page before: the page after it, of older ones."}
}

func sinceParam(what string) param {
	return param{"since", "date-time", "Only those " + what + " then or later."}
}

func wordsParam(name, about string) param {
	return param{name, "string", about + " Several with commas."}
}

func operations() []operation {
	return []operation{
		{route: "GET /v1/events", summary: "Events that were accepted, the newest first.", answer: EventList{}, params: []param{
			{"bucket", "string", "Only those to the bucket of this name or id."}, ruleParam("Only those that a run of this rule was made of."),
			wordsParam("outcome", "Only those with this outcome."), sinceParam("received"), {"until", "date-time", "Only those received before."},
			beforeParam(), {"after", "integer", "The seq of an event: those behind it, the oldest first."}, limitParam(),
		}, example: "?bucket=b&rule=a&outcome=started,error&since=2026-01-02T03:04:05Z&until=2026-01-03T03:04:05Z&before=7&limit=10"},
		{route: "GET /v1/events/{id}", summary: "All about one event.", answer: EventDetail{}, params: []param{id("event")}},
		{route: "GET /v1/events/{id}/body", summary: "The body of an event, byte for byte.", answer: []byte{}, media: "application/octet-stream", params: []param{id("event")}},
		{route: "GET /v1/events/{id}/explain", summary: "What the rules in force make of an event, why, and what they would do.", answer: engine.Rehearsal{},
			params: []param{id("event"), ruleParam("Only this rule.")}, example: "?rule=a"},
		{route: "POST /v1/explain", summary: "The same of an event that is kept, or of one that is made up. Nothing is kept, nothing is run.",
			request: ExplainQuery{}, answer: engine.Rehearsal{}, body: `{"made":{"bucket":"b","method":"POST","path":"/","header":{"A":["1"]},"body":"{}"},"rule":"a"}`},
		{route: "GET /v1/watch", media: typeEvents, answer: Notice{}, params: []param{
			{"bucket", "string", "Only events and rejections of this bucket, and runs of the events that were told of."},
			ruleParam("Only runs of this rule, and events that it matched or failed on."),
			wordsParam("outcome", "Only events with this outcome; without state no runs."), wordsParam("state", "Only runs in this state; without outcome no events."),
		}, summary: "What happens from now on, as server-sent events named event, run, rejected, rules, refused, health and missed, each with the field of Notice of that name as its data. " +
			"With Accept: application/x-ndjson it is a Notice a line, the first one empty.", example: "?bucket=b&rule=a&outcome=error&state=done"},
		{route: "GET /v1/rejected", summary: "Webhooks that were turned away, and why, the newest first.", answer: RejectionList{}, params: []param{
			{"bucket", "string", "Only those to this bucket."}, sinceParam("received"), limitParam(),
		}, example: "?bucket=b&since=2026-01-02T03:04:05Z&limit=10"},
		{route: "GET /v1/rates", summary: "How many events and runs came, by spans of time.", answer: RateList{}, params: []param{
			ruleParam("Only of this rule."), {"since", "date-time", "From then on; from 24 hours ago where it is not given."},
			{"step", "string", "The length of a span such as 30m, which is that where it is not given."},
		}, example: "?rule=a&since=2026-01-02T03:04:05Z&step=1h"},
		{route: "GET /v1/status", summary: "How this hookrun is, and what its store holds.", answer: Status{}},
		{route: "POST /v1/replay", summary: "Has an event of the past run again, as an event of its own.", request: ReplayQuery{}, answer: Replayed{},
			body: `{"event":"e1","rule":"a","body":"x"}`},
		{route: "GET /v1/armed", summary: "Which rules are armed, and what waits for a person.", answer: Armed{}},
		{route: "POST /v1/armed", summary: "Has the runs of the next event that a rule matches wait for a person.", answer: Armed{},
			params: []param{ruleParam("The rule; any where it is not given.")}, example: "?rule=a"},
		{route: "DELETE /v1/armed", summary: "Takes that back. What waits goes on waiting.", answer: Armed{},
			params: []param{ruleParam("The rule; all where it is not given.")}, example: "?rule=a"},
		{route: "GET /v1/rules", summary: "The rules in force, in their order, and how they were used.", answer: RuleList{}},
		{route: "GET /v1/generations", summary: "The generations of rules that were in force, the newest first, and the one that is held.", answer: GenerationList{}},
		{route: "POST /v1/rules/accept", summary: "Puts the generation in force that on_reload holds.", answer: Generation{},
			params: []param{{"hash", "string", "The hash of it, which has to be given: nobody accepts what has come since."}}, example: "?hash=h"},
		{route: "GET /v1/runs", summary: "Runs, the newest first.", answer: List{}, params: []param{
			{"event", "string", "Only those of the event of this id."}, {"bucket", "string", "Only those of events to the bucket of this name or id. Not with event."}, ruleParam("Only those of this rule."), wordsParam("state", "Only those in this state."),
			sinceParam("created"), {"until", "date-time", "Only those created before."}, beforeParam(), limitParam(),
		}, example: "?event=e1&bucket=b&rule=a&state=done,failed&since=2026-01-02T03:04:05Z&until=2026-01-03T03:04:05Z&before=7&limit=10"},
		{route: "GET /v1/runs/{id}", summary: "All about one run.", answer: Detail{}, params: []param{id("run")}},
		{route: "GET /v1/runs/{id}/log", summary: "What the commands of a run have printed, a Piece a line; the last one has the state.", answer: Piece{}, media: typeLines,
			params: []param{id("run"), {"follow", "flag", "1: go on until it has finished."}}, example: "?follow=1"},
		{route: "POST /v1/runs/{id}/retry", summary: "Queues a finished run again.", answer: Run{},
			params: []param{id("run"), {"all", "flag", "1: from the first action on, not from the one that failed."}}, example: "?all=1"},
		{route: "POST /v1/runs/{id}/cancel", summary: "Ends a run that waits or runs.", answer: Run{}, params: []param{id("run")}},
		{route: "POST /v1/runs/{id}/release", summary: "Lets a run go that waits for a person.", answer: Run{}, params: []param{id("run")}},
		{route: "GET /v1/paused", summary: "What is paused.", answer: Paused{}},
		{route: "POST /v1/pause", summary: "Keeps runs of a rule from starting.", answer: Paused{}, params: []param{ruleParam("The rule; all where it is not given.")}, example: "?rule=a"},
		{route: "POST /v1/resume", summary: "Ends that.", answer: Paused{}, params: []param{ruleParam("The rule; all where it is not given.")}, example: "?rule=a"},
		{route: "GET /v1/counts", summary: "How many runs ended how since the start.", answer: Summary{}},
		{route: "GET /v1/openapi.json", summary: "This document.", answer: map[string]any{}},
	}
}

type object = map[string]any

// document makes the description of the API: of the operations above, and of the
// Go types of what they take and give, with the comments that stand at these.
func document(t *testing.T) object {
	t.Helper()
	s := &schemas{source: readSource(t, ".", ".."), all: object{}}
	paths := object{}
	for _, op := range operations() {
		method, path, _ := strings.Cut(op.route, " ")
		at, _ := paths[path].(object)
		if at == nil {
			at = object{}
			paths[path] = at
		}
		at[strings.ToLower(method)] = op.object(s)
	}
	s.of(reflect.TypeFor[Error]())
	return object{
		"openapi": "3.1.0",
		"info": object{
			"title": "hookrun", "version": "1",
			"description": "What a running hookrun can be asked, on the socket control.sock in its data folder and, below /api, on the port of -admin.",
		},
		"servers":  []any{object{"url": "/", "description": "the control socket"}, object{"url": "/api", "description": "the port of -admin"}},
		"security": []any{object{}, object{"token": []any{}}},
		"paths":    paths,
		"components": object{
			"schemas":         s.all,
			"securitySchemes": object{"token": object{"type": "http", "scheme": "bearer", "description": "On the port of -admin, where it has a token."}},
		},
	}
}

// object is the operation as the document has it.
func (op operation) object(s *schemas) object {
	media := op.media
	if media == "" {
		media = typeJSON
	}
	content := object{media: object{"schema": s.of(reflect.TypeOf(op.answer))}}
	if media == typeEvents {
		content = object{typeEvents: object{"schema": object{"type": "string"}}, typeLines: content[media]}
	}
	o := object{
		"summary":     op.summary,
		"operationId": op.id(),
		"responses": object{
			"200":     object{"description": "It is done.", "content": content},
			"default": object{"description": "It is not, and why.", "content": object{typeJSON: object{"schema": ref("Error")}}},
		},
	}
	var params []any
	for _, p := range op.params {
		params = append(params, p.object())
	}
	if params != nil {
		o["parameters"] = params
	}
	if op.request != nil {
		o["requestBody"] = object{"required": true, "content": object{typeJSON: object{"schema": s.of(reflect.TypeOf(op.request))}}}
	}
	return o
}

// id is the method and the words of the path: "getEventsExplain".
func (op operation) id() string {
	method, path, _ := strings.Cut(op.route, " ")
	name := strings.ToLower(method)
	for word := range strings.SplitSeq(strings.TrimPrefix(path, "/v1/"), "/") {
		word = strings.TrimSuffix(strings.Trim(word, "{}"), ".json")
		name += strings.ToUpper(word[:1]) + word[1:]
	}
	return name
}

func (p param) object() object {
	schema := object{"type": p.kind}
	switch p.kind {
	case "date-time":
		schema = object{"type": "string", "format": "date-time"}
	case "flag":
		schema = object{"type": "string", "enum": []any{"0", "1"}}
	case "integer":
		schema["minimum"] = 1
	}
	in, required := "query", false
	if strings.HasPrefix(p.name, "{") {
		in, required = "path", true
	}
	o := object{"name": strings.Trim(p.name, "{}"), "in": in, "description": p.about, "schema": schema}
	if required {
		o["required"] = true
	}
	return o
}

func ref(name string) object { return object{"$ref": "#/components/schemas/" + name} }

// schemas are those of the types of the API, by name.
type schemas struct {
	source *source
	all    object
}

// of is the schema of a type; of one with a name it is a reference.
func (s *schemas) of(t reflect.Type) any {
	switch t {
	case reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case reflect.TypeFor[time.Duration]():
		return object{"type": "integer", "description": "Nanoseconds."}
	case reflect.TypeFor[json.RawMessage]():
		return object{}
	case reflect.TypeFor[Bytes]():
		return object{"description": "A text, or what is no UTF-8 in base64.", "oneOf": []any{object{"type": "string"}, object{
			"type": "object", "properties": object{"base64": object{"type": "string", "contentEncoding": "base64"}}, "required": []any{"base64"},
		}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return s.of(t.Elem())
	case reflect.Struct:
		return s.named(t)
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{"type": "string", "format": "binary"}
		}
		return object{"type": "array", "items": s.of(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": s.of(t.Elem())}
	case reflect.Interface:
		return object{}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return s.text(t)
	}
	return object{"type": "integer"}
}

// text is the schema of a string, or of a type whose constants list its values.
func (s *schemas) text(t reflect.Type) any {
	values := s.source.values[t.Name()]
	if t.PkgPath() == "" || values == nil {
		return object{"type": "string"}
	}
	s.all[t.Name()] = object{"type": "string", "enum": values, "description": s.source.about[t.Name()]}
	return ref(t.Name())
}

// named is the schema of a struct, of which embedded ones are a part.
func (s *schemas) named(t reflect.Type) any {
	if _, known := s.all[t.Name()]; known {
		return ref(t.Name())
	}
	o := object{"type": "object", "description": s.source.about[t.Name()]}
	s.all[t.Name()] = o // before its fields: a Node has Nodes
	properties, required := object{}, []any{}
	for _, f := range reflect.VisibleFields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "-" || !f.IsExported() {
			continue
		}
		if name == "" {
			panic(t.Name() + "." + f.Name + " has no name in JSON")
		}
		optional := strings.Contains(options, "omit")
		schema := s.of(f.Type)
		if !optional && (f.Type.Kind() == reflect.Slice || f.Type.Kind() == reflect.Map) && t.PkgPath() == "hookrun/engine" {
			schema.(object)["type"] = []any{schema.(object)["type"], "null"} // control has none that is nil
		}
		properties[name] = described(schema, s.source.fields[s.source.owner(t, f)+"."+f.Name])
		if !optional {
			required = append(required, name)
		}
	}
	o["properties"] = properties
	if len(required) > 0 {
		o["required"] = required
	}
	if strings.HasSuffix(t.Name(), "Query") || t.Name() == "Request" {
		o["additionalProperties"] = false // others are refused
	}
	return ref(t.Name())
}

// described is a schema with a description, beside what it refers to.
func described(schema any, about string) any {
	o := maps.Clone(schema.(object))
	if about != "" {
		o["description"] = about
	}
	return o
}

// source is what the comments at types and fields say, and the values of the
// types that are words.
type source struct {
	about  map[string]string // by type
	fields map[string]string // by type.field
	values map[string][]any  // by type
}

// owner is the type that a field is declared in: t, or one that it embeds.
func (*source) owner(t reflect.Type, f reflect.StructField) string {
	for _, i := range f.Index[:len(f.Index)-1] {
		t = t.Field(i).Type
	}
	return t.Name()
}

func readSource(t *testing.T, folders ...string) *source {
	t.Helper()
	s := &source{about: map[string]string{}, fields: map[string]string{}, values: map[string][]any{}}
	for _, folder := range folders {
		names, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
			if err != nil {
				t.Fatal(err)
			}
			s.read(file, folder == ".")
		}
	}
	return s
}

// read adds what a file says. Types of the first folder come before others of
// their name.
func (s *source) read(file *ast.File, first bool) {
	for _, decl := range file.Decls {
		d, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if _, known := s.about[spec.Name.Name]; !known || first {
					s.about[spec.Name.Name] = sentence(d.Doc)
					s.readFields(spec)
				}
			case *ast.ValueSpec:
				if kind, ok := spec.Type.(*ast.Ident); ok && d.Tok == token.CONST && len(spec.Values) == 1 {
					if lit, ok := spec.Values[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
						value, _ := strconv.Unquote(lit.Value) // the compiler took it
						s.values[kind.Name] = append(s.values[kind.Name], value)
					}
				}
			}
		}
	}
}

func (s *source) readFields(spec *ast.TypeSpec) {
	st, ok := spec.Type.(*ast.StructType)
	if !ok {
		return
	}
	for _, f := range st.Fields.List {
		for _, name := range f.Names {
			about := sentence(f.Doc)
			if about == "" {
				about = sentence(f.Comment)
			}
			s.fields[spec.Name.Name+"."+name.Name] = about
		}
	}
}

// sentence is the first paragraph of a comment.
func sentence(c *ast.CommentGroup) string {
	first, _, _ := strings.Cut(c.Text(), "\n\n")
	return strings.TrimSuffix(strings.Join(strings.Fields(first), " "), ":")
}

// TestOpenAPIIsOfTheseShapes: openapi.json says what the code says; -u writes it.
func TestOpenAPIIsOfTheseShapes(t *testing.T) {
	var want bytes.Buffer
	out := json.NewEncoder(&want)
	out.SetEscapeHTML(false)
	out.SetIndent("", " ")
	if err := out.Encode(document(t)); err != nil {
		t.Fatal(err)
	}
	if *rewrite {
		if err := os.WriteFile("openapi.json", want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(OpenAPI(), want.Bytes()) {
		t.Error("openapi.json is not what the shapes and comments of the code say: go test ./engine/control -run OpenAPIIs -u")
	}
}

// TestOpenAPIHasEveryRoute: of the mux, and none that it does not have.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	s := NewServer(&fakeDesk{}, nil)
	routes := slices.Concat(slices.Collect(maps.Keys(s.answers())), slices.Collect(maps.Keys(s.streams())), slices.Collect(maps.Keys(s.files())))
	routes = slices.DeleteFunc(routes, func(route string) bool { return route == "/" })
	var documented []string
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	for path, methods := range doc.Paths {
		for method := range methods {
			documented = append(documented, strings.ToUpper(method)+" "+path)
		}
	}
	slices.Sort(routes)
	slices.Sort(documented)
	wantEqual(t, "documented", documented, routes)
}

// TestOpenAPIIsWhole: what it refers to is there, what is in a path is told of, and
// no two operations have one name.
func TestOpenAPIIsWhole(t *testing.T) {
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string
			Parameters  []struct{ Name, In string }
		}
		Components struct{ Schemas map[string]any }
	}
	if err := json.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	v := newValidator(t)
	for name := range doc.Components.Schemas {
		if _, err := v.compiler.Compile("openapi.json#/components/schemas/" + name); err != nil {
			t.Error(err)
		}
	}
	seen := map[string]string{}
	for path, methods := range doc.Paths {
		for method, op := range methods {
			if other, twice := seen[op.OperationID]; twice {
				t.Errorf("%s of %s is that of %s too", op.OperationID, path, other)
			}
			seen[op.OperationID] = path
			inPath := 0
			for _, p := range op.Parameters {
				if p.In == "path" && strings.Contains(path, "{"+p.Name+"}") {
					inPath++
				}
			}
			if want := strings.Count(path, "{"); inPath != want {
				t.Errorf("%s %s tells of %d parameters of its path, want %d", method, path, inPath, want)
			}
		}
	}
}

// validator checks JSON against the schemas of openapi.json.
type validator struct{ compiler *jsonschema.Compiler }

func newValidator(t *testing.T) validator {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(OpenAPI()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	return validator{c}
}

// check reports what is wrong with JSON as a value of what stands at a place of
// openapi.json.
func (v validator) check(t *testing.T, place string, text []byte) error {
	t.Helper()
	schema, err := v.compiler.Compile("openapi.json#" + place)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return err
	}
	return schema.Validate(value)
}

// place is where in openapi.json the schema of an answer stands.
func (op operation) place(media string) string {
	method, path, _ := strings.Cut(op.route, " ")
	escape := strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D")
	return "/paths/" + escape.Replace(path) + "/" + strings.ToLower(method) + "/responses/200/content/" + escape.Replace(media) + "/schema"
}

// ask has a handler answer a request of the operation.
func (op operation) ask(h http.Handler, behind, body string) *httptest.ResponseRecorder {
	method, path, _ := strings.Cut(op.route, " ")
	r := httptest.NewRequest(method, strings.Replace(path, "{id}", "0197f3c2", 1)+behind, strings.NewReader(body))
	if op.request != nil {
		r.Header.Set("Content-Type", typeJSON)
	}
	if op.media == typeEvents {
		r.Header.Set("Accept", typeLines)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// TestAnswersAreAsDocumented: each route takes the parameters that the document
// has, and no other; and what it answers is what its schema says, errors too.
func TestAnswersAreAsDocumented(t *testing.T) {
	now := time.Now().UTC()
	v := newValidator(t)
	for _, op := range operations() {
		t.Run(op.route, func(t *testing.T) {
			f := fullDesk(now)
			h := NewServer(f, nil).Handler(t.Context())
			w := op.ask(h, op.example, op.body)
			if w.Code != http.StatusOK {
				t.Fatalf("%s is answered %d %s", op.example, w.Code, w.Body)
			}
			for _, p := range op.params {
				if !strings.HasPrefix(p.name, "{") && p.name != "after" && !strings.Contains(op.example, p.name+"=") {
					t.Errorf("the example has no %s", p.name)
				}
			}
			op.wantValid(t, v, w)

			refused := op.ask(h, "?nosuch=1", op.body)
			wantEqual(t, "status with an unknown parameter", refused.Code, http.StatusBadRequest)
			wantErrorAnswer(t, v, refused)

			if strings.HasSuffix(op.route, "openapi.json") {
				return // nobody is asked
			}
			f.err = &Error{http.StatusNotFound, "there is none", "look there"}
			f.pieces = nil
			refused = op.ask(h, op.example, op.body)
			wantEqual(t, "status of an error", refused.Code, http.StatusNotFound)
			wantErrorAnswer(t, v, refused)
			f.err = errors.New("the disk is full")
			refused = op.ask(h, op.example, op.body)
			wantEqual(t, "status of a failure", refused.Code, http.StatusInternalServerError)
			wantErrorAnswer(t, v, refused)
		})
	}
}

// fullDesk answers all that can be asked.
func fullDesk(now time.Time) *fakeDesk {
	code := 2
	text := "x"
	return &fakeDesk{
		list: List{Runs: []Run{{ID: "r1", Created: now, Started: now, Finished: now, State: engine.Done}}, Next: 7, Hint: "h"},
		detail: Detail{
			Run: Run{ID: "r1", Created: now, State: engine.Failed, Stop: engine.Replaced, Due: now}, Element: json.RawMessage(`{"n":1}`),
			Event: &Event{ID: "e", Received: now}, Verdict: &engine.Verdict{Rule: "a", Outcome: engine.Matched},
			Steps: []Step{{Attempt: 1, State: engine.StepFailed, Phase: engine.PhaseFailure, ExitCode: &code, Started: now, Finished: now, Plan: &engine.Plan{Body: &text},
				Outputs: map[string]string{"a": "b"}, Body: Bytes("\xff"), Stdout: Text{Head: Bytes("a\xffb"), Cut: 3, Tail: Bytes("ü")}}},
		},
		run:     Run{ID: "r1", State: engine.Queued, Created: now, Why: "its turn"},
		paused:  Paused{All: true, Rules: []string{"a b"}},
		summary: Summary{Since: now, Ended: map[engine.State]int64{engine.Done: 1 << 40}, Waiting: 2, Paused: Paused{Rules: []string{}}, Relay: "r"},
		pieces:  []Piece{{Attempt: 1, Phase: engine.PhaseAlways, Step: "1", Stream: engine.Stdout, Cut: 1, Data: Bytes("\x00\xff\n")}, {State: engine.Done, Why: "w"}},
		past:    somePast(now),
	}
}

// wantValid checks an answer, or each line of it.
func (op operation) wantValid(t *testing.T, v validator, w *httptest.ResponseRecorder) {
	t.Helper()
	media := op.media
	if media == typeEvents {
		media = typeLines
	}
	switch {
	case media == "":
		media = typeJSON
	case media != typeLines:
		return // its bytes are any
	}
	wantEqual(t, "content type", w.Header().Get("Content-Type"), media)
	for line := range bytes.Lines(w.Body.Bytes()) {
		text := line
		if media == typeJSON {
			text = w.Body.Bytes()
		}
		if err := v.check(t, op.place(media), text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if media == typeJSON {
			break
		}
	}
}

func wantErrorAnswer(t *testing.T, v validator, w *httptest.ResponseRecorder) {
	t.Helper()
	if err := v.check(t, "/components/schemas/Error", w.Body.Bytes()); err != nil {
		t.Errorf("%s: %v", w.Body, err)
	}
}

// TestSchemasRefuse: a schema that took anything would prove nothing.
func TestSchemasRefuse(t *testing.T) {
	v := newValidator(t)
	for _, tt := range []struct{ name, schema, text string }{
		{"a number for a text", "Error", `{"error":1}`},
		{"a field that is missing", "Error", `{"hint":"x"}`},
		{"a time that is none", "Generation", `{"hash":"h","at":"yesterday","files":[]}`},
		{"a word that is none", "Run", `{"id":"r","seq":1,"event":"e","rule":"a","state":"finished","attempts":0,"created":"2026-01-02T03:04:05Z"}`},
		{"null for a list", "Armed", `{"all":true,"rules":null,"runs":[]}`},
		{"a field of a part", "EventList", `{"events":[{"id":"e"}]}`},
		{"a mistyped field of a request", "ReplayQuery", `{"evnet":"e1"}`},
		{"bytes that are none", "Piece", `{"data":{"base32":"x"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := v.check(t, "/components/schemas/"+tt.schema, []byte(tt.text)); err == nil {
				t.Errorf("%s is taken for a %s", tt.text, tt.schema)
			}
		})
	}
}
