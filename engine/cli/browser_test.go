//go:build unix

package cli

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	system "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

var (
	screenshots = flag.String("screenshots", "", "folder for the screenshots of TestBrowser; without it they go to that of its artifacts")
	pictures    = flag.Bool("pictures", false, "TestBrowser draws the README's pictures of the dashboard anew")
)

// browserPath is a Chromium or Chrome of this machine. CI has to have one, on Linux:
// the runners of others have none on their PATH.
func browserPath(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	if inCI() && system.GOOS == "linux" {
		t.Fatal("there is no browser, and CI is set: install chromium")
	}
	t.Skip("there is no browser to test the dashboard with: install chromium")
	return ""
}

// inCI reports whether the variable CI says that nobody looks on.
func inCI() bool {
	ci := os.Getenv("CI")
	return ci != "" && ci != "false" && ci != "0"
}

// startBrowser returns what makes tabs, in a browser of its own that ends with the
// test. Names of example.org and evil.example lead to this machine.
func startBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append([]chromedp.ExecAllocatorOption{
		chromedp.ExecPath(browserPath(t)), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox, chromedp.Headless, chromedp.DisableGPU,
		chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck, chromedp.WSURLReadTimeout(patience), chromedp.WindowSize(1320, 940),
	}, switches("disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage", "disable-extensions", "hide-scrollbars", "mute-audio")...)
	options = append(options, chromedp.Flag("host-resolver-rules", "MAP evil.example 127.0.0.1"), chromedp.Flag("force-color-profile", "srgb"))
	ctx, stopAllocator := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	ctx, stopBrowser := chromedp.NewContext(ctx)
	t.Cleanup(func() {
		stopBrowser()
		stopAllocator()
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start the browser: %v", err)
	}
	return ctx
}

func switches(names ...string) []chromedp.ExecAllocatorOption {
	var all []chromedp.ExecAllocatorOption
	for _, name := range names {
		all = append(all, chromedp.Flag(name, true))
	}
	return all
}

// tab is a tab of the browser, which notes what no page may have.
type tab struct {
	t   *testing.T
	ctx context.Context

	mu      sync.Mutex // guards what follows
	wrong   []string   // dialogs, exceptions of scripts
	answers []string   // of HTTP: status and URL
}

// watcher has a page note what its policy forbade it.
const watcher = `window.violations = [];
addEventListener("securitypolicyviolation", (e) => window.violations.push(e.violatedDirective + " " + e.blockedURI + " " + e.sourceFile));`

// openTab opens a tab that is closed with the test.
func openTab(t *testing.T, browser context.Context) *tab {
	t.Helper()
	ctx, stop := chromedp.NewContext(browser)
	b := &tab{t: t, ctx: ctx}
	t.Cleanup(stop)
	if err := chromedp.Listen(ctx, b.see); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: watcher}); err != nil {
		t.Fatal(err)
	}
	return b
}

// see notes what the browser tells of the tab.
func (b *tab) see(event any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch e := event.(type) {
	case *page.EventJavascriptDialogOpening:
		b.wrong = append(b.wrong, "a dialog says "+e.Message)
	case *runtime.EventExceptionThrown:
		b.wrong = append(b.wrong, fmt.Sprintf("a script fails: %s %+v", e.ExceptionDetails.Text, e.ExceptionDetails.Exception))
	case *network.EventResponseReceived:
		b.answers = append(b.answers, fmt.Sprint(e.Response.Status, " ", e.Response.URL))
	}
}

// answered are the answers that came since it was asked last.
func (b *tab) answered() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.answers
	b.answers = nil
	return all
}

// do has the browser do something, and fails the test where it can't.
func (b *tab) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, steps...); err != nil {
		b.fail(err)
	}
}

func (b *tab) open(url string) {
	b.t.Helper()
	b.do(chromedp.Navigate(url))
}

// wait waits until an expression of JavaScript is true, on whatever page there is by
// then.
func (b *tab) wait(expression string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	for {
		// On its way from one page to the next there is nothing to ask.
		yes, err := chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
		if yes {
			return
		}
		if ctx.Err() != nil {
			b.fail(fmt.Errorf("it does not come to %s: %w", expression, err))
		}
		wait(b.t, 20*time.Millisecond)
	}
}

// fail ends the test with what the page shows.
func (b *tab) fail(err error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, _ := chromedp.Run(ctx, chromedp.Evaluate[string](`location.href + "\n" + document.body.innerText`)) // there may be no page
	b.t.Fatalf("%v; the page is %.3000s", err, text)
}

