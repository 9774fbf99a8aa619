package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hookrun/relay/account"
)

// maxOffset bounds how far into a list one can leap. Beyond it there is the
// cursor.
const maxOffset = 10_000

// logView is a delivery as it is shown.
type logView struct {
	ID              string         `json:"id"`
	CreatedAt       account.Time   `json:"created_at"`
	UpdatedAt       account.Time   `json:"updated_at"`
	AccountID       string         `json:"account_id"`
	BucketID        string         `json:"bucket_id"`
	InputID         string         `json:"input_id"`
	OutputID        string         `json:"output_id"`
	Method          string         `json:"method"`
	Headers         account.Header `json:"headers"`
	RawQuery        string         `json:"raw_query"`
	ExtraPath       string         `json:"extra_path"`
	Body            string         `json:"body"`
	IPAddress       string         `json:"ip_address"`
	Status          string         `json:"status"`
	StatusCode      int            `json:"status_code"`
	ResponseBody    []byte         `json:"response_body"`
	ResponseHeaders account.Header `json:"response_headers"`
	Retries         int            `json:"retries"`
	DurationMS      int64          `json:"duration_ms"`
	Internal        bool           `json:"internal"`
	Ephemeral       bool           `json:"ephemeral"`
	InputFunction   string         `json:"input_function_execution_id"`
	OutputFunction  string         `json:"output_function_execution_id"`

	// Ours.
	BodyBase64 []byte        `json:"body_base64,omitempty"` // where the body is not UTF-8, and Body so not the whole truth
	WebhookID  string        `json:"webhook_id,omitempty"`
	Resent     string        `json:"resent_from,omitempty"`
	Next       *account.Time `json:"next_attempt_at,omitempty"`
	Error      string        `json:"error,omitempty"` // why the destination of a public output gave no answer
}

func newLogView(a *account.Account, l *account.Log) logView {
	v := logView{
		ID:              l.ID,
		CreatedAt:       account.At(l.Received),
		UpdatedAt:       account.At(l.Updated),
		AccountID:       a.ID,
		BucketID:        l.BucketID,
		InputID:         l.InputID,
		OutputID:        l.OutputID,
		Method:          l.Method,
		Headers:         account.Header(l.Header),
		RawQuery:        l.Query,
		Body:            string(l.Body),
		IPAddress:       l.IP,
		Status:          l.Status,
		StatusCode:      l.StatusCode,
		ResponseBody:    append([]byte{}, l.Answer...),
		ResponseHeaders: account.Header(l.AnswerHead),
		Retries:         l.Retries,
		DurationMS:      l.Duration.Milliseconds(),
		Internal:        l.Internal,
		WebhookID:       l.WebhookID,
		Resent:          l.Resent,
	}
	if l.Updated.IsZero() {
		v.UpdatedAt = v.CreatedAt
	}
	if l.Path != "/" {
		v.ExtraPath = l.Path
	}
	if !utf8.Valid(l.Body) {
		v.BodyBase64 = l.Body
	}
	if b := a.Bucket(l.BucketID); b != nil {
		v.Ephemeral = b.Ephemeral
	}
	if !l.Internal && l.StatusCode == 0 { // see account.Log.Answer
		v.Error, v.ResponseBody = string(l.Answer), []byte{}
	}
	if !l.Next.IsZero() {
		at := account.At(l.Next)
		v.Next = &at
	}
	return v
}

func newLogViews(a *account.Account, logs []*account.Log) []logView {
	views := make([]logView, 0, len(logs)) // a list in JSON, also where it is empty
	for _, l := range logs {
		views = append(views, newLogView(a, l))
	}
	return views
}

// logsView is a page of deliveries.
type logsView struct {
	Data       []logView `json:"data"`
	Total      int64     `json:"total"`
	Limit      int       `json:"limit"`
	Offset     int       `json:"offset"`
	NextCursor string    `json:"next_cursor,omitempty"`
	Truncated  bool      `json:"truncated,omitempty"`
}

func (s *Server) listLogs(q *request) (any, error) {
	a := s.book.Now()
	query, err := q.query(a)
	if err != nil {
		return nil, err
	}
	v := logsView{Data: []logView{}, Limit: query.Limit, Offset: query.Offset}
	if query.BucketIDs != nil && len(query.BucketIDs) == 0 {
		return v, nil // the token is bound to buckets that there are not
	}
	page, err := s.logs.List(q.Context(), query)
	if err != nil {
		return nil, err
	}
	v.Data = newLogViews(a, page.Logs)
	v.Total, v.NextCursor, v.Truncated = page.Total, page.NextCursor, page.Truncated
	return v, nil
}

