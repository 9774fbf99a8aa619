package verify

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const beingFetched = "the keys are being fetched"

// A slow source hangs where it is told to, and counts.
type slowSource struct {
	content []byte
	hang    time.Duration
	fetched atomic.Int32
	err     error
}

func (s *slowSource) fetch(ctx context.Context, _ string) ([]byte, error) {
	s.fetched.Add(1)
	select {
	case <-time.After(s.hang):
		return s.content, s.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *slowSource) wantFetched(t *testing.T, want int32) {
	t.Helper()
	if got := s.fetched.Load(); got != want {
		t.Errorf("%d fetches, want %d", got, want)
	}
}

// checks are those of requests that wait at the same time.
type checks struct {
	wg      sync.WaitGroup
	mu      sync.Mutex // guards reasons
	reasons map[string]int
}

func (c *checks) start(ctx context.Context, v *Verifier, r Request, now time.Time) {
	c.wg.Go(func() {
		reason := "passes"
		if err := v.Check(ctx, r, now); err != nil {
			reason = err.Error()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.reasons == nil {
			c.reasons = map[string]int{}
		}
		c.reasons[reason]++
	})
}

func (c *checks) want(t *testing.T, reason string, want int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.reasons[reason]; got != want {
		t.Errorf("%q comes %d times, want %d: %v", reason, got, want, c.reasons)
	}
}

// crowd tells what a crowd of requests sees while the fetch for one of them hangs.
type crowd struct {
	verifier       *Verifier
	source         *slowSource
	known, unknown Request
	now            time.Time
	late           string // what those hear that waited to the end
}

// run is for a bubble. The source knows what known needs already.
func (c crowd) run(t *testing.T) {
	before := c.source.fetched.Load()
	c.source.hang = 5 * time.Second
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all checks
	all.start(t.Context(), c.verifier, c.unknown, c.now) // which fetches
	synctest.Wait()
	all.start(ctx, c.verifier, c.unknown, c.now)
	for range maxWaiting - 1 {
		all.start(t.Context(), c.verifier, c.unknown, c.now)
	}
	synctest.Wait()

	began := time.Now()
	wantReason(t, c.verifier, c.unknown, c.now, beingFetched) // the 9th that would wait
	wantPass(t, c.verifier, c.known, c.now)
	cancel()
	synctest.Wait()
	all.want(t, "the keys are being fetched, and were not waited for", 1)
	all.start(t.Context(), c.verifier, c.unknown, c.now) // the place is free again
	synctest.Wait()
	all.want(t, beingFetched, 0)
	if waited := time.Since(began); waited != 0 {
		t.Errorf("they waited %s, want no time", waited)
	}
	c.source.wantFetched(t, before+1)

	all.wg.Wait()
	all.want(t, c.late, maxWaiting+1)
	c.source.wantFetched(t, before+1)
}

func jwksText(t *testing.T, kid string, i *issuer) []byte {
	t.Helper()
	b, err := json.Marshal(map[string]any{"keys": []any{jose.JSONWebKey{Key: i.ed.Public(), KeyID: kid}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func jwksVerifier(t *testing.T, s *slowSource) *Verifier {
	t.Helper()
	return made(t, Config{Scheme: "jwt", Tolerance: 48 * time.Hour, JWT: JWT{JWKSURL: "https://issuer/jwks", Issuer: "ci"}, Fetch: s.fetch})
}

func TestHangingFetchOfKeys(t *testing.T) {
	i := newIssuer(t)
	known := bearer(tokenOf(t, jose.EdDSA, i.ed, "1", claims()))
	forged := bearer(tokenOf(t, jose.EdDSA, newIssuer(t).ed, "evil", claims()))
	now := seconds(1700000000)
	for _, tt := range []struct {
		name string
		err  error
	}{{"and ends well", nil}, {"and fails", errors.New("issuer is down")}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowSource{content: jwksText(t, "1", i)}
				v := jwksVerifier(t, s)
				wantPass(t, v, known, now)
				s.err = tt.err
				later := now.Add(time.Minute)
				crowd{v, s, known, forged, later, "jwks_url has no key for the token"}.run(t)
				// The pause holds after it, too.
				s.hang = 0
				wantReason(t, v, forged, later.Add(9*time.Second), "jwks_url has no key for the token")
				wantPass(t, v, known, later.Add(9*time.Second))
				s.wantFetched(t, 2)
			})
		})
	}
}

// TestOldKeysDoNotWait has keys that it is time to fetch again.
func TestOldKeysDoNotWait(t *testing.T) {
	i := newIssuer(t)
	known, now := bearer(tokenOf(t, jose.EdDSA, i.ed, "1", claims())), seconds(1700000000)
	synctest.Test(t, func(t *testing.T) {
		s := &slowSource{content: jwksText(t, "1", i)}
		v := jwksVerifier(t, s)
		wantPass(t, v, known, now)
		s.hang = 5 * time.Second
		var all checks
		for range 20 {
			all.start(t.Context(), v, known, now.Add(2*time.Hour))
		}
		synctest.Wait()
		all.want(t, "passes", 19)
		all.wg.Wait()
		all.want(t, "passes", 20)
		s.wantFetched(t, 2)
	})
}

// TestHangingUpDoesNotEndAFetch is a sender who would keep the keys from others.
func TestHangingUpDoesNotEndAFetch(t *testing.T) {
	i := newIssuer(t)
	good, now := bearer(tokenOf(t, jose.EdDSA, i.ed, "1", claims())), seconds(1700000000)
	synctest.Test(t, func(t *testing.T) {
		s := &slowSource{content: jwksText(t, "1", i), hang: time.Second}
		v := jwksVerifier(t, s)
		ctx, cancel := context.WithCancel(t.Context())
		var all checks
		all.start(ctx, v, bearer(tokenOf(t, jose.EdDSA, i.ed, "evil", claims())), now)
		synctest.Wait()
		cancel()
		wantPass(t, v, good, now)
		all.wg.Wait()
		s.wantFetched(t, 1)
	})
}

func TestHangingFetchOfCertificates(t *testing.T) {
	a := newAmazon(t, "sns.amazonaws.com")
	known, other := a.sign(t, notification()), notification()
	other["SigningCertURL"] = "https://sns.us-west-2.amazonaws.com/other.pem"
	for _, tt := range []struct {
		name string
		err  error
		late string
	}{
		{"and ends well", nil, "passes"},
		{"and fails", errors.New("down"), "fetch the certificate of Amazon SNS: down"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &slowSource{content: a.cert}
				v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: s.fetch})
				wantPass(t, v, known, snsTime())
				s.err = tt.err
				crowd{v, s, known, a.sign(t, other), snsTime(), tt.late}.run(t)
				// The pause holds after it, too, and then ends.
				s.hang = 0
				wantFetched := int32(2)
				if tt.err != nil {
					wantReason(t, v, a.sign(t, other), snsTime().Add(keysAgainOn-time.Second), tt.late)
					s.wantFetched(t, wantFetched)
					s.err = nil
					wantFetched++
				}
				wantPass(t, v, a.sign(t, other), snsTime().Add(keysAgainOn))
				s.wantFetched(t, wantFetched)
			})
		})
	}
}
