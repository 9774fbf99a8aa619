package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"hookrun/relay/account"
)

// Bounds of one try.
const (
	defaultTimeout = 30 * time.Second // of an output that names none
	maxAnswer      = 3 << 20          // bytes kept of an answer; of a longer one none
	maxHops        = 10               // outputs that a webhook goes through
)

// Headers of ours.
const (
	deliveryHeader = "X-Hookrun-Delivery" // the delivery's id, the same for each try
	hopsHeader     = "X-Hookrun-Hops"     // how many relays like this it came through
)

// permanent is of what a further try can't mend.
type permanent struct{ text string }

func (e *permanent) Error() string { return e.text }

// try sends a delivery to an output once.
func (f *Forwarder) try(ctx context.Context, l *account.Log, out *account.Output) result {
	switch {
	case out == nil:
		return result{err: &permanent{"the output is there no more"}, final: true}
	case out.Disabled:
		return result{err: &permanent{"the output is disabled"}, final: true}
	case out.Internal:
		return result{err: &permanent{"the output has become internal"}, final: true}
	}
	timeout := defaultTimeout
	if out.Timeout > 0 {
		timeout = time.Duration(out.Timeout) * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, &slow{timeout})
	defer cancel()
	req, err := f.request(ctx, l, out)
	if err != nil {
		return result{err: err, final: true}
	}
	resp, err := f.send(req, out.TLSVerification)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return result{err: err}
	}
	defer resp.Body.Close()
	return read(resp)
}

// read reads an answer. One that is cut off or too long was an answer all the
// same: its status counts, its body is left out.
func read(resp *http.Response) result {
	r := result{status: resp.StatusCode, header: EndToEnd(resp.Header)}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(body) <= maxAnswer {
		r.body = body
	}
	return r
}

// request makes the request of a delivery.
func (f *Forwarder) request(ctx context.Context, l *account.Log, out *account.Output) (*http.Request, error) {
	u, err := target(l, out)
	if err != nil {
		return nil, err
	}
	if l.Method == http.MethodConnect {
		return nil, &permanent{"the method CONNECT can't be forwarded"}
	}
	hops, _ := strconv.Atoi(l.Header.Get(hopsHeader)) // none, and what is no number, is 0
	if hops >= maxHops {
		return nil, &permanent{fmt.Sprintf("it came through %d relays: outputs lead back to where it came in", hops)}
	}
	req, err := http.NewRequestWithContext(ctx, l.Method, u.String(), bytes.NewReader(l.Body))
	if err != nil {
		return nil, &permanent{"its method or the destination can't be sent"}
	}
	req.Header = f.header(l)
	req.Header.Set(hopsHeader, strconv.Itoa(max(hops, 0)+1))
	if user := u.User; user != nil {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	for name, values := range out.Headers {
		name = http.CanonicalHeaderKey(name)
		switch {
		case name == "Host" && len(values) > 0:
			req.Host = values[0]
		case name != hopsHeader && !ofConnection(name, nil):
			req.Header[name] = values
		}
	}
	return req, nil
}

// target is where a delivery goes to.
func target(l *account.Log, out *account.Output) (*url.URL, error) {
	path := l.Path
	if out.LockPath {
		path = "/"
	}
	return Join(out.Destination, path, l.Query)
}

// Join is where a webhook with this path, percent-encoded, and raw query goes to:
// both come behind those of the destination. A path that leads upwards is an
// error, as it would leave the destination's own. An error holds nothing of
// either.
func Join(destination, path, query string) (*url.URL, error) {
	u, err := url.Parse(destination)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, &permanent{"the destination is no http or https URL"}
	}
	if path = strings.TrimPrefix(path, "/"); path != "" {
		below, err := url.PathUnescape(path)
		if err != nil || leadsUp(below) {
			return nil, &permanent{"the path of the webhook leads upwards, or can't be decoded"}
		}
		escaped := strings.TrimSuffix(u.EscapedPath(), "/") + "/" + path
		u.Path, u.RawPath = strings.TrimSuffix(u.Path, "/")+"/"+below, escaped
	}
	if query != "" && u.RawQuery != "" {
		u.RawQuery += "&"
	}
	u.RawQuery += query
	return u, nil
}

// leadsUp reports whether a path has an element with which a sender could leave
// the destination's own path.
func leadsUp(path string) bool {
	return slices.Contains(strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }), "..")
}

// header is that of the webhook, as a proxy passes it on.
func (f *Forwarder) header(l *account.Log) http.Header {
	h := EndToEnd(l.Header)
	if l.IP != "" {
		h["X-Forwarded-For"] = []string{strings.Join(append(slices.Clone(h["X-Forwarded-For"]), l.IP), ", ")}
	}
	if h.Get("User-Agent") == "" {
		h.Set("User-Agent", f.opts.UserAgent)
	}
	if h.Get("Idempotency-Key") == "" {
		h.Set("Idempotency-Key", l.ID)
	}
	h.Set(deliveryHeader, l.ID)
	return h
}

// EndToEnd is a header without what concerned the connection or the length: what
// a proxy passes on. The values are shared.
func EndToEnd(h http.Header) http.Header {
	kept := make(http.Header, len(h))
	for name, values := range h {
		if !ofConnection(name, h) {
			kept[name] = values
		}
	}
	return kept
}

// ofConnection reports whether a header is about the connection or the length
// (RFC 9110, 7.6.1), and so not passed on. The Connection of h may name more of them.
func ofConnection(name string, h http.Header) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te",
		"Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Host", "Expect":
		return true
	}
	for part := range strings.SplitSeq(strings.Join(h["Connection"], ","), ",") {
		if strings.EqualFold(strings.TrimSpace(part), name) {
			return true
		}
	}
	return false
}

// slow is of a destination that did not answer in time.
type slow struct{ timeout time.Duration }

func (e *slow) Error() string { return fmt.Sprintf("no answer in %s", e.timeout) }

// reason says to whoever reads the delivery's log why there was no answer. It
// holds no address: who may see the log need not know what a name leads to.
func reason(err error) string {
	var dns *net.DNSError
	var cert *tls.CertificateVerificationError
	_, isPermanent := errors.AsType[*permanent](err)
	_, isSlow := errors.AsType[*slow](err)
	_, isRefused := errors.AsType[*notPublic](err)
	switch {
	case isPermanent, isSlow:
		return err.Error()
	case isRefused:
		return "the destination is not on the public internet; the relay's forward_allow lists what may be reached"
	case errors.As(err, &cert):
		return "the destination's certificate is not trusted; tls_verification of the output decides whether it counts"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "the destination's name does not exist"
	case errors.As(err, &dns):
		return "the destination's name could not be resolved"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the destination refused the connection: nothing listens there"
	}
	return "the connection to the destination could not be made, or broke before it answered"
}
