package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"hookrun/relay/account"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Ids of what every test finds set up.
const (
	deploys, inputID, secondID, localID, publicID = "aaaaaaaa-0000-4000-8000-000000000001", "aaaaaaaa-0000-4000-8000-000000000011",
		"aaaaaaaa-0000-4000-8000-000000000012", "aaaaaaaa-0000-4000-8000-000000000021", "aaaaaaaa-0000-4000-8000-000000000022"
	other, otherInput = "bbbbbbbb-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000011"
	emptyID           = "cccccccc-0000-4000-8000-000000000001"
	apiToken          = "dddddddd-0000-4000-8000-000000000001"
	sentLog, rawLog   = "eeeeeeee-0000-4000-8000-000000000001", "eeeeeeee-0000-4000-8000-000000000002"
	otherLog          = "eeeeeeee-0000-4000-8000-000000000003"
	newLog            = "eeeeeeee-0000-4000-8000-000000000004"
	accountID         = "ffffffff-0000-4000-8000-000000000001"
)

func fixture() *account.Account {
	at := account.At(time.Unix(1700000000, 0))
	return &account.Account{
		ID: accountID,
		Buckets: []account.Bucket{
			{ID: deploys, Name: "deploys", CreatedAt: at, UpdatedAt: at, AccountID: accountID, Stream: true, Hasty: true, Description: "d",
				Auth: account.Auth{ID: accountID, Type: account.AuthBasic, Username: "u", Password: "p"},
				Inputs: []account.Input{
					{ID: inputID, Name: account.DefaultInput, BucketID: deploys, CreatedAt: at, UpdatedAt: at},
					{ID: secondID, Name: "second/one", BucketID: deploys, CreatedAt: at, UpdatedAt: at, ResponseFromOutput: localID, Rate: 7},
				},
				Outputs: []account.Output{
					{ID: localID, Name: "local", BucketID: deploys, Destination: "http://localhost:3000/hook", Internal: true, CreatedAt: at, UpdatedAt: at, TLSVerification: true},
					{ID: publicID, Name: "public", BucketID: deploys, Destination: "https://example.org/", CreatedAt: at, UpdatedAt: at},
				}},
			{ID: other, Name: "other", CreatedAt: at, UpdatedAt: at, AccountID: accountID, Inputs: []account.Input{{ID: otherInput, Name: account.DefaultInput, BucketID: other}}},
			{ID: emptyID, Name: "empty", CreatedAt: at, UpdatedAt: at, AccountID: accountID},
		},
		Tokens: []account.Token{
			{ID: "key", Active: true, APIAccess: account.APIEnabled, SecretHash: account.HashSecret("secret"), CreatedAt: at, UpdatedAt: at},
			{ID: apiToken, Active: true, APIAccess: account.APIEnabled, SecretHash: account.HashSecret("sk-api")},
			{ID: "scoped", Active: true, SecretHash: account.HashSecret("secret"), Scopes: account.Scopes{Buckets: []string{"deploys", "mine"}}},
			{ID: "lost", Active: true, SecretHash: account.HashSecret("secret"), Scopes: account.Scopes{Buckets: []string{"gone"}}},
			{ID: "noapi", Active: true, APIAccess: account.APIDisabled, SecretHash: account.HashSecret("secret")},
			{ID: "off", SecretHash: account.HashSecret("secret"), LastLogin: at},
		},
	}
}

// shelf keeps an account in memory.
type shelf struct {
	mu   sync.Mutex // guards the others
	data []byte
	err  error // of SaveAccount
}

func (s *shelf) LoadAccount(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data, nil
}

func (s *shelf) SaveAccount(ctx context.Context, data []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.data = data
	}
	return s.err
}

// memory is Logs and Hub in one.
type memory struct {
	mu      sync.Mutex // guards the others
	logs    []*account.Log
	pulled  map[string]bool
	query   account.Query // the last one
	pull    account.Pull  // the last one
	pulls   int
	answers map[string]account.Update
	resent  []string // id, output id and whether by force
	forgot  []string
	clients []account.Client
	err     error // of all
}

func (m *memory) List(_ context.Context, q account.Query) (account.Page, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.query = q
	var p account.Page
	for _, l := range m.logs {
		if q.BucketIDs == nil || slices.Contains(q.BucketIDs, l.BucketID) {
			p.Logs = append(p.Logs, l)
		}
	}
	p.Total = int64(len(p.Logs))
	if len(p.Logs) > q.Limit {
		p.Logs, p.NextCursor, p.Truncated = p.Logs[:q.Limit], "onward", true
	}
	return p, m.err
}

func (m *memory) Log(_ context.Context, id string) (*account.Log, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.logs {
		if l.ID == id {
			return l, m.err
		}
	}
	return nil, fmt.Errorf("delivery %s: %w", id, account.ErrNotFound)
}

func (m *memory) Pull(_ context.Context, p account.Pull) (logs []*account.Log, more bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pull = p
	m.pulls++
	for _, l := range m.logs {
		if m.pulled[l.ID] || p.BucketIDs != nil && !slices.Contains(p.BucketIDs, l.BucketID) {
			continue
		}
		if len(logs) == p.Limit {
			return logs, true, m.err
		}
		m.pulled[l.ID] = true
		logs = append(logs, l)
	}
	return logs, false, m.err
}

func (m *memory) ForgetBucket(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgot = append(m.forgot, id)
	return m.err
}

func (m *memory) Answer(_ context.Context, l *account.Log, u account.Update) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	id := l.ID
	if _, again := m.answers[id]; again {
		return fmt.Errorf("delivery %s: %w", id, account.ErrLate)
	}
	m.answers[id] = u
	return m.err
}

