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

// relayLink keeps the relay client that the rules in force ask for.
type relayLink struct {
	answers answers
	client  *http.Client // for answers
	log     *slog.Logger
	hurry   <-chan struct{}
	wake    chan struct{} // holds a token when wanted has changed; never closed

	mu     sync.Mutex // guards wanted
	wanted rules.Relay
}

func newRelayLink(a answers, client *http.Client, log *slog.Logger, hurry <-chan struct{}) *relayLink {
	return &relayLink{answers: a, client: client, log: log, hurry: hurry, wake: make(chan struct{}, 1)}
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

// run connects, and again when the rules ask for another relay or for other
// buckets, until ctx ends.
func (l *relayLink) run(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-l.wake: // what follows is what is wanted now
		default:
		}
		l.until(ctx, l.get())
	}
}

// until runs one client until ctx ends or another one is wanted.
func (l *relayLink) until(ctx context.Context, want rules.Relay) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	if want.Configured() && (want.All || len(want.Buckets) > 0) {
		wg.Go(func() { l.connect(ctx, want) })
	}
	select {
	case <-l.wake:
		l.log.Info("the rules ask for another relay or other buckets")
	case <-ctx.Done():
	}
	stop()
}

// connect runs a client of the relay, and what answers it, until ctx ends.
func (l *relayLink) connect(ctx context.Context, want rules.Relay) {
	key, secret, agent := want.Key.Reveal(), want.Secret.Reveal(), "hookrun/"+version()
	to := relay.NewAnswers(relay.AnswerOptions{URL: want.URL, Key: key, Secret: secret, Client: l.client, Log: l.log, UserAgent: agent})
	from := &relayAnswers{answers: l.answers, url: want.URL, to: to, log: l.log, slots: make(chan struct{}, maxOutcomes)}
	client := relay.NewClient(relay.Options{
		URL: want.URL, Key: key, Secret: secret, Buckets: want.Buckets,
		Handle: from.handle, Log: l.log, UserAgent: agent, Hurry: l.hurry,
	})
	answering, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := to.Run(answering); err != nil {
			l.log.Error("the relay is not told what becomes of webhooks", "err", err)
		}
	})
	if err := client.Run(ctx); err != nil {
		l.log.Error("no webhooks come from the relay", "err", err)
	}
	from.waiting.Wait()
	stop()
	wg.Wait()
}
