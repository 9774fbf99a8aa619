package api

import (
	"slices"
	"testing"

	"hookrun/relay/account"
)

func TestWhoIsAwayIsListed(t *testing.T) {
	w := newWorld(t)
	wantAnswer(t, w.do("GET", "/v1/connected-clients", ""), 200, `{
		"webhook_clients":[{"name":"g","group":"g","waiting":3},{"buckets":["other"],"waiting":0}],
		"absent_clients":[{"access_token_key":"key","name":"box","buckets":["deploys","other"],"last_seen":1700000100,"waiting":12}]}`)
	w.auth = basic("scoped", "secret")
	wantAnswer(t, w.do("GET", "/v1/connected-clients", ""), 200, `{
		"webhook_clients":[{"buckets":["deploys"],"waiting":1}],
		"absent_clients":[{"name":"box","buckets":["deploys"],"waiting":4}]}`)
	w.clients = nil
	wantAnswer(t, w.do("GET", "/v1/connected-clients", ""), 200, `{"webhook_clients":[],"absent_clients":[],"tunnel_clients":[]}`)
}

func TestForgetClient(t *testing.T) {
	two := []account.Client{
		{AccessTokenKey: "key", Name: "a/b", Acks: true, Away: true},
		{AccessTokenKey: "key", Name: "a/b", Group: "a/b", Acks: true, Away: true},
		{AccessTokenKey: "scoped", Name: "a/b", Acks: true, Away: true},
		{AccessTokenKey: "key", Name: "here", Acks: true},
	}
	for _, tt := range []struct {
		name, auth, path string
		status           int
		want             string
		forgot           string // "": nobody
	}{
		{"by its name alone", "key", "/box", 404, `{"message":"client 'box' not found"}`, ""},
		{"one of several", "key", "/a%2Fb", 409, `{"message":"3 clients are named 'a/b': access_token_key and group say which"}`, ""},
		{"of a token", "key", "/a%2Fb?access_token_key=scoped", 200, `{"name":"a/b","status":"forgotten"}`, "scoped a/b "},
		{"a group", "key", "/a%2Fb?access_token_key=key&group=true", 200, `{"name":"a/b"}`, "key a/b a/b"},
		{"no group", "key", "/a%2Fb?access_token_key=key&group=false", 200, `{"name":"a/b"}`, "key a/b "},
		{"a bad word", "key", "/a%2Fb?group=some", 400, `{"message":"group: want true or false"}`, ""},
		{"connected", "key", "/here", 409, `{"message":"client 'here' is connected: one that is away can be forgotten"}`, ""},
		{"a scoped token its own", "scoped", "/a%2Fb", 200, `{"name":"a/b"}`, "scoped a/b "},
		{"a scoped token no other's", "scoped", "/a%2Fb?access_token_key=key", 404, `{"message":"client 'a/b' not found"}`, ""},
		{"a token without access", "noapi", "/a%2Fb", 403, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.clients = two
			w.auth = basic(tt.auth, "secret")
			wantAnswer(t, w.do("DELETE", "/v1/connected-clients"+tt.path, ""), tt.status, tt.want)
			if want := tt.forgot; want == "" && len(w.forgot) > 0 || want != "" && !slices.Equal(w.forgot, []string{want}) {
				t.Errorf("forgot %q, want %q", w.forgot, want)
			}
		})
	}
}

// What has no answer says why, and not in the place of one.
func TestWhyThereWasNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.logs[1].Status, w.logs[1].Answer = account.StatusFailed, []byte("nothing listens there")
	wantAnswer(t, w.do("GET", "/v1/logs/"+rawLog, ""), 200, `{"status":"failed","status_code":0,"response_body":"","error":"nothing listens there"}`)
	w.logs[1].StatusCode = 502
	wantAnswer(t, w.do("GET", "/v1/logs/"+rawLog, ""), 200, `{"status_code":502,"response_body":"bm90aGluZyBsaXN0ZW5zIHRoZXJl"}`)
	w.logs[0].StatusCode = 0 // what a subscriber says is an answer all the same
	wantAnswer(t, w.do("GET", "/v1/logs/"+sentLog, ""), 200, `{"status_code":0,"response_body":"YmFuYW5h"}`)
}
