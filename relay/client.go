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
)

// When to connect again, and when to hand a message over again.
const (
	firstWait   = 500 * time.Millisecond // ceiling of the first wait
	maxWait     = time.Minute            // highest ceiling between connections
	maxHandWait = 30 * time.Second       // highest ceiling between calls of Handle
	usefulAfter = 10 * time.Second       // subscribed for so long, a connection was no mere flap

	// refusedWait is the shortest wait after a relay refused the key; up to half
	// of it is added. Trying soon again can't help and looks like guessing.
	refusedWait = time.Minute
)

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

	// Handle takes a message over. It is called for one message at a time, in
	// the order in which they came, and returns nil only when the message is
	// safe. After an error the same message comes again, and none other, until
	// Handle takes it. Required.
	Handle func(ctx context.Context, m Message) error

	Log       *slog.Logger // nil: nothing is logged
	UserAgent string       // "": hookrun
}

// Status says how a client is doing.
type Status struct {
	Connected bool      // the relay confirmed the subscription, and the connection lives
	Since     time.Time // when Connected last changed; zero before the first connection

	Received   int64 // messages read
	Accepted   int64 // of these, taken over by Handle; the others wait
	Skipped    int64 // frames that could not be understood, or were too large
	Ignored    int64 // frames of a type or status unknown here
	Reconnects int64 // subscriptions after the first

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

	mu         sync.Mutex // guards status, subscribed
	status     Status
	subscribed bool // at least once
}

// NewClient returns a client that does nothing until Run.
func NewClient(o Options) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.UserAgent = cmp.Or(o.UserAgent, "hookrun")
	return &Client{opts: o, queue: newQueue(), dialNet: new(net.Dialer).DialContext, wall: wallClock}
}

// Run connects, and connects again whenever the connection ends, until ctx
// does; then it says goodbye to the relay and returns nil. Messages read but
// not handed over by then are counted in the log and were never accepted.
// An error means that the options are wrong and nothing was tried. Run may be
// called once.
func (c *Client) Run(ctx context.Context) error {
	u, err := c.opts.check()
	if err != nil {
		return err
	}
	c.host = u.Host
	var wg sync.WaitGroup
	wg.Go(func() { c.deliver(ctx) })
	c.keepConnected(ctx)
	wg.Wait()
	if s := c.Status(); s.Received > s.Accepted {
		c.opts.Log.Warn("stopped with relay messages not accepted", "relay", c.host, "messages", s.Received-s.Accepted)
	}
	return nil
}

// Status says how the client is doing. It may be called at any time.
func (c *Client) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// check returns the parsed URL if the options can be worked with. Its errors
// show no more of the URL than scheme and host: the rest may hold secrets.
func (o *Options) check() (*url.URL, error) {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss":
		return nil, errors.New("relay url: want wss://host/v1/socket")
	case u.User != nil:
		return nil, fmt.Errorf("relay url of %s has a user name in it; set key and secret instead", u.Host)
	case u.Scheme == "ws" && !o.Insecure && !loopback(u.Hostname()):
		return nil, fmt.Errorf("relay url ws://%s sends key and secret readable over the network; use wss://", u.Host)
	case o.Key == "" || o.Secret == "":
		return nil, fmt.Errorf("relay %s needs a key and a secret", u.Host)
	case o.Handle == nil:
		return nil, errors.New("relay client has no Handle")
	}
	return u, nil
}

func loopback(host string) bool {
	return strings.EqualFold(host, "localhost") || net.ParseIP(host).IsLoopback()
}

// keepConnected makes one connection after the other until ctx ends.
func (c *Client) keepConnected(ctx context.Context) {
	retry := backoff{first: firstWait, most: maxWait}
	for ctx.Err() == nil {
		up, err := c.connect(ctx)
		if up >= usefulAfter {
			retry.reset()
		}
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, errRefused) {
			wait := refusedWait + rand.N(refusedWait/2)
			c.opts.Log.Error("relay refused the key, will try again", "relay", c.host, "in", wait, "err", c.text(err))
			sleep(ctx, wait)
			continue
		}
		wait := retry.next()
		c.opts.Log.Warn("no relay connection, will try again", "relay", c.host, "in", wait, "err", c.text(err))
		sleep(ctx, wait)
	}
}

// connect makes one connection and serves it. It returns why that ended, and
// for how long it was subscribed.
func (c *Client) connect(ctx context.Context) (up time.Duration, err error) {
	p := newPulse()
	conn, err := c.dial(ctx, p)
	if err != nil {
		return c.disconnected(ctx, err), err
	}
	return newSession(c, conn, p).run(ctx)
}

// connected is called when the relay confirmed the subscription.
func (c *Client) connected() {
	c.mu.Lock()
	c.status.Connected = true
	c.status.Since = time.Now()
	if c.subscribed {
		c.status.Reconnects++
	}
	c.subscribed = true
	c.mu.Unlock()
	c.opts.Log.Info("relay connected", "relay", c.host, "buckets", c.opts.Buckets)
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

// refusal is the error for a relay that turns our key away, and why.
func (c *Client) refusal(why string) error {
	return fmt.Errorf("%w: relay %s does not take key %q (%s)", errRefused, c.host, c.opts.Key, why)
}

// text is err for people. What a relay or proxy says is part of it: that could
// give the secret back, and could be long.
func (c *Client) text(err error) string {
	s := strings.ReplaceAll(err.Error(), c.opts.Secret, "***")
	if len(s) > maxErrorText {
		s = strings.ToValidUTF8(s[:maxErrorText], "") + "…"
	}
	return s
}

// deliver hands messages over until ctx ends.
func (c *Client) deliver(ctx context.Context) {
	for {
		m, err := c.queue.head(ctx)
		if err != nil || !c.hand(ctx, m) {
			return
		}
		c.queue.pop()
		c.count(func(s *Status) { s.Accepted++ })
	}
}

// hand offers m to Handle until it takes it, or ctx ends.
func (c *Client) hand(ctx context.Context, m Message) bool {
	retry := backoff{first: firstWait, most: maxHandWait}
	for tries := 1; ctx.Err() == nil; tries++ {
		err := c.opts.Handle(ctx, m)
		switch {
		case err == nil && tries > 1:
			c.opts.Log.Info("relay messages are accepted again", "relay", c.host, "tries", tries)
			return true
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		case tries == 1:
			c.opts.Log.Warn("relay message not accepted, will try again", "relay", c.host, "err", c.text(err))
		}
		sleep(ctx, retry.next())
	}
	return false
}
