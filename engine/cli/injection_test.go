package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"hookrun/engine"
	"hookrun/engine/enginetest"
	"hookrun/engine/rules"
)

// probeSource is a program that writes what it was given, exactly, to a file
// named after its run. It is built without the race detector, as it is started
// some hundred times.
const probeSource = `package main

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
)

func main() {
	var g struct {
		Args  [][]byte
		Env   []byte
		Stdin []byte
		Body  []byte
	}
	for _, a := range os.Args[1:] {
		g.Args = append(g.Args, []byte(a))
	}
	g.Env = []byte(os.Getenv("VALUE"))
	g.Stdin, _ = io.ReadAll(os.Stdin)
	g.Body, _ = os.ReadFile(os.Getenv("HOOKRUN_BODY_FILE"))
	text, err := json.Marshal(g)
	if err == nil {
		err = os.WriteFile(filepath.Join(os.Getenv("SEEN"), os.Getenv("HOOKRUN_RUN_ID")), text, 0o600)
	}
	if err != nil {
		os.Exit(1)
	}
}
`

// probeGiven is what the probe was given.
type probeGiven struct {
	Args  [][]byte
	Env   []byte
	Stdin []byte
	Body  []byte
}

// hostile are texts that some program on the way might take for more than text.
// MARK is a path that must never come to be.
func hostile() []string {
	all := []string{
		"", " ", "  two  ", "\t", "plain", "a b", "a\nb", "a\r\nb", "\n", "\r\n", "a\n", "\na", "\x00", "a\x00b", "\x00touch MARK", "a\x00; touch MARK",
		"'", `"`, "''", `""`, "`", "'\"'\"'", `\`, `\\`, `a\`, `"a`, `'a`, `\"`, `\'`, `\n`, `\0`, `$'\x41'`, `"; touch MARK; "`, `'; touch MARK; '`, `\'; touch MARK; \'`,
		"$HOME", "${HOME}", "$(touch MARK)", "`touch MARK`", "$((1+1))", "${IFS}", "a${IFS}b", `zzz";touch${IFS}MARK;#`, "$@", "$*", "$0", "$$", "$?", "$!", "${x:-$(touch MARK)}", "$(<MARK)", "<(touch MARK)", ">(touch MARK)",
		"; touch MARK", "& touch MARK", "&& touch MARK", "| touch MARK", "|| touch MARK", "\ntouch MARK\n", "> MARK", ">> MARK", "< MARK", "2>MARK", "a;b", "(touch MARK)", "{ touch MARK; }", "!touch", "!!", "^a^b", "#", "# comment", "a #b", "*", "?", "[a-z]", "{a,b}", "{1..9}", "~", "~root", "%PATH%", "%0a", "!PATH!", "^&touch MARK", "@echo off",
		"() { :;}; touch MARK", "() { _; } >_[$($())] { touch MARK; }", "a=b", "=", "=a", "PATH=/tmp", "LD_PRELOAD=/tmp/x.so", "BASH_ENV=MARK", "-e", "eval touch MARK", "exec touch MARK", "system('touch MARK')", "__import__('os').system('touch MARK')", "|touch MARK", "-exec touch MARK {} ;",
		"-", "--", "---", "-x", "-rf", "-c", "-e touch MARK", "--help", "--version", "-oProxyCommand=touch MARK", "--upload-pack=touch MARK", "--output=MARK", "-o MARK", "--config=MARK", "-I MARK", "--use-compress-program=touch MARK", "--checkpoint-action=exec=touch MARK", "--to-command=touch MARK", "--exec=touch MARK", "@MARK", "@/etc/passwd", "-@", "+x", "/c",
		"{{ 1 + 1 }}", "{{ body }}", "{{", "}}", "{{ raw }}", "{{ env }}", "{{ steps }}", `{{ "{{" }}`, "${env:CANARY}", "${file:/etc/passwd}", "$${env:CANARY}", "${env:", "{%x%}", "<%= x %>", "#{x}", "${{ x }}", "[[x]]", "%{x}", "{0}", "%s%s%s%n", "%d", "%%", "${jndi:ldap://127.0.0.1/x}",
		"../MARK", "..", ".", "./a", "a/../../b", "/etc/passwd", "MARK", "//a", "a//b", "a/", "/", `..\..\a`, `C:\a`, `\\host\share`, "a:b", "a::$DATA", "CON", "NUL", "file:///etc/passwd", "....//", "%2e%2e%2f", "..%2f", "%2e%2e/", "%00", "..;/", "a/./b", "~/.ssh/x", ".git/config",
		"%", "%zz", "%41", "%25", "%2525", "%0d%0aX: y", "+", "a+b", "a&b=c", "a?b", "a#b", "a=b&c=d", ";a=b", "@evil.example", ":80", "//evil.example/", `\\evil.example`, "http://evil.example/", "a@b:c", "[::1]", "javascript:alert(1)", "data:,x",
		"a\r\nX-Injected: y", "a\nX-Injected: y", "a\rX", "\r\n\r\nGET / HTTP/1.1\r\n\r\n", "a\x0bb", "a\x0cb", "a\x7fb", "a\x1b[31mb", "a\x08b", "\x01", "\x1f", "HTTP/1.1 200 OK",
		`{"a":1}`, `","admin":true,"x":"`, `"}`, `\u0000`, `\ud800`, "null", "true", "[]", "1e999", "0x10", "-0", "NaN", "[1,2", "</script><script>alert(1)</script>", "<!--", "]]>", "<!ENTITY x SYSTEM 'file:///etc/passwd'>", "&lt;", "&#0;",
		"' OR 1=1 --", "'; DROP TABLE events; --", "*)(uid=*", "=cmd|' /C calc'!A0", "=1+1", "@SUM(1)",
		"é", "e\u0301", "ß", "İ", "日本語", "🙂", "👩\u200d👩\u200d👧", "\u202egnp.exe", "a\u202eb\u202c", "\u2066a\u2069", "\u200b", "\ufeff", "\ufeffa", "\u00a0", "\u2028", "\u2029", "\u0085", "\u00ad", "\ufffd", "\uffff", "\U0010ffff", "‐dash", "−minus", "﹣x", "－x", "＇", "；touch", "｀", "ｅ", "a" + strings.Repeat("\u0301", 100), "\u115f", "🇪🇺", "ﷺ",
		"\xff", "a\xffb", "\xc0\xaf", "\xc0\x80", "\xe2\x28\xa1", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf0\x28\x8c\xbc", "\x80", "é\xe9", "\xff\xfea\x00", "\xef\xbb",
		strings.Repeat("a", 255), strings.Repeat("a", 256), strings.Repeat("a", 4096), strings.Repeat("é", 200), strings.Repeat("a/", 500) + "a", strings.Repeat("$(", 1000), strings.Repeat("\n", 1000), strings.Repeat("x", 128<<10-7), strings.Repeat("x", 128<<10), strings.Repeat("y", 1<<20), strings.Repeat("'\n", 1<<19),
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// injectionRules put one value into every place where one can go. VALUE stands
// for the expression.
const injectionRules = `
file_roots: [ROOT]
rules:
  - {name: argument, when: VALUE startsWith "-", concurrency: none, actions: [{exec: [PROBE, fixed, "{{ VALUE }}"], dir: WORK, env: {SEEN: SEENDIR}}]}
  - {name: behind dashes, concurrency: none, actions: [{exec: [PROBE, --, "{{ VALUE }}", "x={{ VALUE }}"], dir: WORK, env: {SEEN: SEENDIR}}]}
  - {name: json, concurrency: none, actions: [{http: SERVER/json, json: {value: "{{ VALUE }}", fixed: 1}}]}
  - {name: url query, concurrency: none, actions: [{http: "SERVER/query?a={{ VALUE }}&b=1"}]}
`

// moreInjectionRules are for the places where a value gets in the same way,
// wherever it is from.
const moreInjectionRules = `
  - {name: script, concurrency: none, actions: [{shell: 'exec "$PROGRAM" -- "$VALUE"', dir: WORK, env: {SEEN: SEENDIR, PROGRAM: PROBE, VALUE: "{{ VALUE }}"}}]}
  - {name: stdin, concurrency: none, actions: [{exec: [PROBE], dir: WORK, env: {SEEN: SEENDIR}, stdin: "{{ VALUE }}"}]}
  - {name: content, concurrency: none, actions: [{file: "content/{{ event.id }}", content: "{{ VALUE }}"}]}
  - {name: url path, concurrency: none, actions: [{http: "SERVER/path/{{ VALUE }}"}]}
  - {name: header, concurrency: none, actions: [{http: SERVER/header, headers: {X-Value: "{{ VALUE }}"}}]}
  - {name: http body, concurrency: none, actions: [{http: SERVER/body, body: "{{ VALUE }}"}]}
  - {name: file name, concurrency: none, actions: [{file: "names/{{ event.id }}/{{ VALUE }}", content: here}]}
`

// TestInjection sends hostile texts through a daemon's parts: the receiving
// program gets the exact bytes, or the step fails and says why; and nothing else
// runs, is written or is called.
func TestInjection(t *testing.T) {
	if len(hostile()) < 200 {
		t.Fatalf("%d texts, want 200", len(hostile()))
	}
	for _, value := range []string{"raw", "body.v"} { // the body itself, and a text in its JSON
		t.Run(value, func(t *testing.T) { newInjection(t, value).run(t) })
	}
}

// injection is a hookrun without ports, and the places that it writes to.
type injection struct {
	value             string // the expression
	dir, probe        string
	root, work, seen  string
	store             *enginetest.MemStore
	server            *httptest.Server
	client            *http.Client
	mu                sync.Mutex // guards requests
	requests          map[string]injectionCall
	ended             chan string // runs; sent by the engine, never closed
	rules             string
	before            map[string]string // the files below dir
	texts             map[string]string // by event
	worked, explained map[string]int    // by rule
}

// injectionCall is what came to the server, by the Idempotency-Key that names the run.
type injectionCall struct {
	method, uri string
	header      http.Header
	body        []byte
}

func newInjection(t *testing.T, value string) *injection {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	j := &injection{
		value: value, dir: dir, probe: filepath.Join(dir, "probe"), store: &enginetest.MemStore{},
		root: filepath.Join(dir, "root"), work: filepath.Join(dir, "work"), seen: filepath.Join(dir, "seen"),
		requests: map[string]injectionCall{}, ended: make(chan string, 10_000), texts: map[string]string{}, worked: map[string]int{}, explained: map[string]int{},
	}
	for _, d := range []string{j.root, j.work, j.seen} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	source := filepath.Join(dir, "probe.go")
	if err := os.WriteFile(source, []byte(probeSource), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", j.probe, source).CombinedOutput(); err != nil {
		t.Fatalf("build the probe: %v\n%s", err, out)
	}
	j.server = httptest.NewUnstartedServer(http.HandlerFunc(j.serve))
	j.server.Config.MaxHeaderBytes = 8 << 20
	j.server.Start()
	tr := &http.Transport{MaxIdleConnsPerHost: 10}
	j.client = &http.Client{Transport: tr}
	t.Cleanup(func() {
		tr.CloseIdleConnections()
		j.server.Close()
	})
	text := injectionRules
	if value == "raw" {
		text += moreInjectionRules
	}
	j.rules = strings.NewReplacer("VALUE }}", value+" }}", "VALUE startsWith", value+" startsWith", "PROBE", j.probe, "ROOT", j.root, "WORK", j.work, "SEENDIR", j.seen, "SERVER", j.server.URL).Replace(text)
	return j
}

func (j *injection) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	if _, twice := j.requests[key]; twice {
		key = "more than one: " + key
	}
	j.requests[key] = injectionCall{r.Method, r.RequestURI, r.Header, body}
}

func (j *injection) run(t *testing.T) {
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(j.rules)}}, rules.Options{Dir: j.dir, Client: j.client})
	if g == nil {
		t.Fatal(problems)
	}
	e, err := engine.Open(t.Context(), engine.Options{Store: j.store, Rules: g.Rules, OnChange: func(r engine.Run) {
		if r.State.Finished() {
			j.ended <- r.ID
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { e.Run(ctx) })
	defer wg.Wait()
	defer stop()
	j.before = j.snapshot(t)
	runs := 0
	for _, text := range hostile() {
		runs += j.send(t, e, strings.ReplaceAll(text, "MARK", filepath.Join(j.dir, "MARK")))
	}
	late := time.After(2 * time.Minute)
	for range runs {
		select {
		case <-j.ended:
		case <-late:
			t.Fatal("the runs do not end")
		}
	}
	for id, text := range j.texts {
		j.checkEvent(t, id, text)
	}
	j.nothingElse(t)
	for rule, n := range j.worked {
		t.Logf("%s: %d exact, %d refused", rule, n, j.explained[rule])
		if n < 100 && rule != "argument" {
			t.Errorf("%s: only %d texts went through, the test shows little", rule, n)
		}
	}
}

// send sends one text and returns how many runs it starts.
func (j *injection) send(t *testing.T, e *engine.Engine, text string) int {
	body := []byte(text)
	if j.value != "raw" {
		if !utf8.ValidString(text) {
			return 0 // no JSON holds it
		}
		var err error
		if body, err = json.Marshal(map[string]string{"v": text}); err != nil {
			t.Fatal(err)
		}
	}
	ev := &engine.Event{Bucket: "b", Method: "POST", Path: "/", Body: body, Header: http.Header{"Content-Type": {"application/json"}}}
	receipt, err := e.Submit(t.Context(), ev)
	if err != nil {
		t.Fatalf("%.60q: %v", text, err)
	}
	j.texts[ev.ID] = text
	return len(receipt.Runs)
}

// checkEvent looks at all that came of a text.
func (j *injection) checkEvent(t *testing.T, id, text string) {
	ev, err := j.store.Event(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	runs, err := j.store.RunsOf(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		j.check(t, ev, r.ID, text)
	}
}

// check looks at one run.
func (j *injection) check(t *testing.T, ev *engine.Event, id, text string) {
	run, err := j.store.Run(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	steps, err := j.store.Steps(t.Context(), id)
	if err != nil || len(steps) != 1 {
		t.Fatalf("%s: %d steps, %v", run.Rule, len(steps), err)
	}
	got, arrived := j.arrived(t, run, ev)
	if steps[0].State != engine.StepDone {
		j.explained[run.Rule]++
		why := j.refusal(run.Rule, text)
		if why == "" || !strings.Contains(steps[0].Err, why) {
			t.Errorf("%s: %.60q: error %q, want one with %q (or none)", run.Rule, text, steps[0].Err, why)
		}
		if arrived {
			t.Errorf("%s: %.60q: the step failed (%s), and %.60q arrived", run.Rule, text, steps[0].Err, got)
		}
		return
	}
	j.worked[run.Rule]++
	if why := j.refusal(run.Rule, text); why != "" {
		t.Errorf("%s: %.60q: done, want an error with %q", run.Rule, text, why)
	}
	if want := arrives(run.Rule, text); !arrived || !slices.Equal(got, want) {
		t.Errorf("%s: %.60q: arrived: %v, %.200q, want %.200q", run.Rule, text, arrived, got, want)
	}
}

// arrives is what the receiver gets, where it gets anything.
func arrives(rule, text string) []string {
	switch rule {
	case "argument":
		return []string{"fixed", text, "", ""}
	case "behind dashes":
		return []string{"--", text, "x=" + text, "", ""}
	case "script":
		return []string{"--", text, text, ""}
	case "stdin":
		return []string{"", text}
	case "header": // what surrounds a value is no part of it (RFC 9110, 5.5)
		return []string{strings.Trim(text, " \t")}
	}
	return []string{text}
}

// refusal is a part of the error that has to come, "" where none has to.
func (j *injection) refusal(rule, text string) string {
	const maxArg = 128<<10 - 1
	nul, long := strings.Contains(text, "\x00"), len(text) > maxArg
	switch rule {
	case "argument", "behind dashes", "script":
		switch {
		case rule == "argument" && strings.HasPrefix(text, "-"):
			return `begins with "-"`
		case nul:
			return "holds a NUL byte"
		case long, rule == "behind dashes" && len(text) > maxArg-len("x="), rule == "script" && len(text) > maxArg-len("VALUE="):
			return "more than the 131071 that the system takes"
		}
	case "json":
		if !utf8.ValidString(text) {
			return "is not UTF-8, which JSON can't hold"
		}
	case "header":
		if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return "holds a control character"
		}
	case "url path":
		if elems := strings.Split(text, "/"); text == "" || slices.Contains(elems, ".") || slices.Contains(elems, "..") {
			return "a value in the path of the URL"
		}
	case "file name":
		return j.noName(text)
	}
	return ""
}

// noName says why a text is no name of a file here.
func (j *injection) noName(text string) string {
	elems := strings.Split(text, "/")
	switch {
	case text == "" || strings.HasSuffix(text, "/") || elems[len(elems)-1] == ".":
		return "names no file"
	case strings.ContainsFunc(text, unicode.IsControl):
		return "holds a control character"
	case slices.Contains(elems, ".."):
		return `".." leads out of a folder`
	case slices.ContainsFunc(elems, func(e string) bool { return len(e) > 255 }):
		return "more than the 255 that systems take"
	}
	return ""
}

// arrived returns what came to the receiver of a run, if anything did.
func (j *injection) arrived(t *testing.T, run *engine.Run, ev *engine.Event) ([]string, bool) {
	switch run.Rule {
	case "argument", "behind dashes", "script", "stdin":
		return j.probed(t, run, ev)
	case "content":
		text, err := os.ReadFile(filepath.Join(j.root, "content", ev.ID))
		return []string{string(text)}, err == nil
	case "file name":
		return j.named(t, ev)
	}
	return j.called(t, run)
}

func (j *injection) probed(t *testing.T, run *engine.Run, ev *engine.Event) ([]string, bool) {
	text, err := os.ReadFile(filepath.Join(j.seen, run.ID))
	if err != nil {
		return nil, false
	}
	var g probeGiven
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(g.Body, ev.Body) {
		t.Errorf("%s: the file of the body holds %.60q, want %.60q", run.Rule, g.Body, ev.Body)
	}
	var all []string
	for _, b := range append(g.Args, g.Env, g.Stdin) {
		all = append(all, string(b))
	}
	return all, true
}

// named returns the name of the one file that is below the event's folder.
func (j *injection) named(t *testing.T, ev *engine.Event) ([]string, bool) {
	dir := filepath.Join(j.root, "names", ev.ID)
	var found []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			found = append(found, strings.TrimPrefix(path, dir+"/"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if text := j.texts[ev.ID]; len(found) == 1 && found[0] == strings.TrimPrefix(filepath.Clean("/"+text), "/") {
		found[0] = text // a//b and a/./b are names of a/b
	}
	return found, len(found) > 0
}

// called returns the value in the one request of a run.
func (j *injection) called(t *testing.T, run *engine.Run) ([]string, bool) {
	j.mu.Lock()
	r, ok := j.requests[run.ID+"-1"]
	j.mu.Unlock()
	if !ok {
		return nil, false
	}
	u, err := url.ParseRequestURI(r.uri)
	if err != nil {
		t.Errorf("%s: the server was asked for %.60q: %v", run.Rule, r.uri, err)
		return nil, true
	}
	switch run.Rule {
	case "url path":
		return []string{strings.TrimPrefix(u.Path, "/path/") + u.RawQuery + u.Fragment}, true
	case "url query":
		q, err := url.ParseQuery(u.RawQuery)
		if err != nil || len(q) != 2 || len(q["a"]) != 1 || !slices.Equal(q["b"], []string{"1"}) || u.Path != "/query" {
			t.Errorf("the server was asked for %.60q, %v", r.uri, err)
		}
		return q["a"], true
	case "header":
		return r.header["X-Value"], true
	case "json":
		var v map[string]any
		if err := json.Unmarshal(r.body, &v); err != nil || len(v) != 2 || v["fixed"] != 1.0 {
			t.Errorf("the server got %.60q, %v", r.body, err)
		}
		s, _ := v["value"].(string)
		return []string{s}, true
	}
	return []string{string(r.body)}, true
}

// snapshot are the files below the folder, but for those that are meant to come.
func (j *injection) snapshot(t *testing.T) map[string]string {
	files := map[string]string{}
	err := filepath.WalkDir(j.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == filepath.Join(j.root, "names") || path == filepath.Join(j.root, "content") || path == j.seen {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			files[path] = fmt.Sprintf("%s %d %s", info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// nothingElse looks for what nobody was to make or to call.
func (j *injection) nothingElse(t *testing.T) {
	if after := j.snapshot(t); !maps.Equal(j.before, after) {
		t.Errorf("the folder holds\n%v\nwant\n%v", after, j.before)
	}
	if _, err := os.Lstat(filepath.Join(j.dir, "MARK")); err == nil {
		t.Error("something ran: the marker is there")
	}
	calls := 0
	for _, rule := range []string{"url path", "url query", "header", "json", "http body"} {
		calls += j.worked[rule]
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.requests) != calls {
		t.Errorf("the server was called %d times, want %d", len(j.requests), calls)
	}
	for key, r := range j.requests {
		if r.header.Get("X-Injected") != "" || strings.HasPrefix(key, "more than one") {
			t.Errorf("a request that nobody made: %s %.60q %v", r.method, r.uri, r.header)
		}
	}
}
