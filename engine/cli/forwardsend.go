package cli

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"hookrun/relay"
	"hookrun/relay/forward"
)

// maxForwardAnswer is how much of an answer is read, in bytes: one more than a
// relay takes.
const maxForwardAnswer = 3<<20 + 1

// Waits between tries.
const (
	firstRetryWait = 250 * time.Millisecond
	maxRetryWait   = 5 * time.Second
)

// forwarding sends the webhooks of a relay to one server.
type forwarding struct {
	options forwardOptions
	api     *url.URL // of the relay: what comes before /v1
	log     *slog.Logger
	answers *relay.Answers
	client  *http.Client
	hurry   <-chan struct{}
	slots   chan struct{} // a token for each webhook being sent; never closed

	requests sync.WaitGroup // those being sent

	mu  sync.Mutex // guards out
	out screen
}

// handle takes a webhook over, to be sent until sending ends. While many are
// being sent it waits, and so does the relay.
func (f *forwarding) handle(ctx, sending context.Context, m relay.Message) error {
	select {
	case f.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	f.requests.Go(func() {
		defer func() { <-f.slots }()
		f.forward(sending, m)
	})
	return nil
}

// forward sends a webhook, answers its sender and prints a line.
func (f *forwarding) forward(ctx context.Context, m relay.Message) {
	var notes []string
	if m.Lossy {
		notes = append(notes, "the body is not what was sent: this relay can carry text alone; a signature may not fit")
	}
	if f.options.save != "" {
		if err := saveWebhook(f.options.save, m); err != nil {
			notes = append(notes, "it is not saved: "+err.Error())
		}
	}
	started := time.Now()
	a := f.send(ctx, m)
	took := time.Since(started)
	r := relay.Response{ID: m.ID, Status: a.status, Header: a.header, Body: a.body, Outcome: relay.OutcomeSent, Retries: a.retries}
	if a.err != nil || a.status >= 300 {
		r.Outcome = relay.OutcomeFailed
	}
	if a.err != nil {
		notes = append(notes, f.mend(a.err))
	}
	if len(a.body) == maxForwardAnswer {
		notes = append(notes, "the answer has more than 3 MiB: the sender gets a 500 in its place")
	}
	f.answers.Send(r)
	f.print(append([]string{f.line(m, a, took)}, notes...)...)
}

// localAnswer is what the server answered.
type localAnswer struct {
	status  int // 502 or 504 where there was none
	header  http.Header
	body    []byte
	retries int
	err     error // why there was none
}

// send makes the request, again where that may help.
func (f *forwarding) send(ctx context.Context, m relay.Message) localAnswer {
	wait := firstRetryWait
	for tries := 0; ; tries++ {
		a := f.sendOnce(ctx, m)
		a.retries = tries
		var bad *badWebhook
		if tries == f.options.retries || a.status < 500 || errors.As(a.err, &bad) || ctx.Err() != nil {
			return a
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return a
		}
		wait = min(2*wait, maxRetryWait)
	}
}

// badWebhook is of one that can't be sent, however often it is tried.
type badWebhook struct{ err error }

func (e *badWebhook) Error() string { return e.err.Error() }

// lateError is of a server that did not answer in time.
type lateError struct{ after time.Duration }

func (e *lateError) Error() string { return fmt.Sprintf("no answer in %s", e.after) }

func (f *forwarding) sendOnce(ctx context.Context, m relay.Message) localAnswer {
	timeout := time.Duration(f.options.timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &lateError{timeout})
	defer cancel()
	req, err := f.request(ctx, m)
	if err != nil {
		return localAnswer{status: http.StatusBadGateway, err: &badWebhook{err}}
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return unanswered(ctx, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxForwardAnswer))
	if err != nil {
		return unanswered(ctx, fmt.Errorf("the answer broke off: %w", err))
	}
	return localAnswer{status: resp.StatusCode, header: forward.EndToEnd(resp.Header), body: body}
}

func unanswered(ctx context.Context, err error) localAnswer {
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if _, late := errors.AsType[*lateError](err); late {
		return localAnswer{status: http.StatusGatewayTimeout, err: err}
	}
	return localAnswer{status: http.StatusBadGateway, err: err}
}

// request is the webhook's for the server.
func (f *forwarding) request(ctx context.Context, m relay.Message) (*http.Request, error) {
	u, err := forward.Join(f.options.to, pathBelow(m), m.Query)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, methodOf(m), u.String(), bytes.NewReader(m.Body))
	if err != nil {
		return nil, errors.New("its path or query can't be sent")
	}
	req.Header = plainHeader(forward.EndToEnd(m.Header))
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", userAgent())
	}
	return req, nil
}

