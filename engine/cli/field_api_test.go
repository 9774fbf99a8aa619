//go:build unix

package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// apiStep is a request of somebody who manages a relay. In path, body and want
// <name> stands for what a step before saved.
type apiStep struct {
	name, method, path, body string
	as                       string // header; "": the token that may do everything
	status                   int
	want                     string            // JSON that the answer has to hold; "": any
	save                     map[string]string // name: where in the answer it is, such as inputs.0.id
}

// TestFieldManages walks over everything that clients ask a relay for, and starts
// the relay again in the middle: all of it is still there.
func TestFieldManages(t *testing.T) {
	f := startField(t, "")
	w := &walk{f: f, saved: map[string]string{}}
	w.steps(t, bucketSteps())
	w.steps(t, inputSteps())
	w.steps(t, outputSteps())
	w.steps(t, tokenSteps())
	f.send(t, w.saved["input"], "for the log")
	w.steps(t, logSteps())

	kept := []string{"/v1/buckets", "/v1/logs", "/v1/logs/" + w.saved["log"], "/v1/usage", "/v1/user/info"}
	before := w.all(t, kept)
	f.stop(t)
	f.start(t)
	for i, after := range w.all(t, kept) {
		if after != before[i] {
			t.Errorf("GET %s was\n%s, and after a restart it is\n%s", kept[i], before[i], after)
		}
	}

	l := f.dial(t)
	l.login(t, fieldAuth, `{"action":"subscribe","buckets":["walk"]}`, "walk")
	w.steps(t, []apiStep{{
		name: "who is connected", method: http.MethodGet, path: "connected-clients", status: 200,
		want: `{"webhook_clients":[{"access_token_key":"field-key","buckets":["walk"],"client_ip":"127.0.0.1"}],"tunnel_clients":[]}`,
	}})
	f.send(t, w.saved["input"], "after the restart")
	if got := l.webhook(t); got.Meta.BuckedID != w.saved["bucket"] || got.Meta.OutputName != "local" {
		t.Errorf("after the restart a webhook is of bucket %s and output %q", got.Meta.BuckedID, got.Meta.OutputName)
	}
	w.steps(t, eventSteps())
	w.steps(t, absentSteps())
	w.steps(t, refusedSteps())
	w.steps(t, deleteSteps())
}

// walk is a client on its way over the API.
type walk struct {
	f     *field
	saved map[string]string
}

func (w *walk) steps(t *testing.T, steps []apiStep) {
	t.Helper()
	for _, s := range steps {
		if !t.Run(s.name, func(t *testing.T) { w.step(t, s) }) && s.save != nil {
			t.FailNow() // the rest needs what was to be saved
		}
	}
}

func (w *walk) step(t *testing.T, s apiStep) {
	t.Helper()
	as := bearer(fieldSecret)
	if s.as != "" {
		as = w.fill(s.as)
	}
	got := w.f.do(t, s.method, "/v1/"+w.fill(s.path), w.fill(s.body), as)
	if got.status != s.status {
		t.Fatalf("%s %s: %d %s, want %d", s.method, s.path, got.status, got.body, s.status)
	}
	if got.header.Get("Request-Id") == "" {
		t.Errorf("%s %s: the answer has no Request-Id", s.method, s.path)
	}
	var answer, want any
	if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
		t.Fatalf("%s %s: %v in %s", s.method, s.path, err, got.body)
	}
	if s.want != "" {
		if err := json.Unmarshal([]byte(w.fill(s.want)), &want); err != nil {
			t.Fatalf("%v in %s", err, s.want)
		}
		if missing := misses(answer, want, "the answer"); missing != "" {
			t.Errorf("%s %s: %s; it is\n%s", s.method, s.path, missing, got.body)
		}
	}
	for name, at := range s.save {
		text, ok := valueAt(answer, at).(string)
		if !ok || text == "" {
			t.Fatalf("%s %s: there is no %s in %s", s.method, s.path, at, got.body)
		}
		w.saved[name] = text
	}
}

// fill puts in what was saved.
func (w *walk) fill(text string) string {
	for name, value := range w.saved {
		text = strings.ReplaceAll(text, "<"+name+">", value)
	}
	return text
}

