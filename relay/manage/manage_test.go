package manage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/api"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tokenID = "dddddddd-0000-4000-8000-000000000001"
	logID   = "eeeeeeee-0000-4000-8000-000000000001"
	newID   = "eeeeeeee-0000-4000-8000-000000000002"
)

// shelf keeps an account in memory; tests with it ask one thing after another.
type shelf struct{ data []byte }

func (s *shelf) LoadAccount(context.Context) ([]byte, error) { return s.data, nil }

func (s *shelf) SaveAccount(_ context.Context, data []byte) error {
	s.data = data
	return nil
}

// fakeRelay is Logs and Hub of one delivery.
type fakeRelay struct {
	query  account.Query
	force  bool
	forgot string // token and name of a client
}

func (f *fakeRelay) log() *account.Log {
	return &account.Log{ID: logID, Method: "POST", Path: "/x", Body: []byte{0xff}, Header: http.Header{"X-A": {"b"}}, Received: time.Unix(1700000000, 0), Status: account.StatusSent}
}

func (f *fakeRelay) List(_ context.Context, q account.Query) (account.Page, error) {
	f.query = q
	return account.Page{Logs: []*account.Log{f.log()}, Total: 9, NextCursor: "onward"}, nil
}

func (f *fakeRelay) Log(_ context.Context, id string) (*account.Log, error) {
	if id != logID {
		return nil, account.ErrNotFound
	}
	return f.log(), nil
}

func (f *fakeRelay) Pull(context.Context, account.Pull) ([]*account.Log, bool, error) {
	return nil, false, nil
}
func (f *fakeRelay) ForgetBucket(context.Context, string) error                 { return nil }
func (f *fakeRelay) Answer(context.Context, *account.Log, account.Update) error { return nil }
func (f *fakeRelay) Clients(context.Context) ([]account.Client, error) {
	return []account.Client{
		{Type: "hookrun"},
		{AccessTokenKey: tokenID, Name: "a/b", Group: "a/b", Acks: true, Away: true, LastSeen: account.At(time.Unix(1700000000, 0))},
	}, nil
}
func (f *fakeRelay) Forget(_ context.Context, c account.Client) error {
	f.forgot = c.AccessTokenKey + " " + c.Name
	return nil
}
func (f *fakeRelay) Resend(_ context.Context, _, _ string, force bool) (*account.Log, error) {
	f.force = force
	return &account.Log{ID: newID, Status: account.StatusReceived}, nil
}

