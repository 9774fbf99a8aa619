package web

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"hookrun/engine"
	"hookrun/engine/control"
)

// payloads are texts that would be markup, scripts, styles or addresses if a page
// took them for what they are. pwn is what they would set.
func payloads(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("../../testdata/xss.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("there are %d payloads, want 50 or more", len(all))
	}
	return all
}

// shapeOf is the elements and attributes of a page, without the texts of it.
func shapeOf(t *testing.T, page string) string {
	t.Helper()
	var b strings.Builder
	z := html.NewTokenizer(strings.NewReader(page))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if err := z.Err(); err != io.EOF {
				t.Fatal(err)
			}
			return b.String()
		case html.StartTagToken, html.SelfClosingTagToken:
			token := z.Token()
			fmt.Fprintf(&b, "<%s", token.Data)
			for _, a := range token.Attr {
				fmt.Fprintf(&b, " %s", a.Key)
			}
			b.WriteString(">\n")
		}
	}
}

func pageOf(t *testing.T, s *Server, target string) (status int, text string) {
	t.Helper()
	resp := ask(s, http.MethodGet, target, "", nil)
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// harmless is a text as long, with the same control characters, and without what
// markup is made of.
func harmless(payload string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("<>\"'`&/=:{}$\\", r) {
			return 'x'
		}
		return r
	}, payload)
}

// TestHostileTextsAreTextsOnEveryPage: with each payload in every field the pages
// have the elements and attributes that they have with a harmless text.
func TestHostileTextsAreTextsOnEveryPage(t *testing.T) {
	desk := &fakeDesk{}
	s := newServer(t, Options{Desk: desk})
	check := func(page, payload string) {
		desk.text = harmless(payload)
		_, text := pageOf(t, s, page)
		want := shapeOf(t, text)
		desk.text = payload
		_, text = pageOf(t, s, page)
		if got := shapeOf(t, text); got != want {
			t.Errorf("%s with %q has other elements:\n%s", page, payload, firstDifference(got, want))
		}
	}
	for _, payload := range payloads(t) {
		desk.held, desk.armed = false, false
		for _, page := range []string{"/", "/events", "/events/" + eventID, "/runs", "/runs/" + runID, "/rules", "/status", "/rejected", "/runs/none"} {
			check(page, payload)
		}
		desk.held, desk.armed = true, true
		for _, page := range []string{"/", "/rules", "/runs/" + runID} {
			check(page, payload)
		}
	}
}

func firstDifference(got, want string) string {
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return fmt.Sprintf("element %d is %s, want %s", i, a[i], b[i])
		}
	}
	return fmt.Sprintf("%d elements, want %d", len(a), len(b))
}

// TestPagesHaveNoScriptsStylesOrForeignAddresses parses every page: nothing in it
// would need the policy to be weaker.
func TestPagesHaveNoScriptsStylesOrForeignAddresses(t *testing.T) {
	for _, text := range []string{"word", "javascript:window.pwn=1", "//evil.example/", `" onclick="x`} {
		for _, token := range []string{"", "a token of some length"} {
			s := newServer(t, Options{Desk: &fakeDesk{text: text, held: true, old: true}})
			pages := allPages()
			if token != "" {
				s, pages = newServer(t, Options{Desk: &fakeDesk{text: text}, Token: secretOf(token)}), []string{"/login?back=" + url.QueryEscape(text)}
			}
			for _, page := range pages {
				_, body := pageOf(t, s, page)
				root, err := html.Parse(strings.NewReader(body))
				if err != nil {
					t.Fatal(err)
				}
				for n := range root.Descendants() {
					checkElement(t, page, n)
				}
			}
		}
	}
}

