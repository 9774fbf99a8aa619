package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/account"
)

// TestEachEndpoint asks for everything that there is, each time of a server of
// its own.
func TestEachEndpoint(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string // that the answer has; "$id" is any id
	}{
		// Buckets.
		{"buckets", "GET", "/v1/buckets", "", 200, `[{"id":"` + deploys + `","name":"deploys","stream":true,"created_at":1700000000,
			"auth":{"type":"basic","username":"u","password":"p"},"inputs":[{"id":"` + inputID + `","headers":{}},{}],"outputs":[{"rules":null,"headers":{}},{}],
			"service_connection_inputs":[],"service_connection_outputs":[]},{"auth":{"type":"none"}},{"inputs":[],"outputs":[]}]`},
		{"a slash behind", "GET", "/v1/buckets/", "", 200, `[{},{},{}]`},
		{"bucket by id", "GET", "/v1/buckets/" + deploys, "", 200, `{"id":"` + deploys + `"}`},
		{"bucket by name", "GET", "/v1/buckets/deploys", "", 200, `{"id":"` + deploys + `","account_id":"` + accountID + `","static_ip":false,"cron_id":"","suspended":false,"large_webhooks":false,"ephemeral":false}`},
		{"no bucket", "GET", "/v1/buckets/none", "", 404, `{"message":"bucket 'none' not found"}`},
		{"create bucket", "POST", "/v1/buckets", `{"name":"new","description":"x","unknown":{"a":[1]}}`, 201, `{"id":"$id","name":"new","description":"x","stream":true,"account_id":"` + accountID + `",
			"auth":{"id":"$id","type":"none"},"inputs":[{"id":"$id","bucket_id":"$id","name":"Default public endpoint","body":"","headers":{},"created_by":"key"}],"outputs":[]}`},
		{"create without stream", "POST", "/v1/buckets", `{"name":"new","stream":false}`, 201, `{"stream":false}`},
		{"auth type as a number", "POST", "/v1/buckets", `{"name":"new","auth":{"type":2,"token":"t"}}`, 201, `{"auth":{"type":"token","token":"t"}}`},
		{"auth is null", "POST", "/v1/buckets", `{"name":"new","auth":null}`, 201, `{"auth":{"type":"none"}}`},
		{"auth type that there is not", "POST", "/v1/buckets", `{"name":"new","auth":{"type":3}}`, 400, `{"message":"auth.type: want a string, got number"}`},
		{"auth without password", "POST", "/v1/buckets", `{"name":"new","auth":{"type":"basic"}}`, 400, `{"message":"auth of type basic needs username and password"}`},
		{"duplicate bucket", "POST", "/v1/buckets", `{"name":"deploys"}`, 400, `{"message":"bucket with name 'deploys' already exists"}`},
		{"bucket without name", "POST", "/v1/buckets", `{}`, 400, `{"message":"bucket name \"\": want letters, digits and ~_.-, at most 128"}`},
		{"name of wrong type", "POST", "/v1/buckets", `{"name":7}`, 400, `{"message":"name: want a string, got number"}`},
		{"stream of wrong type", "POST", "/v1/buckets", `{"name":"a","stream":"yes"}`, 400, `{"message":"stream: want true or false, got string"}`},
		{"a list in place of a bucket", "POST", "/v1/buckets", `[]`, 400, `{"message":"the body: want an object, got array"}`},
		{"no JSON", "POST", "/v1/buckets", `{"name":`, 400, `{"message":"the body is no JSON: unexpected end of JSON input"}`},
		{"no body", "POST", "/v1/buckets", ` `, 400, `{"message":"the body is empty: want JSON"}`},
		{"too much", "POST", "/v1/buckets", `{"name":"` + strings.Repeat("a", 1<<20) + `"}`, 413, `{"message":"the body is larger than 1048576 bytes"}`},
		{"update replaces", "PUT", "/v1/buckets/deploys", `{"name":"renamed","inputs":null,"outputs":null}`, 200, `{"id":"` + deploys + `","name":"renamed","description":"","stream":false,
			"auth":{"id":"` + accountID + `","type":"none","username":"","password":""},"hasty":true,"created_at":1700000000,"inputs":[{},{}],"outputs":[{},{}]}`},
		{"update does not read inputs", "PUT", "/v1/buckets/deploys", `{"stream":true,"inputs":[],"outputs":[{"id":"x"}]}`, 200, `{"name":"deploys","stream":true,"inputs":[{},{}],"outputs":[{},{}]}`},
		{"update to a name that is taken", "PUT", "/v1/buckets/deploys", `{"name":"other"}`, 400, `{"message":"bucket with name 'other' already exists"}`},
		{"update of no bucket", "PUT", "/v1/buckets/none", `{}`, 404, ""},
		{"delete with inputs", "DELETE", "/v1/buckets/deploys", "", 412, `{"message":"bucket 'deploys' has inputs or outputs: delete them first, or ask with force=true"}`},
		{"delete by force", "DELETE", "/v1/buckets/deploys?force=true", "", 200, `{"id":"` + deploys + `","status":"deleted"}`},
		{"delete an empty one", "DELETE", "/v1/buckets/empty", "", 200, `{"id":"` + emptyID + `","status":"deleted"}`},
		{"delete with odd force", "DELETE", "/v1/buckets/deploys?force=maybe", "", 400, `{"message":"force: want true or false"}`},
		{"delete no bucket", "DELETE", "/v1/buckets/none", "", 404, ""},

		// Inputs.
		{"create input", "POST", "/v1/buckets/deploys/inputs", `{"id":"","created_at":-62135596800,"name":"public","status_code":202,"headers":{"x-sdk-test":["ok"],"X-B":"one"},"body":"hi","response_from_output":"anyOutput"}`, 201,
			`{"id":"$id","bucket_id":"` + deploys + `","name":"public","status_code":202,"headers":{"X-Sdk-Test":["ok"],"X-B":["one"]},"body":"hi","response_from_output":"anyOutput","created_by":"key"}`},
		{"body as bytes", "POST", "/v1/buckets/deploys/inputs", `{"name":"public","body":[104,105]}`, 201, `{"body":"hi"}`},
		{"input of unknown output", "POST", "/v1/buckets/deploys/inputs", `{"response_from_output":"x"}`, 400, ""},
		{"input with a status out of range", "POST", "/v1/buckets/deploys/inputs", `{"status_code":99}`, 400, `{"message":"status_code 99: want 200 to 599"}`},
		{"status code as text", "POST", "/v1/buckets/deploys/inputs", `{"status_code":"200"}`, 400, `{"message":"status_code: want an integer, got string"}`},
		{"headers as a list", "POST", "/v1/buckets/deploys/inputs", `{"headers":[]}`, 400, `{"message":"headers: want an object, got array"}`},
		{"header of a number", "POST", "/v1/buckets/deploys/inputs", `{"headers":{"a":1}}`, 400, `{"message":"headers: want a list, got number"}`},
		{"input of no bucket", "POST", "/v1/buckets/none/inputs", `{}`, 404, ""},
		{"update input", "PUT", "/v1/buckets/deploys/inputs/" + secondID, `{"description":"x"}`, 200, `{"id":"` + secondID + `","name":"second/one","description":"x","response_from_output":"","rate":7,"created_at":1700000000,
			"url":"https://hooks.example.org/v1/webhooks/` + secondID + `"}`},
		{"update input by name", "PUT", "/v1/buckets/deploys/inputs/second%2Fone", `{"name":""}`, 200, `{"id":"` + secondID + `","name":""}`},
		{"update of no input", "PUT", "/v1/buckets/deploys/inputs/none", `{}`, 404, `{"message":"input 'none' not found"}`},
		{"update of another bucket's input", "PUT", "/v1/buckets/deploys/inputs/" + otherInput, `{}`, 404, ""},
		{"delete input", "DELETE", "/v1/buckets/deploys/inputs/" + inputID, "", 200, `{"id":"` + inputID + `","status":"deleted"}`},
		{"delete no input", "DELETE", "/v1/buckets/deploys/inputs/none", "", 404, ""},

		// Outputs.
		{"create output", "POST", "/v1/buckets/deploys/outputs", `{"name":"new","destination":"https://example.com/x","headers":null,"retries":-1,"timeout":30,"throttle":{"enabled":true,"mode":"rate","rate":5}}`, 201,
			`{"id":"$id","bucket_id":"` + deploys + `","name":"new","destination":"https://example.com/x","internal":false,"disabled":false,"lock_path":false,"headers":{},"rules":null,"retries":-1,"timeout":30,
			"tls_verification":true,"throttle":{"enabled":true,"mode":"rate","rate":5},"durability":{"enabled":false},"replay_missing":{"enabled":false}}`},
		{"output without verification", "POST", "/v1/buckets/deploys/outputs", `{"destination":"https://example.com","tls_verification":false}`, 201, `{"name":"","tls_verification":false}`},
		{"duplicate output", "POST", "/v1/buckets/deploys/outputs", `{"name":"local","destination":"https://example.com"}`, 400, `{"message":"output with name 'local' already exists"}`},
		{"output without destination", "POST", "/v1/buckets/deploys/outputs", `{"name":"x"}`, 400, `{"message":"destination of output 'x': want http:// or https:// and a host"}`},
		{"throttle of wrong type", "POST", "/v1/buckets/deploys/outputs", `{"destination":"https://a","throttle":{"rate":"x"}}`, 400, `{"message":"throttle.rate: want an integer, got string"}`},
		{"output with empty rules", "POST", "/v1/buckets/deploys/outputs", `{"destination":"https://a","rules":{}}`, 201, `{"rules":null}`},
		{"output with two rules in one", "POST", "/v1/buckets/deploys/outputs", `{"destination":"https://a","rules":{"not":{"and":[],"or":[]}}}`, 400, `{"message":"rules.not: want one of and, or, not, match"}`},
		{"update output by name", "PUT", "/v1/buckets/deploys/outputs/local", `{"disabled":true}`, 200, `{"id":"` + localID + `","name":"local","destination":"http://localhost:3000/hook","disabled":true,"internal":false,"tls_verification":true}`},
		{"update no output", "PUT", "/v1/buckets/deploys/outputs/none", `{}`, 404, `{"message":"output 'none' not found"}`},
		{"delete output", "DELETE", "/v1/buckets/deploys/outputs/public", "", 200, `{"id":"` + publicID + `","status":"deleted"}`},
		{"delete an output that answers", "DELETE", "/v1/buckets/deploys/outputs/local", "", 412, `{"message":"input 'second/one' answers with what output 'local' says: set its response_from_output first"}`},
		{"delete no output", "DELETE", "/v1/buckets/deploys/outputs/none", "", 404, ""},

		// Rules.
		{"set rules", "PUT", "/v1/buckets/deploys/outputs/" + localID + "/rules", `{"and":[{"match":{"type":"value","parameter":{"source":"header","name":"X-A"},"value":"1"}},{"not":{"match":{"type":"ip-range","parameter":{},"ip-range":"10.0.0.0/8"}}}]}`, 200,
			`{"id":"` + localID + `","rules":{"and":[{"match":{"type":"value","parameter":{"source":"header","name":"X-A"},"value":"1"}},{"not":{"match":{"ip-range":"10.0.0.0/8"}}}]}}`},
		{"set no rules", "PUT", "/v1/buckets/deploys/outputs/local/rules", `null`, 200, `{"rules":null}`},
		{"set an empty list", "PUT", "/v1/buckets/deploys/outputs/local/rules", `{"or":[]}`, 400, `{"message":"rules.or: want one rule at least"}`},
		{"rules too deep", "PUT", "/v1/buckets/deploys/outputs/local/rules", strings.Repeat(`{"not":`, 40) + `{"match":{}}` + strings.Repeat("}", 40), 400, `{"message":"rules: more than 32 levels, or 1000 rules"}`},
		{"too many rules", "PUT", "/v1/buckets/deploys/outputs/local/rules", `{"and":[` + strings.Repeat(`{"match":{}},`, 1000) + `{"match":{}}]}`, 400, `{"message":"rules: more than 32 levels, or 1000 rules"}`},
		{"rules of wrong type", "PUT", "/v1/buckets/deploys/outputs/local/rules", `{"and":{}}`, 400, `{"message":"and: want a list, got object"}`},
		{"delete rules", "DELETE", "/v1/buckets/deploys/outputs/local/rules", "", 200, `{"id":"` + localID + `","rules":null}`},

		// Logs.
		{"logs", "GET", "/v1/logs", "", 200, `{"data":[{},{},{}],"total":3,"limit":20,"offset":0}`},
		{"logs of a bucket", "GET", "/v1/logs?bucket=other&limit=5", "", 200, `{"data":[{"id":"` + otherLog + `"}],"total":1,"limit":5}`},
		{"logs, a page", "GET", "/v1/logs?limit=1", "", 200, `{"data":[{"id":"` + sentLog + `"}],"total":3,"limit":1,"next_cursor":"onward","truncated":true}`},
		{"logs, more than there are at once", "GET", "/v1/logs?limit=1000", "", 200, `{"limit":100}`},
		{"logs of no bucket", "GET", "/v1/logs?bucket=none", "", 404, ""},
		{"logs with a bad limit", "GET", "/v1/logs?limit=-1", "", 400, `{"message":"limit: want a number, 0 or more"}`},
		{"logs with a bad offset", "GET", "/v1/logs?offset=10001", "", 400, `{"message":"offset: want 0 to 10000; behind that next_cursor leads on"}`},
		{"logs with offset and cursor", "GET", "/v1/logs?offset=1&cursor=x", "", 400, `{"message":"offset: not together with cursor"}`},
		{"logs with a bad time", "GET", "/v1/logs?from=yesterday", "", 400, `{"message":"from: want Unix seconds, or RFC 3339"}`},
		{"logs with a bad status", "GET", "/v1/logs?status=done", "", 400, `{"message":"status: want preparing, sent, failed, stalled, received or rejected"}`},
		{"log", "GET", "/v1/logs/" + sentLog, "", 200, `{"id":"` + sentLog + `","created_at":1700000100,"updated_at":1700000101,"account_id":"` + accountID + `","bucket_id":"` + deploys + `","input_id":"` + inputID + `","output_id":"` + localID + `",
			"method":"POST","headers":{"X-A":["1","2"]},"raw_query":"a=b&c","extra_path":"/more/path","body":"{\"a\":\"<b>\"}","ip_address":"192.0.2.7","status":"sent","status_code":201,"response_body":"YmFuYW5h","response_headers":{"X-B":["3"]},
			"retries":2,"duration_ms":1500,"internal":true,"ephemeral":false,"input_function_execution_id":"","output_function_execution_id":"","webhook_id":"w1"}`},
		{"log that is no text", "GET", "/v1/logs/" + rawLog, "", 200, `{"body":"\ufffdP\ufffd","body_base64":"iVD/","extra_path":"","headers":{},"response_body":"","response_headers":{},"updated_at":1700000100,"next_attempt_at":1700000160}`},
		{"no log", "GET", "/v1/logs/none", "", 404, `{"message":"not found"}`},
		{"answer", "PUT", "/v1/logs/" + sentLog, `{"status_code":201}`, 200, `{"id":"` + sentLog + `","status":"sent","status_code":201}`},
		{"answer to nothing", "PUT", "/v1/logs/none", `{"status_code":201}`, 404, ""},
		{"answer for another", "PUT", "/v1/logs/" + sentLog, `{"id":"x"}`, 400, `{"message":"id: is not that of the address"}`},
		{"answer that is not base64", "PUT", "/v1/logs/" + sentLog, `{"response_body":"*"}`, 400, `{"message":"response_body: want a string in base64, got string"}`},
		{"answer with a bad code", "PUT", "/v1/logs/" + sentLog, `{"status_code":100}`, 400, `{"message":"status_code: want 200 to 599"}`},
		{"answer with a bad status", "PUT", "/v1/logs/" + sentLog, `{"status":"done"}`, 400, `{"message":"status: want preparing, sent, failed, stalled, received or rejected"}`},
		{"answer of more than 3 MiB", "PUT", "/v1/logs/" + sentLog, `{"response_body":"` + strings.Repeat("AAAA", 1<<20) + `AAAA"}`, 413, `{"message":"response_body: is larger than 3145728 bytes"}`},
		{"answer with long headers", "PUT", "/v1/logs/" + sentLog, `{"response_headers":{"a":"` + strings.Repeat("a", 64<<10) + `"}}`, 413, `{"message":"response_headers: are larger than 65536 bytes"}`},
		{"resend", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"resend"}`, 200, `{"id":"` + newLog + `","status":"received"}`},
		{"resend to an output", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"resend","output":"public","process_policy":"force"}`, 200, `{"id":"` + newLog + `"}`},
		{"resend what was sent", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"resend","process_policy":"skip"}`, 200, `{"id":"` + sentLog + `","status":"sent"}`},
		{"resend to no output", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"resend","output":"none"}`, 404, `{"message":"output 'none' not found"}`},
		{"resend with an odd policy", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"resend","process_policy":"x"}`, 400, `{"message":"process_policy: want skip or force"}`},
		{"another action", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"explode"}`, 400, `{"message":"action: want resend"}`},
		{"resend nothing", "POST", "/v1/logs/none/action", `{"action":"resend"}`, 404, ""},
		{"events", "GET", "/v1/events", "", 200, `{"logs":[{"id":"` + sentLog + `"},{},{}],"has_more":false}`},
		{"events of a bucket", "GET", "/v1/events?bucket=deploys&output=local&limit=1&max_age=5m&cursor=x", "", 200, `{"logs":[{"id":"` + sentLog + `","body":"{\"a\":\"<b>\"}"}],"has_more":true}`},
		{"events of no output", "GET", "/v1/events?output=none", "", 404, ""},
		{"events of a bucket's other output", "GET", "/v1/events?bucket=other&output=local", "", 404, ""},
		{"events of no bucket", "GET", "/v1/events?bucket=none", "", 404, ""},
		{"events of an odd age", "GET", "/v1/events?max_age=1d", "", 400, `{"message":"max_age: want a duration such as 24h or 5m"}`},

		// Tokens.
		{"tokens", "GET", "/v1/tokens", "", 200, `[{"id":"key","description":"","scopes":{"buckets":[],"tunnels":[]},"active":true,"api_access":"enabled","created_at":1700000000,"updated_at":1700000000},
			{"id":"` + apiToken + `","last_login":"","created_at":-62135596800},{"scopes":{"buckets":["deploys","mine"]},"api_access":"enabled"},{},{"api_access":"disabled"},{"active":false,"last_login":"2023-11-14T22:13:20Z"}]`},
		{"create token", "POST", "/v1/tokens", `{"description":"x","scopes":{"buckets":["deploys"],"tunnels":null},"api_access":"disabled"}`, 201, `{"key":"$id"}`},
		{"token with a bad scope", "POST", "/v1/tokens", `{"scopes":{"buckets":[""]}}`, 400, `{"message":"scopes.buckets: '' is no name or id of a bucket"}`},
		{"token with odd access", "POST", "/v1/tokens", `{"api_access":"some"}`, 400, `{"message":"api_access: want enabled or disabled"}`},
		{"update token", "PUT", "/v1/tokens/scoped", `{"description":"y","active":false}`, 200, `{"id":"scoped","description":"y","active":false,"scopes":{"buckets":["deploys","mine"]}}`},
		{"widen token", "PUT", "/v1/tokens/scoped", `{"scopes":{"buckets":null,"tunnels":null},"api_access":"disabled"}`, 200, `{"scopes":{"buckets":[],"tunnels":[]},"api_access":"disabled","active":true}`},
		{"update no token", "PUT", "/v1/tokens/none", `{}`, 404, `{"message":"token 'none' not found"}`},
		{"delete token", "DELETE", "/v1/tokens/scoped", "", 200, `{"id":"scoped","status":"deleted"}`},
		{"delete its own token", "DELETE", "/v1/tokens/key", "", 200, `{"id":"key","status":"deleted"}`},
		{"delete no token", "DELETE", "/v1/tokens/none", "", 404, ""},

		// The rest.
		{"clients", "GET", "/v1/connected-clients", "", 200, `{"webhook_clients":[{"access_token_key":"key","buckets":["deploys","other"],"client_ip":"192.0.2.9","client_type":"hookrun","client_version":"1.2","destination":"",
			"subscribed_at":1700000100,"group":"g","acks":true,"waiting":3},{"subscribed_at":-62135596800}],"tunnel_clients":[]}`},
		{"usage", "GET", "/v1/usage", "", 200, `{"buckets":3,"inputs":3,"outputs":2}`},
		{"config", "GET", "/v1/config", "", 200, `{"self_hosted":true}`},
		{"user", "GET", "/v1/user/info", "", 200, `{"status":"success","data":{"id":"` + accountID + `","username":"key","role":"owner"}}`},
		{"service connections", "GET", "/v1/service-connections", "", 200, `[]`},
		{"create service connection", "POST", "/v1/service-connections", `{}`, 501, ""},
		{"service connection", "GET", "/v1/service-connections/x", "", 404, ""},
		{"service connection inputs", "GET", "/v1/buckets/deploys/service-connection-inputs", "", 200, `[]`},
		{"functions", "GET", "/v1/functions", "", 200, `[]`},
		{"create function", "POST", "/v1/functions", `{"name":"f"}`, 501, `{"message":"functions, tunnels, domains, crons and service connections are not available in this relay"}`},
		{"function", "GET", "/v1/functions/x", "", 404, ""},
		{"update function", "PUT", "/v1/functions/x", `{}`, 404, ""},
		{"delete function", "DELETE", "/v1/functions/x", "", 404, ""},
		{"function config", "GET", "/v1/functions/x/config", "", 200, `[]`},
		{"set function config", "PUT", "/v1/functions/x/config", `{}`, 501, ""},
		{"function logs", "GET", "/v1/functions/x/logs", "", 200, `[]`},
		{"invoke function", "POST", "/v1/functions/x/invoke", `{}`, 501, ""},
		{"crons", "GET", "/v1/crons", "", 200, `[]`},
		{"domains", "GET", "/v1/domains", "", 200, `[]`},
		{"tunnels", "GET", "/v1/tunnels", "", 200, `[]`},
		{"create tunnel", "POST", "/v1/tunnels", `{}`, 501, ""},
		{"regions", "GET", "/v1/regions", "", 200, `[]`},
		{"managed certs", "GET", "/v1/managed-certs", "", 200, `[]`},
		{"stats", "GET", "/v1/logs-stats", "", 200, `{"data":[]}`},
		{"histogram", "GET", "/v1/logs/histogram", "", 200, `{"data":[]}`},
		{"unknown", "GET", "/v1/nothing", "", 404, `{"message":"there is nothing at this address"}`},
		{"unknown below", "GET", "/v1/buckets/deploys/inputs/x/y", "", 404, ""},
		{"very deep", "GET", "/v1" + strings.Repeat("/a", 100), "", 404, ""},
		{"not below v1", "GET", "/buckets", "", 404, ""},
		{"an empty name", "GET", "/v1/buckets//inputs", "", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			got := w.do(tt.method, tt.path, tt.body)
			wantAnswer(t, got, tt.status, tt.want)
			for name, want := range map[string]string{"Content-Type": "application/json", "X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "Access-Control-Allow-Origin": "", "Set-Cookie": "", "Location": ""} {
				if value := got.header.Get(name); value != want {
					t.Errorf("%s: %q, want %q", name, value, want)
				}
			}
			if id := got.header.Get("Request-Id"); !account.IsID(id) {
				t.Errorf("Request-Id: %q, want an id", id)
			}
			if tt.status >= 400 && got.field(t, "message") == "" {
				t.Error("no message")
			}
		})
	}
}

