package server

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestWebsitesCannotReachALocalIntake: a page in a browser on the same machine
// is not a sender of webhooks.
func TestWebsitesCannotReachALocalIntake(t *testing.T) {
	tests := []struct {
		name, host, header, value string
		want                      int
	}{
		{name: "curl", host: "127.0.0.1:8080", want: 202},
		{name: "by name", host: "localhost:8080", want: 202},
		{name: "IPv6", host: "[::1]:8080", want: 202},
		{name: "typed into the browser", host: "127.0.0.1:8080", header: "Sec-Fetch-Site", value: "none", want: 202},
		{name: "page of this machine", host: "localhost:8080", header: "Origin", value: "http://localhost:3000", want: 202},
		{name: "other website", host: "127.0.0.1:8080", header: "Sec-Fetch-Site", value: "cross-site", want: 403},
		{name: "its sibling", host: "127.0.0.1:8080", header: "Sec-Fetch-Site", value: "same-site", want: 403},
		{name: "older browser", host: "127.0.0.1:8080", header: "Origin", value: "https://evil.example", want: 403},
		{name: "sandboxed page", host: "127.0.0.1:8080", header: "Origin", value: "null", want: 403},
		{name: "name that points here", host: "evil.example:8080", want: 403},
		{name: "name that begins like here", host: "127.0.0.1.evil.example", want: 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, local := range []bool{true, false} {
				want := tt.want
				if !local {
					want = 202
				}
				box := &fakeInbox{}
				req := httptest.NewRequest(http.MethodPost, "http://"+tt.host+"/hooks/b", strings.NewReader("{}"))
				if tt.header != "" {
					req.Header.Set(tt.header, tt.value)
				}
				w := httptest.NewRecorder()
				New(Options{Inbox: box, LocalOnly: local}).Handler().ServeHTTP(w, req)
				if w.Code != want {
					t.Errorf("local %v: answer %d %s, want %d", local, w.Code, w.Body, want)
				}
			}
		})
	}
}