// all is what a relay answers at some paths.
func (w *walk) all(t *testing.T, paths []string) []string {
	t.Helper()
	var answers []string
	for _, path := range paths {
		got := w.f.do(t, http.MethodGet, path, "", basic(fieldKey, fieldSecret))
		if got.status != http.StatusOK {
			t.Errorf("GET %s: %d %s, want 200", path, got.status, got.body)
		}
		answers = append(answers, got.body)
	}
	return answers
}

// valueAt is what stands at a place such as inputs.0.id.
func valueAt(v any, at string) any {
	for key := range strings.SplitSeq(at, ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(x) {
				return nil
			}
			v = x[i]
		default:
			return nil
		}
	}
	return v
}

// Words in place of a wanted value, where it is not known.
const (
	aTime = "a time" // Unix seconds
	aText = "a text" // that is not empty
)

// misses says what got lacks of want: objects may have more fields, and all else
// is the same. It is "" where nothing is missing.
func misses(got, want any, at string) string {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s is %v, want an object", at, got)
		}
		for key, value := range w {
			if _, ok := g[key]; !ok {
				return fmt.Sprintf("%s has no %s", at, key)
			}
			if missing := misses(g[key], value, at+"."+key); missing != "" {
				return missing
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s is %v, want a list of %d", at, got, len(w))
		}
		for i := range w {
			if missing := misses(g[i], w[i], fmt.Sprintf("%s.%d", at, i)); missing != "" {
				return missing
			}
		}
		return ""
	}
	const year2020 = 1577836800
	number, isNumber := got.(float64)
	text, isText := got.(string)
	if want == aTime && isNumber && number > year2020 || want == aText && isText && text != "" || want == got {
		return ""
	}
	return fmt.Sprintf("%s is %v, want %v", at, got, want)
}

func bucketSteps() []apiStep {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	return []apiStep{
		{
			name: "a new bucket", method: post, path: "buckets", body: `{"name":"walk","description":"on the way"}`, status: 201,
			want: `{"id":"a text","created_at":"a time","updated_at":"a time","name":"walk","description":"on the way","account_id":"a text",
				"stream":true,"ephemeral":false,"suspended":false,"static_ip":false,"large_webhooks":false,"cron_id":"",
				"auth":{"type":"none","username":"","password":"","token":""},
				"inputs":[{"id":"a text","name":"Default public endpoint","bucket_id":"a text","created_at":"a time"}],"outputs":[],
				"service_connection_inputs":[],"service_connection_outputs":[]}`,
			save: map[string]string{"bucket": "id", "default": "inputs.0.id"},
		},
		{name: "its name again", method: post, path: "buckets", body: `{"name":"walk"}`, status: 400, want: `{"message":"bucket with name 'walk' already exists"}`},
		{name: "a bucket without a name", method: post, path: "buckets", body: `{}`, status: 400, want: `{"message":"a text"}`},
		{name: "no JSON", method: post, path: "buckets", body: `{`, status: 400, want: `{"message":"a text"}`},
		{name: "the bucket by its id", method: get, path: "buckets/<bucket>", status: 200, want: `{"id":"<bucket>","name":"walk"}`},
		{name: "the bucket by its name", method: get, path: "buckets/walk", status: 200, want: `{"id":"<bucket>","name":"walk"}`},
		{name: "no bucket", method: get, path: "buckets/nowhere", status: 404, want: `{"message":"bucket 'nowhere' not found"}`},
		{
			name: "a bucket put with all", method: put, path: "buckets/<bucket>", status: 200,
			body: `{"id":"<bucket>","name":"walk","description":"told","stream":true,"ephemeral":true,"auth":{"type":"basic","username":"u","password":"p"},"inputs":null,"outputs":null}`,
			want: `{"id":"<bucket>","description":"told","stream":true,"ephemeral":true,"auth":{"type":"basic","username":"u","password":"p"},"inputs":[{"id":"<default>"}]}`,
		},
		{
			name: "a kind of auth as a number", method: put, path: "buckets/<bucket>", status: 200,
			body: `{"name":"walk","auth":{"type":2,"token":"t"}}`, want: `{"auth":{"type":"token","token":"t","username":"","password":""}}`,
		},
		{
			name: "a bucket put with little", method: put, path: "buckets/walk", body: `{"name":"walk","inputs":null,"outputs":null}`, status: 200,
			want: `{"id":"<bucket>","name":"walk","description":"","stream":false,"ephemeral":false,"auth":{"type":"none","username":"","password":"","token":""},"inputs":[{"id":"<default>"}],"outputs":[]}`,
		},
		{name: "another name, and back", method: put, path: "buckets/<bucket>", body: `{"name":"wander","stream":true}`, status: 200, want: `{"id":"<bucket>","name":"wander"}`},
		{name: "back", method: put, path: "buckets/wander", body: `{"name":"walk","stream":true}`, status: 200, want: `{"id":"<bucket>","name":"walk","stream":true}`},
		{name: "a name that is taken", method: put, path: "buckets/walk", body: `{"name":"other"}`, status: 400, want: `{"message":"bucket with name 'other' already exists"}`},
		{name: "a list is bare", method: get, path: "buckets", as: bearer(boundedSecret), status: 200, want: `[{"name":"my-bucket","inputs":[{"id":"` + plainInput + `"}],"outputs":[]}]`},
	}
}