// pathBelow is the part of the webhook's path that came behind the input's. A
// relay that does not say it shows the path of the output's destination, which
// the URL stands in the place of.
func pathBelow(m relay.Message) string {
	u, err := url.Parse(m.OutputDestination)
	if err == nil && u.Host != "" && u.EscapedPath() == m.Path {
		return "/"
	}
	return m.Path
}

// methodOf is the method, or POST where the relay named none that can be sent.
func methodOf(m relay.Message) string {
	if !isToken(m.Method) || m.Method == http.MethodConnect {
		return http.MethodPost
	}
	return m.Method
}

// plainHeader leaves out what is not one line each: a relay, or what a sender
// wrote, is not trusted to be that.
func plainHeader(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		for _, v := range values {
			if isToken(name) && !strings.ContainsFunc(v, isControl) {
				kept[name] = append(kept[name], v)
			}
		}
	}
	return kept
}

// isToken reports whether a text can be a method, or the name of a header
// (RFC 9110, 5.6.2).
func isToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
	})
}

func isControl(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }

// line says of a webhook what came of it.
func (f *forwarding) line(m relay.Message, a localAnswer, took time.Duration) string {
	path := m.Path
	if f.out.terminal {
		path = clip(path, 40)
	}
	text := fmt.Sprintf("%s  %-6s %-40s %d %8s %9s", m.Read.Local().Format(time.TimeOnly), printable(methodOf(m)), printable(path), a.status, brief(took), weight(len(a.body)))
	if a.retries > 0 {
		text += fmt.Sprintf("  %d tries", a.retries+1)
	}
	return text
}

// weight is a number of bytes as people read it.
func weight(n int) string {
	switch {
	case n < 1000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1_000_000)
}

// print prints a line, and those that belong to it below.
func (f *forwarding) print(lines ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.out.line(lines[0])
	for _, text := range lines[1:] {
		fmt.Fprintln(f.out, "          "+printable(text))
	}
}

// mend says why there was no answer, and what may help.
func (f *forwarding) mend(err error) string {
	host := f.options.to
	if u, parseErr := url.Parse(host); parseErr == nil {
		host = u.Host
	}
	var late *lateError
	var bad *badWebhook
	var dns *net.DNSError
	var ue *url.Error
	var name x509.HostnameError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled):
		return "hookrun was told to end before it was answered"
	case errors.As(err, &late):
		return fmt.Sprintf("%s; -timeout gives it longer, and the sender waits for 10s at most", late)
	case errors.As(err, &bad):
		return "it was not sent: " + bad.Error()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: is your server running on " + host + "?"
	case errors.As(err, &dns):
		return "there is no host " + host + ": is it spelled right?"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "your server on " + host + " speaks no TLS: is it http://?"
	case errors.As(err, &name):
		return "the certificate of your server is for another name than " + host + ": use the one that it is for"
	case errors.As(err, &cert):
		return "this machine does not trust the certificate of your server on " + host + ": SSL_CERT_FILE=ca.pem names a file with that of who signed it; or use http://"
	case errors.As(err, &ue):
		err = ue.Err // without the URL, which may hold secrets
	}
	return fmt.Sprintf("%v: does your server on %s speak HTTP?", err, host)
}