// get is what an expression of JavaScript comes to, as text.
func (b *tab) get(expression string) string {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("String("+expression+")"))
	if err != nil {
		b.fail(err)
	}
	return text
}

// script runs JavaScript in the page.
func (b *tab) script(code string) {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](code))
}

// click clicks on the button with that text, and says yes where it is asked.
func (b *tab) click(text string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.Search(fmt.Sprintf(`//main//button[normalize-space()=%q]`, text))))
	if b.get(`!!document.querySelector("dialog.confirm")`) == "true" {
		b.do(chromedp.Click(chromedp.CSS("dialog.confirm button.main")))
	}
}

// clean fails the test where the page did what none may.
func (b *tab) clean() {
	b.t.Helper()
	if got := b.get(`"pwn" in window`); got != "false" {
		b.t.Errorf("%s: what came from outside was executed", b.get("location.pathname"))
	}
	if got := b.get(`(window.violations || ["the page has no watcher"]).join("; ")`); got != "" {
		b.t.Errorf("%s asks for what its policy forbids: %s", b.get("location.pathname"), got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, what := range b.wrong {
		b.t.Error(what)
	}
	b.wrong = nil
}

// site is a hookrun in this process with an intake and a dashboard.
type site struct {
	dir, hooks, admin string
	log               *lockedBuffer
}

// startSite starts one that ends with the test.
func startSite(t *testing.T, text string, prepare ...func(data string)) *site {
	t.Helper()
	s := &site{dir: t.TempDir(), log: &lockedBuffer{}}
	hooks, admin := freeAddress(), freeAddress()
	s.hooks, s.admin = "http://"+hooks+"/hooks/", "http://"+admin
	path := filepath.Join(s.dir, "rules.yaml")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "DIR", s.dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, fn := range prepare {
		fn(filepath.Join(s.dir, "data"))
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		args := []string{"run", "-rules", path, "-data", filepath.Join(s.dir, "data"), "-listen", hooks, "-admin", admin}
		if code := Main(ctx, args, Process{Stdout: io.Discard, Stderr: s.log}); code != exitOK {
			t.Errorf("hookrun ended with %d; its log is\n%s", code, s.log)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	for !strings.Contains(s.log.String(), "rules are in force") {
		wait(t, 10*time.Millisecond)
		if t.Context().Err() != nil {
			t.Fatal(s.log)
		}
	}
	return s
}

// post sends a webhook and returns the id of its event, and of its first run.
func (s *site) post(t *testing.T, target, body string, header http.Header) (event, run string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.hooks+target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var receipt struct {
		Event string
		Runs  []struct{ ID string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&receipt); err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("a webhook to %s is answered %s, %v", target, resp.Status, err)
	}
	if len(receipt.Runs) > 0 {
		run = receipt.Runs[0].ID
	}
	return receipt.Event, run
}

// TestBrowser looks at the dashboard as people do.
func TestBrowser(t *testing.T) {
	t.Parallel()
	browser := startBrowser(t)
	for _, tt := range []struct {
		name string
		test func(t *testing.T, browser context.Context)
	}{
		{"shows what comes without being asked", testBrowserLive},
		{"executes nothing that came from outside", testBrowserHostile},
		{"retries, and replays with an edited body", testBrowserReplay},
		{"holds an armed run until it is released", testBrowserArmed},
		{"accepts rules that are held", testBrowserAccept},
		{"keeps other sites out", testBrowserForeign},
		{"is used by keys", testBrowserKeys},
		{"works with scripts off", testBrowserNoScripts},
		{"asks for the token", testBrowserLogin},
		{"fits its window", testBrowserPictures},
	} {
		t.Run(tt.name, func(t *testing.T) { tt.test(t, browser) })
	}
}

const browserRules = `
buckets: {deploys: {verify: none}, alerts: {verify: none}}
rules:
  - name: deploy main
    bucket: deploys
    when: body.ref == "refs/heads/main"
    actions:
      - exec: [echo, "deploying {{ body.after }}"]
  - name: always fails
    bucket: alerts
    actions:
      - exec: [sh, -c, "echo no such luck >&2; exit 3"]
`

func testBrowserLive(t *testing.T, browser context.Context) {
	s := startSite(t, browserRules)
	b := openTab(t, browser)
	b.open(s.admin + "/")
	b.wait(`document.querySelector(".live").dataset.state === "on"`)
	b.script(`window.sameDocument = true`)
	event, run := s.post(t, "deploys", `{"ref":"refs/heads/main","after":"4f2c9d1"}`, http.Header{"X-Github-Event": {"push"}})
	b.wait(fmt.Sprintf(`document.querySelector('[data-live=events] [data-row=%q]')`, event))
	b.wait(fmt.Sprintf(`document.querySelector('[data-live=runs] [data-row=%q]').textContent.includes("done")`, run))
	b.wait(`document.querySelector(".said").textContent.includes("new row")`)
	if got := b.get("window.sameDocument"); got != "true" {
		t.Errorf("the page was loaded again: its mark is %s", got)
	}
	b.clean()

	// A page of a run that is looked at goes on with it.
	b.open(s.admin + "/events")
	b.wait(`document.querySelector(".live").dataset.state === "on"`)
	event, _ = s.post(t, "alerts", `{}`, nil)
	b.wait(fmt.Sprintf(`document.querySelector('[data-row=%q]')`, event))
	b.clean()
}

func testBrowserHostile(t *testing.T, browser context.Context) {
	data, err := os.ReadFile(filepath.Join(root, "testdata", "xss.json"))
	if err != nil {
		t.Fatal(err)
	}
	var payloads []string
	if err := json.Unmarshal(data, &payloads); err != nil {
		t.Fatal(err)
	}
	s := startSite(t, hostileRules(payloads))
	pages := s.sendHostile(t, payloads)
	b := openTab(t, browser)
	wantNoticed(t, b)
	every := 1
	if !inCI() { // each page takes a quarter of a second; the lists below have all payloads
		every = 5
		t.Logf("the pages of every %dth payload are looked at, and all of them with CI set", every)
	}
	shown := 0
	for i := 0; i < len(pages); i += every {
		for _, path := range pages[i] {
			b.open(s.admin + path)
			b.clean()
			if b.get(`document.querySelector("main").textContent.includes("window.pwn=1")`) == "true" {
				shown++
			}
		}
	}
	if want := len(payloads) / every; shown < want {
		t.Errorf("%d pages show a payload, want one for each of %d", shown, want)
	}
	for _, path := range []string{"/", "/events", "/events?rule=" + escapedPath(payloads[0]) + "&bucket=" + escapedPath(payloads[2]), "/runs", "/runs?rule=" + escapedPath(payloads[2]), "/rules", "/status", "/" + escapedPath(payloads[0])} {
		b.open(s.admin + path)
		b.clean()
	}
	if got := b.get(`!!document.querySelector("main")`); got != "true" {
		t.Error("the last page is none of the dashboard")
	}
}

// sendHostile sends each payload in every part of a webhook, and returns the pages
// of what came of it.
func (s *site) sendHostile(t *testing.T, payloads []string) [][]string {
	t.Helper()
	var pages [][]string
	for i, payload := range payloads {
		header := http.Header{"X-Payload": {oneLine(payload)}, "X-'Onfocus'$`alert`": {"1"}, "X-Github-Event": {oneLine(payload)}}
		body := payload // no JSON: the condition fails
		if i%2 == 0 {
			body = unescapedJSON(t, map[string]string{"payload": payload, payload: "name"})
		}
		event, run := s.post(t, "hostile/"+escapedPath(payload)+"?n="+fmt.Sprint(i)+"&"+escapedPath(payload)+"="+escapedPath(payload), body, header)
		of := []string{"/events/" + event}
		if run != "" {
			of = append(of, "/runs/"+run)
		}
		pages = append(pages, of)
	}
	return pages
}

// unescapedJSON is JSON with its < and > as they are.
func unescapedJSON(t *testing.T, v any) string {
	t.Helper()
	var text strings.Builder
	out := json.NewEncoder(&text)
	out.SetEscapeHTML(false)
	if err := out.Encode(v); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// wantNoticed shows the tab pages that do execute a payload, or would if their policy
// let them: the test has to see it.
func wantNoticed(t *testing.T, b *tab) {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/strict" {
			w.Header().Set("Content-Security-Policy", "default-src 'none'")
		}
		fmt.Fprint(w, "<!doctype html><main></main><script>window.pwn=1</script>")
	}))
	defer srv.Close()
	b.open(srv.URL + "/loose")
	if got := b.get(`"pwn" in window`); got != "true" {
		t.Error("a page that executes a payload is not noticed")
	}
	b.open(srv.URL + "/strict")
	if got := b.get(`window.violations.length`); got == "0" {
		t.Error("a page whose policy stops a payload is not noticed")
	}
}

// hostileRules is a rule for each payload, with it in its name where a name may have
// it, and in what its commands print.
func hostileRules(payloads []string) string {
	var b strings.Builder
	b.WriteString("buckets: {hostile: {verify: none}}\nrules:\n")
	for i, payload := range payloads {
		name, _ := json.Marshal(fmt.Sprint(i, " ", oneLine(payload))) // texts have JSON, which is YAML
		fmt.Fprintf(&b, `  - name: %s
    bucket: hostile
    when: query.n == "%d"
    actions:
      - shell: printf '%%s\n' "$P"; printf '%%s\n' "$P" >&2; exit 1
        env: {P: "{{ raw }}"}
  - name: %s
    bucket: hostile
    when: query.n == "%d" && body.payload contains "never" && body.missing > 1
    actions:
      - exec: [echo, "{{ raw }}"]
`, name, i, strings.Replace(string(name), `"`, `"near `, 1), i)
	}
	return b.String()
}

// oneLine is a text without what no header and no name of a rule may have.
func oneLine(s string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r > 0x7e && (r < 0xa0 || r > 0xffff || r == 0x2028 || r >= 0x200b && r <= 0x206f) {
			return -1
		}
		return r
	}, s))
}

