package ruletest

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
	"hookrun/engine/rules"
)

func eventKeys() []string {
	return []string{
		"from", "bucket", "bucket_id", "input", "id", "source", "remote", "meta",
		"method", "path", "query", "headers", "body", "base64", "merge",
	}
}

// event reads the event of a test: the name of a file or a sample, or a mapping.
// nil after a problem.
func (r *reader) event(n *yaml.Node) *engine.Event {
	if n.Kind == yaml.ScalarNode {
		return r.from(n)
	}
	return r.inline(n)
}

// inline reads an event that is a mapping: what it says, over what it is from.
func (r *reader) inline(n *yaml.Node) *engine.Event {
	o := r.doc.Object(n, "an event", eventKeys()...)
	ev := blank()
	if from := o.Value("from"); from != nil {
		if ev = r.from(from); ev == nil {
			return nil
		}
	}
	ev.Bucket = cmp.Or(o.Text("bucket"), ev.Bucket)
	ev.BucketID, ev.Input, ev.ID = o.Text("bucket_id"), o.Text("input"), o.Text("id")
	ev.Source, ev.Remote = cmp.Or(o.Choice("source", engine.SourceIntake, engine.SourceRelay), ev.Source), o.Text("remote")
	ev.Method = strings.ToUpper(cmp.Or(o.Text("method"), ev.Method))
	ev.Path = r.path(o, ev.Path)
	ev.Meta = r.texts(o.Value("meta"), "meta")
	ev.Query = r.query(o.Value("query"), ev.Query)
	r.headers(o.Value("headers"), ev.Header)
	r.body(o, ev)
	return ev
}

// blank is an event of which nothing was said.
func blank() *engine.Event {
	return &engine.Event{Source: engine.SourceIntake, Method: http.MethodPost, Path: "/", Header: http.Header{}}
}

func (r *reader) path(o rules.Object, unset string) string {
	path := cmp.Or(o.Text("path"), unset)
	if !strings.HasPrefix(path, "/") {
		r.doc.Fail(o.Value("path"), "path: /"+path, "the path of an event begins with /")
	}
	return path
}

// texts reads a mapping to texts.
func (r *reader) texts(n *yaml.Node, what string) map[string]string {
	if n == nil {
		return nil
	}
	o := r.doc.Object(n, what)
	all := map[string]string{}
	for _, key := range o.Keys() {
		all[key.Value] = o.Text(key.Value)
	}
	return all
}

// query reads a query, as it is or as a mapping.
func (r *reader) query(n *yaml.Node, unset string) string {
	if n == nil {
		return unset
	}
	if n.Kind == yaml.ScalarNode {
		return strings.TrimPrefix(n.Value, "?")
	}
	q := url.Values{}
	for name, value := range r.texts(n, "query") {
		q.Set(name, value)
	}
	return q.Encode()
}

// headers reads headers into h. Each is a text, or a list where it comes more than
// once.
func (r *reader) headers(n *yaml.Node, h http.Header) {
	if n == nil {
		return
	}
	o := r.doc.Object(n, "headers")
	for _, key := range o.Keys() {
		values := []*yaml.Node{o.Value(key.Value)}
		if values[0].Kind == yaml.SequenceNode {
			values = values[0].Content
		}
		h.Del(key.Value)
		for _, v := range values {
			if text, ok := r.doc.Text(v, "a header"); ok {
				h.Add(key.Value, text)
			}
		}
	}
}

// body reads what the body is, and what is to be changed of it.
func (r *reader) body(o rules.Object, ev *engine.Event) {
	body, coded, merge := o.Value("body"), o.Value("base64"), o.Value("merge")
	if body != nil && coded != nil {
		r.doc.Fail(coded, "base64 is for a body that is no text", "there are body and base64")
		return
	}
	switch {
	case coded != nil:
		data, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(o.Text("base64")), ""))
		if err != nil {
			r.doc.Fail(coded, "base64 -w0 FILE writes it", "base64: %v", err)
		}
		ev.Body = data
	case body != nil:
		ev.Body = r.content(body)
	}
	if merge != nil {
		r.merge(merge, ev)
	}
}

// content is a text as it is, and JSON of any other value.
func (r *reader) content(n *yaml.Node) []byte {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		return []byte(n.Value)
	}
	return []byte(r.json(n))
}

// merge changes a JSON body as a merge patch does (RFC 7396): what is a mapping
// goes into the one that is there, null takes away, all else replaces.
func (r *reader) merge(n *yaml.Node, ev *engine.Event) {
	if n.Kind != yaml.MappingNode {
		r.doc.Fail(n, "merge: {ref: refs/heads/dev}", "merge must be a mapping (key: value)")
		return
	}
	was, err := decode(string(ev.Body))
	if err != nil {
		r.doc.Fail(n, "write body: in place of it", "merge needs a JSON body to change: %v", err)
		return
	}
	patch, err := decode(r.json(n))
	if err != nil {
		return // noted by json
	}
	text, err := encode(patched(was, patch))
	if err != nil {
		r.doc.Fail(n, "", "merge: %v", err)
		return
	}
	ev.Body = []byte(text)
}