func inputSteps() []apiStep {
	const post, put, del = http.MethodPost, http.MethodPut, http.MethodDelete
	return []apiStep{
		{
			name: "a new input", method: post, path: "buckets/<bucket>/inputs", status: 201,
			body: `{"name":"public","description":"d","status_code":202,"body":"queued","headers":{"X-A":"b","X-C":["d","e"]},"response_from_output":"anyOutput","custom_domain":"walk.example.org","path_prefix":"/p","strip_path_prefix":true}`,
			want: `{"id":"a text","bucket_id":"<bucket>","name":"public","description":"d","status_code":202,"body":"queued","headers":{"X-A":["b"],"X-C":["d","e"]},
				"response_from_output":"anyOutput","custom_domain":"walk.example.org","path_prefix":"/p","strip_path_prefix":true,"function_id":"","legacy_tls":false,"tls_version":"","created_at":"a time","updated_at":"a time"}`,
			save: map[string]string{"input": "id"},
		},
		{
			name: "an input put with little", method: put, path: "buckets/walk/inputs/<input>", body: `{"name":"public"}`, status: 200,
			want: `{"id":"<input>","bucket_id":"<bucket>","name":"public","description":"","status_code":0,"body":"","headers":{},"response_from_output":"","custom_domain":"","path_prefix":"","strip_path_prefix":false}`,
		},
		{name: "an input of a bucket that is not there", method: post, path: "buckets/nowhere/inputs", body: `{"name":"x"}`, status: 404},
		{name: "no input", method: put, path: "buckets/walk/inputs/00000000-0000-4000-8000-000000000000", body: `{}`, status: 404},
		{name: "the default input goes", method: del, path: "buckets/<bucket>/inputs/<default>", status: 200, want: `{"id":"<default>","status":"deleted"}`},
		{name: "and once only", method: del, path: "buckets/<bucket>/inputs/<default>", status: 404},
		{name: "inputs are in the bucket", method: http.MethodGet, path: "buckets/walk", status: 200, want: `{"inputs":[{"id":"<input>"}]}`},
	}
}