// escapedPath is a text in which every byte is escaped, and so goes into any part of
// a URL.
func escapedPath(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, "%%%02X", s[i])
	}
	return b.String()
}

func testBrowserReplay(t *testing.T, browser context.Context) {
	s := startSite(t, browserRules)
	event, _ := s.post(t, "deploys", `{"ref":"refs/heads/dev","after":"4f2c9d1"}`, nil)
	_, failing := s.post(t, "alerts", `{}`, nil)
	b := openTab(t, browser)

	b.open(s.admin + "/runs/" + failing)
	b.wait(`document.querySelector("main .badge").textContent === "failed"`)
	b.click("Retry")
	b.wait(`document.querySelector(".notice.ok").textContent.includes("queued again")`)
	b.wait(`document.querySelectorAll(".step").length === 2`)
	b.clean()

	b.open(s.admin + "/events/" + event)
	b.do(chromedp.SetValue(chromedp.CSS("#body"), `{"ref": "refs/heads/main", "after": "edited"}`))
	b.click("Explain only")
	b.wait(`document.querySelector("#rules h2").textContent.includes("edited body") && document.querySelector(".verdict .badge").textContent === "matched"`)
	b.clean()
	b.click("Replay with this body")
	b.wait(`document.querySelector(".notice.ok").textContent.includes("body as edited")`)
	b.wait(`document.querySelector(".output") && document.querySelector(".output").textContent.includes("deploying edited")`)
	if got, want := b.get(`document.querySelector(".facts").textContent.includes("with another body")`), "true"; got != want {
		t.Errorf("the new event says that it is an edited replay: %s, want %s", got, want)
	}
	b.clean()

	b.click("Replay")
	b.wait(`document.querySelector(".notice.ok").textContent.includes("came again: 1 run")`)
	b.clean()
}

