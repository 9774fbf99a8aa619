package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// wants is a verifier that knows a sender by the value of the header X-Key.
type wants struct {
	key       string
	challenge *engine.Challenge
	likely    string
}

func (w *wants) Verify(_ context.Context, ev *engine.Event) error {
	if ev.Header.Get("X-Key") != w.key {
		return errors.New("the key differs")
	}
	return nil
}

func (w *wants) Likely(context.Context, *engine.Event) string { return w.likely }

func (w *wants) Challenge(_ context.Context, ev *engine.Event) (*engine.Challenge, error) {
	if ev.Method != "GET" {
		return nil, nil
	}
	if w.challenge == nil {
		return nil, errors.New("the question is not signed")
	}
	return w.challenge, nil
}

func (w *wants) Mask(ev *engine.Event) {
	if ev.Header.Get("X-Key") != "" {
		ev.Header.Set("X-Key", engine.Masked)
	}
	ev.Query = engine.MaskQuery(ev.Query, "key")
}

// trusting starts an engine over rules that say of the bucket b what is given.
func trusting(t *testing.T, b *engine.Bucket, rules ...*engine.Rule) *house {
	t.Helper()
	set := engine.NewRuleSet(rules, "h")
	set.Buckets = map[string]*engine.Bucket{"b": b}
	set.Secrets = []engine.Secret{engine.NewSecret("s3cret-value")}
	h := start(t, &shakyStore{}, engine.Options{})
	h.SetRules(set)
	t.Cleanup(h.stop)
	return h
}

func ruleOf(name string) *engine.Rule {
	r := rule(name, doing(fine))
	r.Buckets = []string{"b"}
	return r
}

func TestWhoMaySend(t *testing.T) {
	own := func(key string) *engine.Rule {
		r := ruleOf("own")
		r.Verify = &wants{key: key}
		return r
	}
	open := ruleOf("open")
	open.VerifyNone = true
	hooks := &engine.Bucket{Verify: &wants{key: "bucket"}}
	allow := &engine.Bucket{Allow: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}}
	for _, tt := range []struct {
		name   string
		bucket *engine.Bucket
		rules  []*engine.Rule
		key    string
		remote string
		want   string // rules that ran, or the error
	}{
		{name: "nobody is asked", bucket: &engine.Bucket{}, rules: []*engine.Rule{ruleOf("a")}, want: "a"},
		{name: "known to the bucket", bucket: hooks, rules: []*engine.Rule{ruleOf("a")}, key: "bucket", want: "a"},
		{name: "not known to the bucket", bucket: hooks, rules: []*engine.Rule{ruleOf("a")}, key: "x", want: "not verified"},
		{name: "no rule", bucket: hooks, key: "bucket", want: ""},
		{name: "no rule, not known", bucket: hooks, want: "not verified"},
		{name: "the rule knows better", bucket: hooks, rules: []*engine.Rule{own("rule")}, key: "rule", want: "own"},
		{name: "the bucket's key is none of the rule's", bucket: hooks, rules: []*engine.Rule{own("rule")}, key: "bucket", want: "not verified"},
		{name: "each rule its own", bucket: hooks, rules: []*engine.Rule{own("rule"), ruleOf("a")}, key: "bucket", want: "a"},
		{name: "a rule that asks nobody", bucket: hooks, rules: []*engine.Rule{open, ruleOf("a")}, key: "x", want: "open"},
		{name: "only the rule asks", bucket: &engine.Bucket{}, rules: []*engine.Rule{own("rule")}, key: "x", want: "not verified"},
		{name: "allowed", bucket: allow, rules: []*engine.Rule{ruleOf("a")}, remote: "192.0.2.7:443", want: "a"},
		{name: "allowed, IPv4 in IPv6", bucket: allow, rules: []*engine.Rule{ruleOf("a")}, remote: "[::ffff:192.0.2.7]:443", want: "a"},
		{name: "allowed, IPv6 with a zone", bucket: allow, rules: []*engine.Rule{ruleOf("a")}, remote: "[2001:db8::1%eth0]:443", want: "a"},
		{name: "allowed, without a port", bucket: allow, rules: []*engine.Rule{ruleOf("a")}, remote: "2001:db8::1", want: "a"},
		{name: "not allowed", bucket: allow, rules: []*engine.Rule{ruleOf("a")}, remote: "192.0.3.7:443", want: "not allowed from this address"},
		{name: "no address", bucket: allow, rules: []*engine.Rule{ruleOf("a")}, remote: "unknown", want: "not allowed from this address"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := trusting(t, tt.bucket, tt.rules...)
				receipt, err := h.Submit(t.Context(), &engine.Event{
					Bucket: "b", Method: "POST", Source: engine.SourceIntake, Remote: tt.remote, Header: http.Header{"X-Key": {tt.key}}, Body: []byte("{}"),
				})
				var ran []string
				for _, r := range receipt.Runs {
					ran = append(ran, r.Rule)
				}
				got := strings.Join(ran, " ")
				if err != nil {
					got = err.Error()
				}
				if got != tt.want {
					t.Errorf("Submit = %q, want %q", got, tt.want)
				}
			})
		})
	}
}

func TestRejectedEventIsRecordedApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := trusting(t, &engine.Bucket{Verify: &wants{key: "k", likely: "the key s3cret-value of another bucket was used"}}, ruleOf("a"))
		_, err := h.Submit(t.Context(), &engine.Event{
			Bucket: "b", Method: "POST", Path: "/x/s3cret-value", Source: engine.SourceIntake, Remote: "192.0.2.1:1",
			Header: http.Header{"X-Key": {"wrong"}, "Accept": {"*/*"}}, Body: []byte("12345"),
		})
		if !errors.Is(err, engine.ErrNotVerified) {
			t.Fatalf("Submit: %v, want ErrNotVerified", err)
		}
		got, err := h.store.Rejections(t.Context(), engine.RejectionFilter{})
		if err != nil || len(got) != 1 {
			t.Fatalf("Rejections = %v, %v, want one", got, err)
		}
		want := engine.Rejection{
			ID: got[0].ID, Received: got[0].Received, Source: engine.SourceIntake, Remote: "192.0.2.1:1", Bucket: "b", Method: "POST",
			Path: "/x/" + engine.Masked, Headers: []string{"Accept", "X-Key"}, Size: 5,
			Reason: "the key differs", Likely: "the key " + engine.Masked + " of another bucket was used",
		}
		if !reflect.DeepEqual(got[0], want) {
			t.Errorf("Rejections = %+v, want %+v", got[0], want)
		}
		if _, err := h.store.Event(t.Context(), got[0].ID); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("Event of a rejection: %v, want ErrNotFound", err)
		}
		if n := h.Rejected(); n != 1 {
			t.Errorf("Rejected() = %d, want 1", n)
		}
	})
}

// TestStrangersDoNotBuyWork shows that the search for a cause, which costs, and
// the log are not to be had for every forged request.
func TestStrangersDoNotBuyWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		any := ruleOf("any")
		any.Buckets, any.Verify = nil, &wants{key: "k", likely: "found"}
		h := trusting(t, &engine.Bucket{Verify: &wants{key: "k", likely: "found"}}, ruleOf("a"), any)
		for range 50 {
			if _, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "POST", Source: engine.SourceIntake}); !errors.Is(err, engine.ErrNotVerified) {
				t.Fatalf("Submit: %v", err)
			}
		}
		looked := func() (n int) {
			all, err := h.store.Rejections(t.Context(), engine.RejectionFilter{})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range all {
				switch r.Likely {
				case "found":
					n++
				case "not looked for: many were rejected at that time":
				default:
					t.Errorf("likely = %q", r.Likely)
				}
			}
			return n
		}
		if n := looked(); n != 20 {
			t.Errorf("of 50 rejections a cause was looked for %d times, want 20", n)
		}
		_, _ = h.Submit(t.Context(), &engine.Event{Bucket: "other", Method: "POST", Source: engine.SourceIntake})
		if n := looked(); n != 21 {
			t.Errorf("with one of another bucket a cause was looked for %d times, want 21", n)
		}
		pass(time.Minute)
		_, _ = h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "POST", Source: engine.SourceIntake})
		if n := looked(); n != 22 {
			t.Errorf("a minute later a cause was looked for %d times, want 22", n)
		}
	})
}