func outputSteps() []apiStep {
	const post, put, del = http.MethodPost, http.MethodPut, http.MethodDelete
	const rules = `{"and":[{"match":{"type":"value","parameter":{"source":"header","name":"X-Walk"},"value":"1"}},{"not":{"match":{"type":"regex","parameter":{"source":"path"},"regex":"draft"}}}]}`
	return []apiStep{
		{
			name: "a new output", method: post, path: "buckets/<bucket>/outputs", status: 201,
			body: `{"name":"local","destination":"http://localhost:3000/hook","internal":true,"headers":{"X-A":["b"]},"timeout":30,"retries":-1,"lock_path":true,
				"throttle":{"enabled":true,"mode":"rate","rate":5,"interval":"second"},"durability":{"enabled":true,"schedule":"medium"},"replay_missing":{"enabled":true,"lookback":60,"limit":10}}`,
			want: `{"id":"a text","bucket_id":"<bucket>","name":"local","destination":"http://localhost:3000/hook","internal":true,"disabled":false,"headers":{"X-A":["b"]},"rules":null,"timeout":30,"retries":-1,"lock_path":true,
				"function_id":"","created_at":"a time","updated_at":"a time",
				"throttle":{"enabled":true,"mode":"rate","rate":5,"interval":"second"},"durability":{"enabled":true,"schedule":"medium"},"replay_missing":{"enabled":true,"lookback":60,"limit":10}}`,
			save: map[string]string{"output": "id"},
		},
		{name: "its name again", method: post, path: "buckets/walk/outputs", body: `{"name":"local","destination":"http://localhost/","internal":true}`, status: 400, want: `{"message":"output with name 'local' already exists"}`},
		{name: "no destination", method: post, path: "buckets/walk/outputs", body: `{"name":"x"}`, status: 400, want: `{"message":"a text"}`},
		{name: "rules", method: put, path: "buckets/<bucket>/outputs/<output>/rules", body: rules, status: 200, want: `{"id":"<output>","destination":"http://localhost:3000/hook","rules":` + rules + `}`},
		{name: "rules that can't be", method: put, path: "buckets/walk/outputs/<output>/rules", body: `{"match":{"type":"regex","parameter":{"source":"body"},"regex":"("}}`, status: 400, want: `{"message":"a text"}`},
		{name: "no rules", method: del, path: "buckets/walk/outputs/<output>/rules", status: 200, want: `{"id":"<output>","rules":null}`},
		{
			name: "an output put with little", method: put, path: "buckets/walk/outputs/<output>", body: `{"name":"local","destination":"http://localhost:3000/hook","internal":true}`, status: 200,
			want: `{"id":"<output>","internal":true,"headers":{},"timeout":0,"retries":0,"lock_path":false,"rules":null,"throttle":{"enabled":false},"durability":{"enabled":false},"replay_missing":{"enabled":false}}`,
		},
		{name: "another output", method: post, path: "buckets/walk/outputs", body: `{"name":"second","destination":"http://localhost/","internal":true}`, status: 201, save: map[string]string{"second": "id"}},
		{name: "goes", method: del, path: "buckets/walk/outputs/<second>", status: 200, want: `{"id":"<second>","status":"deleted"}`},
		{name: "an output without a name", method: post, path: "buckets/walk/outputs", body: `{"destination":"https://example.com/"}`, status: 201, want: `{"name":"","internal":false,"tls_verification":true}`, save: map[string]string{"nameless": "id"}},
		{name: "another without a name", method: post, path: "buckets/walk/outputs", body: `{"destination":"https://example.com/"}`, status: 400, want: `{"message":"output with name '' already exists"}`},
		{name: "goes too", method: del, path: "buckets/walk/outputs/<nameless>", status: 200, want: `{"id":"<nameless>","status":"deleted"}`},
		{name: "outputs are in the bucket", method: http.MethodGet, path: "buckets/walk", status: 200, want: `{"outputs":[{"id":"<output>"}]}`},
	}
}

func tokenSteps() []apiStep {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	return []apiStep{
		{
			name: "a new token", method: post, path: "tokens", body: `{"description":"of the walk","scopes":{"buckets":["walk"],"tunnels":[]},"api_access":"enabled"}`, status: 201,
			want: `{"key":"a text","secret":"a text"}`, save: map[string]string{"key": "key", "secret": "secret"},
		},
		{name: "with it, as a bearer", method: get, path: "buckets", as: "Authorization: Bearer <secret>", status: 200, want: `[{"name":"walk"}]`},
		{
			name: "a token changes", method: put, path: "tokens/<key>", body: `{"description":"bound","scopes":{"buckets":["<bucket>"],"tunnels":[]},"active":true,"api_access":"disabled"}`, status: 200,
			want: `{"id":"<key>","description":"bound","scopes":{"buckets":["<bucket>"],"tunnels":[]},"active":true,"api_access":"disabled","created_at":"a time","updated_at":"a time","last_login":"a text"}`,
		},
		{name: "it has no API now", method: get, path: "buckets", as: "Authorization: Bearer <secret>", status: 403, want: `{"message":"a text"}`},
		{
			name: "all tokens", method: get, path: "tokens", status: 200,
			want: `[{"id":"field-key","api_access":"enabled"},{"id":"bounded-key","scopes":{"buckets":["my-bucket"],"tunnels":[]}},{"id":"ears-key","api_access":"disabled"},{"id":"<key>"}]`,
		},
	}
}