func testBrowserArmed(t *testing.T, browser context.Context) {
	s := startSite(t, browserRules)
	b := openTab(t, browser)
	b.open(s.admin + "/rules")
	b.click("Arm")
	b.wait(`document.querySelector(".notice.ok").textContent.includes("armed")`)
	_, run := s.post(t, "deploys", `{"ref":"refs/heads/main","after":"held"}`, nil)

	b.open(s.admin + "/")
	b.wait(`document.querySelector(".waits")`)
	b.open(s.admin + "/runs/" + run)
	if got := b.get(`document.querySelector("main .badge").textContent`); got != "queued" {
		t.Errorf("the armed run is %s, want queued", got)
	}
	if got := b.get(`[...document.querySelectorAll(".argv code")].map((e) => e.textContent).join(" ")`); got != "echo deploying held" {
		t.Errorf("the page of the armed run shows argv %q, want what it would run", got)
	}
	b.click("Run it")
	b.wait(`document.querySelector("main .badge").textContent === "done"`)
	b.wait(`document.querySelector(".output").textContent.includes("deploying held")`)
	b.clean()

	b.open(s.admin + "/rules")
	b.click("Arm")
	b.wait(`document.querySelector(".notice.ok")`)
	_, run = s.post(t, "deploys", `{"ref":"refs/heads/main","after":"dropped"}`, nil)
	b.open(s.admin + "/runs/" + run)
	b.click("Drop it")
	b.wait(`document.querySelector("main .badge").textContent === "cancelled"`)
	b.clean()
}

