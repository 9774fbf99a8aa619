package cli

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"time"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/relay"
)

// How the relay is tested.
const (
	selfTestHeader  = "X-Hookrun-Self-Test"
	nonceBytes      = 8 // at random, and as many that prove it
	selfTestBody    = `{"hookrun":"self-test"}`
	selfTestTimeout = 30 * time.Second // from the first request until the webhook is back
	selfTestSettle  = time.Second      // after the connection stands: some relays send a moment later than they say

	maxBucketList = 16 << 20 // bytes of the relay's list of buckets
	maxReply      = 64 << 10 // bytes of another answer that are read, so that its connection can be used again
)

// selfTest sends a webhook through the relay now and then, as anybody could, and
// expects it back: a connection that lives is no proof that webhooks come.
type selfTest struct {
	wanted rules.Relay
	link   selfTested
	client *http.Client
	api    *url.URL // what comes before /v1
	log    *slog.Logger

	mu      sync.Mutex // guards all below
	nonce   string     // of the webhook that is out; "": none is
	back    chan struct{}
	failing error     // why the last test failed; nil: it did not
	since   time.Time // when it began to
}

// selfTested is the connection that is tested.
type selfTested interface {
	AwaitConnected(ctx context.Context) error
	Status() relay.Status
}

// newSelfTest tests the relay over which link is connected.
func newSelfTest(l *relayLink, want rules.Relay, link selfTested) (*selfTest, error) {
	api, err := relay.AnswerOptions{URL: want.URL, Key: want.Key.Reveal(), Secret: want.Secret.Reveal()}.API()
	if err != nil {
		return nil, err
	}
	client := *l.client
	// Key and secret go nowhere but where they were told to, nor does the webhook.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &selfTest{wanted: want, link: link, client: &client, api: api, log: l.log}, nil
}

// run tests the relay soon after it is connected, and again and again, until ctx
// ends.
func (t *selfTest) run(ctx context.Context) {
	for wait := selfTestSettle; t.link.AwaitConnected(ctx) == nil; wait = t.wanted.SelfTest {
		if !pause(ctx, wait) {
			return
		}
		before := t.link.Status()
		if !before.Connected {
			continue
		}
		err := t.once(ctx)
		after := t.link.Status()
		// A connection that was lost meanwhile is told of already.
		if ctx.Err() == nil && (err == nil || after.Connected && after.Since.Equal(before.Since)) {
			t.note(err)
		}
	}
}

// pause waits, and reports whether ctx goes on.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// once sends one webhook and waits until it is back.
func (t *selfTest) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, selfTestTimeout)
	defer cancel()
	to, err := t.input(ctx)
	if err != nil {
		return err
	}
	nonce, back := t.begin()
	defer t.end()
	if err := t.send(ctx, to, nonce); err != nil {
		return err
	}
	select {
	case <-back:
		return nil
	case <-ctx.Done():
		return withHint(fmt.Errorf("it was sent, and did not come back within %s", selfTestTimeout),
			"is the bucket %q streamed at the relay, with no output or an internal one, and does no function or rule there hold it?", to.bucket)
	}
}

// begin makes the name of a webhook. back is closed when it has come.
func (t *selfTest) begin() (nonce string, back <-chan struct{}) {
	b := make([]byte, nonceBytes)
	rand.Read(b) // never fails
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nonce, t.back = testNonce(t.wanted.Secret, b), make(chan struct{})
	return t.nonce, t.back
}

// testNonce is the name of a test webhook. It shows that whoever has this secret of
// the relay sent it: also to a hookrun that gets it late, or was started meanwhile.
func testNonce(secret engine.Secret, random []byte) string {
	h := hmac.New(sha256.New, []byte("hookrun self-test\n"+secret.Reveal()))
	h.Write(random)
	return hex.EncodeToString(random) + hex.EncodeToString(h.Sum(nil)[:nonceBytes])
}

// isTest reports whether a webhook is a test of any hookrun with this secret: it is
// no event.
func isTest(secret engine.Secret, m relay.Message) bool {
	nonce := m.Header.Get(selfTestHeader)
	if len(nonce) != 4*nonceBytes {
		return false
	}
	random, err := hex.DecodeString(nonce[:2*nonceBytes])
	return err == nil && hmac.Equal([]byte(testNonce(secret, random)), []byte(nonce))
}

func (t *selfTest) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.nonce = ""
}

// takes reports whether a message is the webhook that is out, and takes it. It
// does so once: one that looks like it is a webhook as any other.
func (t *selfTest) takes(m relay.Message) bool {
	said := m.Header.Get(selfTestHeader)
	if t == nil || said == "" {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if said != t.nonce {
		return false
	}
	t.nonce = ""
	close(t.back)
	return true
}

// note tells when tests begin to fail, and when they go well again.
func (t *selfTest) note(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.failing
	t.failing = err
	switch {
	case err == nil && was != nil:
		t.log.Info("a test webhook came back from the relay again", "relay", t.api.Host, "failing_since", t.since)
	case err == nil:
		t.log.Debug("a test webhook came back from the relay", "relay", t.api.Host)
	case was == nil:
		t.since = time.Now().UTC()
		s := t.link.Status()
		t.log.Error("the relay is connected but a test webhook did not come back", "relay", t.api.Host, "err", err,
			"since", t.since, "last_frame", ago(s.LastFrame), "last_webhook", ago(s.LastWebhook), "hint", mend(err))
	}
}

// mend is the hint that comes with an error.
func mend(err error) string {
	var h *hinted
	if errors.As(err, &h) {
		return h.hint
	}
	return ""
}

// failed is why the last test failed; nil: it did not, or none is made.
func (t *selfTest) failed() error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.failing
}
