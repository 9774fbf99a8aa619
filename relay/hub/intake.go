package hub

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"

	"hookrun/relay/account"
	"hookrun/relay/server"
)

var _ server.Inbox = (*Hub)(nil)

// Known implements server.Inbox. What is not known is answered by Route.
func (h *Hub) Known(string) bool { return true }

// limiter bounds the webhooks of an input.
type limiter struct {
	rate int // that it was made for
	*rate.Limiter
}

// Route finds the input that a request is for: by its custom domain, or by its
// id in the path. ok is false where the request is for no input by its address.
func (h *Hub) Route(r *http.Request) (t server.Target, ok bool) {
	a := h.o.Book.Now()
	path := r.URL.EscapedPath()
	b, in, rest := h.endpoint(a, hostname(r.Host), path)
	if in == nil {
		after, isHook := strings.CutPrefix(path, "/v1/webhooks/")
		if !isHook {
			return server.Target{}, false
		}
		id, tail, _ := strings.Cut(after, "/")
		if unescaped, err := url.PathUnescape(id); err == nil {
			b, in = a.Input(unescaped)
		}
		rest = "/" + tail
	}
	if in == nil || b.Suspended {
		return server.Target{Reply: h.unknownInput(r)}, true
	}
	if reply := h.admit(b, r); reply != nil {
		return server.Target{Reply: reply}, true
	}
	t = server.Target{Bucket: in.ID, Path: rest, MaxBody: maxBody}
	if b.LargeWebhooks {
		t.MaxBody = maxLargeBody
	}
	return t, true
}

// endpoint finds an input by its custom domain.
func (h *Hub) endpoint(a *account.Account, host, path string) (b *account.Bucket, in *account.Input, rest string) {
	if h.o.Own != nil && h.o.Own(host) {
		return nil, nil, ""
	}
	return a.Endpoint(host, path)
}

func hostname(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return name
	}
	return host
}

// UnknownInputs is how many requests came to inputs that are not there.
func (h *Hub) UnknownInputs() int64 { return h.unknown.Load() }

// unknownInput answers a request to an input that is not there. The log does not
// say which: that may be another's, with one wrong letter.
func (h *Hub) unknownInput(r *http.Request) *server.Custom {
	h.unknown.Add(1)
	if h.strangers.Allow() {
		h.log.Warn("a webhook came to an input that is not there; `hookrun relay inputs` lists those that are", "remote", h.o.Address(r))
	}
	return h.notThere()
}

// notThere is the answer where there is no input: a stranger learns nothing from
// it, unless whoever runs the relay wants senders to see their mistake.
func (h *Hub) notThere() *server.Custom {
	if h.o.Strict != nil && h.o.Strict() {
		return &server.Custom{Status: http.StatusNotFound, Body: []byte("unknown input\n")}
	}
	return &server.Custom{Status: http.StatusOK}
}

// admit returns the answer to a sender who may not send; nil for others.
func (h *Hub) admit(b *account.Bucket, r *http.Request) *server.Custom {
	if b.Auth.Type == "" || b.Auth.Type == account.AuthNone {
		return nil
	}
	from := h.o.Address(r)
	if h.o.Senders != nil && !h.o.Senders.Allowed(from) {
		return &server.Custom{
			Status: http.StatusTooManyRequests, Body: []byte("too many wrong passwords or tokens\n"), Header: http.Header{"Retry-After": {"5"}},
		}
	}
	if authorized(b.Auth, r) {
		return nil
	}
	if h.o.Senders != nil {
		h.o.Senders.Failed(from)
	}
	if h.refusals.Allow() {
		h.log.Warn("a sender is refused: it does not show what the bucket asks for", "bucket", b.Name, "remote", from)
	}
	asks := http.Header{"Www-Authenticate": {"Bearer"}}
	if b.Auth.Type == account.AuthBasic {
		asks = http.Header{"Www-Authenticate": {`Basic realm="webhooks"`}}
	}
	return &server.Custom{Status: http.StatusUnauthorized, Body: []byte("Unauthorized"), Header: asks}
}