func testBrowserAccept(t *testing.T, browser context.Context) {
	const gate = "on_reload: {confirm_if_changes_over: 0}"
	s := startSite(t, gate+browserRules)
	s.post(t, "deploys", `{"ref":"refs/heads/main","after":"1"}`, nil)
	b := openTab(t, browser)
	b.open(s.admin + "/")
	b.wait(`document.querySelector(".live").dataset.state === "on"`)
	edited := strings.ReplaceAll(gate+browserRules, "refs/heads/main", "refs/heads/live")
	if err := os.WriteFile(filepath.Join(s.dir, "rules.yaml"), []byte(edited), 0o600); err != nil {
		t.Fatal(err)
	}
	b.wait(`document.querySelector(".bars").textContent.includes("New rules wait to be accepted")`)
	b.open(s.admin + "/rules")
	for _, want := range []string{"1 decisions are others", `+    when: body.ref == "refs/heads/live"`} {
		if got := b.get(`document.querySelector("#held").textContent`); !strings.Contains(got, want) {
			t.Errorf("the held rules do not say %q:\n%s", want, got)
		}
	}
	b.click("Accept")
	b.wait(`document.querySelector(".notice.ok").textContent.includes("in force") && !document.querySelector("#held")`)
	if got := b.get(`document.querySelector(".rule .when").textContent`); !strings.Contains(got, "refs/heads/live") {
		t.Errorf("the first rule is %q after the rules were accepted", got)
	}
	b.clean()
}

