//go:build linux

package cli

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"hookrun/engine"
	"hookrun/relay/relaytest"
)

// canaries are secrets that stand nowhere unless hookrun lets them out. They
// look different in a URL.
func canaries() map[string]string {
	return map[string]string{
		"RELAY_SECRET": "canary/relay's 1f0c",
		"HMAC_SECRET":  "canary/hmac's 2e1d",
		"HEADER_TOKEN": "canary/header's 3d2e",
		"QUERY_TOKEN":  "canary/query's 4c3f",
		"GIVEN":        "canary/given's 5b40",
	}
}

// canaryForms are the canaries as they may be written.
func canaryForms() []string {
	var all []string
	for _, secret := range canaries() {
		all = append(all, secret, url.QueryEscape(secret), url.PathEscape(secret), base64.StdEncoding.EncodeToString([]byte(secret)))
	}
	return append(all, base64.StdEncoding.EncodeToString([]byte("key:"+canaries()["RELAY_SECRET"])))
}

const canaryRules = `relay: {url: RELAY}
buckets:
  signed: {verify: {scheme: github, secret: "${env:HMAC_SECRET}"}}
  header: {verify: {scheme: token, header: X-Token, secret: "${env:HEADER_TOKEN}"}}
  query: {verify: {scheme: token, query: key, secret: "${env:QUERY_TOKEN}"}}
  held: {verify: {scheme: github, secret: "${env:HMAC_SECRET}"}}
rules:
  - name: given
    bucket: signed
    actions:
      - shell: printf %s "$SECRET" | cmp - want && echo yes >DIR/has-it
        env: {SECRET: "${env:GIVEN}"}
      - id: says
        shell: echo "it is $SECRET"; echo "and it fails with $SECRET" >&2; exit 3
        env: {SECRET: "${env:GIVEN}"}
    respond: {wait: 30s, body: "{{ steps.says.stdout }}{{ steps.says.stderr }}{{ error }}"}
  - name: not given
    bucket: [signed, header, query]
    actions:
      - shell: |
          env
          tr '\0' '\n' </proc/self/cmdline
          tr '\0' '\n' </proc/$PPID/cmdline
          cat "$HOOKRUN_BODY_FILE"
        env: {TOKEN: "{{ headers[\"X-Token\"] }}", KEY: "{{ query.key ?? \"\" }}", AT: "{{ path }}", ALL: "{{ toJSON(headers) }}"}
      - file: DIR/seen-{{ event.id }}
        content: "{{ toJSON(headers) }} {{ toJSON(query) }} {{ path }} {{ toJSON(meta) }}"
  - name: held
    bucket: held
    actions:
      - exec: [sh, -c, 'echo yes >DIR/holds; until test -e go; do sleep 0.05; done']
`