// authorized reports whether a sender shows what the bucket asks for.
func authorized(x account.Auth, r *http.Request) bool {
	switch x.Type {
	case "", account.AuthNone:
		return true
	case account.AuthBasic:
		user, password, ok := r.BasicAuth()
		return ok && same(user, x.Username) && same(password, x.Password)
	case account.AuthToken:
		kind, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		return strings.EqualFold(kind, "Bearer") && same(strings.TrimSpace(token), x.Token)
	}
	return false
}

// same compares in a time that tells nothing of either.
func same(got, want string) bool {
	g, w := sha256.Sum256([]byte(got)), sha256.Sum256([]byte(want))
	return subtle.ConstantTimeCompare(g[:], w[:]) == 1
}

// errRate turns a webhook away that its input takes at another time.
func errRate() error {
	return &server.Refused{Status: http.StatusTooManyRequests, Text: "too many webhooks to this input", Header: http.Header{"Retry-After": {"1"}}}
}

func (h *Hub) inRate(in *account.Input) bool {
	if in.Rate == 0 {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l := h.limits[in.ID]
	if l == nil || l.rate != in.Rate {
		l = &limiter{in.Rate, rate.NewLimiter(rate.Limit(in.Rate), in.Rate)}
		h.limits[in.ID] = l
	}
	return l.Allow()
}

// Deliver implements server.Inbox: w.Bucket is the id of an input. The answer is
// the input's static response, or that of an output where the input says so.
func (h *Hub) Deliver(ctx context.Context, w server.Webhook) (server.Answer, error) {
	a := h.o.Book.Now()
	b, in := a.Input(w.Bucket)
	if in == nil { // gone since it was found
		return server.Answer{Custom: h.notThere()}, nil
	}
	if !h.inRate(in) {
		return server.Answer{}, errRate()
	}
	logs, err := h.logs(b, in, w)
	if err != nil {
		return server.Answer{}, err
	}
	if len(w.Body)*len(logs) > maxLargeBody {
		return server.Answer{}, &server.Refused{Status: http.StatusRequestEntityTooLarge, Text: "the body is too large for so many outputs"}
	}
	ds := make([]*delivery, len(logs))
	for i, l := range logs {
		ds[i] = newDelivery(l, a)
	}
	answer := server.Answer{Custom: static(in)}
	if wait := h.awaits(in, ds); wait != nil {
		answer.Later = wait.answer
		if err := h.accept(ctx, ds); err != nil {
			h.giveUp(wait)
			return server.Answer{}, err
		}
		return answer, nil
	}
	if b.Hasty && h.acceptLater(ds) {
		return answer, nil
	}
	return answer, h.accept(ctx, ds)
}

// static is an input's own answer.
func static(in *account.Input) *server.Custom {
	c := &server.Custom{Status: in.StatusCode, Body: []byte(in.Body), Header: sandboxed(http.Header(in.Headers))}
	if c.Status == 0 {
		c.Status = http.StatusOK
	}
	return c
}

// sandboxed is the header of an answer that others decide: a page among them must
// not act as its reader at this host, where the API is too.
func sandboxed(h http.Header) http.Header {
	if h.Get("Content-Security-Policy") != "" {
		return h
	}
	h = h.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Set("Content-Security-Policy", "sandbox")
	return h
}

// accept returns when the deliveries are on disk.
func (h *Hub) accept(ctx context.Context, ds []*delivery) error {
	logs := make([]*account.Log, len(ds))
	toSend := false
	for i, d := range ds {
		logs[i] = d.log
		toSend = toSend || !d.log.Next.IsZero()
	}
	err := h.o.Store.Accept(ctx, logs, func() { h.publish(ds) })
	switch {
	case err == nil && toSend && h.o.Wake != nil:
		h.o.Wake()
	case err != nil && ctx.Err() == nil:
		return fmt.Errorf("%w: %w", server.ErrUnavailable, err)
	}
	return err
}

// acceptLater stores deliveries after their sender was answered. It reports
// false where too many are on their way to the disk.
func (h *Hub) acceptLater(ds []*delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.life == nil || h.ended || !h.hasty.take(ds[0].bytes) {
		return false
	}
	h.wg.Go(func() {
		defer func() {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.hasty.give(ds[0].bytes)
		}()
		ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
		defer cancel()
		if err := h.accept(ctx, ds); err != nil {
			h.log.Error("a webhook whose sender was told that it was taken could not be stored", "bucket", ds[0].log.BucketID, "err", err)
		}
	})
	return true
}

// logs are the deliveries that a webhook makes: one for each output that takes
// it, and one where the bucket has no outputs. A webhook that no output takes is
// kept too.
func (h *Hub) logs(b *account.Bucket, in *account.Input, w server.Webhook) ([]*account.Log, error) {
	webhook, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("name the webhook: %w", err)
	}
	proto := account.Log{
		WebhookID: webhook.String(), BucketID: b.ID, InputID: in.ID, Internal: b.Stream, Status: account.StatusReceived,
		Received: w.Received, Updated: w.Received,
		Method: w.Method, Path: w.Path, Query: w.Query, Header: shown(b.Auth, w.Header), Body: w.Body, IP: address(w.Remote),
	}
	var logs []*account.Log
	for i := range b.Outputs {
		out := &b.Outputs[i]
		takes, err := h.matches(out, &proto)
		if err != nil {
			h.log.Error("an output's rules can't be asked; it gets the webhook", "bucket", b.Name, "output", out.Name, "err", err)
		}
		if !takes {
			continue
		}
		l := proto
		l.OutputID = out.ID
		if !out.Internal {
			l.Internal, l.Status, l.Next = false, account.StatusPreparing, w.Received
		}
		logs = append(logs, &l)
	}
	if len(logs) == 0 {
		if len(b.Outputs) > 0 {
			proto.Internal, proto.Status = false, account.StatusRejected
		}
		logs = append(logs, &proto)
	}
	for _, l := range logs {
		id, err := uuid.NewV7()
		if err != nil {
			return nil, fmt.Errorf("name the delivery: %w", err)
		}
		l.ID = id.String()
	}
	return logs, nil
}