func patched(was, patch any) any {
	p, ok := patch.(map[string]any)
	if !ok {
		return patch
	}
	into, ok := was.(map[string]any)
	if !ok {
		into = map[string]any{}
	}
	for key, value := range p {
		if value == nil {
			delete(into, key)
			continue
		}
		into[key] = patched(into[key], value)
	}
	return into
}

// maxEventFile bounds the file of an event, in bytes.
const maxEventFile = 8 << 20

// from reads an event from a sample or a file, which n names.
func (r *reader) from(n *yaml.Node) *engine.Event {
	text, ok := r.doc.Text(n, "event")
	if !ok {
		return nil
	}
	ext := strings.ToLower(filepath.Ext(text))
	if ext != ".http" && ext != ".json" {
		return r.sample(n, text)
	}
	if !filepath.IsAbs(text) {
		text = filepath.Join(r.dir, text)
	}
	data, err := readEvent(text)
	if err != nil {
		r.doc.Fail(n, "a path starts at the folder of the tests", "the event %s: %v", text, cause(err))
		return nil
	}
	if ext == ".json" && !requestLine.Match(data) {
		return r.described(n, rules.File{Path: text, Data: data})
	}
	ev, err := Request(data)
	if err != nil {
		r.doc.Fail(n, "", "the event %s: %v", text, err)
		return nil
	}
	return ev
}

func readEvent(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxEventFile:
		return nil, fmt.Errorf("larger than %d MiB", maxEventFile>>20)
	}
	return os.ReadFile(path)
}

// cause is err without the path, which is said already.
func cause(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// sample is a webhook that hookrun knows.
func (r *reader) sample(n *yaml.Node, title string) *engine.Event {
	data, ok := sample(title)
	if !ok {
		hint := engine.Nearest(title, Samples())
		r.doc.Fail(n, cmp.Or(hint, "there are "+strings.Join(Samples(), ", ")+"; the name of a file ends with .http or .json"), "there is no sample %q", title)
		return nil
	}
	ev, err := Request(data)
	if err != nil {
		r.doc.Fail(n, "", "the sample %s: %v", title, err)
		return nil
	}
	ev.Bucket = "" // it is hookrun's, and no rule knows it
	return ev
}

// described reads the file of an event that has the keys of an inline one.
func (r *reader) described(n *yaml.Node, f rules.File) *engine.Event {
	doc := rules.ParseDocument(f, rules.DocumentKind{Keys: eventKeys(), Main: "body", First: `begin with: {"bucket": "deploys", "body": {}}`})
	problems := doc.Problems()
	if len(problems) == 0 {
		in := &reader{doc: doc, dir: filepath.Dir(f.Path), depth: r.depth + 1}
		if in.depth > maxFrom {
			r.doc.Fail(n, "", "events are from each other more than %d times", maxFrom)
			return nil
		}
		ev := in.inline(doc.Root.Node())
		if problems = doc.Problems(); len(problems) == 0 {
			return ev
		}
	}
	r.doc.Fail(n, problems[0].Hint, "the event %s", problems[0].String())
	return nil
}

// maxFrom bounds how many files an event is from.
const maxFrom = 8

var requestLine = regexp.MustCompile(`^[A-Z]+ \S+ HTTP/1\.[01]\r?\n`)

// Request reads a raw HTTP request. Where it does not say how long its body is, all
// behind its header is the body.
func Request(data []byte) (*engine.Event, error) {
	if !requestLine.Match(data) {
		return nil, errors.New("it does not begin with the first line of an HTTP request, such as POST /hooks/deploys HTTP/1.1")
	}
	in := bufio.NewReader(bytes.NewReader(data))
	req, err := http.ReadRequest(in)
	if err != nil {
		return nil, fmt.Errorf("it is no HTTP request: %w", err)
	}
	if req.Header.Get("Content-Length") == "" && len(req.TransferEncoding) == 0 {
		req.Body = io.NopCloser(in)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("its body is shorter than its Content-Length says: %w; without a Content-Length all that follows is the body", err)
	}
	if rest, err := io.ReadAll(in); err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("its body is longer than its Content-Length says; without a Content-Length all that follows is the body")
	}
	ev := blank()
	ev.Method, ev.Query, ev.Header, ev.Body = strings.ToUpper(req.Method), req.URL.RawQuery, req.Header, body
	ev.Bucket, ev.Path = place(req.URL.EscapedPath())
	return ev, nil
}

// place is what an intake makes of a path: the bucket, and the path below it.
func place(escaped string) (bucket, path string) {
	after, ok := strings.CutPrefix(escaped, "/hooks/")
	if !ok {
		after, ok = strings.CutPrefix(escaped, "/v1/webhooks/")
	}
	part, rest, _ := strings.Cut(after, "/")
	bucket, err := url.PathUnescape(part)
	if !ok || err != nil || bucket == "" {
		return "", cmp.Or(escaped, "/")
	}
	return bucket, "/" + rest
}

// decode reads one JSON value, its numbers as they are written.
func decode(text string) (any, error) {
	in := json.NewDecoder(strings.NewReader(text))
	in.UseNumber()
	var v any
	if err := in.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is something behind the JSON value")
	}
	return v, nil
}

// encode writes a value as compact JSON, the keys of objects sorted.
func encode(v any) (string, error) {
	var b strings.Builder
	out := json.NewEncoder(&b)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		return "", err
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

// indented is a value as JSON for people.
func indented(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(text)
}
