package control

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"hookrun/engine"
)

func eventPath(id string) string { return "/v1/events/" + url.PathEscape(id) }

// Events implements History.
func (c *Client) Events(ctx context.Context, q EventQuery) (list EventList, err error) {
	p := asking{}
	p.set("bucket", q.Bucket)
	p.set("rule", q.Rule)
	p.set("outcome", joined(q.Outcomes))
	p.time("since", q.Since)
	p.time("until", q.Until)
	p.number("before", q.Before)
	p.number("after", q.After)
	p.number("limit", int64(q.Limit))
	err = c.ask(ctx, http.MethodGet, "/v1/events", url.Values(p), &list)
	return list, err
}

// Event implements History.
func (c *Client) Event(ctx context.Context, id string) (d EventDetail, err error) {
	err = c.ask(ctx, http.MethodGet, eventPath(id), nil, &d)
	return d, err
}

// Body implements History.
func (c *Client) Body(ctx context.Context, id string) (Body, error) {
	header, data, err := c.read(ctx, request{method: http.MethodGet, path: eventPath(id) + "/body", accept: "*/*"})
	if err != nil {
		return Body{}, err
	}
	return Body{Event: header.Get(headerEvent), Type: header.Get(headerType), Data: data}, nil
}

// Explain implements History.
func (c *Client) Explain(ctx context.Context, q ExplainQuery) (*engine.Rehearsal, error) {
	r := &engine.Rehearsal{}
	err := c.tell(ctx, request{method: http.MethodPost, path: "/v1/explain", body: q}, r)
	if err != nil {
		return nil, err
	}
	return r, nil
}

// ErrWatchEnded says that hookrun has ended, or ended a Watch.
var ErrWatchEnded = errors.New("hookrun has ended")

// maxNotice bounds the JSON of one Notice, in bytes: new rules come with what they
// would have decided otherwise.
const maxNotice = 16 << 20

// Watch implements History.
func (c *Client) Watch(ctx context.Context, q WatchQuery, emit func(Notice) error) error {
	p := asking{}
	p.set("bucket", q.Bucket)
	p.set("rule", q.Rule)
	p.set("outcome", joined(q.Outcomes))
	p.set("state", joined(q.States))
	resp, err := c.send(ctx, request{method: http.MethodGet, path: "/v1/watch", params: url.Values(p), accept: typeLines})
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxNotice)
	for lines.Scan() {
		var n Notice
		if err := json.Unmarshal(lines.Bytes(), &n); err != nil {
			return fmt.Errorf("read what happens: %w", err)
		}
		if err := emit(n); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case lines.Err() != nil && !isCut(lines.Err()):
		return fmt.Errorf("read what happens: %w", lines.Err())
	}
	return ErrWatchEnded
}

// Rejections implements History.
func (c *Client) Rejections(ctx context.Context, q RejectionQuery) (list RejectionList, err error) {
	p := asking{}
	p.set("bucket", q.Bucket)
	p.time("since", q.Since)
	p.number("limit", int64(q.Limit))
	err = c.ask(ctx, http.MethodGet, "/v1/rejected", url.Values(p), &list)
	return list, err
}

// Rates implements History.
func (c *Client) Rates(ctx context.Context, q RateQuery) (list RateList, err error) {
	p := asking{}
	p.set("rule", q.Rule)
	p.time("since", q.Since)
	if q.Step != 0 {
		p.set("step", q.Step.String())
	}
	err = c.ask(ctx, http.MethodGet, "/v1/rates", url.Values(p), &list)
	return list, err
}

// Status implements History.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/status", nil, &s)
	return s, err
}

// Replay implements Control.
func (c *Client) Replay(ctx context.Context, q ReplayQuery) (r Replayed, err error) {
	err = c.tell(ctx, request{method: http.MethodPost, path: "/v1/replay", body: q}, &r)
	return r, err
}

// Arm implements Control.
func (c *Client) Arm(ctx context.Context, rule string) (a Armed, err error) {
	err = c.ask(ctx, http.MethodPost, "/v1/armed", url.Values{"rule": {rule}}, &a)
	return a, err
}

// Disarm implements Control.
func (c *Client) Disarm(ctx context.Context, rule string) (a Armed, err error) {
	err = c.ask(ctx, http.MethodDelete, "/v1/armed", url.Values{"rule": {rule}}, &a)
	return a, err
}

// Armed implements Control.
func (c *Client) Armed(ctx context.Context) (a Armed, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/armed", nil, &a)
	return a, err
}

// Release implements Control.
func (c *Client) Release(ctx context.Context, id string) (run Run, err error) {
	err = c.ask(ctx, http.MethodPost, runPath(id)+"/release", nil, &run)
	return run, err
}

// Rules implements Control.
func (c *Client) Rules(ctx context.Context) (list RuleList, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/rules", nil, &list)
	return list, err
}

// Generations implements Control.
func (c *Client) Generations(ctx context.Context) (list GenerationList, err error) {
	err = c.ask(ctx, http.MethodGet, "/v1/generations", nil, &list)
	return list, err
}

// AcceptRules implements Control.
func (c *Client) AcceptRules(ctx context.Context, hash string) (g Generation, err error) {
	p := asking{}
	p.set("hash", hash)
	err = c.ask(ctx, http.MethodPost, "/v1/rules/accept", url.Values(p), &g)
	return g, err
}