// start runs a relay's API and returns a client of it.
func start(t *testing.T) (*Client, *fakeRelay) {
	t.Helper()
	data, err := (&account.Account{Tokens: []account.Token{{ID: tokenID, Active: true, SecretHash: account.HashSecret("sk-1")}}}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	book, err := account.Open(t.Context(), &shelf{data})
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeRelay{}
	srv := httptest.NewServer(api.New(api.Options{Book: book, Logs: f, Hub: f, URL: func(_ *http.Request, in *account.Input) string { return "https://hooks.example.org/" + in.ID }}))
	t.Cleanup(srv.Close)
	return client(t, srv, Options{Key: tokenID, Secret: "sk-1"}), f
}

func client(t *testing.T, srv *httptest.Server, o Options) *Client {
	t.Helper()
	o.URL, o.Client = srv.URL, srv.Client()
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// must fails the test where something was not done.
func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestBucketsInputsOutputs(t *testing.T) {
	c, _ := start(t)
	ctx := t.Context()
	made := must[Bucket](t)(c.CreateBucket(ctx, account.Bucket{Name: "deploys", Stream: true, Hasty: true, Auth: account.Auth{Type: account.AuthToken, Token: "t"}}))
	if !account.IsID(made.ID) || !made.Stream || !made.Hasty || made.Auth.Token != "t" || len(made.Inputs) != 1 || made.Inputs[0].URL != "https://hooks.example.org/"+made.Inputs[0].ID {
		t.Errorf("made %+v", made)
	}
	in := must[Input](t)(c.CreateInput(ctx, "deploys", account.Input{Name: "a/b c", Rate: 5}))
	in = must[Input](t)(c.UpdateInput(ctx, "deploys", "a/b c", account.Input{Name: "a/b c", StatusCode: 204}))
	if in.StatusCode != 204 || in.Rate != 0 {
		t.Errorf("input %+v, want 204 and no rate", in)
	}
	out := must[account.Output](t)(c.CreateOutput(ctx, "deploys", account.Output{Name: "local", Destination: "http://localhost", Internal: true, TLSVerification: true}))
	if !account.IsID(out.ID) || !out.TLSVerification || !out.Internal {
		t.Errorf("output %+v", out)
	}
	rule := &account.Rule{Match: &account.Match{Type: "value", Parameter: account.Parameter{Source: "header", Name: "X"}, Value: "1"}}
	if out = must[account.Output](t)(c.SetRules(ctx, "deploys", "local", rule)); out.Rules == nil || out.Rules.Match.Value != "1" {
		t.Errorf("rules %+v", out.Rules)
	}
	if out = must[account.Output](t)(c.SetRules(ctx, "deploys", "local", nil)); out.Rules != nil {
		t.Errorf("rules %+v, want none", out.Rules)
	}
	out.Description = "changed"
	if out = must[account.Output](t)(c.UpdateOutput(ctx, made.ID, out.ID, out)); out.Description != "changed" || out.Destination != "http://localhost" {
		t.Errorf("output %+v", out)
	}
	now := must[Bucket](t)(c.UpdateBucket(ctx, "deploys", account.Bucket{Name: "renamed"}))
	if now.Hasty || now.Stream || len(now.Inputs) != 2 || len(now.Outputs) != 1 || now.Auth.Type != account.AuthNone {
		t.Errorf("bucket %+v, want all that can be set cleared, and inputs and outputs kept", now)
	}
	if all := must[[]Bucket](t)(c.Buckets(ctx)); len(all) != 1 || all[0].Name != "renamed" {
		t.Errorf("buckets %+v", all)
	}
	if err := c.DeleteOutput(ctx, "renamed", "local"); err != nil {
		t.Error(err)
	}
	if err := c.DeleteInput(ctx, "renamed", "a/b c"); err != nil {
		t.Error(err)
	}
	err := c.DeleteBucket(ctx, "renamed", false)
	wantError(t, err, 412, "answered 412: bucket 'renamed' has inputs", "use force")
	if err := c.DeleteBucket(ctx, "renamed", true); err != nil {
		t.Error(err)
	}
	_, err = c.Bucket(ctx, "renamed")
	wantError(t, err, 404, "answered 404: bucket 'renamed' not found", "compare name or id")
}

func TestTokens(t *testing.T) {
	c, _ := start(t)
	ctx := t.Context()
	made := must[KeySecret](t)(c.CreateToken(ctx, NewToken{Description: "x", Scopes: account.Scopes{Buckets: []string{"deploys"}}}))
	if !account.IsID(made.Key) || !strings.HasPrefix(made.Secret, "sk-") {
		t.Errorf("made %+v", made)
	}
	all := must[[]Token](t)(c.Tokens(ctx))
	if len(all) != 2 || all[1].ID != made.Key || !slices.Equal(all[1].Scopes.Buckets, []string{"deploys"}) || all[1].APIAccess != account.APIEnabled {
		t.Errorf("tokens %+v", all)
	}
	all[1].Active = false
	if now := must[Token](t)(c.UpdateToken(ctx, all[1])); now.Active || len(now.Scopes.Buckets) != 1 {
		t.Errorf("token %+v, want an inactive one", now)
	}
	if err := c.DeleteToken(ctx, made.Key); err != nil {
		t.Error(err)
	}
	wantError(t, c.DeleteToken(ctx, tokenID), 400, "the last active token", "")
}

func TestLogs(t *testing.T) {
	c, f := start(t)
	ctx := t.Context()
	from := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 3600))
	page := must[Logs](t)(c.Logs(ctx, LogsQuery{Status: account.StatusSent, From: from, To: from.Add(time.Hour), Limit: 7, Cursor: "x"}))
	if page.Total != 9 || page.NextCursor != "onward" || len(page.Data) != 1 || page.Data[0].ID != logID {
		t.Errorf("page %+v", page)
	}
	if q := f.query; q.Limit != 7 || q.Cursor != "x" || !q.From.Equal(from) || !q.To.Equal(from.Add(time.Hour)) || q.Status != account.StatusSent {
		t.Errorf("asked for %+v", q)
	}
	l := must[Log](t)(c.Log(ctx, logID))
	if string(l.RawBody()) != "\xff" || l.Header().Get("X-A") != "b" || l.CreatedAt.Unix() != 1700000000 || l.Path != "/x" {
		t.Errorf("log %+v", l)
	}
	if l := (Log{Body: "text"}); string(l.RawBody()) != "text" {
		t.Errorf("body %q, want text", l.RawBody())
	}
	for _, force := range []bool{false, true} {
		if r := must[Resent](t)(c.Resend(ctx, logID, "", force)); r.ID != newID || r.Status != account.StatusReceived || f.force != force {
			t.Errorf("resent %+v, by force: %v, want %v", r, f.force, force)
		}
	}
	all := must[Clients](t)(c.Clients(ctx))
	if len(all.Connected) != 1 || all.Connected[0].Type != "hookrun" || len(all.Absent) != 1 || all.Absent[0].LastSeen.Unix() != 1700000000 {
		t.Fatalf("clients %+v", all)
	}
	if err := c.ForgetClient(ctx, all.Absent[0]); err != nil || f.forgot != tokenID+" a/b" {
		t.Errorf("forgot %q, %v", f.forgot, err)
	}
	err := c.ForgetClient(ctx, Absent{Key: tokenID, Name: "none"})
	wantError(t, err, 404, "answered 404: client 'none' not found", "compare name or id")
}