func checkElement(t *testing.T, page string, n *html.Node) {
	t.Helper()
	if n.Type != html.ElementNode {
		return
	}
	if n.Data == "style" || n.Data == "iframe" || n.Data == "object" || n.Data == "base" || n.Data == "script" && n.FirstChild != nil {
		t.Errorf("%s has an element %s of its own", page, n.Data)
	}
	for _, a := range n.Attr {
		switch {
		case strings.HasPrefix(a.Key, "on"), a.Key == "style":
			t.Errorf("%s has an attribute %s on %s", page, a.Key, n.Data)
		case slices.Contains([]string{"href", "src", "action", "formaction"}, a.Key):
			u, err := url.Parse(a.Val)
			if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" {
				t.Errorf("%s leads elsewhere: %s=%q on %s", page, a.Key, a.Val, n.Data)
			}
		}
	}
}

func TestEveryAnswerHasTheSecurityHeader(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{text: "word"}, API: http.NotFoundHandler(), Metrics: http.NotFoundHandler()})
	for _, target := range append(allPages(), "/login", "/assets/app.js", "/assets/none", "/api/v1/runs", "/metrics", "/events/"+eventID+"/body") {
		h := ask(s, http.MethodGet, target, "", nil).Header
		for name, want := range map[string]string{
			"Content-Security-Policy":      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
			"X-Content-Type-Options":       "nosniff",
			"X-Frame-Options":              "DENY",
			"Referrer-Policy":              "same-origin",
			"Cross-Origin-Opener-Policy":   "same-origin",
			"Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := h.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", target, name, got, want)
			}
		}
	}
}

func TestPagesAnswer(t *testing.T) {
	tests := []struct {
		name, target string
		desk         *fakeDesk
		status       int
		want         []string
	}{
		{"overview", "/", &fakeDesk{text: "deploy"}, 200, []string{"Overview", "1.0 MiB", "Waits for you", "in the last 24 hours: events 4, runs 7, of which failed 1"}},
		{"overview of nothing", "/", &fakeDesk{empty: true}, 200, []string{"No event has come yet.", "Nothing has run yet.", "healthy"}},
		{"unhealthy", "/", &fakeDesk{text: "the disk is full"}, 200, []string{"No events are taken.", "the disk is full"}},
		{"paused and held", "/", &fakeDesk{text: "x", held: true}, 200, []string{"Everything is paused.", "New rules wait to be accepted."}},
		{"events", "/events?bucket=deploys", &fakeDesk{text: "deploy"}, 200, []string{`<span class="badge ok">started</span> <span class="badge bad">failed</span>`, `href="/rejected"`, `value="deploys"`, "/events?before=7&amp;bucket=deploys", "older"}},
		{"no events", "/events?bucket=deplys", &fakeDesk{empty: true, text: "did you mean deploys?"}, 200, []string{"did you mean deploys?"}},
		{"events that are not all", "/events?rule=deploy", &fakeDesk{text: "its condition failed on others"}, 200, []string{`<p class="muted">its condition failed on others</p>`}},
		{"no such outcome", "/events?outcome=done", &fakeDesk{}, 400, []string{"there is no outcome &#34;done&#34;"}},
		{"event", "/events/" + eventID, &fakeDesk{text: "word"}, 200, []string{"decided", "is not there", "not asked", "was not asked then", "asked 3 times, true 1", "Replay with this body"}},
		{"event of other rules", "/events/" + eventID, &fakeDesk{text: "word", old: true}, 200, []string{
			"The rules have changed since. First stands what each decided then; the trees,", "now: matched", "now: gone", "was not asked then", "With the rules in force: word", "The rule is none of those in force.", `<ul class="tree">`,
		}},
		{"no such event", "/events/none", &fakeDesk{text: "hookrun events lists them"}, 404, []string{"there is no event none", "hookrun events lists them"}},
		{"runs", "/runs", &fakeDesk{text: "deploy"}, 200, []string{"Durations, last 24 hours", "12s", "older", `aria-label="7s; the longest here took `, "<span>now</span>"}},
		{"no such state", "/runs?state=nonsense", &fakeDesk{}, 400, []string{"there is no state", "the states are others"}},
		{"run", "/runs/" + runID, &fakeDesk{text: "word"}, 200, []string{"exit 1", "HTTP 200", "attempt 2", `<span class="f1">word</span>`, "10 B left out"}},
		{"armed run", "/runs/" + runID, &fakeDesk{text: "word", armed: true}, 200, []string{"What it would do", "Run it", "Drop it", "depends on earlier steps"}},
		{"rules", "/rules", &fakeDesk{text: "deploy"}, 200, []string{"Resume", "Disarm", "shadow", "off", "live", "in force", `class="add"`}},
		{"rejected", "/rejected?bucket=deploys&since=24h", &fakeDesk{text: "another secret"}, 200, []string{`value="deploys"`, `<option value="24h" selected>`, "<strong>likely:</strong> another secret"}},
		{"none rejected", "/rejected", &fakeDesk{empty: true}, 200, []string{"None was turned away."}},
		{"rules that are refused", "/", &fakeDesk{text: "rules.yaml:3:5", held: true}, 200, []string{"The rules in the files are refused", "<code>rules.yaml:3:5</code> rule rules.yaml:3:5: rules.yaml:3:5<br><span", "and 2 more: hookrun check lists them"}},
		{"held rules", "/rules", &fakeDesk{text: "deploy", held: true}, 200, []string{"These rules wait to be accepted", `name="hash" value="abc"`, "Resume everything"}},
		{"status", "/status", &fakeDesk{text: "word"}, 200, []string{"1\u202f234\u202f567", "1d", "512.0 KiB in use of 2.0 MiB", "and 3 for a person", `<a href="/rejected">1</a>`, "<code>word</code>"}},
		{"nowhere", "/nowhere", &fakeDesk{}, 404, []string{"there is no page /nowhere"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			status, text := pageOf(t, newServer(t, Options{Desk: tt.desk}), tt.target)
			if status != tt.status {
				t.Errorf("%s answers %d, want %d", tt.target, status, tt.status)
			}
			for _, want := range tt.want {
				if !strings.Contains(text, want) {
					t.Errorf("%s does not say %q:\n%s", tt.target, want, text)
				}
			}
		})
	}
}

