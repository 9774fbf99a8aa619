package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys     = 100              // of one set
	maxKeysTry  = 10               // for one token that does not name its key
	keysAge     = time.Hour        // after which the issuer may have dropped one
	keysAgain   = time.Minute      // between two fetches, whatever tokens ask for
	keysAgainOn = 10 * time.Second // after a fetch that went wrong
)

// keySet are the keys of a jwks_url, fetched when they are first needed. A key
// that is known is found at once, whatever is being fetched: else anybody who
// makes up the name of a key would stop all who have a good one.
type keySet struct {
	url   string
	fetch fetch
	queue queue

	mu   sync.Mutex // guards the fields below, and is never held over a fetch
	keys []jose.JSONWebKey
	got  time.Time // of keys
	next time.Time // before which nothing is fetched
	err  error     // of the last fetch
}

func newKeySet(url string, f fetch) *keySet {
	return &keySet{url: url, fetch: f, queue: newQueue()}
}

// find returns the keys that a token with this kid and alg may be signed with.
func (s *keySet) find(ctx context.Context, kid, alg string, now time.Time) ([]any, *Failure) {
	found, due := s.look(kid, alg, now)
	if !due {
		return s.answer(found)
	}
	if len(found) > 0 {
		if !s.queue.tryEnter() {
			return found, nil // old, and somebody fetches already
		}
	} else if f := s.queue.enter(ctx); f != nil {
		return nil, f
	}
	defer s.queue.leave()
	// Somebody may have fetched them while this one waited.
	if found, due = s.look(kid, alg, now); due {
		s.refresh(ctx, now)
		found, _ = s.look(kid, alg, now)
	}
	return s.answer(found)
}

// look returns the keys that are known, and whether it is time to fetch.
func (s *keySet) look(kid, alg string, now time.Time) (found []any, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.keys {
		if (kid == "" || k.KeyID == kid) && (k.Algorithm == "" || k.Algorithm == alg) && len(found) < maxKeysTry {
			found = append(found, k.Key)
		}
	}
	return found, (len(found) == 0 || now.Sub(s.got) > keysAge) && !now.Before(s.next)
}

// answer says why there is no key, where there is none.
func (s *keySet) answer(found []any) ([]any, *Failure) {
	if len(found) > 0 {
		return found, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.keys) == 0 {
		return nil, fail("the keys of jwks_url are not known: %v", s.err)
	}
	return nil, fail("jwks_url has no key for the token")
}

// refresh fetches the set. The old one stays where that goes wrong: an issuer
// that is down for a while must not stop every hook.
func (s *keySet) refresh(ctx context.Context, now time.Time) {
	keys, err := s.get(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.next, s.err = now.Add(keysAgainOn), err
		return
	}
	s.keys, s.got, s.next, s.err = keys, now, now.Add(keysAgain), nil
}

// get is not ended by the request that it is for: else who sends and hangs up
// keeps the keys from everybody.
func (s *keySet) get(ctx context.Context) ([]jose.JSONWebKey, error) {
	text, err := s.fetch(context.WithoutCancel(ctx), s.url)
	if err != nil {
		return nil, fmt.Errorf("fetch: %w", err)
	}
	return parseKeySet(text)
}

// parseKeySet reads the public signing keys of a set, and passes over those of
// a kind that it does not know: an issuer may add one any day.
func parseKeySet(text []byte) ([]jose.JSONWebKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("the answer is not a set of keys")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys[:min(len(set.Keys), maxKeys)] {
		var k jose.JSONWebKey
		if err := k.UnmarshalJSON(raw); err != nil || !k.IsPublic() || !k.Valid() || k.Use != "" && k.Use != "sig" {
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("the answer holds no public key that signs")
	}
	return keys, nil
}