func TestSecretAloneIsABearer(t *testing.T) {
	c, _ := start(t)
	c.opts.Key = ""
	if _, err := c.Buckets(t.Context()); err != nil {
		t.Error(err)
	}
	c.opts.Secret = "sk-2"
	_, err := c.Buckets(t.Context())
	wantError(t, err, 401, "answered 401: invalid key or secret", "compare key and secret")
}

// wantError makes sure of an *Error's status, and of parts of its texts.
func wantError(t *testing.T, err error, status int, message, hint string) {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("error %v, want an *Error", err)
	}
	if e.Status != status || !strings.Contains(e.Message, message) || !strings.Contains(e.Hint, hint) || strings.ContainsAny(e.Error(), "\n\x1b") {
		t.Errorf("error %d %q, hint %q, want %d %q, %q", e.Status, e.Message, e.Hint, status, message, hint)
	}
	if account.IsID(e.Request) != (status != 0 && e.Request != "") {
		t.Errorf("request %q", e.Request)
	}
}

func TestAnswersThatAreNone(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answer  func(w http.ResponseWriter, r *http.Request)
		status  int
		message string
		hint    string
	}{
		{"plain text", func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no credit\x1b[2J\nleft", http.StatusPaymentRequired)
		}, 402, "answered 402: no credit[2J left", ""},
		{"error in JSON", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(400)
			_, _ = io.WriteString(w, `{"error":"odd"}`)
		}, 400, "answered 400: odd", ""},
		{"a proxy's page", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(502)
			_, _ = io.WriteString(w, "<html>bad gateway</html>")
		}, 502, "answered 502 Bad Gateway", "is the relay running?"},
		{"a redirect", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, 307, "answered 307", "use the one that it leads to"},
		{"a lot of text", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, strings.Repeat("é", 5000), 500) }, 500, strings.Repeat("é", 200), "the relay's log says why"},
		{"a page in place of JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, 0, "is not what a relay says", "is that the address of a relay?"},
		{"forbidden", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, 403, "answered 403 Forbidden", "no API access"},
		{"limited", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, 429, "answered 429", "wait some seconds"},
		{"not there", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(501) }, 501, "answered 501", "does not have that"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "[")
		}, 0, "can't be reached: unexpected EOF", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			asked := 0
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked++
				tt.answer(w, r)
			}))
			defer srv.Close()
			_, err := client(t, srv, Options{Key: "k", Secret: "hush"}).Buckets(t.Context())
			wantError(t, err, tt.status, tt.message, tt.hint)
			if asked != 1 {
				t.Errorf("asked %d times, want once", asked)
			}
			if strings.Contains(fmt.Sprintf("%+v", err), "hush") || len(err.Error()) > maxMessage+100 {
				t.Errorf("error: %+v", err)
			}
		})
	}
}

