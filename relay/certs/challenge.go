package certs

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"golang.org/x/crypto/acme"
)

// present has a challenge answered, until withdraw is called.
func (r *Renewer) present(domain string, c *acme.Challenge) (withdraw func(), err error) {
	if c.Type == "http-01" {
		answer, err := r.client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return nil, err
		}
		r.set(func() { r.answers[c.Token] = answer })
		return func() { r.set(func() { delete(r.answers, c.Token) }) }, nil
	}
	cert, err := r.client.TLSALPN01ChallengeCert(c.Token, domain)
	if err != nil {
		return nil, fmt.Errorf("certificate of the challenge: %w", err)
	}
	r.set(func() { r.challenges[domain] = &cert })
	return func() { r.set(func() { delete(r.challenges, domain) }) }, nil
}

// set changes what mu guards.
func (r *Renewer) set(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// challengePath is where the authority looks for the answer to http-01.
const challengePath = "/.well-known/acme-challenge/"

// Handler answers http-01 on port 80, and hands all else to next. Without next
// all else is answered 404: most senders of webhooks don't follow a redirect, or
// drop the body on the way. http-01 is tried only once Handler was called.
func (r *Renewer) Handler(next http.Handler) http.Handler {
	r.set(func() { r.http01 = true })
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		token, ours := strings.CutPrefix(req.URL.Path, challengePath)
		switch {
		case ours:
			r.answer(w, token)
		case next != nil:
			next.ServeHTTP(w, req)
		default:
			http.Error(w, "nothing is here: use https", http.StatusNotFound)
		}
	})
}

func (r *Renewer) answer(w http.ResponseWriter, token string) {
	r.mu.Lock()
	answer, ok := r.answers[token]
	r.mu.Unlock()
	if !ok {
		http.Error(w, "no such challenge", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	io.WriteString(w, answer) // an authority that is gone asks again
}
