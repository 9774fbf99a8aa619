//go:build unix

package cli

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hookrun/engine/store"
	"hookrun/relay/relaytest"
)

// whole is a hookrun in this process, as main starts it, with an intake and a
// relay.
type whole struct {
	dir, address string
	relay        *relaytest.Server
	log          *lockedBuffer
	client       *http.Client
	stop         func() // ends it; may be called again
}

// startWhole starts a hookrun with rules, to which it adds the relay. DIR in
// them is a folder of the test's own.
func startWhole(t *testing.T, o relaytest.Options, text string) *whole {
	t.Helper()
	w := &whole{dir: t.TempDir(), address: freeAddress(), relay: relaytest.New(t, o), log: &lockedBuffer{}, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(w.client.CloseIdleConnections)
	t.Setenv("RELAY_KEY", cmp.Or(o.Key, "key"))
	t.Setenv("RELAY_SECRET", cmp.Or(o.Secret, "secret"))
	text = "relay: {url: " + w.relay.URL + "}\n" + strings.ReplaceAll(text, "DIR", w.dir)
	if err := os.WriteFile(w.path("rules.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var code int
	var wg sync.WaitGroup
	wg.Go(func() {
		code = Main(ctx, []string{"run", "-rules", w.path("rules.yaml"), "-data", w.path("data"), "-listen", w.address, "-v"}, Process{Stdout: io.Discard, Stderr: w.log})
	})
	w.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if code != exitOK {
			t.Errorf("hookrun ended with %d, want %d; its log is\n%s", code, exitOK, w.log)
		}
	})
	t.Cleanup(func() { w.stop() })
	waiting, done := context.WithTimeout(t.Context(), patience)
	defer done()
	if err := w.relay.WaitSubscribed(waiting, 1); err != nil {
		t.Fatalf("%v; the log is\n%s", err, w.log)
	}
	return w
}

func (w *whole) path(name string) string { return filepath.Join(w.dir, name) }

// reader opens the store to read it.
func (w *whole) reader(t *testing.T) *store.Reader {
	t.Helper()
	return openStore(t, w.path("data"))
}

// post sends a webhook to the intake.
func (w *whole) post(t *testing.T, bucket string, hook relaytest.Webhook) (status int, body string) {
	t.Helper()
	url := "http://" + w.address + "/hooks/" + bucket + "?" + hook.Query
	req, err := http.NewRequestWithContext(t.Context(), cmp.Or(hook.Method, http.MethodPost), url, bytes.NewReader(hook.Body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = hook.Header.Clone()
	resp, err := w.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// deliver sends a webhook through the relay and returns its id there.
func (w *whole) deliver(t *testing.T, bucket string, hook relaytest.Webhook) string {
	t.Helper()
	id, err := w.relay.Send(bucket, hook)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// answer waits for what the relay is told of a webhook and its outcome.
func (w *whole) answer(t *testing.T, id string) relaytest.Log {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	log, err := w.relay.WaitOutcome(ctx, id)
	if err != nil {
		t.Fatalf("%v; the log is\n%s", err, w.log)
	}
	return log
}

// kept is all that hookrun has written, by name: every file of its data folder,
// and its log.
func (w *whole) kept(t *testing.T) map[string][]byte {
	t.Helper()
	all := filesBelow(t, w.path("data"))
	all["the log"] = []byte(w.log.String())
	return all
}

// filesBelow reads all files in a folder.
func filesBelow(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = data
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantNowhere fails where one of the texts stands in what was written.
func wantNowhere(t *testing.T, in map[string][]byte, texts ...string) {
	t.Helper()
	for name, data := range in {
		for _, text := range texts {
			if at := bytes.Index(data, []byte(text)); at >= 0 {
				t.Errorf("%s holds %q: …%q…", name, text, data[max(0, at-60):min(len(data), at+len(text)+20)])
			}
		}
	}
}