func TestNobodyAnswers(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	c, err := New(Options{URL: "http://" + ln.Addr().String(), Secret: "s", Client: &http.Client{Transport: &http.Transport{}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Buckets(t.Context())
	wantError(t, err, 0, "relay "+ln.Addr().String()+" can't be reached", "is the relay running")
}

func TestCertificateOfAStranger(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	defer srv.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c, err := New(Options{URL: srv.URL, Secret: "s", Client: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Buckets(t.Context())
	wantError(t, err, 0, "can't be reached", "certificate")
}

func TestAddressOfARelay(t *testing.T) {
	for _, tt := range []struct {
		url      string
		insecure bool
		base     string // "": refused
		message  string
	}{
		{"https://hooks.example.org", false, "https://hooks.example.org", ""},
		{"https://hooks.example.org/v1/", false, "https://hooks.example.org", ""},
		{"wss://hooks.example.org:8443/v1/socket", false, "https://hooks.example.org:8443", ""},
		{"ws://localhost:9000/v1/socket", false, "http://localhost:9000", ""},
		{"http://127.0.0.1:9000", false, "http://127.0.0.1:9000", ""},
		{"http://[::1]:9000", false, "http://[::1]:9000", ""},
		{"http://hooks.example.org", false, "", "not sent to hooks.example.org without TLS"},
		{"http://hooks.example.org", true, "http://hooks.example.org", ""},
		{"http://localhost.example.org", false, "", "without TLS"},
		{"https://u:p@hooks.example.org", false, "", "name or password"},
		{"hooks.example.org", false, "", "is no URL"},
		{"ftp://hooks.example.org", false, "", "is no URL"},
		{"https://", false, "", "is no URL"},
		{":", false, "", "is no URL"},
	} {
		c, err := New(Options{URL: tt.url, Insecure: tt.insecure, Secret: "s"})
		if tt.base == "" {
			wantError(t, err, 0, tt.message, "")
			continue
		}
		if err != nil || c.base != tt.base {
			t.Errorf("New(%s) asks %v, %v, want %s", tt.url, c, err, tt.base)
		}
	}
}

func TestBodiesAreJSON(t *testing.T) {
	var got map[string]any
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.Header.Get("Content-Type") != "application/json" || r.UserAgent() != "hookrun/1" {
			t.Errorf("%v, header %v", err, r.Header)
		}
		_, _ = io.WriteString(w, "{}")
	}))
	defer srv.Close()
	c := client(t, srv, Options{Secret: "s", UserAgent: "hookrun/1"})
	if _, err := c.UpdateBucket(t.Context(), "a", account.Bucket{Name: "a", Inputs: []account.Input{{}}}); err != nil {
		t.Fatal(err)
	}
	if got["inputs"] != nil || got["outputs"] != nil || got["hasty"] != false || got["name"] != "a" {
		t.Errorf("sent %v", got)
	}
}