func TestMethodNotAllowed(t *testing.T) {
	for _, tt := range []struct{ method, path, allow string }{
		{"PATCH", "/v1/buckets", "GET, POST"},
		{"OPTIONS", "/v1/buckets/x", "DELETE, GET, PUT"},
		{"HEAD", "/v1/events", "GET"},
		{"GET", "/v1/buckets/x/outputs/y/rules", "DELETE, PUT"},
	} {
		got := newWorld(t).do(tt.method, tt.path, "")
		if got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != tt.allow {
			t.Errorf("%s %s = %d, Allow %q, want 405, %q", tt.method, tt.path, got.status, got.header.Get("Allow"), tt.allow)
		}
	}
}

func TestWhatIsMadeIsKept(t *testing.T) {
	w := newWorld(t)
	id := w.do("POST", "/v1/buckets", `{"name":"new"}`).field(t, "id")
	out := w.do("POST", "/v1/buckets/new/outputs", `{"name":"o","destination":"http://localhost"}`).field(t, "id")
	in := w.do("POST", "/v1/buckets/"+id+"/inputs", `{"name":"i","response_from_output":"`+out+`"}`).field(t, "id")
	again, err := account.Open(t.Context(), w.shelf)
	if err != nil {
		t.Fatal(err)
	}
	b := again.Now().Bucket("new")
	if b == nil || b.ID != id || b.Output("o").ID != out || b.Input("i").ID != in || b.Input(account.DefaultInput) == nil {
		t.Errorf("kept: %+v", b)
	}
}

