package cli

import (
	"context"
	"log/slog"
	"reflect"
	"sync"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/relay"
)

// relayLink keeps the relay client that the rules in force ask for.
type relayLink struct {
	engine *engine.Engine
	log    *slog.Logger
	hurry  <-chan struct{}
	wake   chan struct{} // holds a token when wanted has changed; never closed

	mu     sync.Mutex // guards wanted
	wanted rules.Relay
}

func newRelayLink(e *engine.Engine, log *slog.Logger, hurry <-chan struct{}) *relayLink {
	return &relayLink{engine: e, log: log, hurry: hurry, wake: make(chan struct{}, 1)}
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
		client := relay.NewClient(relay.Options{
			URL: want.URL, Key: want.Key.Reveal(), Secret: want.Secret.Reveal(), Buckets: want.Buckets,
			Handle: fromRelay(l.engine, want.URL), Log: l.log, UserAgent: "hookrun/" + version(), Hurry: l.hurry,
		})
		wg.Go(func() {
			if err := client.Run(ctx); err != nil {
				l.log.Error("no webhooks come from the relay", "err", err)
			}
		})
	}
	select {
	case <-l.wake:
		l.log.Info("the rules ask for another relay or other buckets")
	case <-ctx.Done():
	}
	stop()
}