func TestQuestionOfAServiceIsAnswered(t *testing.T) {
	answer := &engine.Challenge{Status: 200, ContentType: "text/plain", Body: "echo"}
	signed := &engine.Challenge{Status: 200, ContentType: "text/plain", Body: "echo", Signed: true}
	for _, tt := range []struct {
		name      string
		challenge *engine.Challenge
		kept      bool
	}{
		{"unsigned", answer, false},
		{"signed", signed, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := trusting(t, &engine.Bucket{Verify: &wants{key: "k", challenge: tt.challenge}}, ruleOf("a"))
				r, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "GET", Source: engine.SourceIntake})
				if err != nil || r.Challenge != tt.challenge || len(r.Runs) != 0 {
					t.Fatalf("Submit = %+v, %v, want the challenge and no run", r, err)
				}
				if kept := r.Event != ""; kept != tt.kept {
					t.Errorf("kept as %q, want kept %v", r.Event, tt.kept)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		h := trusting(t, &engine.Bucket{Verify: &wants{key: "k"}}, ruleOf("a"))
		if _, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "GET"}); !errors.Is(err, engine.ErrNotVerified) {
			t.Errorf("Submit of a question that is not answered: %v, want ErrNotVerified", err)
		}
	})
}

func TestCredentialsAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := trusting(t, &engine.Bucket{Verify: &wants{key: "the-key"}}, ruleOf("a"))
		header := http.Header{
			"X-Key": {"the-key"}, "Authorization": {"Bearer abc"}, "Cookie": {"sid=1"}, "X-Other": {"is s3cret-value here"}, "Accept": {"*/*"},
		}
		r, err := h.Submit(t.Context(), &engine.Event{
			Bucket: "b", Method: "POST", Source: engine.SourceIntake, Path: "/s3cret-value", Query: "a=1&key=the-key&b=s3cret-value",
			Header: header, Body: []byte(`{"s3cret-value":1}`),
		})
		if err != nil {
			t.Fatal(err)
		}
		ev, err := h.store.Event(t.Context(), r.Event)
		if err != nil {
			t.Fatal(err)
		}
		const m = engine.Masked
		got := fmt.Sprint(ev.Path, " ", ev.Query, " ", ev.Header)
		want := fmt.Sprint("/"+m, " a=1&key=%2A%2A%2A&b="+m, " ", http.Header{
			"X-Key": {m}, "Authorization": {"Bearer " + m}, "Cookie": {m}, "X-Other": {"is " + m + " here"}, "Accept": {"*/*"},
		})
		if got != want {
			t.Errorf("kept %s\nwant %s", got, want)
		}
		if string(ev.Body) != `{"s3cret-value":1}` {
			t.Errorf("body kept as %s, want it as it came", ev.Body)
		}
		if header.Get("X-Key") != "the-key" {
			t.Errorf("the sender's own header was changed to %v", header)
		}
	})
}

func TestSignatureOverBytesThatARelayReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := trusting(t, &engine.Bucket{Verify: &wants{key: "k", likely: "something else"}}, ruleOf("a"))
		_, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "POST", Source: engine.SourceRelay, Lossy: true, Body: []byte("a\ufffdb")})
		if !errors.Is(err, engine.ErrNotVerified) {
			t.Fatalf("Submit: %v", err)
		}
		got, err := h.store.Rejections(t.Context(), engine.RejectionFilter{})
		if err != nil || len(got) != 1 || !strings.Contains(got[0].Likely, "not UTF-8") {
			t.Errorf("Rejections = %+v, %v, want one that says that the body is not UTF-8", got, err)
		}
	})
}

// TestNameAndIDOfABucketBothHold: a relay names a bucket twice, and may lie.
func TestNameAndIDOfABucketBothHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deploy, other := ruleOf("deploy"), ruleOf("other")
		deploy.Buckets, other.Buckets = []string{"deploys"}, []string{"open"}
		h := trusting(t, &engine.Bucket{}, deploy, other)
		set := engine.NewRuleSet([]*engine.Rule{deploy, other}, "h")
		set.Buckets = map[string]*engine.Bucket{"deploys": {Verify: &wants{key: "k"}}, "open": {}, "weak": {Verify: &wants{key: "weak"}}}
		h.SetRules(set)
		for _, tt := range []struct{ name, id, key, want string }{
			{"deploys", "deploys", "", "not verified"},
			{"open", "deploys", "", "not verified"},
			{"deploys", "open", "", "not verified"},
			{"weak", "deploys", "weak", "not verified"},
			{"open", "deploys", "k", "[deploy other]"},
			{"open", "b-1", "", "[other]"},
		} {
			r, err := h.Submit(t.Context(), &engine.Event{
				Bucket: tt.name, BucketID: tt.id, Method: "POST", Source: engine.SourceRelay, Header: http.Header{"X-Key": {tt.key}},
			})
			var ran []string
			for _, run := range r.Runs {
				ran = append(ran, run.Rule)
			}
			got := fmt.Sprint(ran)
			if err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("bucket %s with id %s and key %q: %s, want %s", tt.name, tt.id, tt.key, got, tt.want)
			}
		}
	})
}

