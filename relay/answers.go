package relay

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// How answers are sent.
const (
	answerWorkers   = 4
	maxAnswerBody   = 3 << 20                // bytes; relays take no more
	maxAnswerTries  = 3                      // of an answer that has no deadline,
	answerPatience  = 30 * time.Second       // within this time
	tryTimeout      = 10 * time.Second       // for one try
	firstAnswerWait = 600 * time.Millisecond // ceiling of the first wait between tries
	maxAnswerWait   = 5 * time.Second        // highest ceiling
	flushTimeout    = 2 * time.Second        // to send what is left when Run's context has ended
)

// Outcomes that a Response may have.
const (
	OutcomeSent   = "sent"
	OutcomeFailed = "failed"
)

// Response is the answer to a webhook, or what became of it.
type Response struct {
	ID      string      // of the message; without one there is nothing to answer
	Status  int         // for the webhook's sender; 0: 200, or 500 where it failed
	Header  http.Header // for the sender; a value that is not one line is left out
	Body    []byte      // for the sender; more than 3 MiB make it a failure without a body
	Outcome string      // OutcomeSent, OutcomeFailed, or "" while it is open
	Retries int         // how often what the webhook started was tried again

	// Refusal says that the webhook was turned away. Anybody can have that done
	// many times, so such answers are sent after all others, are dropped before
	// them, and are a quarter at most of those that may wait.
	Refusal bool

	// Deadline is when the answer is of no more use; it is tried until then.
	// Zero: it is of use at any time, and is tried three times in 30 s.
	Deadline time.Time
}

// AnswerOptions says which relay to answer to. URL, Key and Secret are required.
type AnswerOptions struct {
	URL         string // of the relay's socket, as in Options
	Insecure    bool   // as in Options
	Key, Secret string

	Client    *http.Client // nil: one of its own; redirects are never followed
	Log       *slog.Logger // nil: nothing is logged
	UserAgent string       // "": hookrun

	// Hurry is closed when nobody wants to wait any more for what is left to be
	// sent once Run's context ended. nil: never.
	Hurry <-chan struct{}
}

// Answers sends answers to the webhooks of one relay. Make one with NewAnswers.
type Answers struct {
	opts   AnswerOptions
	client *http.Client
	queue  *answerQueue

	base *url.URL // of /v1/logs/; set by Run before it starts anything

	mu      sync.Mutex // guards all below
	sent    int64      // answers that the relay took
	failed  int64      // answers that it did not take
	failing string     // the kind of failure of the last; "" if it was taken
}

// NewAnswers returns a sender that sends nothing until Run.
func NewAnswers(o AnswerOptions) *Answers {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.UserAgent = cmp.Or(o.UserAgent, "hookrun")
	client := &http.Client{}
	if o.Client != nil {
		*client = *o.Client
	}
	if client.Transport == nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConnsPerHost = answerWorkers
		client.Transport = transport
	}
	// Key and secret, and the answer, go nowhere but where they were told to.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Answers{opts: o, client: client, queue: newAnswerQueue()}
}

// Send has an answer sent. It never waits: where too many are to be sent, the
// oldest are dropped, refusals before others, and counted. The answer must not be changed afterwards.
func (a *Answers) Send(r Response) {
	if r.ID == "" {
		return
	}
	if len(r.Body) > maxAnswerBody {
		a.opts.Log.Warn("an answer is too large for the relay, it is told of a failure in its place",
			"delivery", r.ID, "bytes", len(r.Body))
		r.Status, r.Header, r.Body, r.Outcome = http.StatusInternalServerError, nil, nil, OutcomeFailed
	}
	if begins := a.queue.put(r); begins {
		a.opts.Log.Warn("answers to webhooks are dropped: the relay takes them too slowly", "relay", a.host())
	}
}

// Run sends answers until ctx ends; then it sends what is left for 2 s at most,
// or until Hurry, and returns nil. An error means that the options are wrong and nothing was
// tried. Run may be called once.
func (a *Answers) Run(ctx context.Context) error {
	u, err := access{a.opts.URL, a.opts.Insecure, a.opts.Key, a.opts.Secret}.check()
	if err != nil {
		return err
	}
	a.base = logsURL(u)
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	var workers, bound sync.WaitGroup
	for range answerWorkers {
		workers.Go(func() { a.work(sending) })
	}
	<-ctx.Done()
	a.queue.finish()
	bound.Go(func() {
		defer giveUp()
		a.boundFlush(sending)
	})
	workers.Wait()
	giveUp()
	bound.Wait()
	a.client.CloseIdleConnections()
	a.logStopped()
	return nil
}

