package manage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Bounds of the client.
const (
	askTimeout = 60 * time.Second
	maxAnswer  = 128 << 20 // bytes of an answer
	maxReason  = 64 << 10  // bytes of one that is not 2xx
	maxMessage = 500       // bytes of what a relay says that are shown
)

// Options of a Client. URL and Secret are required.
type Options struct {
	// URL of the relay: https://hooks.example.org. A path is left out, so that the
	// address of its WebSocket will do, wss://hooks.example.org/v1/socket.
	URL string

	Key    string // "": the secret alone names the token
	Secret string

	// Insecure allows http:// to other machines.
	Insecure bool

	Client    *http.Client // nil: one that goes through the proxy of the environment
	UserAgent string       // "": that of net/http
}

// Client speaks to a relay. Make one with New; it is safe for concurrent use.
type Client struct {
	base   string // https://hooks.example.org
	host   string
	opts   Options
	client http.Client
}

// New returns a client. It connects to nothing. Its error is an *Error.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, &Error{Message: "the relay's address is no URL", Hint: "it looks like https://hooks.example.org"}
	}
	switch u.Scheme {
	case "wss":
		u.Scheme = "https"
	case "ws":
		u.Scheme = "http"
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Host == "":
		return nil, &Error{Message: "the relay's address is no URL", Hint: "it looks like https://hooks.example.org"}
	case u.User != nil:
		return nil, &Error{Message: "the relay's address has a name or password in it", Hint: "key and secret are given beside it"}
	case u.Scheme == "http" && !isHere(u.Hostname()) && !o.Insecure:
		return nil, &Error{Message: "key and secret are not sent to " + u.Host + " without TLS", Hint: "use https://, or say that it may be insecure"}
	}
	c := &Client{base: u.Scheme + "://" + u.Host, host: u.Host, opts: o}
	if o.Client != nil {
		c.client = *o.Client
	}
	c.client.Jar = nil
	c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c, nil
}

// secure reports whether the relay is asked over TLS.
func (c *Client) secure() bool { return strings.HasPrefix(c.base, "https:") }

// isHere reports whether a host is this machine.
func isHere(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}

// ask sends a request and reads the answer into what into points to. body is sent
// as JSON unless it is nil; parts of the path are names and ids.
func (c *Client) ask(ctx context.Context, method string, parts []string, params url.Values, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := c.request(ctx, method, c.address(parts, params), body)
	if err != nil {
		return err
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return c.refused(resp)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return c.unreachable(err)
	case len(data) > maxAnswer:
		return &Error{Message: fmt.Sprintf("the answer of %s is larger than %d bytes", c.host, maxAnswer), Hint: "ask for less at once"}
	}
	if err := json.Unmarshal(data, into); err != nil {
		return &Error{Message: "the answer of " + c.host + " is not what a relay says", Hint: "is that the address of a relay?", err: err}
	}
	return nil
}

func (c *Client) address(parts []string, params url.Values) string {
	address := c.base + "/v1"
	for _, part := range parts {
		address += "/" + url.PathEscape(part)
	}
	if len(params) > 0 {
		address += "?" + params.Encode()
	}
	return address
}

func (c *Client) request(ctx context.Context, method, address string, body any) (*http.Request, error) {
	var data io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		data = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, address, data)
	if err != nil {
		return nil, fmt.Errorf("ask the relay: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.opts.UserAgent != "" {
		req.Header.Set("User-Agent", c.opts.UserAgent)
	}
	if c.opts.Key == "" {
		req.Header.Set("Authorization", "Bearer "+c.opts.Secret)
	} else {
		req.SetBasicAuth(c.opts.Key, c.opts.Secret)
	}
	return req, nil
}

// unreachable says why there is no answer.
func (c *Client) unreachable(err error) error {
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err // the address is in the message once
	}
	return &Error{Message: fmt.Sprintf("relay %s can't be reached: %v", c.host, err), Hint: c.mend(err), err: err}
}

// refused says why an answer is not what was asked for.
func (c *Client) refused(resp *http.Response) error {
	data, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // what came will do
	e := &Error{Status: resp.StatusCode, Hint: hintFor(resp.StatusCode), Request: plain(resp.Header.Get("Request-Id"))}
	e.Message = fmt.Sprintf("relay %s answered %d", c.host, resp.StatusCode)
	said := plain(reason(data))
	if resp.StatusCode == http.StatusBadRequest && !c.secure() && strings.Contains(string(data), "HTTPS") {
		e.Hint = hintTLS // servers that speak TLS say it in their own words
	}
	if said != "" {
		e.Message += ": " + said
	} else if words := http.StatusText(resp.StatusCode); words != "" {
		e.Message += " " + words
	}
	return e
}

// reason finds what a relay says in JSON, under one of the names in use, or in
// plain text.
func reason(data []byte) string {
	var v struct {
		Message string `json:"message"`
		Error   string `json:"error"`
		Detail  string `json:"detail"`
	}
	if err := json.Unmarshal(data, &v); err == nil {
		return v.Message + v.Error + v.Detail
	}
	if strings.HasPrefix(strings.TrimSpace(string(data)), "<") {
		return "" // a page of some proxy
	}
	return string(data)
}

// plain makes a stranger's text one line that a terminal can show.
func plain(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), maxMessage)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r < ' ' || 0x7f <= r && r < 0xa0:
			return -1
		}
		return r
	}, text))
}