func TestFormsChangeWhatTheyAreFor(t *testing.T) {
	at := func(path string) string { return "/ui/" + path }
	tests := []struct {
		name, target string
		form         url.Values
		want         string // what the desk was asked
		to           string // where it leads
	}{
		{"retry", at("runs/" + runID + "/retry"), url.Values{"back": {"/runs?state=failed"}}, "retry " + runID + " false", "/runs?said="},
		{"retry all", at("runs/" + runID + "/retry"), url.Values{"all": {"1"}}, "retry " + runID + " true", "/?"},
		{"cancel", at("runs/" + runID + "/cancel"), url.Values{"back": {"/runs/" + runID}}, "cancel " + runID, "/runs/" + runID + "?"},
		{"release", at("runs/" + runID + "/release"), nil, "release " + runID, "/?"},
		{"replay of a run", at("runs/" + runID + "/replay"), nil, `replay event "" run "` + runID + `" rule "": as it was`, "/events/" + eventID + "?"},
		{"replay", at("events/" + eventID + "/replay"), nil, `replay event "` + eventID + `" run "" rule "": as it was`, "/events/" + eventID + "?"},
		{"replay, body not edited", at("events/" + eventID + "/replay"), url.Values{"body": {"one\r\ntwo"}}, `replay event "` + eventID + `" run "" rule "": as it was`, "/events/"},
		{"replay, body edited", at("events/" + eventID + "/replay"), url.Values{"body": {"one\r\nthree"}}, `replay event "` + eventID + `" run "" rule "": ` + "one\nthree", "/events/"},
		{"pause", at("pause"), url.Values{"rule": {"deploy main"}, "back": {"/rules"}}, `pause "deploy main"`, "/rules?"},
		{"pause all", at("pause"), url.Values{"rule": {""}}, `pause ""`, "/?"},
		{"resume", at("resume"), url.Values{"rule": {"deploy main"}}, `resume "deploy main"`, "/?"},
		{"arm", at("arm"), url.Values{"rule": {"deploy main"}}, `arm "deploy main"`, "/?"},
		{"disarm", at("disarm"), url.Values{"rule": {""}}, `disarm ""`, "/?"},
		{"accept", at("accept"), url.Values{"hash": {"abc"}}, "accept abc", "/?"},
		{"back to another site", at("arm"), url.Values{"rule": {""}, "back": {"//evil.example/"}}, `arm ""`, "/?"},
		{"back to a script", at("arm"), url.Values{"rule": {""}, "back": {"javascript:alert(1)"}}, `arm ""`, "/?"},
		{"back to another site, by backslash", at("arm"), url.Values{"rule": {""}, "back": {`/\evil.example/`}}, `arm ""`, "/?"},
		{"back to no page", at("arm"), url.Values{"rule": {""}, "back": {"/ui/arm"}}, `arm ""`, "/?"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			desk := &fakeDesk{text: "one\ntwo"}
			s := newServer(t, Options{Desk: desk})
			resp := ask(s, http.MethodPost, tt.target, tt.form.Encode(), nil)
			if got := strings.Join(desk.changes(), "; "); got != tt.want {
				t.Errorf("the desk was asked %q, want %q", got, tt.want)
			}
			to := resp.Header.Get("Location")
			if resp.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, tt.to) {
				t.Fatalf("answer %d leads to %q, want 303 to %s…", resp.StatusCode, to, tt.to)
			}
			if _, text := pageOf(t, s, to); !strings.Contains(text, `class="notice ok"`) {
				t.Errorf("the page that it leads to does not say what was done:\n%s", text)
			}
		})
	}
}

