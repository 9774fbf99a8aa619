package relay

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"hookrun/relay/wire"
)

// When to connect again, and when to hand a message over again.
const (
	firstWait   = time.Second            // ceiling of the first wait
	maxWait     = time.Minute            // highest ceiling between connections
	maxHandWait = 30 * time.Second       // highest ceiling between calls of Handle
	usefulAfter = 10 * time.Second       // subscribed for so long, a connection was no mere flap
	shownWait   = 100 * time.Millisecond // waits in the log are rounded to this

	// refusedWait is the shortest wait after a relay refused the key; up to half
	// of it is added. Trying soon again can't help and looks like guessing.
	refusedWait = time.Minute
)

// handTimeout is how long messages that were read are handed over after Run's
// context ended: the relay has forgotten them.
const handTimeout = 10 * time.Second

// maxErrorText bounds an error in log and status, in bytes.
const maxErrorText = 400

// Options says where to connect and what to do with messages.
type Options struct {
	// URL is the relay's socket, wss://host/v1/socket. Required, without a user
	// name. ws:// is taken for this machine only, or when Insecure is set.
	URL string

	// Insecure takes ws:// to other machines too. Key, secret and webhooks are
	// then readable on the way.
	Insecure bool

	Key, Secret string   // required; "whr" and "sk-…" for an API key
	Buckets     []string // names or ids; empty: all

	// ClientID is a name that this client keeps, and no other has. With it the
	// relay is asked to send webhooks until they are acked, and to keep them for
	// this client while it is away; relays that can't do so pass over it. "": they
	// are not asked.
	ClientID string

	// Group names those who share the webhooks, each going to one of them. "":
	// this client gets all. It needs a relay that knows of groups.
	Group string

	// Handle takes a message over. It is called for one message at a time, in
	// the order in which they came, and returns nil only when the message is
	// safe. After an error the same message comes again, and none other, until
	// Handle takes it. Its ctx outlives Run's by 10 s at most; Handle returns
	// soon after it ended. Required.
	Handle func(ctx context.Context, m Message) error

	// OnGap is told of webhooks that never come. It is called by the reader of
	// the connection and returns soon. nil: they stand in the log alone.
	OnGap func(Gap)

	// Hurry is closed when nobody wants to wait for messages to be handed over
	// any more. It matters once Run's context ended. nil: never.
	Hurry <-chan struct{}

	Log       *slog.Logger // nil: nothing is logged
	UserAgent string       // "": hookrun
}

// Status says how a client is doing.
type Status struct {
	Connected bool      // the relay confirmed the subscription, and the connection lives
	Since     time.Time // when Connected last changed; zero before the first connection
	Acks      bool      // of the connection, or the last one: webhooks are sent until they are acked

	LastFrame   time.Time // when a frame of any kind last came; zero: never
	LastWebhook time.Time // when a webhook did

	Received   int64 // messages read
	Accepted   int64 // of these, taken over by Handle; the others wait, or were dropped
	Dropped    int64 // of these, dropped for re-sending
	Skipped    int64 // frames that could not be understood, or were too large
	Ignored    int64 // frames of a type or status unknown here
	Reconnects int64 // subscriptions after the first
	Gaps       int64 // that the relay told of
	Lost       int64 // webhooks in them

	LastError string // why a connection last ended or could not be made; "" before
}

// Client keeps one connection to a relay and hands over what comes. Make one
// with NewClient.
type Client struct {
	opts  Options
	queue *queue
	host  string // of the relay, for logs; set by Run before it starts anything

	// Ways to the world that tests replace.
	dialNet func(ctx context.Context, network, addr string) (net.Conn, error)
	tls     *tls.Config
	wall    func() time.Time

	mu         sync.Mutex // guards all below
	status     Status
	subscribed bool          // at least once
	clockTold  bool          // that the relay's clock is not believed
	up         chan struct{} // closed while connected
}

