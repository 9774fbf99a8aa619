package cli

import (
	"context"
	"log/slog"
	"net/http"
	"reflect"
	"sync"

	"hookrun/engine/rules"
	"hookrun/relay"
)

// relayLink keeps the relay client that the rules in force ask for, and tells
// relays what became of their webhooks. These are two tasks, as runs go on when
// no more webhooks are taken.
type relayLink struct {
	linkOptions
	wake  chan struct{}      // holds a token when wanted has changed; never closed
	begun chan *relayAnswers // from take to answer; never closed

	mu     sync.Mutex // guards all below
	wanted rules.Relay
	now    *relay.Client // nil: there is no relay to connect to
	test   *selfTest     // of its connection; nil: none is asked for
}

// linkOptions is what a relayLink works with.
type linkOptions struct {
	answers  answers
	client   *http.Client // for answers and tests
	log      *slog.Logger
	hurry    <-chan struct{}
	instance string // names this hookrun to relays; "": they are not asked to keep webhooks for it
}

func newRelayLink(o linkOptions) *relayLink {
	return &relayLink{linkOptions: o, wake: make(chan struct{}, 1), begun: make(chan *relayAnswers)}
}

// set says what relay the rules ask for from now on.
func (l *relayLink) set(want rules.Relay) {
	l.mu.Lock()
	defer l.mu.Unlock()
	same := reflect.DeepEqual(l.wanted, want) || !l.wanted.Configured() && !want.Configured()
	l.wanted = want
	if same {
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *relayLink) get() rules.Relay {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wanted
}

// take connects, and again when the rules ask for another relay or for other
// buckets, until ctx ends. answer must be running for as long.
func (l *relayLink) take(ctx context.Context) {
	var to *relayAnswers // of the relay wanted last; nil: none was
	for ctx.Err() == nil {
		select {
		case <-l.wake: // what follows is what is wanted now
		default:
		}
		want := l.get()
		if to != nil && !to.isOf(want) {
			close(to.over)
			to = nil
		}
		if to == nil && want.Configured() {
			to = newRelayAnswers(l, want)
			l.begun <- to
		}
		l.until(ctx, want, to)
	}
}

// answer tells relays what became of their webhooks, until ctx ends. That is to
// be when take has returned and nothing runs any more.
func (l *relayLink) answer(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		select {
		case to := <-l.begun:
			wg.Go(func() { to.run(ctx) })
		case <-ctx.Done():
			return
		}
	}
}

// until runs one client until ctx ends or another one is wanted.
func (l *relayLink) until(ctx context.Context, want rules.Relay, to *relayAnswers) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	if want.Configured() && (want.All || len(want.Buckets) > 0) {
		wg.Go(func() { l.connect(ctx, want, to) })
	}
	select {
	case <-l.wake:
		l.log.Info("the rules ask for another relay or other buckets")
	case <-ctx.Done():
	}
	stop()
}

// connect runs a client of the relay, and tests it where that is asked for, until
// ctx ends.
func (l *relayLink) connect(ctx context.Context, want rules.Relay, to *relayAnswers) {
	taker := &relayTaker{relayAnswers: to, wanted: want}
	client := relay.NewClient(relay.Options{
		URL: want.URL, Key: want.Key.Reveal(), Secret: want.Secret.Reveal(), Buckets: want.Buckets, ClientID: l.instance, Group: want.Group,
		Handle: taker.handle, Log: l.log, UserAgent: userAgent(), Hurry: l.hurry,
	})
	test := l.newTest(want, client)
	taker.test = test
	l.setNow(client, test)
	defer l.setNow(nil, nil)
	stop := startTest(ctx, test)
	defer stop()
	if err := client.Run(ctx); err != nil {
		l.log.Error("no webhooks come from the relay", "err", err)
	}
}

func userAgent() string { return "hookrun/" + version() }