func TestFormThatIsRefusedSaysWhy(t *testing.T) {
	desk := &fakeDesk{text: "x", err: &control.Error{Status: http.StatusConflict, Msg: "the run has finished", Hint: "retry it"}}
	s := newServer(t, Options{Desk: desk})
	to := ask(s, http.MethodPost, "/ui/runs/"+runID+"/cancel", "", nil).Header.Get("Location")
	desk.err = nil
	_, text := pageOf(t, s, to)
	for _, want := range []string{`class="notice bad"`, "the run has finished", "hint: retry it"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
}

func TestFormThatHasLostItsRuleIsNotForAll(t *testing.T) {
	for _, what := range []string{"pause", "resume", "arm", "disarm"} {
		desk := &fakeDesk{text: "x"}
		s := newServer(t, Options{Desk: desk})
		to := ask(s, http.MethodPost, "/ui/"+what, "back=%2Frules", nil).Header.Get("Location")
		if got := desk.changes(); got != nil {
			t.Errorf("%s without a rule had the desk do %q, want nothing", what, got)
		}
		if _, text := pageOf(t, s, to); !strings.Contains(text, "the form does not say which rule it is for") {
			t.Errorf("%s without a rule: the page %s does not say why nothing was done", what, to)
		}
	}
}

func TestAcceptNeedsTheHash(t *testing.T) {
	desk := &fakeDesk{text: "x"}
	ask(newServer(t, Options{Desk: desk}), http.MethodPost, "/ui/accept", "", nil)
	if got := desk.changes(); got != nil {
		t.Errorf("a form without a hash had the desk do %q, want nothing", got)
	}
}

func TestExplainOnlyAsksTheRulesAboutTheEditedBody(t *testing.T) {
	desk := &fakeDesk{text: "old"}
	resp := ask(newServer(t, Options{Desk: desk}), http.MethodPost, "/ui/events/"+eventID+"/explain", "body=new", nil)
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(desk.changes(), "; "); got != "explain new" {
		t.Errorf("the desk was asked %q, want to explain the edited body", got)
	}
	for _, want := range []string{"would make of the edited body", ">\nnew</textarea>"} {
		if !strings.Contains(string(data), want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// TestMaskedBodyIsNotEdited: its mask would come in the place of the secret.
func TestMaskedBodyIsNotEdited(t *testing.T) {
	_, text := pageOf(t, newServer(t, Options{Desk: &fakeDesk{text: "***", mask: true}}), "/events/"+eventID)
	if !strings.Contains(text, "A secret of the rules stands in it, masked here") || !strings.Contains(text, `class="main">Replay<`) || strings.Contains(text, "<textarea") {
		t.Errorf("the page offers another replay than that of the whole event, or does not say why:\n%s", text)
	}
}

func TestNoticeIsOnlyWhatWasSaidHere(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{text: "x"}})
	if _, text := pageOf(t, s, "/?said=Your+session+has+ended"); strings.Contains(text, "Your session") {
		t.Error("a link can have a page say something")
	}
	for range maxNotices + 10 {
		ask(s, http.MethodPost, "/ui/arm", "", nil)
	}
	if n := len(s.said.byID); n != maxNotices {
		t.Errorf("%d notices are kept, want %d", n, maxNotices)
	}
}

func TestBodyIsAFileAndNoPage(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{text: "<script>alert(1)</script>"}})
	resp := ask(s, http.MethodGet, "/events/"+eventID+"/body", "", nil)
	h := resp.Header
	if got, want := h.Get("Content-Type"), "application/octet-stream"; got != want {
		t.Errorf("Content-Type = %q, want %q", got, want)
	}
	if got, want := h.Get("Content-Disposition"), "attachment; filename=event-"+eventID+".body"; got != want {
		t.Errorf("Content-Disposition = %q, want %q", got, want)
	}
}