func logSteps() []apiStep {
	const get, post, put = http.MethodGet, http.MethodPost, http.MethodPut
	return []apiStep{
		{
			name: "logs of a bucket by its name", method: get, path: "logs?bucket=walk", status: 200,
			want: `{"data":[{"id":"a text","created_at":"a time","updated_at":"a time","account_id":"a text","bucket_id":"<bucket>","input_id":"<input>","output_id":"<output>","method":"POST","raw_query":"","extra_path":"",
				"body":"for the log","ip_address":"127.0.0.1","status":"received","status_code":0,"response_body":"","response_headers":{},"retries":0,"duration_ms":0,"internal":true,"ephemeral":false}],"total":1,"offset":0}`,
			save: map[string]string{"log": "data.0.id"},
		},
		{name: "logs by the bucket's id", method: get, path: "logs?bucket=<bucket>&limit=1&offset=0&status=received&from=1577836800&to=2100-01-01T00:00:00Z", status: 200, want: `{"data":[{"id":"<log>"}],"total":1,"limit":1}`},
		{name: "logs until far from now", method: get, path: "logs?bucket=walk&from=1000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z", status: 200, want: `{"data":[{"id":"<log>"}],"total":1}`},
		{name: "logs behind the last", method: get, path: "logs?bucket=walk&offset=1", status: 200, want: `{"data":[],"total":1,"offset":1}`},
		{name: "logs of another state", method: get, path: "logs?bucket=walk&status=failed", status: 200, want: `{"data":[],"total":0}`},
		{name: "logs of no bucket", method: get, path: "logs?bucket=nowhere", status: 404},
		{name: "a state that there is not", method: get, path: "logs?status=odd", status: 400, want: `{"message":"a text"}`},
		{name: "a log", method: get, path: "logs/<log>", status: 200, want: `{"id":"<log>","body":"for the log","status":"received","headers":{"Content-Length":["11"]}}`},
		{name: "no log", method: get, path: "logs/00000000-0000-4000-8000-000000000000", status: 404},
		{name: "a log is answered", method: put, path: "logs/<log>", body: `{"id":"<log>","status":"sent","status_code":201,"response_body":"aGVsbG8=","response_headers":{"X-A":"b"},"retries":2}`, status: 200, want: `{"id":"<log>"}`},
		{name: "and says so", method: get, path: "logs/<log>", status: 200, want: `{"status":"sent","status_code":201,"response_body":"aGVsbG8=","response_headers":{"X-A":["b"]},"retries":2}`},
		{name: "sent once more, but not what was sent", method: post, path: "logs/<log>/action", body: `{"action":"resend","process_policy":"skip"}`, status: 200, want: `{"id":"<log>","status":"sent"}`},
		{name: "sent once more by force", method: post, path: "logs/<log>/action", body: `{"action":"resend","output":"<output>","process_policy":"force"}`, status: 200, want: `{"id":"a text","status":"received"}`, save: map[string]string{"resent": "id"}},
		{name: "the new log", method: get, path: "logs/<resent>", status: 200, want: `{"id":"<resent>","body":"for the log","output_id":"<output>","status":"received"}`},
		{name: "to an output that there is not", method: post, path: "logs/<log>/action", body: `{"action":"resend","output":"nowhere"}`, status: 404},
		{name: "another action", method: post, path: "logs/<log>/action", body: `{"action":"dance"}`, status: 400, want: `{"message":"a text"}`},
		{name: "a page", method: get, path: "logs?bucket=walk&limit=1", status: 200, want: `{"data":[{"id":"<resent>"}],"total":2,"limit":1,"next_cursor":"a text"}`, save: map[string]string{"cursor": "next_cursor"}},
		{name: "the page behind it", method: get, path: "logs?bucket=walk&limit=1&cursor=<cursor>", status: 200, want: `{"data":[{"id":"<log>"}]}`},
	}
}

// eventSteps come behind one webhook that a subscriber has got, and two that
// nobody has.
func eventSteps() []apiStep {
	const get = http.MethodGet
	return []apiStep{
		{name: "an event", method: get, path: "events?bucket=walk&limit=1&max_age=24h", status: 200, want: `{"logs":[{"id":"<log>","body":"for the log"}],"has_more":true}`},
		{name: "each but once", method: get, path: "events?bucket=<bucket>&output=<output>&limit=1", status: 200, want: `{"logs":[{"id":"<resent>"}],"has_more":true}`},
		{name: "the last", method: get, path: "events?bucket=walk&limit=100", status: 200, want: `{"logs":[{"body":"after the restart"}],"has_more":false}`},
		{name: "no more", method: get, path: "events?bucket=walk&limit=100", status: 200, want: `{"logs":[],"has_more":false}`},
		{name: "an age that is none", method: get, path: "events?bucket=walk&max_age=soon", status: 400},
	}
}

