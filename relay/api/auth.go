package api

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"hookrun/relay/account"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
)

// Bounds on the requests of one token.
const (
	ratePerSecond = 50
	rateBurst     = 200
	maxUsers      = 4096 // tokens that are remembered
)

// How long one is asked to wait before trying again, in seconds.
const (
	retryGuarded = "5"
	retryLimited = "1"
	retryBusy    = "2"
	retrySave    = "30" // a disk has to be freed
)

// noteEvery is how often it is tried to note that a token was used.
const noteEvery = time.Minute

// authorize finds out whose request it is, and whether that may do it.
func (s *Server) authorize(q *request) error {
	if isForeign(q.Request) {
		return refuse(http.StatusForbidden, "another website may not ask for this with what your browser remembers: open the address itself, or use a client")
	}
	from := s.address(q.Request)
	if !s.guard.Allowed(from) {
		return refuse(http.StatusTooManyRequests, "too many failed logins from this address, wait some seconds").
			with("Retry-After", retryGuarded)
	}
	key, secret, ok := credentials(q.Request)
	if !ok {
		return unauthorized("authentication required: HTTP Basic with key and secret, or Bearer with the secret")
	}
	q.token = account.Authenticate(s.book.Now(), key, secret)
	if q.token == nil {
		s.guard.Failed(from)
		return unauthorized("invalid key or secret")
	}
	s.guard.Passed(from)
	if q.token.APIAccess == account.APIDisabled && !q.route.open {
		return refuse(http.StatusForbidden, "this token has no API access")
	}
	// As many answers come as webhooks: they are not bound, and use nothing up.
	if !q.route.open && !s.usage.allowed(q.token.ID) {
		return refuse(http.StatusTooManyRequests, "too many requests with this token").with("Retry-After", retryLimited)
	}
	if s.usage.isLogin(q.token.ID) {
		s.noteLogin(q)
	}
	return nil
}

// Protect has h answer only those who may see all that there is: tokens with API
// access that are not bound to some buckets.
func (s *Server) Protect(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := &request{Request: r, w: w, id: uuid.NewString(), route: &route{}}
		err := s.authorize(q)
		if err == nil {
			err = q.unscoped()
		}
		if err != nil {
			w.Header().Set("Content-Type", "application/json")
			s.refuse(q, err)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func unauthorized(text string) error {
	return refuse(http.StatusUnauthorized, "%s", text).with("Www-Authenticate", `Basic realm="relay", charset="UTF-8"`)
}

// isForeign reports whether a browser sends a request for a page of another
// website. It may add the key and secret that it remembers for this one, without
// its user's knowledge. Only browsers say where a request is from.
func isForeign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "none", "same-origin":
		return false
	}
	return true
}

// credentials of a request. The key is "" where the secret alone names the token.
func credentials(r *http.Request) (key, secret string, ok bool) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if strings.EqualFold(scheme, "Bearer") {
		secret = strings.TrimSpace(secret)
		return "", secret, secret != ""
	}
	return r.BasicAuth()
}

// noteLogin has last_login in the account. A request does not fail for it.
func (s *Server) noteLogin(q *request) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(q.Context()), editTimeout)
	defer cancel()
	if err := s.book.Login(ctx, q.token.ID, time.Now()); err != nil {
		s.log.Debug("a token's last login was not noted", "request", q.id, "err", err)
	}
}

// usage bounds how often a token may ask.
type usage struct {
	mu    sync.Mutex // guards users, and what is in it
	users *recent[string, *user]
}

type user struct {
	bucket *rate.Limiter
	noted  time.Time     // when its login was noted last, or that was tried
	large  chan struct{} // holds one value for every large body of the token in memory; never closed
}

func newUsage() *usage { return &usage{users: newRecent[string, *user](maxUsers)} }

// allowed reports whether a token may ask now, and counts that it did.
func (u *usage) allowed(key string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of(key).bucket.AllowN(time.Now(), 1)
}

// isLogin reports whether it is time to note that a token is in use, and takes it
// as noted.
func (u *usage) isLogin(key string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	one, now := u.of(key), time.Now()
	if now.Sub(one.noted) < noteEvery {
		return false
	}
	one.noted = now
	return true
}

// large are the places for large bodies of a token.
func (u *usage) large(key string) chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.of(key).large
}

// of returns what is known of a token; mu is held.
func (u *usage) of(key string) *user {
	return u.users.getOrMake(key, func() *user {
		return &user{bucket: rate.NewLimiter(ratePerSecond, rateBurst), large: make(chan struct{}, maxTokenLarge)}
	})
}

// isScoped reports whether a token is bound to some buckets.
func isScoped(t *account.Token) bool { return len(t.Scopes.Buckets) > 0 }

// unscoped refuses a token that is bound to some buckets.
func (q *request) unscoped() error {
	if isScoped(q.token) {
		return refuse(http.StatusForbidden, "this token is bound to some buckets, and may not do that")
	}
	return nil
}

// bucket finds the bucket that is named; one that the token may not know of is
// not found either.
func (q *request) bucket(a *account.Account, nameOrID string) (*account.Bucket, error) {
	b := a.Bucket(nameOrID)
	if b == nil || !q.token.Sees(b) {
		return nil, notFound("bucket", nameOrID)
	}
	return b, nil
}