// NewClient returns a client that does nothing until Run.
func NewClient(o Options) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.UserAgent = cmp.Or(o.UserAgent, "hookrun")
	return &Client{opts: o, queue: newQueue(), dialNet: new(net.Dialer).DialContext, wall: wallClock, up: make(chan struct{})}
}

// Run connects, and connects again whenever the connection ends, until ctx
// does; then it says goodbye to the relay, hands over what it has read for 10 s
// at most, or until Hurry, and returns nil. Messages not accepted by then are
// counted in the log.
// An error means that the options are wrong and nothing was tried. Run may be
// called once.
func (c *Client) Run(ctx context.Context) error {
	u, err := c.opts.check()
	if err != nil {
		return err
	}
	c.host = u.Host
	handing, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		defer giveUp()
		c.deliver(ctx, handing)
	})
	wg.Go(func() {
		defer giveUp()
		c.boundHanding(ctx, handing)
	})
	c.keepConnected(ctx, handing)
	c.queue.finish()
	wg.Wait()
	c.logStopped()
	return nil
}

// boundHanding returns when messages are to be handed over no longer.
func (c *Client) boundHanding(ctx, handing context.Context) {
	<-ctx.Done()
	t := time.NewTimer(handTimeout)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.opts.Hurry:
	case <-handing.Done(): // all are handed over
	}
}

func (c *Client) logStopped() {
	s := c.Status()
	if left := s.Received - s.Accepted - s.Dropped; left > 0 {
		c.opts.Log.Warn("stopped with relay messages not accepted", "relay", c.host, "messages", left)
	}
	c.opts.Log.Info("relay client stopped", "relay", c.host, "received", s.Received, "accepted", s.Accepted,
		"dropped", s.Dropped, "skipped", s.Skipped, "ignored", s.Ignored, "gaps", s.Gaps, "reconnects", s.Reconnects, "last_error", s.LastError)
}

// Status may be called at any time.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// AwaitConnected waits until the client is connected. The error is that of ctx.
func (c *Client) AwaitConnected(ctx context.Context) error {
	c.mu.Lock()
	up := c.up
	c.mu.Unlock()
	select {
	case <-up:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// check returns the parsed URL if the options can be worked with.
func (o *Options) check() (*url.URL, error) {
	u, err := access{o.URL, o.Insecure, o.Key, o.Secret}.check()
	if err != nil {
		return nil, err
	}
	if o.Handle == nil {
		return nil, errors.New("relay client has no Handle")
	}
	return u, nil
}

// auth is what the relay is told first.
func (o *Options) auth() wire.Request {
	r := wire.Request{Action: wire.ActionAuth, Key: o.Key, Secret: o.Secret, Client: o.ClientID, Group: o.Group}
	if o.ClientID != "" {
		r.Features = []string{wire.FeatureAck, wire.FeatureResume}
	}
	return r
}

// access is where a relay is, and what it is shown.
type access struct {
	url         string
	insecure    bool
	key, secret string
}

// check returns the parsed URL if it and the key can be worked with. Its errors
// show no more of the URL than scheme and host: the rest may hold secrets.
func (a access) check() (*url.URL, error) {
	u, err := url.Parse(a.url)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss":
		return nil, errors.New("relay url: want wss://host/v1/socket")
	case u.User != nil:
		return nil, fmt.Errorf("relay url of %s has a user name in it; set key and secret instead", u.Host)
	case u.Scheme == "ws" && !a.insecure && !loopback(u.Hostname()):
		return nil, fmt.Errorf("relay url ws://%s sends key and secret readable over the network; use wss://", u.Host)
	case a.key == "" || a.secret == "":
		return nil, fmt.Errorf("relay %s needs a key and a secret", u.Host)
	}
	return u, nil
}

func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// keepConnected makes one connection after the other until ctx ends.
func (c *Client) keepConnected(ctx, handing context.Context) {
	retry := backoff{first: firstWait, most: maxWait}
	for ctx.Err() == nil {
		up, err := c.connect(ctx, handing)
		if up >= usefulAfter {
			retry.reset()
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRefused) {
			wait := refusedWait + rand.N(refusedWait/2)
			c.opts.Log.Error("relay refused the key, will try again",
				"relay", c.host, "in", wait.Round(shownWait), "err", c.text(err))
			sleep(ctx, wait)
			continue
		}
		wait := retry.next()
		c.opts.Log.Warn("no relay connection, will try again",
			"relay", c.host, "in", wait.Round(shownWait), "err", c.text(err))
		sleep(ctx, wait)
	}
}

// connect makes one connection and serves it. It returns why that ended, and
// for how long it was subscribed.
func (c *Client) connect(ctx, handing context.Context) (up time.Duration, err error) {
	p := newPulse()
	conn, err := c.dial(ctx, p)
	if err != nil {
		return c.disconnected(ctx, err), err
	}
	return newSession(c, conn, p).run(ctx, handing)
}

// connected is called when the relay confirmed the subscription.
func (c *Client) connected(acks bool) {
	c.mu.Lock()
	c.status.Connected, c.status.Acks = true, acks
	c.status.Since = time.Now()
	if c.subscribed {
		c.status.Reconnects++
	}
	c.subscribed = true
	close(c.up)
	c.mu.Unlock()
	c.opts.Log.Info("relay connected", "relay", c.host, "buckets", c.opts.Buckets, "acks", acks)
}

// disconnected notes that a connection ended, or could not be made, because of
// err. It returns for how long it was subscribed.
func (c *Client) disconnected(ctx context.Context, err error) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	var up time.Duration
	if c.status.Connected {
		up = time.Since(c.status.Since)
		c.status.Connected = false
		c.status.Since = time.Now()
		c.up = make(chan struct{})
	}
	if ctx.Err() == nil {
		c.status.LastError = c.text(err)
	}
	return up
}