func TestQueryOfLogs(t *testing.T) {
	w := newWorld(t)
	got := w.do("GET", "/v1/logs?bucket=deploys&limit=7&offset=3&from=1700000000&to=2023-11-15T00:13:20+02:00&status=failed", "")
	wantAnswer(t, got, 200, `{"limit":7,"offset":3}`)
	q := w.query
	if q.Limit != 7 || q.Offset != 3 || q.Status != "failed" || len(q.BucketIDs) != 1 || q.BucketIDs[0] != deploys || q.From.Unix() != 1700000000 || q.To.Unix() != 1700000000 {
		t.Errorf("asked the store for %+v", q)
	}
	w.do("GET", "/v1/logs?cursor=onward", "")
	if w.query.Cursor != "onward" || w.query.BucketIDs != nil {
		t.Errorf("asked the store for %+v, want all buckets behind the cursor", w.query)
	}
}

func TestEventsComeOnce(t *testing.T) {
	w := newWorld(t)
	for i := range 20 {
		w.logs = append(w.logs, &account.Log{ID: fmt.Sprint(i), BucketID: deploys, Path: "/"})
	}
	got := w.do("GET", "/v1/events?bucket=deploys&limit=19", "")
	if n := strings.Count(got.body, `"bucket_id"`); n != 19 {
		t.Errorf("%d events, want 19", n)
	}
	wantAnswer(t, got, 200, `{"has_more":true}`)
	got = w.do("GET", "/v1/events?bucket=deploys&limit=100", "")
	wantAnswer(t, got, 200, `{"logs":[{},{},{}],"has_more":false}`)
	wantAnswer(t, w.do("GET", "/v1/events?bucket=deploys", ""), 200, `{"logs":[],"has_more":false}`)
	if w.pull.BucketIDs[0] != deploys {
		t.Errorf("pulled %+v", w.pull)
	}
}

