package verify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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

type fetch func(ctx context.Context, url string) ([]byte, error)

// keySet are the keys of a jwks_url, fetched when they are first needed.
type keySet struct {
	url   string
	fetch fetch
	turn  chan struct{} // holds one: who takes it owns the fields below; never closed

	keys []jose.JSONWebKey
	got  time.Time // of keys
	next time.Time // before which nothing is fetched
	err  error     // of the last fetch
}

func newKeySet(url string, f fetch) *keySet {
	s := &keySet{url: url, fetch: f, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	return s
}

// find returns the keys that a token with this kid and alg may be signed with.
func (s *keySet) find(ctx context.Context, kid, alg string, now time.Time) ([]any, error) {
	select {
	case <-s.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { s.turn <- struct{}{} }()
	found := s.match(kid, alg)
	if (len(found) == 0 || now.Sub(s.got) > keysAge) && !now.Before(s.next) {
		s.refresh(ctx, now)
		found = s.match(kid, alg)
	}
	if len(s.keys) == 0 {
		return nil, s.err
	}
	return found, nil
}

// refresh fetches the set. The old one stays where that goes wrong: an issuer
// that is down for a while must not stop every hook.
func (s *keySet) refresh(ctx context.Context, now time.Time) {
	s.next = now.Add(keysAgainOn)
	text, err := s.fetch(ctx, s.url)
	if err != nil {
		s.err = fmt.Errorf("fetch: %w", err)
		return
	}
	keys, err := parseKeySet(text)
	if err != nil {
		s.err = err
		return
	}
	s.keys, s.got, s.next, s.err = keys, now, now.Add(keysAgain), nil
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

func (s *keySet) match(kid, alg string) []any {
	var found []any
	for _, k := range s.keys {
		if (kid == "" || k.KeyID == kid) && (k.Algorithm == "" || k.Algorithm == alg) && len(found) < maxKeysTry {
			found = append(found, k.Key)
		}
	}
	return found
}