// count changes a counter of the status.
func (c *Client) count(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
}

// tellClock says once that what the relay says of times is not believed.
func (c *Client) tellClock(said, now time.Time) {
	c.mu.Lock()
	told := c.clockTold
	c.clockTold = true
	c.mu.Unlock()
	if !told {
		c.opts.Log.Warn("the relay's time of a webhook is not believed, that of its arrival counts; do both clocks go right?",
			"relay", c.host, "said", said, "now", now)
	}
}

// refusal is the error for a relay that turns our key away, and why.
func (c *Client) refusal(why string) error {
	return fmt.Errorf("%w: relay %s does not take key %q (%s)", errRefused, c.host, c.opts.Key, why)
}

// text is err for people.
func (c *Client) text(err error) string { return errorText(err, c.opts.Secret) }

// errorText is err for people. What a relay or proxy says is part of it: that
// could give the secret back, and could be long.
func errorText(err error, secret string) string {
	s := strings.ReplaceAll(err.Error(), secret, "***")
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}

// deliver hands messages over until there are no more after the end of ctx, or
// handing ends.
func (c *Client) deliver(ctx, handing context.Context) {
	for {
		m, ok := c.queue.head(handing)
		if !ok || !c.hand(ctx, handing, m.Message) {
			return
		}
		c.queue.pop()
		c.count(func(s *Status) { s.Accepted++ })
		m.from.took(m.ID)
	}
}

// hand offers m to Handle until it takes it, or handing ends.
func (c *Client) hand(ctx, handing context.Context, m Message) bool {
	retry := backoff{first: firstWait, most: maxHandWait}
	for tries := 1; handing.Err() == nil; tries++ {
		err := c.opts.Handle(handing, m)
		switch {
		case err == nil && tries > 1:
			c.opts.Log.Info("relay messages are accepted again", "relay", c.host, "tries", tries)
			return true
		case err == nil:
			return true
		case handing.Err() != nil:
			return false
		case tries == 1:
			c.opts.Log.Warn("relay message not accepted, will try again", "relay", c.host, "err", c.text(err))
		}
		if ctx.Err() == nil {
			sleep(ctx, retry.next())
		} else {
			sleep(handing, minWait) // too little time is left for long waits
		}
	}
	return false
}