// absentSteps ask for what this relay has not, in the words of clients that look.
func absentSteps() []apiStep {
	var steps []apiStep
	for _, path := range []string{"functions", "functions/<bucket>/config", "service-connections", "crons", "domains", "tunnels", "regions", "managed-certs",
		"buckets/walk/service-connection-inputs", "buckets/walk/service-connection-outputs"} {
		steps = append(steps, apiStep{name: path, method: http.MethodGet, path: path, status: 200, want: `[]`})
	}
	for _, path := range []string{"logs-stats", "logs/histogram"} {
		steps = append(steps, apiStep{name: path, method: http.MethodGet, path: path, status: 200, want: `{"data":[]}`})
	}
	for _, path := range []string{"functions", "functions/<bucket>/invoke", "service-connections", "crons", "domains", "tunnels"} {
		steps = append(steps, apiStep{name: "make " + path, method: http.MethodPost, path: path, body: "{}", status: 501, want: `{"message":"a text"}`})
	}
	return append(steps,
		apiStep{name: "usage", method: http.MethodGet, path: "usage", status: 200, want: `{"buckets":8}`},
		apiStep{name: "config", method: http.MethodGet, path: "config", status: 200},
		apiStep{name: "user", method: http.MethodGet, path: "user/info", status: 200, want: `{"data":{"id":"a text"}}`},
	)
}

func refusedSteps() []apiStep {
	const get = http.MethodGet
	return []apiStep{
		{name: "nobody", method: get, path: "buckets", as: "X-A: b", status: 401, want: `{"message":"a text"}`},
		{name: "a wrong secret", method: get, path: "buckets", as: basic(fieldKey, "wrong"), status: 401, want: `{"message":"a text"}`},
		{name: "a wrong bearer", method: get, path: "buckets", as: bearer("sk-wrong"), status: 401, want: `{"message":"a text"}`},
		{name: "a token without the API", method: get, path: "buckets", as: basic(earsKey, earsSecret), status: 403, want: `{"message":"a text"}`},
		{name: "a bound token and another bucket", method: get, path: "buckets/other", as: bearer(boundedSecret), status: 404},
		{name: "a bound token and another's logs", method: get, path: "logs?bucket=walk", as: bearer(boundedSecret), status: 404},
		{name: "a bound token and a log", method: get, path: "logs/<log>", as: bearer(boundedSecret), status: 404},
		{name: "a bound token and tokens", method: get, path: "tokens", as: bearer(boundedSecret), status: 403},
		{name: "a bound token and a new bucket", method: http.MethodPost, path: "buckets", body: `{"name":"mine"}`, as: bearer(boundedSecret), status: 403},
		{name: "no address", method: get, path: "nonsense", status: 404, want: `{"message":"a text"}`},
		{name: "no method", method: http.MethodPatch, path: "buckets/walk", status: 405, want: `{"message":"a text"}`},
	}
}