func TestWhatIsPulled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.do("GET", "/v1/events?bucket=deploys&output=local&limit=200&max_age=5m", "")
		if p := w.pull; len(p.BucketIDs) != 1 || p.BucketIDs[0] != deploys || p.OutputID != localID || p.Limit != account.MaxLimit || !p.Since.Equal(time.Now().Add(-5*time.Minute)) {
			t.Errorf("pulled %+v", p)
		}
		w.do("GET", "/v1/events", "")
		if p := w.pull; p.BucketIDs != nil || p.OutputID != "" || p.Limit != account.DefaultLimit || !p.Since.Equal(time.Now().Add(-defaultMaxAge)) {
			t.Errorf("pulled %+v", p)
		}
	})
}

func TestDeletedBucketIsForgotten(t *testing.T) {
	w := newWorld(t)
	w.do("DELETE", "/v1/buckets/deploys", "")
	if len(w.forgot) != 0 {
		t.Errorf("forgot %v although the bucket is there", w.forgot)
	}
	w.err = errors.New("disk is on fire")
	wantAnswer(t, w.do("DELETE", "/v1/buckets/deploys?force=1", ""), 200, "")
	if !slices.Equal(w.forgot, []string{deploys}) {
		t.Errorf("forgot %v, want the bucket", w.forgot)
	}
	if w.book.Now().Bucket("deploys") != nil {
		t.Error("the bucket is still there")
	}
}