// boundFlush returns when answers are to be sent no longer.
func (a *Answers) boundFlush(sending context.Context) {
	t := time.NewTimer(flushTimeout)
	defer t.Stop()
	select {
	case <-t.C:
	case <-a.opts.Hurry:
	case <-sending.Done(): // all are sent
	}
}

// logsURL is where answers go, beside the socket.
func logsURL(socket *url.URL) *url.URL {
	u := apiURL(socket)
	u.Path += "/v1/logs/"
	return u
}

// apiURL is what comes before /v1 in the URLs of the relay's HTTP interface.
func apiURL(socket *url.URL) *url.URL {
	scheme := "https"
	if socket.Scheme == "ws" {
		scheme = "http"
	}
	prefix, ok := strings.CutSuffix(socket.Path, "/v1/socket")
	if !ok {
		prefix = ""
	}
	return &url.URL{Scheme: scheme, Host: socket.Host, Path: prefix}
}

// API returns what comes before /v1 in the URLs of a relay's HTTP interface. o is
// checked as Run does it.
func (o AnswerOptions) API() (*url.URL, error) {
	u, err := access{o.URL, o.Insecure, o.Key, o.Secret}.check()
	if err != nil {
		return nil, err
	}
	return apiURL(u), nil
}

func (a *Answers) host() string {
	u, err := url.Parse(a.opts.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// work sends answers one after the other until there are no more, or sending
// ends.
func (a *Answers) work(sending context.Context) {
	for {
		r, ok := a.queue.take(sending)
		if !ok {
			return
		}
		a.note(r, a.deliver(sending, r))
	}
}

// errLate tells that an answer's deadline passed before it could be tried.
var errLate = errors.New("its time had passed")

// deliver sends one answer, again where that can help, until its time is over.
func (a *Answers) deliver(ctx context.Context, r Response) error {
	body, err := json.Marshal(r.wire())
	if err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	until, always := r.Deadline, r.Deadline.IsZero()
	if always {
		until = time.Now().Add(answerPatience)
	}
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	if ctx.Err() != nil {
		return errLate
	}
	retry := backoff{first: firstAnswerWait, most: maxAnswerWait}
	for try := 1; ; try++ {
		again, err := a.put(ctx, r.ID, body)
		wait := retry.next()
		if !again || always && try == maxAnswerTries || time.Until(until) <= wait {
			return err
		}
		if sleep(ctx, wait); ctx.Err() != nil {
			return err
		}
	}
}

// note counts an answer, and logs when answers begin not to be taken, and when
// they are again, but not each of them.
func (a *Answers) note(r Response, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err == nil {
		a.sent++
		if a.failing != "" {
			a.opts.Log.Info("the relay takes answers again", "relay", a.base.Host, "failed", a.failed)
		}
		a.failing = ""
		return
	}
	a.failed++
	text := errorText(err, a.opts.Secret)
	if isLate(r, err) {
		a.opts.Log.Debug("an answer came too late for the relay", "relay", a.base.Host, "delivery", r.ID, "err", text)
		return
	}
	level, kind := slog.LevelDebug, failureKind(err)
	if a.failing != kind {
		level = slog.LevelWarn
	}
	a.failing = kind
	a.opts.Log.Log(context.Background(), level, "the relay does not take an answer",
		"relay", a.base.Host, "delivery", r.ID, "outcome", r.Outcome, "err", text)
}

// isLate reports whether err is no fault but the relay's having closed the
// webhook: how a long run ended is mostly told in vain.
func isLate(r Response, err error) bool {
	var se *statusError
	closed := errors.As(err, &se) && (se.status == http.StatusBadRequest || se.status == http.StatusNotFound)
	return errors.Is(err, errLate) || closed && !time.Now().Before(r.Deadline)
}

// failureKind is the same for failures that one line in the log is enough for.
func failureKind(err error) string {
	var se *statusError
	if errors.As(err, &se) {
		return se.Error()
	}
	return "no reply"
}

func (a *Answers) logStopped() {
	a.mu.Lock()
	defer a.mu.Unlock()
	dropped, left := a.queue.counts()
	a.opts.Log.Info("answers to the relay stopped", "relay", a.base.Host, "sent", a.sent, "failed", a.failed,
		"dropped", dropped, "left", left)
}
