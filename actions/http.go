package actions

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hookrun/engine"
)

// Bounds of a call.
const (
	callTimeout   = 30 * time.Second // of one call whose HTTP.Timeout is 0
	maxRedirects  = 5                // followed by one call
	maxRetryAfter = time.Hour        // that the other side can make us wait
	maxHeader     = 32 << 10         // bytes kept of an answer's header
)

// HTTP makes one HTTP call. It follows redirects, but never from https to http,
// and tells another host nothing of what the rule puts into the header.
//
// A host that the rule does not name, but the event or a redirect, is reached
// only where it is on the public internet or in Allow.
type HTTP struct {
	URL     *engine.Template // http or https
	Method  string           // "" is POST where there is a body, else GET
	Header  []Var
	Body    *engine.Template // nil: none
	JSON    any              // nil: none. A tree of map[string]any, []any, *engine.Template, string, int, float64, bool and nil
	Expect  []StatusRange    // empty: 200–299
	Timeout time.Duration    // of one call; 0: 30 s, even where the rule's timeout is longer. The step's own time may be shorter
	Client  *http.Client     // required; its CheckRedirect is not used
	Allow   []Allowed        // what a host that the rule does not name may be

	resolver *net.Resolver // for tests; nil: the system's
}

// StatusRange is a range of HTTP status codes, both ends in it.
type StatusRange struct{ From, To int }

var _ engine.Action = HTTP{}

// Kind implements engine.Action.
func (h HTTP) Kind() string { return "http" }

// Plan implements engine.Action. It does not ask where a host is: one that is not
// allowed is refused by Do.
func (h HTTP) Plan(in engine.Input) (engine.Plan, error) {
	c, err := h.render(in)
	if err != nil {
		return engine.Plan{}, err
	}
	return c.plan(), nil
}

// Do implements engine.Action. Of the answer's body the first engine.MaxOutput
// bytes are kept.
func (h HTTP) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	c, err := h.render(in)
	if err != nil {
		return engine.Output{}, err
	}
	timeout := h.Timeout
	if timeout == 0 {
		timeout = callTimeout
	}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, fmt.Errorf("%w after %s", engine.ErrTimeout, timeout))
	defer cancel()
	in.Planned(c.plan())
	return h.send(ctx, c)
}

// call is what a rule and an event come to.
type call struct {
	method string
	url    *url.URL
	own    bool             // the rule itself names the host
	ours   http.Header      // what we say of ourselves and of the body
	rules  http.Header      // what the rule says: for this host alone
	said   []engine.PlanVar // the same, in its order
	body   *string          // nil: none
}

func (c call) plan() engine.Plan {
	return engine.Plan{Method: c.method, URL: c.url.String(), Header: c.said, Body: c.body}
}

// String names the call for people. Path and query may hold secrets, and a host
// that the event names is a value of the event.
func (c call) String() string {
	if !c.own {
		return c.method + " to the host of the event"
	}
	return fmt.Sprintf("%s %s://%s", c.method, c.url.Scheme, c.url.Host)
}

func (h HTTP) render(in engine.Input) (call, error) {
	c := call{method: h.Method, ours: http.Header{}, rules: http.Header{}}
	var err error
	if c.own = namesHost(h.URL); c.own {
		c.url, err = h.renderURL(in)
	} else {
		c.url, err = h.renderWhole(in)
	}
	if err != nil {
		return c, err
	}
	if c.body, err = h.renderBody(in); err != nil {
		return c, err
	}
	if h.Body == nil && h.JSON != nil {
		c.ours.Set("Content-Type", "application/json")
	}
	if c.method == "" {
		c.method = http.MethodGet
		if c.body != nil {
			c.method = http.MethodPost
		}
	}
	c.ours.Set("User-Agent", "hookrun")
	c.ours.Set("Idempotency-Key", in.Run+"-"+in.Step) // the same for every attempt
	for _, v := range h.Header {
		if err := c.setHeader(v, in); err != nil {
			return c, err
		}
	}
	if in.Via != "" { // last, so that no rule hides a loop
		c.rules.Del(engine.ViaHeader)
		c.ours.Set(engine.ViaHeader, in.Via)
	}
	return c, nil
}

// renderBody returns nil where the call has no body.
func (h HTTP) renderBody(in engine.Input) (*string, error) {
	var s string
	var err error
	switch {
	case h.Body != nil:
		s, err = render("body", h.Body, in)
	case h.JSON != nil:
		s, err = renderJSON(h.JSON, in)
	default:
		return nil, nil
	}
	return &s, err
}