func TestCheckRuleIsAsked(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.CheckRule = func(r *account.Rule) error {
			if r.Match.Type == "odd" {
				return errors.New(`type "odd" is unknown`)
			}
			return nil
		}
	})
	for _, tt := range []struct{ method, path, body string }{
		{"PUT", "/v1/buckets/deploys/outputs/local/rules", `{"match":{"type":"odd"}}`},
		{"POST", "/v1/buckets/deploys/outputs", `{"destination":"http://a","rules":{"match":{"type":"odd"}}}`},
	} {
		wantAnswer(t, w.do(tt.method, tt.path, tt.body), 400, `{"message":"rules: type \"odd\" is unknown"}`)
		wantAnswer(t, w.do(tt.method, tt.path, strings.ReplaceAll(tt.body, "odd", "value")), map[string]int{"PUT": 200, "POST": 201}[tt.method], "")
	}
}

func TestNewTokenGivesAccess(t *testing.T) {
	w := newWorld(t)
	got := w.do("POST", "/v1/tokens", `{"description":"mine"}`)
	key, secret := got.field(t, "key"), got.field(t, "secret")
	if !account.IsID(key) || !strings.HasPrefix(secret, "sk-") || len(secret) != 3+48 {
		t.Errorf("token %q with a secret of %d characters", key, len(secret))
	}
	if strings.Contains(string(w.shelf.data), secret) {
		t.Error("the secret is kept")
	}
	for _, auth := range []string{basic(key, secret), basic("whr", secret), "Bearer " + secret, "bearer " + secret} {
		w.auth = auth
		wantAnswer(t, w.do("GET", "/v1/user/info", ""), 200, `{"data":{"username":"`+key+`"}}`)
	}
	list := w.do("GET", "/v1/tokens", "").body
	if strings.Contains(list, "secret") || strings.Contains(list, account.HashSecret(secret)) {
		t.Errorf("the list of tokens shows secrets: %s", list)
	}
	if secret == newSecret() {
		t.Error("two secrets are the same")
	}
}

