//go:build unix

package cli

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"hookrun/engine"
	"hookrun/engine/store"
)

const pictureRules = `
buckets:
  deploys: {verify: none}
  alerts: {verify: none}
  billing: {verify: {scheme: github, secret: "a secret of some length, for billing"}}
rules:
  - name: deploy main
    bucket: deploys
    when: headers["X-GitHub-Event"] == "push" && body.ref == "refs/heads/main"
    actions:
      - id: build
        exec: [sh, -c, 'printf "\033[1m==> building %s\033[0m\n" "$0"; printf "\033[32m✓\033[0m compiled 214 files\n\033[32m✓\033[0m 1,180 tests\n\033[33mwarning:\033[0m 2 packages are out of date\n"; sleep 0.3', "{{ body.after }}"]
      - shell: |
          echo "deploying $SHA to production"; sleep 0.1
          echo "done"
        env: {SHA: "{{ body.after }}"}
  - name: preview
    bucket: deploys
    when: headers["X-GitHub-Event"] == "pull_request" && body.action in ["opened", "synchronize"]
    actions:
      - exec: [echo, "preview of {{ body.number }}"]
  - name: release notes
    bucket: deploys
    mode: shadow
    when: |
      headers["X-GitHub-Event"] == "push" &&
      (body.ref startsWith "refs/tags/" || any(body.commits ?? [], .message contains "[notes]"))
    actions:
      - exec: [make-notes, "{{ body.ref }}"]
  - name: restart service
    bucket: alerts
    for_each: {list: 'filter(body.alerts ?? [], .status == "firing")', as: alert, key: alert.fingerprint}
    actions:
      - exec: [sh, -c, 'echo "restarting $0"; echo "$0: unit not found" >&2; exit 5', "{{ alert.labels.service }}"]
`

// testBrowserPictures keeps what the pages look like: light, dark and narrow. On a
// narrow screen none is wider than it.
func testBrowserPictures(t *testing.T, browser context.Context) {
	s := startSite(t, pictureRules, func(data string) { seedDay(t, data) })
	github := func(kind string) http.Header {
		return http.Header{"X-Github-Event": {kind}, "X-Github-Delivery": {"72d3162e-cc78-11e3-81ab-4c9367dc0958"}, "Content-Type": {"application/json"}, "User-Agent": {"GitHub-Hookshot/4f2c9d1"}}
	}
	_, deployed := s.post(t, "deploys", `{"ref":"refs/heads/main","after":"4f2c9d1","commits":[{"message":"cart: round once"}],"repository":{"full_name":"acme/shop","private":true}}`, github("push"))
	missed, _ := s.post(t, "deploys", `{"ref":"refs/heads/dev","after":"81ab4c9","commits":[{"message":"try the new cart"},{"message":"tests for it"}],"repository":{"full_name":"acme/shop","private":true},"pusher":{"name":"ada"}}`, github("push"))
	s.post(t, "deploys", `{"action":"closed","number":7}`, github("pull_request"))
	_, failed := s.post(t, "alerts", `{"alerts":[{"status":"firing","fingerprint":"a","labels":{"service":"api"}},{"status":"resolved","fingerprint":"b","labels":{"service":"db"}}]}`, nil)
	b := openTab(t, browser)
	for _, run := range []string{deployed, failed} {
		b.open(s.admin + "/runs/" + run)
		b.wait(`["done", "failed"].includes(document.querySelector("main .badge").textContent)`)
	}
	b.looks(s, []pageName{
		{"overview", "/"}, {"events", "/events"}, {"event", "/events/" + missed}, {"runs", "/runs"}, {"run", "/runs/" + deployed},
		{"run-failed", "/runs/" + failed}, {"rules", "/rules"}, {"status", "/status"}, {"error", "/nowhere"},
	})
	if *pictures {
		b.drawReadme(s, missed)
	}

	// What is wrong stands on the pages, too: a sender that is not known, rules that
	// are held, others that are refused.
	s.stranger(t)
	s.edit(t, "on_reload: {confirm_if_changes_over: 0}\n"+strings.Replace(pictureRules, `body.ref == "refs/heads/main"`, `body.ref != ""`, 1), "rules are held")
	b.looks(s, []pageName{{"rejected", "/rejected"}, {"rules-held", "/rules"}})
	s.edit(t, strings.Replace(pictureRules, "when:", "wen:", 1), "rules are refused")
	b.looks(s, []pageName{{"overview-refused", "/"}})
	s.edit(t, strings.Replace(pictureRules, `body.ref == "refs/heads/main"`, `body.ref startsWith "refs/heads/"`, 1), "would have decided otherwise")
	b.looks(s, []pageName{{"rules-changed", "/rules"}, {"event-before", "/events/" + missed}})
}

// stranger sends a webhook without the signature that its bucket asks for.
func (s *site) stranger(t *testing.T) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.hooks+"billing", strings.NewReader(`{"paid":1}`))
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		t.Fatalf("a webhook without a signature is answered %s", resp.Status)
	}
}

// edit puts other rules into the file and waits for what the log says of them.
func (s *site) edit(t *testing.T, text, said string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, "rules.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for !strings.Contains(s.log.String(), said) {
		if ctx.Err() != nil {
			t.Fatalf("the log does not come to %q:\n%s", said, s.log)
		}
		wait(t, 10*time.Millisecond)
	}
}