func TestFormThatIsTooLongIsRefused(t *testing.T) {
	for target, most := range map[string]int{"/ui/arm": maxForm, "/ui/events/" + eventID + "/replay": maxEdited, "/login": maxToken} {
		desk := &fakeDesk{text: "x"}
		resp := ask(newServer(t, Options{Desk: desk}), http.MethodPost, target, "body="+strings.Repeat("x", most), nil)
		if resp.StatusCode != http.StatusRequestEntityTooLarge || desk.changes() != nil {
			t.Errorf("%s: a form of %d bytes is answered %d and does %q, want 413 and nothing", target, most, resp.StatusCode, desk.changes())
		}
	}
}

// TestReasonsAreRedWhereSomethingFailed: that a run gave way to another one is none.
func TestReasonsAreRedWhereSomethingFailed(t *testing.T) {
	for state, want := range map[engine.State]string{
		engine.Failed: "error", engine.Tripped: "error", engine.Queued: "error", engine.Running: "error", // of the attempt before
		engine.Superseded: "muted", engine.Duplicate: "muted", engine.Skipped: "muted", engine.Cancelled: "muted", engine.Abandoned: "muted",
	} {
		if got := errorTone(control.Run{State: state}); got != want {
			t.Errorf("why a run is %s has the class %s, want %s", state, got, want)
		}
	}
}

func TestRunsInSentencesAreLinked(t *testing.T) {
	tests := []struct {
		name, text string
		want       []reference
	}{
		{"none", "waits for a place", []reference{{Text: "waits for a place"}}},
		{"one", "5s, last for run " + runID + " of its lane", []reference{{Text: "5s, last for run "}, {Run: runID}, {Text: " of its lane"}}},
		{"no id of a run", "key " + runID + "\x1b, run abc", []reference{{Text: "key " + runID + "\u241b, run abc"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := linked(tt.text); !slices.Equal(got, tt.want) {
				t.Errorf("linked(%q) = %+v, want %+v", tt.text, got, tt.want)
			}
		})
	}
}