func TestSomebodyCanStillSetUpEverything(t *testing.T) {
	for _, tt := range []struct{ method, body string }{
		{"DELETE", ""}, {"PUT", `{"active":false}`}, {"PUT", `{"api_access":"disabled"}`}, {"PUT", `{"scopes":{"buckets":["deploys"]}}`},
	} {
		w := newWorld(t)
		wantAnswer(t, w.do("DELETE", "/v1/tokens/"+apiToken, ""), 200, "")
		wantAnswer(t, w.do(tt.method, "/v1/tokens/key", tt.body), 400, `{"message":"this is the last active token with access to the API and all buckets: make another one first"}`)
		wantAnswer(t, w.do("GET", "/v1/tokens", ""), 200, `[{"id":"key","active":true,"api_access":"enabled","scopes":{"buckets":[]}},{},{},{},{}]`)
	}
}

// TestAnswersOfClients sends what clients in the field were seen to send, byte
// for byte, over a connection.
func TestAnswersOfClients(t *testing.T) {
	const id = sentLog
	tests := []struct {
		name, request string
		want          account.Update
	}{
		{"relayd", "PUT /v1/logs/" + id + ` HTTP/1.1
Host: relay.example.org
User-Agent: Go-http-client/1.1
Content-Length: {}
Authorization: Basic a2V5OnNlY3JldA==
Accept-Encoding: gzip

{"id":"` + id + `","status_code":201,"response_body":"ZGVzdC1zYXlzLWhpIC9ob29rL2V4dHJhL3BhdGg/Zm9vPWJhciZ4PTE=","response_headers":{"Date":["..."],"X-Webhookrelay-Retries":["0"],"X-Dest":["yes"],"Content-Type":["text/plain"]},"status":"sent","retries":0}`,
			account.Update{Status: "sent", StatusCode: 201, Answer: []byte("dest-says-hi /hook/extra/path?foo=bar&x=1"),
				AnswerHead: http.Header{"Date": {"..."}, "X-Webhookrelay-Retries": {"0"}, "X-Dest": {"yes"}, "Content-Type": {"text/plain"}}}},
		{"ws-client", "PUT /v1/logs/" + id + ` HTTP/1.1
user-agent: webhookrelay-ws-client
Authorization: Basic a2V5OnNlY3JldA==
X-TFS-FedAuthRedirect: Suppress
Host: relay.example.org
Connection: close
Content-Length: {}

{"id":"` + id + `","response_body":"YmFuYW5h","status_code":201,"response_headers":{"xkey":["xvalue"]}}`,
			account.Update{Status: "sent", StatusCode: 201, Answer: []byte("banana"), AnswerHead: http.Header{"Xkey": {"xvalue"}}}},
		{"library", "PUT /v1/logs/" + id + ` HTTP/1.1
host: relay.example.org
connection: keep-alive
authorization: Bearer sk-api
content-type: application/json
Content-Length: {}

{"status_code":202,"response_body":"aGVsbG8=","response_headers":{"X-A":["1"]}}`,
			account.Update{Status: "sent", StatusCode: 202, Answer: []byte("hello"), AnswerHead: http.Header{"X-A": {"1"}}}},
		{"Jenkins", "PUT /v1/logs/" + id + ` HTTP/1.1
Authorization: Basic a2V5OnNlY3JldA==
Content-Type: application/json
Host: relay.example.org
Content-Length: {}

{"id":"` + id + `","bucket_id":"` + deploys + `","status":"failed","status_code":500,"response_body":"","response_headers":{"Set-Cookie":"a=b, c=d"},"retries":0}`,
			account.Update{Status: "failed", StatusCode: 500, Answer: []byte{}, AnswerHead: http.Header{"Set-Cookie": {"a=b, c=d"}}}},
		{"chunked, without anything", "PUT /v1/logs/" + id + ` HTTP/1.1
Host: relay.example.org
Authorization: Basic d2hyOnNrLWFwaQ==
Transfer-Encoding: chunked

2` + "\r\n{}\r\n0\r\n\r\n", account.Update{Status: "sent", StatusCode: 200, AnswerHead: http.Header{}}},
		{"status as a number, body as bytes, an odd header", "PUT /v1/logs/" + id + ` HTTP/1.1
Host: relay.example.org
Authorization: Basic a2V5OnNlY3JldA==
Content-Length: {}

{"status":2,"response_body":[104,105],"response_headers":{"a b":"c","X":"y\r\nz","Ok":["1"]},"duration_ms":15,"retries":3}`,
			account.Update{Status: "failed", StatusCode: 0, Answer: []byte("hi"), AnswerHead: http.Header{"Ok": {"1"}}, Retries: 3, Duration: 15e6}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			srv := httptest.NewServer(w.server)
			defer srv.Close()
			resp := sendRaw(t, srv.Listener.Addr().String(), tt.request)
			if resp.status != http.StatusOK {
				t.Fatalf("answer = %d %s, want exactly 200", resp.status, resp.body)
			}
			if got := w.answers[id]; fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("the hub was told %+v, want %+v", got, tt.want)
			}
			again := sendRaw(t, srv.Listener.Addr().String(), tt.request)
			if again.status != http.StatusBadRequest || again.body != `{"message":"log can only be updated within 10 seconds"}`+"\n" {
				t.Errorf("late answer = %d %s, want 400", again.status, again.body)
			}
		})
	}
}