// pageName is the name of a picture, and the page that it is of.
type pageName struct{ name, path string }

// pageLook is a way in which pages are looked at.
type pageLook struct {
	name, scheme string
	width        int64
}

// pageLooks are all ways where the pictures are kept, or CI wants them, else the
// one in which a page is most easily too wide: each takes seconds.
func pageLooks() []pageLook {
	narrow := pageLook{"narrow", "light", 390}
	if *screenshots == "" && !inCI() {
		return []pageLook{narrow}
	}
	return []pageLook{{"light", "light", 1280}, {"dark", "dark", 1280}, narrow}
}

// looks keeps what pages look like, and none of them may be wider than its window.
func (b *tab) looks(s *site, pages []pageName) {
	b.t.Helper()
	dir := cmp.Or(*screenshots, b.t.ArtifactDir())
	for _, look := range pageLooks() {
		b.look(look.scheme, look.width, 900)
		for _, page := range pages {
			b.open(s.admin + page.path)
			b.wait(`document.readyState === "complete"`)
			if wide := b.get(`document.documentElement.scrollWidth - document.documentElement.clientWidth`); wide != "0" {
				b.t.Errorf("%s, %s: the page is %s px wider than its window", page.name, look.name, wide)
			}
			if cut := b.get(`[...document.querySelectorAll(".scroll")].filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.innerText).join("; ")`); cut != "" {
				b.t.Errorf("%s, %s: a table is wider than its place: %s", page.name, look.name, cut)
			}
			b.clean()
			b.picture(filepath.Join(dir, look.name+"-"+page.name+".png"), chromedp.FullScreenshot(100))
		}
	}
}

// drawReadme makes the pictures that the README shows.
func (b *tab) drawReadme(s *site, missed string) {
	b.look("light", 1180, 860)
	b.open(s.admin + "/")
	b.wait(`document.querySelector(".live").dataset.state === "on"`)
	b.picture(filepath.Join(root, ".github", "dashboard.png"), chromedp.CaptureScreenshot())
	b.look("light", 980, 900)
	b.open(s.admin + "/events/" + missed)
	b.picture(filepath.Join(root, ".github", "explain.png"), chromedp.Screenshot(chromedp.CSS("#rules")))
}

// look has the tab show pages in a scheme of colours and a width.
func (b *tab) look(scheme string, width, height int64) {
	b.t.Helper()
	b.do(chromedp.EmulateViewport(width, height))
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		b.fail(err)
	}
}

// picture writes what the tab shows to a file.
func (b *tab) picture(path string, take chromedp.Action[[]byte]) {
	b.t.Helper()
	data, err := chromedp.Run(b.ctx, take)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, data, 0o644)
	}
	if err != nil {
		b.fail(err)
	}
}

// seedDay puts a day of events into a store: charts of a test would be empty.
func seedDay(t *testing.T, data string) {
	t.Helper()
	s, err := store.Open(t.Context(), store.Options{Dir: data})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Serve(ctx); err != nil {
			t.Error(err)
		}
	})
	defer wg.Wait()
	defer cancel()
	random := rand.New(rand.NewPCG(1, 2)) // the same day each time
	for at := time.Now().Add(-24 * time.Hour); at.Before(time.Now()); at = at.Add(time.Duration(random.IntN(700)) * time.Second) {
		a, run := pastEvent(at, random)
		_, err := s.Accept(t.Context(), a)
		if err == nil && run != nil {
			err = s.Update(t.Context(), run)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// pastEvent is an event of the day, and what became of the run that it started; nil
// where it started none.
func pastEvent(at time.Time, random *rand.Rand) (*engine.Acceptance, *engine.Run) {
	id := engine.NewID()
	a := &engine.Acceptance{Event: &engine.Event{
		ID: id, Received: at.UTC(), Source: engine.SourceIntake, Bucket: "deploys", Method: http.MethodPost, Path: "/",
		Header: http.Header{"X-Github-Event": {"push"}}, Body: fmt.Appendf(nil, `{"ref":"refs/heads/main","after":"%07x"}`, random.IntN(1<<28)),
	}}
	rule, state, took := "deploy main", engine.Done, time.Duration(400+random.IntN(2600))*time.Millisecond
	switch random.IntN(9) {
	case 0, 1:
		return a, nil // no rule matched
	case 2:
		rule, state = "restart service", engine.Failed
		a.Event.Bucket = "alerts"
	case 3, 4:
		rule, took = "preview", time.Duration(random.IntN(90))*time.Second
		a.Event.Header.Set("X-Github-Event", "pull_request")
	}
	run := engine.Run{ID: engine.NewID(), Event: id, Rule: rule, State: engine.Queued, Created: at.UTC()}
	ended := run
	ended.State, ended.Attempt, ended.Started, ended.Finished = state, 1, at.UTC(), at.Add(took).UTC()
	if state == engine.Failed {
		ended.Err = "step 1 (exec): exit status 5"
	}
	a.Runs = []*engine.Run{&run}
	a.Verdicts = []engine.Verdict{{Rule: rule, Outcome: engine.Matched}}
	return a, &ended
}