func (m *memory) Resend(ctx context.Context, id, outputID string, force bool) (*account.Log, error) {
	l, err := m.Log(ctx, id)
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resent = append(m.resent, fmt.Sprint(id, " ", outputID, " ", force))
	if !force {
		return l, nil
	}
	return &account.Log{ID: newLog, Status: account.StatusReceived, Resent: id}, m.err
}

func (m *memory) Clients(context.Context) ([]account.Client, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clients, m.err
}

func (m *memory) Forget(_ context.Context, c account.Client) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, one := range m.clients {
		if one.Name == c.Name && one.AccessTokenKey == c.AccessTokenKey && one.Group == c.Group {
			m.forgot = append(m.forgot, fmt.Sprint(c.AccessTokenKey, " ", c.Name, " ", c.Group))
			return m.err
		}
	}
	return fmt.Errorf("client %s: %w", c.Name, account.ErrNotFound)
}

// world is a server with all that it needs.
type world struct {
	t     *testing.T
	shelf *shelf
	book  *account.Book
	*memory
	server *Server
	log    *bytes.Buffer
	auth   string // of requests
}

func newWorld(t *testing.T, change ...func(*Options)) *world {
	t.Helper()
	data, err := fixture().Encode()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, shelf: &shelf{data: data}, log: &bytes.Buffer{}, auth: basic("key", "secret")}
	if w.book, err = account.Open(t.Context(), w.shelf); err != nil {
		t.Fatal(err)
	}
	received := time.Unix(1700000100, 5e8)
	w.memory = &memory{
		pulled:  map[string]bool{},
		answers: map[string]account.Update{},
		logs: []*account.Log{
			{ID: sentLog, WebhookID: "w1", BucketID: deploys, InputID: inputID, OutputID: localID, Internal: true, Received: received,
				Updated: received.Add(time.Second), Method: "POST", Path: "/more/path", Query: "a=b&c", Header: http.Header{"X-A": {"1", "2"}},
				Body: []byte(`{"a":"<b>"}`), IP: "192.0.2.7", Status: account.StatusSent, StatusCode: 201, Answer: []byte("banana"),
				AnswerHead: http.Header{"X-B": {"3"}}, Retries: 2, Duration: 1500 * time.Millisecond},
			{ID: rawLog, BucketID: deploys, InputID: inputID, OutputID: publicID, Received: received, Method: "PUT", Path: "/",
				Body: []byte{0x89, 'P', 0xff}, Status: account.StatusPreparing, Next: received.Add(time.Minute)},
			{ID: otherLog, BucketID: other, InputID: otherInput, Received: received, Method: "GET", Path: "/", Status: account.StatusStalled},
		},
		clients: []account.Client{
			{AccessTokenKey: "key", Buckets: []string{"deploys", "other"}, IP: "192.0.2.9", Type: "hookrun", Version: "1.2", SubscribedAt: account.At(received), Name: "g", Group: "g", Acks: true, Waiting: map[string]int64{"deploys": 1, "other": 2}},
			{AccessTokenKey: "key", Buckets: []string{"other"}, IP: "192.0.2.10"},
			{AccessTokenKey: "key", Name: "box", Buckets: []string{"deploys", "other"}, Acks: true, Away: true, LastSeen: account.At(received), Waiting: map[string]int64{"deploys": 4, "other": 8}},
		},
	}
	o := Options{
		Book: w.book, Logs: w.memory, Hub: w.memory,
		URL: func(_ *http.Request, in *account.Input) string {
			return "https://hooks.example.org/v1/webhooks/" + in.ID
		},
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	for _, c := range change {
		c(&o)
	}
	w.server = New(o)
	return w
}

func basic(key, secret string) string {
	r := &http.Request{Header: http.Header{}}
	r.SetBasicAuth(key, secret)
	return r.Header.Get("Authorization")
}

// answer is a response, read whole.
type answer struct {
	status int
	header http.Header
	body   string
}

func (w *world) do(method, path, body string) answer {
	w.t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if w.auth != "" {
		r.Header.Set("Authorization", w.auth)
	}
	return w.send(r)
}

func (w *world) send(r *http.Request) answer {
	w.t.Helper()
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	body, err := io.ReadAll(rec.Result().Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return answer{rec.Code, rec.Result().Header, string(body)}
}

// wantAnswer makes sure that an answer has all that want, which is JSON, says.
func wantAnswer(t *testing.T, got answer, status int, want string) {
	t.Helper()
	if got.status != status {
		t.Errorf("answer = %d %s, want %d", got.status, got.body, status)
		return
	}
	if want == "" {
		return
	}
	if !has(decoded(t, got.body), decoded(t, want)) {
		t.Errorf("answer = %s, want it to have %s", got.body, want)
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

// has reports whether got is want; of objects, whether it has all its fields.
func has(got, want any) bool {
	switch want := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		return ok && !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(k string) bool {
			_, there := g[k]
			return !there || !has(g[k], want[k])
		})
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(g, want, has)
	case string:
		g, ok := got.(string)
		return ok && (g == want || want == "$id" && account.IsID(g))
	}
	return reflect.DeepEqual(got, want)
}

// field reads a text out of an answer.
func (a answer) field(t *testing.T, name string) string {
	t.Helper()
	v, _ := decoded(t, a.body).(map[string]any)
	text, ok := v[name].(string)
	if !ok {
		t.Fatalf("no text %q in %s", name, a.body)
	}
	return text
}
