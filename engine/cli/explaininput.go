package cli

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/ruletest"
)

// maxMadeFile bounds a file that an event is made of.
const maxMadeFile = 32 << 20

// madeFlags say what an event is made of. Those that are given stand over what
// the file says.
type madeFlags struct {
	file, bucket, method, path, query, body string
	headers                                 list
}

// request is the event.
func (f *madeFlags) request(stdin io.Reader) (*control.Request, error) {
	made := &control.Request{}
	if f.file != "" {
		data, err := readBounded(f.file, stdin)
		if err != nil {
			return nil, err
		}
		if made, err = requestFile(data); err != nil {
			return nil, withHint(fmt.Errorf("%s: %w", f.file, err), `a file holds a raw HTTP request, or JSON such as {"bucket": "deploys", "body": {}}; hookrun try -body @FILE takes a body alone`)
		}
	}
	made.Bucket, made.Path = cmp.Or(f.bucket, made.Bucket), cmp.Or(f.path, made.Path)
	made.Method, made.Query = cmp.Or(f.method, made.Method), cmp.Or(f.query, made.Query)
	if made.Header == nil {
		made.Header = http.Header{}
	}
	if err := f.addBody(made, stdin); err != nil {
		return nil, err
	}
	return made, f.addHeaders(made.Header)
}

func (f *madeFlags) addHeaders(h http.Header) error {
	for _, line := range f.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return &usageError{fmt.Sprintf("-H %q is no header", line), "-H 'X-GitHub-Event: push'"}
		}
		h.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return nil
}

func (f *madeFlags) addBody(made *control.Request, stdin io.Reader) error {
	if f.body == "" {
		return nil
	}
	body := []byte(f.body)
	if name, ok := strings.CutPrefix(f.body, "@"); ok {
		var err error
		if body, err = readBounded(name, stdin); err != nil {
			return err
		}
	}
	made.Body = body
	if made.Header["Content-Type"] == nil && len(body) > 0 {
		made.Header["Content-Type"] = []string{contentType(body)}
	}
	return nil
}

// readBounded reads a file; "-" is standard input.
func readBounded(name string, stdin io.Reader) ([]byte, error) {
	in := stdin
	if name != "-" {
		file, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		in = file
	}
	data, err := io.ReadAll(io.LimitReader(in, maxMadeFile+1))
	if err == nil && len(data) > maxMadeFile {
		err = fmt.Errorf("%s is longer than %d MiB", name, maxMadeFile>>20)
	}
	return data, err
}

// requestFile reads a raw HTTP request, or one in JSON.
func requestFile(data []byte) (*control.Request, error) {
	if !bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		ev, err := ruletest.Request(data)
		if err != nil {
			return nil, err
		}
		return &control.Request{Bucket: ev.Bucket, Method: ev.Method, Path: ev.Path, Query: ev.Query, Header: ev.Header, Body: ev.Body}, nil
	}
	var said requestJSON
	in := json.NewDecoder(bytes.NewReader(data))
	in.DisallowUnknownFields()
	if err := in.Decode(&said); err != nil {
		return nil, err
	}
	if in.More() {
		return nil, errors.New("there is more behind the JSON object")
	}
	return said.request()
}

// requestJSON is a control.Request as a person writes one: a header may be one
// text, and the body any JSON.
type requestJSON struct {
	Bucket, Method, Path, Query string
	Header, Headers             map[string]texts
	Body                        json.RawMessage
}

func (r *requestJSON) request() (*control.Request, error) {
	made := &control.Request{Bucket: r.Bucket, Method: r.Method, Path: r.Path, Query: r.Query}
	h := http.Header{}
	for _, headers := range []map[string]texts{r.Header, r.Headers} {
		for name, values := range headers {
			for _, v := range values {
				h.Add(name, v)
			}
		}
	}
	made.Header = h
	if len(r.Body) == 0 || string(r.Body) == "null" {
		return made, nil
	}
	made.Body = bodyOf(r.Body)
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", contentType(made.Body))
	}
	return made, nil
}

// bodyOf is the body that a JSON value stands for: a text is one as it is,
// {"base64": "…"} holds bytes, and anything else is the body itself.
func bodyOf(value json.RawMessage) control.Bytes {
	var object map[string]json.RawMessage
	json.Unmarshal(value, &object) // of anything else it stays empty
	_, encoded := object["base64"]
	if encoded = encoded && len(object) == 1; encoded || value[0] == '"' {
		var body control.Bytes
		if err := json.Unmarshal(value, &body); err == nil {
			return body
		}
	}
	return control.Bytes(value)
}

// texts is a text, or a list of them.
type texts []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *texts) UnmarshalJSON(data []byte) error {
	var one string
	if err := json.Unmarshal(data, &one); err == nil {
		*t = texts{one}
		return nil
	}
	var all []string
	if err := json.Unmarshal(data, &all); err != nil {
		return errors.New("the value of a header is a text, or a list of texts")
	}
	*t = all
	return nil
}

// bucketsOf are the buckets that the rules name, sorted.
func bucketsOf(set *engine.RuleSet) []string {
	var all []string
	for _, r := range slices.Concat(set.Rules, set.Off) {
		all = append(all, r.Buckets...)
	}
	for name := range set.Buckets {
		all = append(all, name)
	}
	slices.Sort(all)
	return slices.Compact(all)
}