// namesHost reports whether scheme and host stand in the rule itself.
func namesHost(t *engine.Template) bool {
	if _, whole := t.Literal(); whole {
		return true
	}
	_, rest, _ := strings.Cut(t.LeadingLiteral(), "://")
	return strings.ContainsAny(rest, "/?#")
}

// renderURL lets nothing but the rule itself choose the host, and the parts of
// the URL: what comes from outside is escaped.
func (h HTTP) renderURL(in engine.Input) (*url.URL, error) {
	text, err := h.URL.RenderWith(in.Scope, escapeURL)
	if err != nil {
		return nil, engine.Permanent(fmt.Errorf("http: %w", err))
	}
	fixed := h.URL.LeadingLiteral()
	if scheme, rest, _ := strings.Cut(fixed, "://"); strings.ContainsAny(rest, "/?#") {
		fixed = scheme + "://" + rest[:strings.IndexAny(rest, "/?#")]
	}
	want, err := url.Parse(fixed)
	if err != nil || !isWeb(want) {
		return nil, engine.Permanent(errors.New("http: not an http or https URL"))
	}
	u, err := url.Parse(text) // its error would show the URL
	if err != nil || u.Scheme != want.Scheme || u.Host != want.Host {
		return nil, engine.Permanent(fmt.Errorf("http: what the event makes of it is not a URL at %s://%s", want.Scheme, want.Host))
	}
	return u, nil
}

func isWeb(u *url.URL) bool { return u.Hostname() != "" && (u.Scheme == "http" || u.Scheme == "https") }

// escapeURL keeps a value inside the part of the URL that it stands in. In the
// path it may have slashes, as in "acme/widget", but not lead upwards.
func escapeURL(before, value string) (string, error) {
	if strings.ContainsAny(before, "?#") {
		return url.QueryEscape(value), nil
	}
	if value == "" && strings.HasSuffix(before, "/") {
		return "", errors.New("a value in the path of the URL is empty")
	}
	segments := strings.Split(value, "/")
	for i, s := range segments {
		if s == "." || s == ".." {
			return "", fmt.Errorf("a value in the path of the URL holds %q", s)
		}
		segments[i] = url.PathEscape(s)
	}
	return strings.Join(segments, "/"), nil
}

// tokenChars are those of a header's name (RFC 9110, 5.6.2).
const tokenChars = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func (c *call) setHeader(v Var, in engine.Input) error {
	if v.Name == "" || strings.Trim(v.Name, tokenChars) != "" {
		return engine.Permanent(fmt.Errorf("headers: %q is not the name of one", v.Name))
	}
	s, err := render("header "+v.Name, v.Value, in)
	if err != nil {
		return err
	}
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
		return engine.Permanent(fmt.Errorf("header %s holds a control character", v.Name))
	}
	c.ours.Del(v.Name)
	c.rules.Add(v.Name, s)
	c.said = append(c.said, engine.PlanVar{Name: v.Name, Value: s})
	return nil
}

