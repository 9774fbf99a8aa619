package verify

import (
	"maps"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// signedNames are the headers of a sample that its signature depends on.
func signedNames(t *testing.T, s sample) (first string, all []string) {
	t.Helper()
	var n names
	switch c := made(t, s.config).checker.(type) {
	case *signature:
		n = c.spelling(s.request)
	case *gitlab:
		n = c.signing.spelling(s.request)
	default:
		t.Fatalf("%s has no signature", s.name)
	}
	for _, name := range []string{n.signature, n.timestamp, n.id} {
		if name != "" {
			all = append(all, name)
		}
	}
	return n.signature, all
}

// TestOneBitChangesAll changes each bit of each request in turn.
func TestOneBitChangesAll(t *testing.T) {
	for _, s := range samples(t) {
		t.Run(s.name, func(t *testing.T) {
			v := made(t, s.config)
			wantPass(t, v, s.request, s.now)
			for i := range len(s.request.Body) * 8 {
				r := s.request
				r.Body = flip(r.Body, i)
				if sameForm(s.request, r) {
					continue
				}
				if v.Check(t.Context(), r, s.now) == nil {
					t.Fatalf("the body %q passes in place of %q", r.Body, s.request.Body)
				}
			}
			first, all := signedNames(t, s)
			for _, name := range all {
				was := s.request.Header.Get(name)
				from := 0
				if name == first && !strings.Contains(was, "t=") {
					from = strings.LastIndexAny(was, " ,") + 1 // what stands before may be of another secret
				}
				for i := from * 8; i < len(was)*8; i++ {
					r := s.request
					r.Header = maps.Clone(r.Header)
					value := string(flip([]byte(was), i))
					if i/8 >= len(was)-hexTail(was) && strings.EqualFold(value, was) {
						continue // hex in the other case
					}
					r.Header[http.CanonicalHeaderKey(name)] = []string{value}
					if v.Check(t.Context(), r, s.now) == nil {
						t.Fatalf("%s: %q passes in place of %q", name, value, was)
					}
				}
			}
		})
	}
}

// hexTail is how many hex digits a text ends in.
func hexTail(text string) int {
	return len(text) - len(strings.TrimRight(text, "0123456789abcdefABCDEF"))
}

func flip(b []byte, bit int) []byte {
	changed := append([]byte{}, b...)
	changed[bit/8] ^= 1 << (bit % 8)
	return changed
}

// sameForm reports whether two bodies are the same form, spelt in two ways,
// where the fields are signed and not their spelling.
func sameForm(a, b Request) bool {
	if !isForm(a.Header) {
		return false
	}
	x, err1 := url.ParseQuery(string(a.Body))
	y, err2 := url.ParseQuery(string(b.Body))
	return err1 == nil && err2 == nil && x.Encode() == y.Encode()
}

// TestChangedBodies are the changes that proxies and programs make.
func TestChangedBodies(t *testing.T) {
	body := "{\"b\":1,\n\"a\":\"é\"}"
	v := made(t, Config{Scheme: "github", Secrets: []string{"s3cret"}})
	r := signedBy(t, v, Request{Method: http.MethodPost, Body: []byte(body)}, time.Time{})
	wantPass(t, v, r, time.Time{})
	for _, tt := range []struct{ name, body string }{
		{"one byte more", body + " "},
		{"one byte less", body[:len(body)-1]},
		{"a line break", body + "\n"},
		{"CR LF", strings.ReplaceAll(body, "\n", "\r\n")},
		{"byte order mark", "\xef\xbb\xbf" + body},
		{"order of keys", "{\"a\":\"é\",\n\"b\":1}"},
		{"escaped", "{\"b\":1,\n\"a\":\"\\u00e9\"}"},
		{"empty", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := r
			r.Body = []byte(tt.body)
			wantReason(t, v, r, time.Time{}, "the signature differs")
		})
	}
}

// signedBy is a request with what its sender adds.
func signedBy(t testing.TB, v *Verifier, r Request, now time.Time) Request {
	t.Helper()
	s, err := v.Sign(r, now, "msg-1")
	if err != nil {
		t.Fatalf("Sign(%s): %v", v.Scheme(), err)
	}
	h := http.Header{}
	maps.Copy(h, r.Header)
	maps.Copy(h, s.Header)
	r.Header = h
	if len(s.Query) > 0 {
		r.Query = s.Query.Encode()
	}
	return r
}

// TestEdgesOfTolerance holds every scheme that signs a time to its bounds.
func TestEdgesOfTolerance(t *testing.T) {
	stamped := 0
	for _, s := range samples(t) {
		if s.now.Unix() == 0 {
			continue
		}
		stamped++
		tolerance := DefaultTolerance
		if s.config.Scheme == "linear" {
			tolerance = time.Minute
			s.now = time.UnixMilli(1676056940508)
		}
		for _, tt := range []struct {
			name  string
			shift time.Duration
			want  string
		}{
			{"as old as may be", tolerance, ""},
			{"as new as may be", -tolerance, ""},
			{"too old", tolerance + time.Second, "the timestamp is " + (tolerance + time.Second).String() + " old, more than " + tolerance.String()},
			{"too new", -tolerance - time.Second, "the timestamp is " + (tolerance + time.Second).String() + " ahead, more than " + tolerance.String()},
		} {
			t.Run(s.name+"/"+tt.name, func(t *testing.T) {
				v := made(t, s.config)
				if tt.want == "" {
					wantPass(t, v, s.request, s.now.Add(tt.shift))
					return
				}
				wantReason(t, v, s.request, s.now.Add(tt.shift), tt.want)
			})
		}
	}
	if stamped < 8 {
		t.Errorf("%d samples have a time, want at least 8", stamped)
	}
}

func TestToleranceOfTheFile(t *testing.T) {
	s := sampleOf(t, "slack-doc")
	s.config.Tolerance = time.Hour
	v := made(t, s.config)
	wantPass(t, v, s.request, s.now.Add(time.Hour))
	wantReason(t, v, s.request, s.now.Add(time.Hour+time.Second), "the timestamp is 1h0m1s old, more than 1h0m0s")
}