// shown is a webhook's header without what the sender had to show: that is a
// secret of the bucket, and for nobody behind it.
func shown(x account.Auth, h http.Header) http.Header {
	if x.Type == "" || x.Type == account.AuthNone {
		return h
	}
	h = h.Clone()
	h.Del("Authorization")
	return h
}

// matches reports whether an output is to get a webhook.
func (h *Hub) matches(out *account.Output, l *account.Log) (bool, error) {
	if out.Disabled {
		return false, nil
	}
	if out.Rules == nil || h.o.Match == nil {
		return true, nil
	}
	takes, err := h.o.Match(out.Rules, l)
	return takes || err != nil, err
}

// address is a remote without its port.
func address(remote string) string {
	if host, _, err := net.SplitHostPort(remote); err == nil {
		return host
	}
	return remote
}

// Resend has a delivery sent once more, to the output of that id or name, or
// where it went before. Unless force is set, one that was taken is left alone
// and returned as it is. An error wraps account.ErrNotFound where the delivery,
// its bucket or the output is gone.
func (h *Hub) Resend(ctx context.Context, id, output string, force bool) (*account.Log, error) {
	old, err := h.o.Store.Log(ctx, id)
	if err != nil {
		return nil, err
	}
	if old.Status == account.StatusSent && !force {
		return old, nil
	}
	a := h.o.Book.Now()
	b := a.Bucket(old.BucketID)
	if b == nil {
		return nil, fmt.Errorf("the bucket of delivery %s: %w", id, account.ErrNotFound)
	}
	name, err := uuid.NewV7()
	if err != nil {
		return nil, fmt.Errorf("name the delivery: %w", err)
	}
	l := account.Log{
		ID: name.String(), WebhookID: old.WebhookID, BucketID: old.BucketID, InputID: old.InputID, OutputID: old.OutputID,
		Internal: b.Stream, Status: account.StatusReceived, Received: time.Now().UTC(), Resent: old.ID,
		Method: old.Method, Path: old.Path, Query: old.Query, Header: old.Header, Body: old.Body, IP: old.IP,
	}
	l.Updated = l.Received
	if output != "" {
		out := b.Output(output)
		if out == nil {
			return nil, fmt.Errorf("output %q of delivery %s: %w", output, id, account.ErrNotFound)
		}
		l.OutputID = out.ID
	}
	if out := b.Output(l.OutputID); l.OutputID != "" && out != nil && !out.Internal {
		l.Internal, l.Status, l.Next = false, account.StatusPreparing, l.Received
	}
	if err := h.accept(ctx, []*delivery{newDelivery(&l, a)}); err != nil {
		return nil, err
	}
	return &l, nil
}