// sendRaw sends a request as it is written, with CRLF behind the lines of its
// header, and its length for {}.
func sendRaw(t *testing.T, addr, request string) answer {
	t.Helper()
	head, body, _ := strings.Cut(request, "\n\n")
	head = strings.Replace(strings.ReplaceAll(head, "\n", "\r\n"), "{}", fmt.Sprint(len(body)), 1)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, head+"\r\n\r\n"+body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

func TestLargestAnswerIsTaken(t *testing.T) {
	w := newWorld(t)
	large := bytes.Repeat([]byte{0xff}, maxAnswer)
	got := w.do("PUT", "/v1/logs/"+sentLog, `{"status_code":200,"response_body":"`+base64.StdEncoding.EncodeToString(large)+`"}`)
	wantAnswer(t, got, 200, "")
	if !bytes.Equal(w.answers[sentLog].Answer, large) {
		t.Error("the answer of 3 MiB came in another way")
	}
}

func TestConcurrentEditsLoseNothing(t *testing.T) {
	w := newWorld(t)
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			for _, got := range []answer{
				w.do("POST", "/v1/buckets", fmt.Sprintf(`{"name":"b%d"}`, i)),
				w.do("POST", "/v1/buckets/deploys/outputs", fmt.Sprintf(`{"name":"o%d","destination":"http://localhost:%d"}`, i, 1000+i)),
				w.do("PUT", "/v1/buckets/other", fmt.Sprintf(`{"description":"%d"}`, i)),
			} {
				if got.status >= 300 {
					t.Errorf("%d %s", got.status, got.body)
				}
			}
		})
	}
	wg.Wait()
	a := w.book.Now()
	if len(a.Buckets) != 3+n || len(a.Bucket("deploys").Outputs) != 2+n || len(a.Bucket("other").Inputs) != 1 {
		t.Errorf("%d buckets, %d outputs, want %d, %d", len(a.Buckets), len(a.Bucket("deploys").Outputs), 3+n, 2+n)
	}
}

