package control

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// ErrNoDaemon says that no hookrun answers at the data folder.
var ErrNoDaemon = errors.New("no hookrun answers there")

// Bounds of the client.
const (
	askTimeout = 70 * time.Second // longer than the server has for an answer
	maxAnswer  = 128 << 20        // bytes of one answer; maxShown becomes six times as much in JSON at worst
	maxLine    = 1 << 20          // bytes of one Piece; likewise, of half of engine.MaxOutput
)

// Client is the Desk of a running hookrun, over its control socket.
type Client struct{ http *http.Client }

// Dial returns a client of the hookrun that works on a data folder. The error
// wraps ErrNoDaemon where none answers.
func Dial(ctx context.Context, dir string) (*Client, error) {
	conn, err := dial(ctx, dir)
	if err != nil {
		return nil, err
	}
	conn.Close() // it answers: each request has its own
	return &Client{&http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, dir) },
		DisableKeepAlives: true,
	}}}, nil
}

// List implements Desk.
func (c *Client) List(ctx context.Context, q Query) (list List, err error) {
	p := asking{}
	p.set("event", q.Event)
	p.set("bucket", q.Bucket)
	p.set("rule", q.Rule)
	p.set("state", joined(q.States))
	p.time("since", q.Since)
	p.time("until", q.Until)
	p.number("before", q.Before)
	p.number("limit", int64(q.Limit))
	err = c.ask(ctx, http.MethodGet, "/v1/runs", url.Values(p), &list)
	return list, err
}

// Show implements Desk.
func (c *Client) Show(ctx context.Context, id string) (d Detail, err error) {
	err = c.ask(ctx, http.MethodGet, runPath(id), nil, &d)
	return d, err
}

// Retry implements Desk.
func (c *Client) Retry(ctx context.Context, id string, all bool) (run Run, err error) {
	err = c.ask(ctx, http.MethodPost, runPath(id)+"/retry", flagValue("all", all), &run)
	return run, err
}

// Cancel implements Desk.
func (c *Client) Cancel(ctx context.Context, id string) (run Run, err error) {
	err = c.ask(ctx, http.MethodPost, runPath(id)+"/cancel", nil, &run)
	return run, err
}

// Paused implements Desk.
func (c *Client) Paused(ctx context.Context) (p Paused, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/paused", nil, &p)
	return p, err
}

// Pause implements Desk.
func (c *Client) Pause(ctx context.Context, rule string) (p Paused, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/pause", url.Values{"rule": {rule}}, &p)
	return p, err
}

// Resume implements Desk.
func (c *Client) Resume(ctx context.Context, rule string) (p Paused, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/resume", url.Values{"rule": {rule}}, &p)
	return p, err
}

// Summary implements Desk.
func (c *Client) Summary(ctx context.Context) (s Summary, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/counts", nil, &s)
	return s, err
}

// errCut ends a log that ends before its run does.
var errCut = errors.New("hookrun has ended, or cut the log off; a run that it cut off goes on at the next start")

// Log implements Desk.
func (c *Client) Log(ctx context.Context, id string, follow bool, emit func(Piece) error) error {
	resp, err := c.send(ctx, request{method: http.MethodGet, path: runPath(id) + "/log", params: flagValue("follow", follow)})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var last Piece
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		last = Piece{}
		if err := json.Unmarshal(lines.Bytes(), &last); err != nil {
			return fmt.Errorf("read a piece of the log: %w", err)
		}
		if err := emit(last); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case lines.Err() != nil && !isCut(lines.Err()):
		return fmt.Errorf("read the log: %w", lines.Err())
	case last.State == "" || follow && !last.State.Finished():
		return errCut
	}
	return nil
}

// isCut reports whether the other side ended the connection in the middle.
func isCut(err error) bool {
	_, network := errors.AsType[*net.OpError](err)
	return network || errors.Is(err, io.ErrUnexpectedEOF)
}

func runPath(id string) string { return "/v1/runs/" + url.PathEscape(id) }

func flagValue(name string, set bool) url.Values {
	if !set {
		return nil
	}
	return url.Values{name: {"1"}}
}

// asking is the parameters of a request. What is zero is left out.
type asking url.Values

func (a asking) set(name, value string) {
	if value != "" {
		url.Values(a).Set(name, value)
	}
}

func (a asking) time(name string, t time.Time) {
	if !t.IsZero() {
		a.set(name, t.Format(time.RFC3339Nano))
	}
}

func (a asking) number(name string, n int64) {
	if n != 0 {
		a.set(name, strconv.FormatInt(n, 10))
	}
}

// joined are words as one parameter has them.
func joined[W ~string](words []W) string {
	var all []string
	for _, w := range words {
		all = append(all, string(w))
	}
	return strings.Join(all, ",")
}

// request is what is sent to hookrun.
type request struct {
	method, path string
	params       url.Values
	accept       string // "": JSON
	body         any    // sent as JSON; nil: there is none
}

// ask sends a request and reads the answer into a value.
func (c *Client) ask(ctx context.Context, method, path string, params url.Values, into any) error {
	return c.tell(ctx, request{method: method, path: path, params: params}, into)
}

// tell is ask with more to say.
func (c *Client) tell(ctx context.Context, r request, into any) error {
	_, data, err := c.read(ctx, r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read hookrun's answer: %w", err)
	}
	return nil
}

// read sends a request and reads the answer whole.
func (c *Client) read(ctx context.Context, r request) (http.Header, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := c.send(ctx, r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, fmt.Errorf("read hookrun's answer: %w", err)
	}
	return resp.Header, data, nil
}

// http makes an HTTP request of it.
func (r request) http(ctx context.Context) (*http.Request, error) {
	target := "http://hookrun" + r.path
	if len(r.params) > 0 {
		target += "?" + r.params.Encode()
	}
	var body io.Reader
	if r.body != nil {
		data, err := json.Marshal(r.body)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", typeJSON)
	}
	req.Header.Set("Accept", cmp.Or(r.accept, typeJSON))
	return req, nil
}

// send returns an answer that is a 200; another one is an *Error.
func (c *Client) send(ctx context.Context, r request) (*http.Response, error) {
	req, err := r.http(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask hookrun: %w", err)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if outer, ok := errors.AsType[*url.Error](err); ok {
			err = outer.Err // the address is one that nobody knows
		}
		return nil, fmt.Errorf("ask hookrun: %w", err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxLine))
	if err != nil {
		return nil, fmt.Errorf("read hookrun's answer: %w", err)
	}
	said := &Error{Status: resp.StatusCode}
	if err := json.Unmarshal(data, said); err != nil || said.Msg == "" {
		return nil, fmt.Errorf("hookrun answered %s: %s", resp.Status, bytes.TrimSpace(data))
	}
	return nil, said
}