// TestFieldTerraform makes the requests of the Terraform provider's acceptance
// tests. It compares what it reads with what was written, and asks for a change
// for ever where they differ: what it leaves out has to be empty afterwards.
func TestFieldTerraform(t *testing.T) {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	f := startField(t, "")
	w := &walk{f: f, saved: map[string]string{}}
	w.steps(t, []apiStep{
		{
			name: "a bucket", method: post, path: "buckets", body: `{"name":"tf-bucket","description":"foo"}`, status: 201,
			want: `{"name":"tf-bucket","description":"foo","inputs":[{"name":"Default public endpoint"}],"auth":{"type":"none"}}`,
			save: map[string]string{"bucket": "id", "default": "inputs.0.id"},
		},
		{name: "with basic auth", method: put, path: "buckets/<bucket>", body: `{"auth":{"type":"basic","username":"test","password":"secret"},"description":"bar","inputs":null,"name":"tf-bucket","outputs":null}`, status: 200},
		{name: "is read", method: get, path: "buckets/<bucket>", status: 200, want: `{"description":"bar","stream":false,"auth":{"type":"basic","username":"test","password":"secret"},"inputs":[{"id":"<default>"}]}`},
		{name: "without its default input", method: del, path: "buckets/<bucket>/inputs/<default>", status: 200},
		{name: "with a token, by another name", method: put, path: "buckets/<bucket>", body: `{"auth":{"type":"token","token":"123456"},"description":"bar","inputs":null,"name":"tf-renamed","outputs":null}`, status: 200},
		{name: "with no more than a name", method: put, path: "buckets/<bucket>", body: `{"auth":{"type":"none"},"inputs":null,"name":"tf-renamed","outputs":null}`, status: 200},
		{name: "is read again", method: get, path: "buckets/<bucket>", status: 200, want: `{"name":"tf-renamed","description":"","auth":{"type":"none"},"inputs":[],"outputs":[]}`},

		{name: "an input", method: post, path: "buckets/<bucket>/inputs", body: `{"body":"{\"message\":\"test\"}","description":"foo","headers":{"Content-Type":["text/html; charset=utf-8"],"Foo":["Bar"]},"name":"tf-input"}`, status: 201, save: map[string]string{"input": "id"}},
		{name: "the input is read", method: get, path: "buckets/<bucket>", status: 200, want: `{"inputs":[{"id":"<input>","body":"{\"message\":\"test\"}","status_code":0,"headers":{"Content-Type":["text/html; charset=utf-8"],"Foo":["Bar"]}}]}`},
		{name: "the input changes", method: put, path: "buckets/<bucket>/inputs/<input>", body: `{"description":"bar","name":"tf-input","status_code":402}`, status: 200},
		{name: "the input is read again", method: get, path: "buckets/<bucket>", status: 200, want: `{"inputs":[{"id":"<input>","description":"bar","body":"","status_code":402,"headers":{}}]}`},

		{
			name: "an output", method: post, path: "buckets/<bucket>/outputs", status: 201, save: map[string]string{"output": "id"},
			body: `{"description":"foo","destination":"http://localhost:8080","internal":true,"name":"tf-output","rules":{"and":[{"match":{"parameter":{"name":"X-Hub-Signature","source":"header"},"secret":"very-secret","type":"payload-hash-sha1"}}]}}`,
		},
		{
			name: "the output is read", method: get, path: "buckets/<bucket>", status: 200,
			want: `{"outputs":[{"id":"<output>","destination":"http://localhost:8080","internal":true,"rules":{"and":[{"match":{"type":"payload-hash-sha1","parameter":{"source":"header","name":"X-Hub-Signature"},"secret":"very-secret"}}]}}]}`,
		},
		{name: "no verification was asked for", method: get, path: "buckets/<bucket>", status: 200, want: `{"outputs":[{"id":"<output>","tls_verification":false}]}`},
		{name: "the output changes", method: put, path: "buckets/<bucket>/outputs/<output>", body: `{"description":"bar","destination":"https://example.com:8080","name":"tf-output","tls_verification":true}`, status: 200},
		{name: "the output is read again", method: get, path: "buckets/<bucket>", status: 200, want: `{"outputs":[{"id":"<output>","description":"bar","internal":false,"tls_verification":true,"rules":null}]}`},

		{name: "a token", method: post, path: "tokens", body: `{"api_access":"enabled","description":"tf-token"}`, status: 201, want: `{"key":"a text","secret":"a text"}`, save: map[string]string{"key": "key"}},
		{name: "bound to tunnels", method: put, path: "tokens/<key>", body: `{"api_access":"disabled","description":"tf-token","scopes":{"buckets":null,"tunnels":["test1","test2"]}}`, status: 200, want: `{"api_access":"disabled","scopes":{"buckets":[],"tunnels":["test1","test2"]}}`},
		{name: "bound to buckets that are not there", method: put, path: "tokens/<key>", body: `{"api_access":"disabled","description":"tf-token","scopes":{"buckets":["test1","test2"],"tunnels":null}}`, status: 200, want: `{"scopes":{"buckets":["test1","test2"],"tunnels":[]}}`},
		{name: "bound to nothing", method: put, path: "tokens/<key>", body: `{"api_access":"enabled","description":"tf-token"}`, status: 200, want: `{"id":"<key>","api_access":"enabled","scopes":{"buckets":[],"tunnels":[]}}`},

		{name: "the token goes", method: del, path: "tokens/<key>", status: 200},
		{name: "the output goes", method: del, path: "buckets/<bucket>/outputs/<output>", status: 200},
		{name: "the input goes", method: del, path: "buckets/<bucket>/inputs/<input>", status: 200},
		{name: "an empty bucket goes without force", method: del, path: "buckets/<bucket>", status: 200},
		{name: "it is gone", method: get, path: "buckets/<bucket>", status: 404},
	})
}