// TestCanaries sends webhooks, good ones and bad ones, to a hookrun that has five
// secrets, and looks for these in all that it writes, says and starts.
func TestCanaries(t *testing.T) {
	w := startCanaries(t)
	answers := w.sendCanaries(t)

	w.await(t, "the command that holds on", func() bool { return w.exists("holds") })
	processes := descendants(t, w.cmd.Process.Pid)
	if len(processes) < 2 {
		t.Errorf("hookrun has %d processes, want itself and a command at least", len(processes))
	}
	wantNowhere(t, processes, canaryForms()...)
	if err := os.WriteFile(w.path("go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := w.reader(t)
	w.await(t, "all runs to end", func() bool { return len(unfinished(t, r)) == 0 })

	runs := allRuns(t, r, engine.RunFilter{})
	said := w.ask(t, runs)
	w.stop(t, w.cmd)
	said["the answers"] = []byte(strings.Join(answers, "\n"))
	said["the log"], _ = os.ReadFile(w.path("log"))
	wantNowhere(t, said, canaryForms()...)
	wantNowhere(t, filesBelow(t, w.path("data")), canaryForms()...)
	wantNowhere(t, filesBelow(t, w.path("out")), canaryForms()...)

	// What was looked at is what it was meant to be.
	if !w.exists("has-it") {
		t.Error("the command that is given a secret does not have it")
	}
	for _, want := range []string{"it is ***", "and it fails with ***", `"reason":"the signature differs"`, `"reason":"the header X-Token is missing"`, "HOOKRUN_RULE=not given", "KEY=***"} {
		if text := bytes.Join([][]byte{said["runs show"], said["rejected"], said["the answers"]}, nil); !bytes.Contains(text, []byte(want)) {
			t.Errorf("nothing says %q", want)
		}
	}
	if states := statesOf(runs); states[engine.Failed] != 2 || states[engine.Done] != 7 {
		t.Errorf("the runs are %v, want 2 that failed and 7 that are done", states)
	}
}

func statesOf(runs []*engine.Run) map[engine.State]int {
	n := map[engine.State]int{}
	for _, run := range runs {
		n[run.State]++
	}
	return n
}

// canaryDaemon is the hookrun with the secrets, as a process of its own.
type canaryDaemon struct {
	*daemonFiles
	relay *relaytest.Server
	cmd   *exec.Cmd
}

func startCanaries(t *testing.T) *canaryDaemon {
	t.Helper()
	secrets := canaries()
	w := &canaryDaemon{relay: relaytest.New(t, relaytest.Options{Secret: secrets["RELAY_SECRET"]})}
	w.daemonFiles = newDaemonFiles(t, "rules: []\n")
	text := strings.NewReplacer("RELAY}", w.relay.URL+"}", "DIR", w.path("out")).Replace(canaryRules)
	text = strings.Replace(text, "rules:\n", "file_roots: ["+w.path("out")+"]\nrules:\n", 1)
	for name, content := range map[string]string{"rules.yaml": text, "want": secrets["GIVEN"]} {
		if err := os.WriteFile(w.path(name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(w.path("out"), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(w.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	w.cmd = exec.Command(builtBinary, "-rules", "rules.yaml", "-data", "data", "-listen", w.address, "-v")
	w.cmd.Dir, w.cmd.Stderr, w.cmd.Env = w.dir, log, append(os.Environ(), "RELAY_KEY=key")
	for name, secret := range secrets {
		w.cmd.Env = append(w.cmd.Env, name+"="+secret)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.cmd.Process.Signal(syscall.SIGKILL) })
	w.await(t, "hookrun to subscribe", func() bool { return w.relay.Subscribed() > 0 })
	return w
}

func (w *canaryDaemon) exists(name string) bool {
	_, err := os.Stat(filepath.Join(w.path("out"), name))
	return err == nil
}

// canaryHook is a webhook, and whether it is to be taken.
type canaryHook struct {
	name, bucket string
	hook         relaytest.Webhook
	taken        bool
}

// canaryHooks are webhooks with secrets where they belong, and where a sender
// puts them by mistake.
func canaryHooks(t *testing.T) []canaryHook {
	t.Helper()
	secrets := canaries()
	header, query := secrets["HEADER_TOKEN"], secrets["QUERY_TOKEN"]
	inQuery := "key=" + url.QueryEscape(query)
	body := []byte(`{"a":1}`)
	signed := http.Header{}
	for _, line := range strings.Split(signedWith(t, secrets["HMAC_SECRET"], string(body)), "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			signed.Set(name, value)
		}
	}
	differs := http.Header{"X-Hub-Signature-256": {"sha256=" + strings.Repeat("0", 64)}}
	return []canaryHook{
		{"signed", "signed", relaytest.Webhook{Header: signed, Body: body}, true},
		{"a token in the header", "header", relaytest.Webhook{Header: http.Header{"X-Token": {header}, "X-Again": {"it is " + header}}, Path: "/" + url.PathEscape(header), Body: body}, true},
		{"a token in the query", "query", relaytest.Webhook{Query: inQuery + "&again=" + url.QueryEscape(query), Header: http.Header{"Referer": {"https://example.com/?" + inQuery}}, Body: body}, true},
		{"a signature that differs", "signed", relaytest.Webhook{Header: differs, Body: body}, false},
		{"the secret in place of the signature", "signed", relaytest.Webhook{Header: http.Header{"X-Hub-Signature-256": {secrets["HMAC_SECRET"]}}, Body: body}, false},
		{"the token of another bucket", "header", relaytest.Webhook{Header: http.Header{"X-Token": {query}}, Body: body}, false},
		{"the token in another header", "header", relaytest.Webhook{Header: http.Header{"Authorization": {"Bearer " + header}}, Body: body}, false},
		{"the token in the query", "header", relaytest.Webhook{Query: "X-Token=" + url.QueryEscape(header), Body: body}, false},
		{"the token in the path", "query", relaytest.Webhook{Path: "/" + url.PathEscape(query), Body: body}, false},
		{"the token twice", "query", relaytest.Webhook{Query: inQuery + "&" + inQuery, Body: body}, false},
	}
}

// signedWith is what hookrun sign prints for a secret that it reads from a file.
func signedWith(t *testing.T, secret, body string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	return runMain(t, "sign", "-scheme", "github", "-secret", "${file:"+file+"}", "-body", body)
}

// runMain runs a command that is to succeed in this process and returns what it
// prints.
func runMain(t *testing.T, args ...string) string {
	t.Helper()
	var out, stderr strings.Builder
	if code := Main(t.Context(), args, Process{Stdout: &out, Stderr: &stderr}); code != exitOK {
		t.Fatalf("hookrun %q ended with %d: %s", args, code, stderr.String())
	}
	return out.String() + stderr.String()
}

// sendCanaries sends all of them both ways, and one more whose command holds on.
// It returns the answers.
func (w *canaryDaemon) sendCanaries(t *testing.T) []string {
	t.Helper()
	in := &whole{address: w.address, relay: w.relay, log: &lockedBuffer{}, client: &http.Client{Transport: &http.Transport{}}}
	defer in.client.CloseIdleConnections()
	var answers []string
	hooks := canaryHooks(t)
	for _, h := range hooks {
		status, body := in.post(t, h.bucket+cmp.Or(h.hook.Path, "/"), h.hook)
		if (status/100 == 2) != h.taken && !(h.bucket == "signed" && h.taken && status == http.StatusInternalServerError) {
			t.Errorf("%s: the intake answers %d %s", h.name, status, body)
		}
		log := in.answer(t, in.deliver(t, h.bucket, h.hook))
		if (log.StatusCode == http.StatusUnauthorized) == h.taken {
			t.Errorf("%s: the relay is told %d %s", h.name, log.StatusCode, log.Body)
		}
		answers = append(answers, body, log.Raw, string(log.Body), fmt.Sprint(log.Header))
	}
	status, body := in.post(t, "held", hooks[0].hook)
	if status != http.StatusAccepted {
		t.Errorf("the last one is answered %d %s", status, body)
	}
	return append(answers, body)
}

// descendants are the command lines of a process and of all that it started,
// and the environments of the latter.
func descendants(t *testing.T, pid int) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		t.Fatal(err)
	}
	all["the command line of hookrun"] = own
	for _, child := range childrenOf(pid) {
		for _, what := range []string{"cmdline", "environ"} {
			name := fmt.Sprintf("/proc/%d/%s", child, what)
			all[name], _ = os.ReadFile(name) // it may have ended
		}
	}
	return all
}

// childrenOf are the processes below one, at any depth.
func childrenOf(pid int) []int {
	var all []int
	lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, word := range strings.Fields(string(text)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(append(all, child), childrenOf(child)...)
			}
		}
	}
	return all
}

// ask asks hookrun for all that it tells, and returns it by command.
func (w *canaryDaemon) ask(t *testing.T, runs []*engine.Run) map[string][]byte {
	t.Helper()
	said := map[string][]byte{}
	ask := func(name string, args ...string) {
		text := runMain(t, append(append(strings.Fields(name), "-data", w.path("data")), args...)...)
		said[name] = append(said[name], text...)
	}
	ask("runs")
	ask("runs", "-json")
	ask("rejected")
	ask("rejected", "-json")
	for _, run := range runs {
		ask("runs show", run.ID)
		ask("runs show", "-json", run.ID)
		ask("runs logs", run.ID)
	}
	return said
}
