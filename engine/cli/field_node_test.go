//go:build unix

package cli

import (
	"bufio"
	"context"
	"encoding/hex"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	clientsFolder = root + "/testdata/clients"

	// installTime bounds how long npm may take to get two packages.
	installTime = 2 * time.Minute
)

// TestFieldJavaScript runs JavaScript clients with the library that all of them
// use, in the versions that give a frame as a string, and as a buffer. Elsewhere
// than in CI it is skipped where node, npm or the library can't be had.
func TestFieldJavaScript(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("npm takes its time")
	}
	modules := nodeModules(t)
	for _, ws := range []string{"ws7", "ws8"} {
		t.Run("the page's sample with "+ws, func(t *testing.T) { testSample(t, filepath.Join(modules, ws)) })
	}
	for _, deflate := range []string{"on", "off"} {
		t.Run("answers with deflate "+deflate, func(t *testing.T) { testAnswers(t, filepath.Join(modules, "ws8"), deflate) })
	}
}

// nodeModules installs the library and returns the folder in which it is.
func nodeModules(t *testing.T) string {
	t.Helper()
	missing := t.Skipf
	if os.Getenv("CI") != "" {
		missing = t.Fatalf
	}
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			missing("%s is missing: %v", program, err)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		copyFile(t, filepath.Join(clientsFolder, name), filepath.Join(dir, name))
	}
	ctx, cancel := context.WithTimeout(t.Context(), installTime)
	defer cancel()
	npm := exec.CommandContext(ctx, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline",
		"--fetch-retries=2", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=3000")
	npm.Dir = dir
	if out, err := npm.CombinedOutput(); err != nil {
		missing("npm ci: %v\n%s", err, out)
	}
	return filepath.Join(dir, "node_modules")
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, data, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// script is a client in JavaScript that runs.
type script struct {
	lines chan string // what it prints; closed when it ends
}

// startScript starts a client with a version of the library, and ends it with
// the test. Of its text only old is replaced, by new.
func startScript(t *testing.T, ws, name, old, new string, env ...string) *script {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(clientsFolder, name))
	if err != nil {
		t.Fatal(err)
	}
	if old != "" && strings.Count(string(text), old) != 1 {
		t.Fatalf("%s has %q %d times, want once", name, old, strings.Count(string(text), old))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Replace(string(text), old, new, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "node_modules"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(ws, filepath.Join(dir, "node_modules", "ws")); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("node", name)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), append([]string{"RELAY_KEY=" + fieldKey, "RELAY_SECRET=" + fieldSecret}, env...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s := &script{make(chan string, 1000)} // more than a test prints
	go func() {
		defer close(s.lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			s.lines <- in.Text()
		}
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		for range s.lines {
		}
		cmd.Wait()
	})
	return s
}

// await returns the next line that begins so.
func (s *script) await(t *testing.T, prefix string) string {
	t.Helper()
	var before []string
	deadline := time.NewTimer(2 * patience)
	defer deadline.Stop()
	for {
		select {
		case line, ok := <-s.lines:
			if !ok {
				t.Fatalf("the client ended without saying %q; it said\n%s", prefix, strings.Join(before, "\n"))
			}
			if line = printed(line); strings.HasPrefix(line, prefix) {
				return line
			}
			before = append(before, line)
		case <-deadline.C:
			t.Fatalf("the client did not say %q; it said\n%s", prefix, strings.Join(before, "\n"))
		}
	}
}

// printed is a line that a client printed. Of a buffer node prints how it begins,
// in hexadecimal.
func printed(line string) string {
	rest, ok := strings.CutPrefix(line, "<Buffer ")
	if !ok {
		return line
	}
	rest, _, _ = strings.Cut(strings.TrimSuffix(rest, ">"), " ...")
	data, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
	if err != nil {
		return line
	}
	return string(data)
}

// shownBytes is how many bytes of a buffer node prints.
const shownBytes = 50

// testSample runs the sample of the page that clients were written from, with no
// change but to its address, over a restart of the relay.
func testSample(t *testing.T, ws string) {
	f := startField(t, "")
	s := startScript(t, ws, "sample.js", "wss://my.webhookrelay.com/", "ws://"+f.address+"/")
	for _, body := range []string{`{"hi": "there"}`, "again"} {
		s.await(t, "connected, sending authentication request")
		s.await(t, saidAuthenticated[:shownBytes])
		s.await(t, saidSubscribed("my-bucket")[:shownBytes])
		f.send(t, plainInput, body)
		s.await(t, `{"type":"webhook","meta":{"id":"`)
		f.stop(t)
		s.await(t, "socket closed, reconnecting")
		f.start(t)
	}
}

// testAnswers runs a client that answers: at first a webhook that came before it,
// then one that comes to it.
func testAnswers(t *testing.T, ws, deflate string) {
	f := startField(t, "")
	waits := f.sendAndWait(t, "/v1/webhooks/"+answerInput)
	f.awaitLog(t, "answers")
	s := startScript(t, ws, "answer.js", "", "", "RELAY_URL="+f.url(""), "RELAY_BUCKET=answers", "RELAY_DEFLATE="+deflate)
	extensions := map[string]string{"on": "extensions permessage-deflate", "off": "extensions none"}
	s.await(t, extensions[deflate])
	s.await(t, "subscribed")
	for range 2 {
		s.await(t, "webhook 5")
		s.await(t, "answered 200")
		if got := waits.answer(t); got.status != http.StatusCreated || got.body != "banana" || got.header.Get("Xkey") != "xvalue" {
			t.Errorf("the sender got %d %q, want 201 banana", got.status, got.body)
		}
		waits = f.sendAndWait(t, "/v1/webhooks/"+answerInput)
	}
	s.await(t, "answered 200")
	waits.answer(t)
	f.stop(t)
	s.await(t, "ended 1012 restarting")
}