// TestFieldN8N makes the requests of the n8n node that is given a bucket which is
// there: it says of the bucket what it wants, and no more, and listens.
func TestFieldN8N(t *testing.T) {
	const get, post, put, del = http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete
	f := startField(t, "")
	w := &walk{f: f, saved: map[string]string{}}
	w.steps(t, []apiStep{
		{name: "a bucket that is there", method: post, path: "buckets", body: `{"name":"n8n","description":"mine","stream":true}`, status: 201, save: map[string]string{"bucket": "id"}},
		{name: "its auth", method: put, path: "buckets/<bucket>", body: `{"name":"n8n","auth":{"type":"none"}}`, status: 200},
		{name: "which is all of it, as the API says", method: get, path: "buckets/<bucket>", status: 200, want: `{"name":"n8n","stream":false}`},
		{name: "an input", method: post, path: "buckets/<bucket>/inputs", body: `{"name":"n8n","status_code":202,"body":"taken"}`, status: 201, save: map[string]string{"input": "id"}},
		{name: "streams again", method: put, path: "buckets/<bucket>", body: `{"name":"n8n","stream":true}`, status: 200},
	})
	l := f.dial(t)
	l.login(t, `{"action":"auth","key":"whr","secret":"`+fieldSecret+`"}`, w.fill(`{"action":"subscribe","buckets":["<bucket>"]}`), w.saved["bucket"])
	if got := f.do(t, post, "/v1/webhooks/"+w.saved["input"], `{"a":1}`); got.status != http.StatusAccepted || got.body != "taken" {
		t.Errorf("the sender got %d %q, want the input's answer", got.status, got.body)
	}
	if got := l.webhook(t); got.Body != `{"a":1}` || got.Meta.BucketID != w.saved["bucket"] {
		t.Errorf("the webhook is %q of bucket %s", got.Body, got.Meta.BucketID)
	}
	w.steps(t, []apiStep{
		{name: "the input goes", method: del, path: "buckets/<bucket>/inputs/<input>", status: 200},
		{name: "the bucket goes", method: del, path: "buckets/<bucket>?force=true", status: 200, want: `{"id":"<bucket>","status":"deleted"}`},
	})
}

// pollBurst is how many webhooks come at once to a client that polls.
const pollBurst = 24

// TestFieldPolls: a client that polls gets each webhook once, those that came one
// by one in their order.
func TestFieldPolls(t *testing.T) {
	f := startField(t, "")
	poll := func() (body string, more bool) {
		var page struct {
			Logs    []struct{ Body string }
			HasMore bool `json:"has_more"`
		}
		f.get(t, "/v1/events?bucket=my-bucket&limit=1&max_age=10m", &page)
		if len(page.Logs) != 1 {
			t.Fatalf("a poll for one webhook gave %d", len(page.Logs))
		}
		return page.Logs[0].Body, page.HasMore
	}
	for i := range 8 {
		want := fmt.Sprintf("one by one %d", i)
		f.send(t, plainInput, want)
		if got, more := poll(); got != want || more {
			t.Errorf("a poll gave %q, more %v; want %q and no more", got, more, want)
		}
	}
	var senders sync.WaitGroup
	for i := range pollBurst {
		senders.Go(func() {
			if _, err := f.request(t.Context(), http.MethodPost, "/v1/webhooks/"+plainInput, strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
		})
	}
	senders.Wait()
	seen := map[string]bool{}
	for i := range pollBurst {
		body, more := poll()
		if seen[body] {
			t.Errorf("webhook %s came twice", body)
		}
		if last := i == pollBurst-1; more == last {
			t.Errorf("behind webhook %d of %d there is more: %v", i+1, pollBurst, more)
		}
		seen[body] = true
	}
}

func deleteSteps() []apiStep {
	const get, del = http.MethodGet, http.MethodDelete
	return []apiStep{
		{name: "a token goes", method: del, path: "tokens/<key>", status: 200, want: `{"id":"<key>","status":"deleted"}`},
		{name: "and is refused", method: get, path: "buckets", as: "Authorization: Bearer <secret>", status: 401},
		{name: "a full bucket stays", method: del, path: "buckets/<bucket>", status: 412, want: `{"message":"a text"}`},
		{name: "but for force", method: del, path: "buckets/<bucket>?force=true", status: 200, want: `{"id":"<bucket>","status":"deleted"}`},
		{name: "it is gone", method: get, path: "buckets/<bucket>", status: 404},
		{name: "with its logs", method: get, path: "logs/<log>", status: 404},
	}
}