// query reads what deliveries are asked for.
func (q *request) query(a *account.Account) (account.Query, error) {
	in := q.URL.Query()
	ids, err := q.bucketIDs(a, in.Get("bucket"))
	if err != nil {
		return account.Query{}, err
	}
	query := account.Query{BucketIDs: ids, Status: in.Get("status"), Cursor: in.Get("cursor")}
	if query.Status != "" && !slices.Contains(statuses(), query.Status) {
		return query, refuse(http.StatusBadRequest, "status: want %s", listed(statuses()))
	}
	if query.From, err = timeOf(in, "from"); err != nil {
		return query, err
	}
	if query.To, err = timeOf(in, "to"); err != nil {
		return query, err
	}
	if query.Limit, err = limitOf(in); err != nil {
		return query, err
	}
	query.Offset, err = numberOf(in, "offset", 0)
	switch {
	case err != nil:
		return query, err
	case query.Offset > maxOffset:
		return query, refuse(http.StatusBadRequest, "offset: want 0 to %d; behind that next_cursor leads on", maxOffset)
	case query.Offset > 0 && query.Cursor != "":
		return query, refuse(http.StatusBadRequest, "offset: not together with cursor")
	}
	return query, nil
}

// bucketIDs are those of the bucket that is asked for, else of all that the token
// sees; nil is all of them.
func (q *request) bucketIDs(a *account.Account, nameOrID string) ([]string, error) {
	if nameOrID != "" {
		b, err := q.bucket(a, nameOrID)
		if err != nil {
			return nil, err
		}
		return []string{b.ID}, nil
	}
	if !isScoped(q.token) {
		return nil, nil
	}
	ids := []string{}
	for i := range a.Buckets {
		if b := &a.Buckets[i]; q.token.Sees(b) {
			ids = append(ids, b.ID)
		}
	}
	return ids, nil
}

// timeOf reads Unix seconds, or RFC 3339; zero where there is none.
func timeOf(in url.Values, name string) (time.Time, error) {
	given := in.Get(name)
	if given == "" {
		return time.Time{}, nil
	}
	if n, err := strconv.ParseInt(given, 10, 64); err == nil {
		return time.Unix(n, 0).UTC(), nil
	}
	// A "+" of a time zone that was not escaped comes as a space.
	t, err := time.Parse(time.RFC3339, strings.ReplaceAll(given, " ", "+"))
	if err != nil {
		return t, refuse(http.StatusBadRequest, "%s: want Unix seconds, or RFC 3339", name)
	}
	return t.UTC(), nil
}

// limitOf reads how many are wanted; more than there are at once is that many.
func limitOf(in url.Values) (int, error) {
	n, err := numberOf(in, "limit", account.DefaultLimit)
	if n == 0 {
		n = account.DefaultLimit
	}
	return min(n, account.MaxLimit), err
}

// numberOf reads a number that is not negative.
func numberOf(in url.Values, name string, otherwise int) (int, error) {
	given := in.Get(name)
	if given == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(given)
	if err != nil || n < 0 {
		return 0, refuse(http.StatusBadRequest, "%s: want a number, 0 or more", name)
	}
	return n, nil
}

// seen returns a delivery of a bucket that the token sees.
func (s *Server) seen(q *request, id string) (*account.Log, error) {
	l, err := s.logs.Log(q.Context(), id)
	if err != nil {
		return nil, err
	}
	if b := s.book.Now().Bucket(l.BucketID); isScoped(q.token) && (b == nil || !q.token.Sees(b)) {
		return nil, account.ErrNotFound
	}
	return l, nil
}

func (s *Server) showLog(q *request) (any, error) {
	l, err := s.seen(q, q.args[0])
	if err != nil {
		return nil, err
	}
	return newLogView(s.book.Now(), l), nil
}

// action is what is to be done with a delivery.
type action struct {
	Action string `json:"action"`
	Output string `json:"output"`         // id or name; "": the same one
	Policy string `json:"process_policy"` // policySkip or policyForce
}

const (
	actionResend = "resend"
	policySkip   = "skip"  // what was sent already is not sent again
	policyForce  = "force" // it is
)

// acted is what came of an action.
type acted struct {
	ID     string `json:"id"` // of the delivery that there is now
	Status string `json:"status"`
}

func (s *Server) actOnLog(q *request) (any, error) {
	var body action
	release, err := s.decode(q, maxBody, &body)
	defer release()
	switch {
	case err != nil:
		return nil, err
	case body.Action != actionResend:
		return nil, refuse(http.StatusBadRequest, "action: want %s", actionResend)
	case body.Policy != "" && body.Policy != policySkip && body.Policy != policyForce:
		return nil, refuse(http.StatusBadRequest, "process_policy: want %s or %s", policySkip, policyForce)
	}
	l, err := s.seen(q, q.args[0])
	if err != nil {
		return nil, err
	}
	output, err := s.outputOf(l.BucketID, body.Output)
	if err != nil {
		return nil, err
	}
	made, err := s.hub.Resend(q.Context(), l.ID, output, body.Policy != policySkip)
	if err != nil {
		return nil, err
	}
	return acted{made.ID, made.Status}, nil
}

// outputOf is the id of an output of a bucket; "" where none is named.
func (s *Server) outputOf(bucketID, nameOrID string) (string, error) {
	if nameOrID == "" {
		return "", nil
	}
	if b := s.book.Now().Bucket(bucketID); b != nil {
		if out := b.Output(nameOrID); out != nil {
			return out.ID, nil
		}
	}
	return "", notFound("output", nameOrID)
}