func TestWhoHangsUpDoesNotStopAChange(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "POST", "/v1/buckets", strings.NewReader(`{"name":"new"}`))
	r.Header.Set("Authorization", w.auth)
	wantAnswer(t, w.send(r), 201, "")
	if w.book.Now().Bucket("new") == nil {
		t.Error("the bucket was not made")
	}
}

func TestWhatWentWrongIsInTheLogAlone(t *testing.T) {
	secret := errors.New("open /srv/relay.db: disk is on fire")
	for _, tt := range []struct{ name, method, path, body, logged string }{
		{"store", "GET", "/v1/logs", "", "path=logs "},
		{"log", "GET", "/v1/logs/" + sentLog, "", "path=logs/{} "},
		{"hub", "PUT", "/v1/logs/" + sentLog, `{}`, "method=PUT path=logs/{} status=500"},
		{"shelf", "POST", "/v1/buckets", `{"name":"quux","auth":{"type":"token","token":"hush"}}`, "path=buckets "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.err, w.shelf.err = secret, secret
			got := w.do(tt.method, tt.path, tt.body)
			id := got.header.Get("Request-Id")
			wantAnswer(t, got, 500, `{"message":"that could not be done: the relay's log says why, under request `+id+`"}`)
			for _, want := range []string{tt.logged, id, "on fire"} {
				if !strings.Contains(w.log.String(), want) {
					t.Errorf("log has no %q: %s", want, w.log)
				}
			}
			for _, never := range []string{sentLog, "quux", "hush", "secret", basic("key", "secret")} {
				if strings.Contains(w.log.String(), never) {
					t.Errorf("log has %q: %s", never, w.log)
				}
			}
		})
	}
}

func TestWhatCantBeSavedNowIsAskedForLater(t *testing.T) {
	full := fmt.Errorf("write /srv/relay.db: %w", account.ErrUnavailable)
	for _, tt := range []struct{ name, method, path, body string }{
		{"shelf", "POST", "/v1/buckets", `{"name":"new"}`},
		{"answer", "PUT", "/v1/logs/" + sentLog, `{}`},
		{"resend", "POST", "/v1/logs/" + sentLog + "/action", `{"action":"resend"}`},
		{"events", "GET", "/v1/events", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.err, w.shelf.err = full, full
			got := w.do(tt.method, tt.path, tt.body)
			wantAnswer(t, got, 503, `{"message":"the relay can't save anything now, send it again later"}`)
			if after := got.header.Get("Retry-After"); after != "30" {
				t.Errorf("Retry-After %q, want 30", after)
			}
			if log := w.log.String(); strings.Contains(log, "level=ERROR") || !strings.Contains(log, "relay.db") {
				t.Errorf("log: %s", log)
			}
		})
	}
}

// TestWhatTheRelaySendsIsNotAnswered: its tries would end.
func TestWhatTheRelaySendsIsNotAnswered(t *testing.T) {
	for _, auth := range []string{basic("key", "secret"), basic("scoped", "secret")} {
		w := newWorld(t)
		w.auth = auth
		wantAnswer(t, w.do("PUT", "/v1/logs/"+rawLog, `{"status":"sent"}`), 400, `{"message":"the relay is sending it, and notes the answer itself"}`)
		if len(w.answers) != 0 {
			t.Errorf("the hub was told %v", w.answers)
		}
		w.logs[1].Status = account.StatusFailed
		wantAnswer(t, w.do("PUT", "/v1/logs/"+rawLog, `{"status":"sent"}`), 200, "")
	}
}

func TestPanicIsAnswered(t *testing.T) {
	w := newWorld(t, func(o *Options) {
		o.URL = func(*http.Request, *account.Input) string { panic("odd") }
	})
	wantAnswer(t, w.do("GET", "/v1/buckets", ""), 500, "")
	if !strings.Contains(w.log.String(), "panic: odd") {
		t.Errorf("log: %s", w.log)
	}
}

func FuzzBucketBody(f *testing.F) {
	for _, seed := range []string{
		`{"name":"a"}`, `{"name":"a","stream":null,"auth":{"type":1,"username":"u","password":"p"},"inputs":null,"outputs":[{}]}`,
		`{"auth":{"type":"token"}}`, `{"name":"deploys"}`, `[]`, `null`, `"x"`, `{"description":"\ud800"}`, `{"NAME":"b"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		w := newWorld(t)
		for _, ask := range []struct{ method, path string }{{"POST", "/v1/buckets"}, {"PUT", "/v1/buckets/deploys"}} {
			got := w.do(ask.method, ask.path, body)
			if got.status >= 500 || got.status >= 300 && got.field(t, "message") == "" {
				t.Errorf("%s %s = %d %s", ask.method, body, got.status, got.body)
			}
			if got.status < 300 {
				decoded(t, got.body)
			}
		}
		again, err := account.Open(t.Context(), w.shelf)
		if err != nil {
			t.Fatalf("%s: what was saved can't be read: %v", body, err)
		}
		if b := again.Now().Bucket(deploys); b == nil || len(b.Inputs) != 2 || len(b.Outputs) != 2 {
			t.Errorf("%s: the bucket lost inputs or outputs: %+v", body, b)
		}
	})
}