func testBrowserForeign(t *testing.T, browser context.Context) {
	s := startSite(t, browserRules)
	event, _ := s.post(t, "deploys", `{"ref":"refs/heads/main"}`, nil)
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><body><form id=f method=post action="%[1]s/ui/pause"><input name=rule value=""></form>
<form id=g method=post action="%[1]s/ui/events/%[2]s/replay"></form><form id=h method=post action="%[1]s/api/v1/pause"></form><iframe src="%[1]s/events"></iframe></body>`, s.admin, event)
	}))
	defer evil.Close()
	b := openTab(t, browser)
	for _, form := range []string{"f", "g", "h"} {
		b.open(evil.URL)
		b.script(`document.getElementById("` + form + `").submit()`)
		b.wait(`document.body && document.body.textContent.includes("another site asked for this")`)
	}
	b.open(evil.URL)
	for _, what := range []string{"GET /events", "GET /api/v1/runs", "POST /api/v1/pause", "POST /ui/pause"} {
		method, path, _ := strings.Cut(what, " ")
		b.script(fmt.Sprintf(`window.told = ""; for (const mode of ["cors", "no-cors"]) fetch(%q, {method: %q, mode, credentials: "include"}).then((r) => r.type === "opaque" ? "" : r.text(), () => "").then((text) => { window.told += text + "."; })`, s.admin+path, method))
		b.wait(`window.told.endsWith("..") || window.told.length > 2`)
		if got := b.get("window.told"); got != ".." {
			t.Errorf("%s tells another site %.200q, want nothing", what, got)
		}
	}
	asked := 0
	for _, answer := range b.answered() {
		if strings.Contains(answer, s.admin) && !strings.HasSuffix(answer, "/favicon.ico") { // asked for by the page that says no
			asked++
			if !strings.HasPrefix(answer, "403 ") {
				t.Errorf("another site is answered %s, want 403", answer)
			}
		}
	}
	if asked < 4 { // 3 forms and a frame at least: of fetches the browser tells nothing
		t.Errorf("the other site has asked %d times, want all that the test does", asked)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(s.admin, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	b.open("http://evil.example:" + port + "/events")
	b.wait(`document.body.textContent.includes("this hookrun is not reached by that name")`)
	b.open(s.admin + "/rules")
	if got := b.get(`document.querySelector("main").textContent.includes("Pause everything")`); got != "true" {
		t.Error("another site has paused everything")
	}
	b.script(`fetch("/api/v1/events").then((r) => r.json()).then((l) => { window.events = l.events.length; })`)
	b.wait(`window.events === 1`)
	b.clean()
}

func testBrowserKeys(t *testing.T, browser context.Context) {
	s := startSite(t, browserRules)
	for range 3 {
		s.post(t, "deploys", `{"ref":"refs/heads/main"}`, nil)
	}
	b := openTab(t, browser)
	b.open(s.admin + "/")
	b.do(chromedp.KeyEvent("g"), chromedp.KeyEvent("e"))
	b.wait(`location.pathname === "/events" && document.querySelectorAll("[data-row]").length === 3 && document.querySelector(".keyhint:not([hidden])")`)
	row := `document.activeElement.closest("[data-row]")`
	at := `[...document.querySelectorAll("[data-row]")].indexOf(` + row + `)`
	for _, tt := range []struct{ key, at string }{{"j", "0"}, {"j", "1"}, {"j", "2"}, {"j", "2"}, {"k", "1"}} {
		b.do(chromedp.KeyEvent(tt.key))
		if got := b.get(at); got != tt.at {
			t.Errorf("after %s the focus is on row %s, want %s", tt.key, got, tt.at)
		}
	}
	want := b.get(row + `.dataset.row`)
	b.do(chromedp.KeyEvent(kb.Enter))
	b.wait(fmt.Sprintf(`location.pathname === "/events/%s" && document.querySelector(".keyhint:not([hidden])")`, want))
	b.do(chromedp.KeyEvent("?"))
	b.wait(`document.querySelector("dialog.help[open]")`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.wait(`!document.querySelector("dialog")`)
	b.do(chromedp.KeyEvent("g"), chromedp.KeyEvent("r"))
	b.wait(`location.pathname === "/runs" && document.querySelector(".keyhint:not([hidden])")`)
	b.do(chromedp.KeyEvent("/"), chromedp.KeyEvent("no such row"))
	b.wait(`[...document.querySelectorAll("tbody tr[data-row]")].every((e) => e.hidden)`)
	b.do(chromedp.KeyEvent(kb.Escape))
	before := b.get(`getComputedStyle(document.body).backgroundColor`)
	b.do(chromedp.KeyEvent("t"))
	after := b.get(`getComputedStyle(document.body).backgroundColor`)
	b.do(chromedp.Reload())
	if kept := b.get(`getComputedStyle(document.body).backgroundColor`); after == before || kept != after {
		t.Errorf("t turns %s to %s, and a new page is %s, want another colour that stays", before, after, kept)
	}
	b.script(`localStorage.clear()`)
	b.clean()
}

func testBrowserNoScripts(t *testing.T, browser context.Context) {
	s := startSite(t, browserRules)
	event, _ := s.post(t, "deploys", `{"ref":"refs/heads/dev"}`, nil)
	b := openTab(t, browser)
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	b.open(s.admin + "/events/" + event)
	text := func() string {
		text, err := chromedp.Run(b.ctx, chromedp.TextContent(chromedp.CSS("main")))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	for _, want := range []string{"deploy main", "no match", `body.ref == "refs/heads/main"`, "refs/heads/dev"} {
		if got := text(); !strings.Contains(got, want) {
			t.Errorf("the page does not say %q:\n%s", want, got)
		}
	}
	resp, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.Search(`//main//button[normalize-space()="Replay"]`)))
	if err != nil || resp.Status != http.StatusOK {
		t.Fatalf("the form is answered %v, %v", resp, err)
	}
	if got := text(); !strings.Contains(got, "the event came again: no rule started a run") {
		t.Errorf("after a form the page does not say what was done:\n%s", got)
	}
}

func testBrowserLogin(t *testing.T, browser context.Context) {
	const token = "correct horse battery staple"
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSite(t, `admin: {token: "${file:`+file+`}"}`+browserRules)
	b := openTab(t, browser)
	b.open(s.admin + "/rules")
	b.wait(`location.pathname === "/login"`)
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "wrong"), chromedp.Submit(chromedp.CSS("#token")))
	b.wait(`document.querySelector(".error").textContent.includes("not the token")`)
	b.clean()
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token), chromedp.Submit(chromedp.CSS("#token")))
	b.wait(`location.pathname === "/rules" && document.querySelector(".live").dataset.state === "on"`)
	if got := b.get("document.cookie"); got != "" {
		t.Errorf("a script sees the cookie %s", got)
	}
	b.clean()
	b.do(chromedp.Click(chromedp.Search(`//header//button[normalize-space()="Log out"]`)))
	b.wait(`location.pathname === "/login"`)
}