// TestForeignQuestionIsAnEventForTheOthers: a rule that knows its sender by a
// service's scheme must not keep events from the others that look like a question
// of that service.
func TestForeignQuestionIsAnEventForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		own := ruleOf("own")
		own.Verify = &wants{key: "slack"} // which answers no GET
		h := trusting(t, &engine.Bucket{Verify: &wants{key: "k", challenge: nil}}, own)
		h.SetRules(func() *engine.RuleSet {
			set := engine.NewRuleSet([]*engine.Rule{own, ruleOf("a")}, "h")
			set.Buckets = map[string]*engine.Bucket{"b": {Verify: plain{&wants{key: "k"}}}}
			return set
		}())
		r, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "GET", Source: engine.SourceIntake, Header: http.Header{"X-Key": {"k"}}})
		if err != nil || len(r.Runs) != 1 || r.Runs[0].Rule != "a" {
			t.Errorf("Submit = %+v, %v, want a run of a alone", r, err)
		}
	})
}

// plain is wants without questions.
type plain struct{ *wants }

func (plain) Challenge(context.Context, *engine.Event) (*engine.Challenge, error) { return nil, nil }

func TestAllowDoesNotTrustARelay(t *testing.T) {
	prefixes := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	for _, tt := range []struct {
		name   string
		bucket *engine.Bucket
		want   error
	}{
		{"allow alone", &engine.Bucket{Allow: prefixes}, engine.ErrNotAllowed},
		{"allow and verify", &engine.Bucket{Allow: prefixes, Verify: &wants{key: "k"}}, nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			h := trusting(t, tt.bucket, ruleOf("a"))
			_, err := h.Submit(t.Context(), &engine.Event{Bucket: "b", Method: "POST", Source: engine.SourceRelay, Header: http.Header{"X-Key": {"k"}}})
			if !errors.Is(err, tt.want) {
				t.Errorf("%s: Submit = %v, want %v", tt.name, err, tt.want)
			}
		})
	}
}

var _ engine.Store = (*enginetest.MemStore)(nil)

func TestMaskParams(t *testing.T) {
	tests := []struct{ name, raw, want string }{
		{"nothing", "", ""},
		{"a token among others", "a=1&token=abc&b", "a=1&token=%2A%2A%2A&b"},
		{"other names", "access_token=a&api_key=a&key=a&secret=a&sig=a&signature=a&password=a", "access_token=%2A%2A%2A&api_key=%2A%2A%2A&key=%2A%2A%2A&secret=%2A%2A%2A&sig=%2A%2A%2A&signature=%2A%2A%2A&password=%2A%2A%2A"},
		{"a name in other letters", "Access_Token=a&X-Amz-Signature=a&%74oken=a", "Access_Token=%2A%2A%2A&X-Amz-Signature=%2A%2A%2A&%74oken=%2A%2A%2A"},
		{"twice", "token=a&token=b", "token=%2A%2A%2A&token=%2A%2A%2A"},
		{"what is none", "keys=a&monkey=b&tokens=c&event_key=d", "keys=a&monkey=b&tokens=c&event_key=d"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := engine.MaskParams(tt.raw); got != tt.want {
				t.Errorf("MaskParams(%q) = %q, want %q", tt.raw, got, tt.want)
			}
		})
	}
}

// TestCredentialHeaders: what is shown to nobody, and what says no more than what
// an event is.
func TestCredentialHeaders(t *testing.T) {
	tests := []struct {
		names string
		want  bool
	}{
		{"Authorization authorization Proxy-Authorization Cookie", true},
		{"X-Gitlab-Token X-Goog-Channel-Token X-Telegram-Bot-Api-Secret-Token X-Hook-Secret X-My-Token Token Secret", true},
		{"X-Api-Key Api-Key X-ApiKey X_API_KEY My-Api-Key X-Access-Key X-Amz-Secret-Key X-Password X-Auth-Password", true},
		{"X-Event-Key Idempotency-Key X-Hub-Signature-256 X-Github-Event X-Tokens Broken Monkey X-Secretary Content-Type", false},
	}
	for _, tt := range tests {
		for _, name := range strings.Fields(tt.names) {
			if got := engine.IsCredential(name); got != tt.want {
				t.Errorf("IsCredential(%q) = %v, want %v", name, got, tt.want)
			}
		}
	}
}
