package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hookrun/engine/rules"
	"hookrun/relay"
)

// linkDown is told where webhooks don't come although the relay is connected.
const linkDown = "the relay is connected but a test webhook did not come back; hookrun's log says why"

// newTest is the self test that the rules ask for; nil: they ask for none.
func (l *relayLink) newTest(want rules.Relay, client *relay.Client) *selfTest {
	if want.SelfTest == 0 {
		return nil
	}
	test, err := newSelfTest(l, want, client)
	if err != nil {
		return nil // the client says it
	}
	return test
}

// startTest tests the relay until ctx ends or stop is called, which waits for it.
func startTest(ctx context.Context, test *selfTest) (stop func()) {
	if test == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { test.run(ctx) })
	return func() {
		cancel()
		wg.Wait()
	}
}

// setNow says what Health and Line tell of.
func (l *relayLink) setNow(client *relay.Client, test *selfTest) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now, l.test = client, test
}

// Health is why hookrun is not well, in words for anybody; "": it is, as far as
// the relay is known. Without a self test nothing is known.
func (l *relayLink) Health() string {
	l.mu.Lock()
	test := l.test
	l.mu.Unlock()
	if test.failed() != nil {
		return linkDown
	}
	return ""
}

// status is how the relay's connection is, and its self test, nil where there is
// none; ok is false where there is no relay.
func (l *relayLink) status() (s relay.Status, test *selfTest, ok bool) {
	l.mu.Lock()
	client, test := l.now, l.test
	l.mu.Unlock()
	if client == nil {
		return s, nil, false
	}
	return client.Status(), test, true
}

// Line is a line for people on how the relay's connection is; "": there is no
// relay.
func (l *relayLink) Line() string {
	s, test, ok := l.status()
	if !ok {
		return ""
	}
	line := linkLine(s)
	if test.failed() != nil {
		line += ", but a test webhook did not come back"
	}
	return line
}

// linkLine is Line of a status.
func linkLine(s relay.Status) string {
	switch {
	case s.Connected:
		line := fmt.Sprintf("connected since %s, last frame %s, %d webhooks", clock(s.Since), ago(s.LastFrame), s.Received)
		if s.Lost > 0 {
			line += fmt.Sprintf(", %d lost at the relay", s.Lost)
		}
		return line
	case s.LastError == "":
		return "not connected yet"
	case s.Since.IsZero():
		return "never connected: " + s.LastError
	}
	return fmt.Sprintf("not connected since %s: %s", clock(s.Since), s.LastError)
}

// ago says for people how long ago something was.
func ago(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return brief(time.Since(at)) + " ago"
}