// renderJSON renders the texts of a tree and returns it as compact JSON.
func renderJSON(tree any, in engine.Input) (string, error) {
	v, err := renderTree("json", tree, in)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // it is not put into a page
	if err := enc.Encode(v); err != nil {
		return "", engine.Permanent(fmt.Errorf("json: %w", err))
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func renderTree(field string, tree any, in engine.Input) (any, error) {
	var err error
	switch node := tree.(type) {
	case *engine.Template:
		s, err := render(field, node, in)
		if err == nil && !utf8.ValidString(s) { // an encoder would put something else in its place
			err = engine.Permanent(fmt.Errorf("%s is not UTF-8, which JSON can't hold", field))
		}
		return s, err
	case map[string]any:
		m := make(map[string]any, len(node))
		for _, k := range slices.Sorted(maps.Keys(node)) {
			if m[k], err = renderTree(field+"."+k, node[k], in); err != nil {
				return nil, err
			}
		}
		return m, nil
	case []any:
		l := make([]any, len(node))
		for i := range node {
			if l[i], err = renderTree(fmt.Sprintf("%s[%d]", field, i), node[i], in); err != nil {
				return nil, err
			}
		}
		return l, nil
	}
	return tree, nil
}

// send makes the call.
func (h HTTP) send(ctx context.Context, c call) (engine.Output, error) {
	req, err := c.request(ctx)
	if err != nil {
		return engine.Output{}, engine.Permanent(fmt.Errorf("%s: %w", c, err))
	}
	client := *h.Client
	client.Transport = h.route(c)
	client.CheckRedirect = func(next *http.Request, via []*http.Request) error {
		return h.redirect(c, next, via)
	}
	resp, err := client.Do(req)
	if err != nil {
		return engine.Output{}, c.sendError(ctx, err)
	}
	defer resp.Body.Close()
	// One byte more, to see the end of a body that just fits: only then the
	// connection is of further use.
	body, err := io.ReadAll(io.LimitReader(resp.Body, engine.MaxOutput+1))
	out := engine.Output{
		Status: resp.StatusCode,
		Header: keptHeader(resp.Header),
		Body:   string(body[:min(len(body), engine.MaxOutput)]),
	}
	if !h.expected(resp.StatusCode) {
		return out, c.statusError(resp)
	}
	if err != nil {
		return out, c.sendError(ctx, err)
	}
	return out, nil
}

func (c call) request(ctx context.Context) (*http.Request, error) {
	body := ""
	if c.body != nil {
		body = *c.body
	}
	req, err := http.NewRequestWithContext(ctx, c.method, c.url.String(), strings.NewReader(body))
	if err != nil {
		return nil, errors.New("not a request that can be made")
	}
	maps.Copy(req.Header, c.ours)
	maps.Copy(req.Header, c.rules)
	if host := c.rules.Get("Host"); host != "" {
		req.Host = host
	}
	return req, nil
}

// redirect decides whether to follow one. What the rule puts into the header is
// for the host that the rule names, and stays away from the first other host
// on; so does Referer, which would tell the query.
func (h HTTP) redirect(c call, next *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case h.expected(next.Response.StatusCode):
		return http.ErrUseLastResponse
	case next.URL.Scheme != "http" && next.URL.Scheme != "https":
		return engine.Permanent(errors.New("redirected to what is neither http nor https"))
	case last.URL.Scheme == "https" && next.URL.Scheme == "http":
		return engine.Permanent(errors.New("redirected from https to http"))
	case len(via) > maxRedirects:
		return engine.Permanent(fmt.Errorf("redirected more than %d times", maxRedirects))
	}
	next.Header.Del("Referer")
	left := next.URL.Host != c.url.Host ||
		slices.ContainsFunc(via, func(r *http.Request) bool { return r.URL.Host != c.url.Host })
	if !left {
		return nil
	}
	if next.Body != nil && next.Body != http.NoBody {
		return engine.Permanent(errors.New("redirected to another host, which is not to see the body"))
	}
	for name := range c.rules {
		next.Header.Del(name)
	}
	return nil
}

func (h HTTP) expected(status int) bool {
	if len(h.Expect) == 0 {
		return status >= 200 && status <= 299
	}
	return slices.ContainsFunc(h.Expect, func(r StatusRange) bool { return r.From <= status && status <= r.To })
}

// statusError says what was answered, and whether and when another try may
// help.
func (c call) statusError(resp *http.Response) error {
	status := strings.TrimSpace(fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	err := fmt.Errorf("%s answered %s", c, status) // not resp.Status, which is the other side's text
	switch code := resp.StatusCode; {
	case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
		if wait := retryAfter(resp.Header.Get("Retry-After")); wait > 0 {
			return engine.RetryAfter(err, wait)
		}
		return err
	}
	return engine.Permanent(err)
}

// retryAfter reads a Retry-After header: seconds or a date (RFC 9110, 10.2.3).
// What it can't read, and what is past, is 0.
func retryAfter(value string) time.Duration {
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(time.Until(at), 0), maxRetryAfter)
	}
	return 0
}

// sendError takes out of an error of the client the URL, which may hold secrets,
// and what it quotes of an answer, which may repeat what was sent.
func (c call) sendError(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", c, cutOff(ctx))
	}
	if pe, ok := errors.AsType[*privateError](err); ok {
		return engine.Permanent(fmt.Errorf("%s: %w", c, pe))
	}
	if ue, ok := errors.AsType[*url.Error](err); ok {
		err = ue.Err
	}
	if !c.own {
		return fmt.Errorf("%s: %w", c, c.withoutHost(err))
	}
	if strings.HasPrefix(err.Error(), "failed to parse Location header") {
		err = engine.Permanent(errors.New("redirected to what is not a URL")) // it may quote ours
	}
	said, _, quotes := strings.Cut(err.Error(), `"`)
	if quotes && (strings.HasPrefix(said, "net/http: ") || strings.HasPrefix(said, "http2: ")) {
		err = errors.New(strings.TrimRight(said, " :=["))
	}
	return fmt.Errorf("%s: %w", c, err)
}

// keptHeader keeps the names of an answer's header that come first in the
// alphabet, up to maxHeader bytes.
func keptHeader(all http.Header) http.Header {
	kept, size := http.Header{}, 0
	for _, name := range slices.Sorted(maps.Keys(all)) {
		size += len(name)
		for _, v := range all[name] {
			size += len(v)
		}
		if size > maxHeader {
			break
		}
		kept[name] = all[name]
	}
	return kept
}
