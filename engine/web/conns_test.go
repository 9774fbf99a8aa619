package web

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

func TestConnectionsOfOneAddressAreBounded(t *testing.T) {
	tests := []struct {
		name   string
		token  bool
		remote func(i int) string
		want   int // that may stay
	}{
		{"one address", true, func(i int) string { return fmt.Sprintf("192.0.2.1:%d", i+1) }, maxConnsOf},
		{"one address, no token", false, func(i int) string { return fmt.Sprintf("192.0.2.1:%d", i+1) }, maxConns},
		{"one network of IPv6", true, func(i int) string { return fmt.Sprintf("[2001:db8::%x]:1", i+1) }, maxConnsOf},
		{"many addresses", true, func(i int) string { return fmt.Sprintf("192.0.2.%d:1", i+1) }, maxConns},
		{"a proxy here", true, func(i int) string { return fmt.Sprintf("127.0.0.1:%d", i+1) }, maxConns},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			c := newConns(tt.token, slog.New(slog.NewTextHandler(&said, nil)))
			stay := 0
			for i := range maxConns + 10 {
				if c.enter(tt.remote(i)) {
					stay++
				}
			}
			if stay != tt.want {
				t.Errorf("%d connections may stay, want %d", stay, tt.want)
			}
			if got := strings.Count(said.String(), "further ones are closed"); got != 1 {
				t.Errorf("%d refusals are told of at once, want the first:\n%s", got, &said)
			}
			for i := range maxConns + 10 {
				c.leave(tt.remote(i))
			}
			if c.n != 0 || len(c.of) != 0 {
				t.Errorf("once all are closed %d are counted, of the addresses %v; want none", c.n, c.of)
			}
			if !c.enter(tt.remote(0)) {
				t.Error("once all are closed one more may not stay")
			}
		})
	}
}

// TestConnectionIsKeptForWhoIsLoggedInAlone: there are few.
func TestConnectionIsKeptForWhoIsLoggedInAlone(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{text: "x"}, API: http.NotFoundHandler(), Token: secretOf(token)})
	session := logIn(s, token, "192.0.2.1:1").Cookies()[0]
	logged := func(r *http.Request) { r.AddCookie(session) }
	bearer := func(given string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+given) }
	}
	tests := []struct {
		name, target string
		change       func(*http.Request)
		want         string
	}{
		{"asset", "/assets/app.css", nil, "close"},
		{"login page", "/login", nil, "close"},
		{"page", "/status", nil, "close"},
		{"wrong token", "/api/v1/runs", bearer("wrong"), "close"},
		{"asset, with a session", "/assets/app.css", logged, ""},
		{"page, with a session", "/status", logged, ""},
		{"right token", "/api/v1/runs", bearer(token), ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ask(s, http.MethodGet, tt.target, "", tt.change).Header.Get("Connection"); got != tt.want {
				t.Errorf("%s is answered with Connection: %q, want %q", tt.target, got, tt.want)
			}
		})
	}
	open := newServer(t, Options{Desk: &fakeDesk{text: "x"}})
	if got := ask(open, http.MethodGet, "/status", "", nil).Header.Get("Connection"); got != "" {
		t.Errorf("without a token a page is answered with Connection: %q, want it kept", got)
	}
}
