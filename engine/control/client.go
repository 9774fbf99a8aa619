package control

import (
	"bufio"
	"bytes"
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
	p := url.Values{}
	set := func(name, value string) {
		if value != "" {
			p.Set(name, value)
		}
	}
	set("rule", q.Rule)
	var states []string
	for _, s := range q.States {
		states = append(states, string(s))
	}
	set("state", strings.Join(states, ","))
	if !q.Since.IsZero() {
		set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Before != 0 {
		set("before", strconv.FormatInt(q.Before, 10))
	}
	if q.Limit != 0 {
		set("limit", strconv.Itoa(q.Limit))
	}
	err = c.ask(ctx, http.MethodGet, "/v1/runs", p, &list)
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
	resp, err := c.send(ctx, http.MethodGet, runPath(id)+"/log", flagValue("follow", follow))
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

// ask sends a request and reads the answer into a value.
func (c *Client) ask(ctx context.Context, method, path string, params url.Values, into any) error {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, params)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read hookrun's answer: %w", err)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("read hookrun's answer: %w", err)
	}
	return nil
}

// send returns an answer that is a 200; another one is an *Error.
func (c *Client) send(ctx context.Context, method, path string, params url.Values) (*http.Response, error) {
	target := "http://hookrun" + path
	if len(params) > 0 {
		target += "?" + params.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, nil)
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
