//go:build unix

package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/store"
	"hookrun/relay/server"
)

// Sizes of TestKill: producers that each send to a bucket of their own, and
// the pause of each between two events.
const (
	killProducers = 4
	killPause     = 60 * time.Millisecond
)

// TestKill kills hookrun with -9 again and again while events come in, and
// shows that every event that was acknowledged is there in the end, and each of
// its runs done, with both of its steps.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 50
	if testing.Short() {
		kills = 5
	}
	d := newDaemonFiles(t, killRules())
	producers := startProducers(t, d.address, killProducers, func(int) produced {
		return produced{body: "{}", pause: killPause}
	})
	for range kills {
		cmd := d.start(t)
		d.awaitHealthy(t)
		wait(t, time.Duration(50+rand.IntN(250))*time.Millisecond)
		d.kill(cmd)
	}
	last := d.start(t)
	d.awaitHealthy(t)
	acked := producers.stop()
	if len(acked) < kills {
		t.Fatalf("only %d events were acknowledged over %d kills: the test shows nothing", len(acked), kills)
	}
	d.awaitLedger(t, acked)
	d.stop(t, last)
	d.checkStore(t, acked)
	t.Logf("%d kills, %d events acknowledged, 0 lost", kills, len(acked))
}

func killRules() string {
	var rules strings.Builder
	rules.WriteString("rules:\n")
	for i := range killProducers {
		fmt.Fprintf(&rules, `  - name: rule %d
    bucket: b%d
    actions:
      - shell: echo "begun $HOOKRUN_EVENT_ID" >>ledger
      - shell: sleep 0.02; echo "ended $HOOKRUN_EVENT_ID" >>ledger
`, i, i)
	}
	return rules.String()
}

// daemonFiles are what a daemon is started with, again and again.
type daemonFiles struct {
	dir, address string
}

func newDaemonFiles(t *testing.T, rules string) *daemonFiles {
	d := &daemonFiles{dir: t.TempDir(), address: freeAddress()}
	if err := os.WriteFile(d.path("rules.yaml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *daemonFiles) path(name string) string { return filepath.Join(d.dir, name) }

func freeAddress() string {
	srv := httptest.NewServer(nil)
	defer srv.Close()
	return srv.Listener.Addr().String()
}

func (d *daemonFiles) start(t *testing.T) *exec.Cmd {
	t.Helper()
	log, err := os.OpenFile(d.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(builtBinary, "-rules", "rules.yaml", "-data", "data", "-listen", d.address)
	cmd.Dir, cmd.Stderr = d.dir, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd
}

// kill ends a daemon in the middle of what it does.
func (d *daemonFiles) kill(cmd *exec.Cmd) {
	cmd.Process.Signal(syscall.SIGKILL)
	cmd.Wait()
}

// stop ends a daemon as a supervisor does.
func (d *daemonFiles) stop(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("hookrun ended with %v after SIGTERM, want exit code 0", err)
	}
}

// wait lets the daemon work for a while before the fault.
func wait(t *testing.T, d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}

func (d *daemonFiles) awaitHealthy(t *testing.T) {
	t.Helper()
	d.await(t, "hookrun to be healthy", func() bool {
		resp, err := http.Get("http://" + d.address + "/healthz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

func (d *daemonFiles) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * patience); time.Now().Before(end); wait(t, 20*time.Millisecond) {
		if ok() {
			return
		}
	}
	log, _ := os.ReadFile(d.path("log"))
	t.Fatalf("waited in vain for %s; the log ends with:\n%s", what, log[max(0, len(log)-4000):])
}

// awaitLedger waits until each event has begun and ended.
func (d *daemonFiles) awaitLedger(t *testing.T, acked []string) {
	t.Helper()
	d.await(t, "all runs to end", func() bool {
		ledger, _ := os.ReadFile(d.path("ledger"))
		for _, id := range acked {
			if !bytes.Contains(ledger, []byte("begun "+id+"\n")) || !bytes.Contains(ledger, []byte("ended "+id+"\n")) {
				return false
			}
		}
		return true
	})
}

// reader opens the store to read it, whether hookrun runs or not.
func (d *daemonFiles) reader(t *testing.T) *store.Reader {
	t.Helper()
	return openStore(t, d.path("data"))
}

// openStore opens the store of a data folder to read it, until the test ends.
func openStore(t *testing.T, data string) *store.Reader {
	t.Helper()
	r, err := store.OpenReader(t.Context(), data)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// checkStore reads what hookrun left.
func (d *daemonFiles) checkStore(t *testing.T, acked []string) {
	t.Helper()
	cut := 0
	for _, run := range ackedRuns(t, d.reader(t), acked) {
		if run.State != engine.Done {
			t.Errorf("event %s has a run that is %s, want done", run.Event, run.State)
		}
		if run.Cut > 0 {
			cut++
		}
	}
	if cut == 0 {
		t.Error("no kill cut a run off: the test shows nothing of going on at a step")
	}
	t.Logf("%d runs were cut off and went on", cut)
}

// ackedRuns returns the one run of each event that was acknowledged.
func ackedRuns(t *testing.T, r *store.Reader, acked []string) []*engine.Run {
	t.Helper()
	var all []*engine.Run
	for _, id := range acked {
		if _, err := r.Event(t.Context(), id); err != nil {
			t.Errorf("event %s was acknowledged and is lost: %v", id, err)
			continue
		}
		runs, err := r.RunsOf(t.Context(), id)
		if err != nil || len(runs) != 1 {
			t.Errorf("event %s has runs %+v, %v, want one", id, runs, err)
			continue
		}
		all = append(all, runs[0])
	}
	return all
}

// unfinished returns the runs that wait or run.
func unfinished(t *testing.T, r *store.Reader) []engine.Ref {
	t.Helper()
	refs, err := r.Unfinished(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return refs
}

// allRuns returns all runs that a filter asks for, the newest first.
func allRuns(t *testing.T, r *store.Reader, f engine.RunFilter) []*engine.Run {
	t.Helper()
	var all []*engine.Run
	f.Limit = 1000
	for {
		page, err := r.Runs(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			return all
		}
		all = append(all, page...)
		f.Before = page[len(page)-1].Seq
	}
}

// producers send events for as long as they are let, whether hookrun is there
// or not, and note those that it acknowledged.
type producers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	client *http.Client

	mu    sync.Mutex // guards acked
	acked []string   // ids
}

// produced is an event, and how long its producer rests after it.
type produced struct {
	body  string
	pause time.Duration
}

// startProducers starts n producers. Number i sends to bucket b<i> what next
// makes for it, one event after the other.
func startProducers(t *testing.T, address string, n int, next func(i int) produced) *producers {
	ctx, cancel := context.WithCancel(t.Context())
	p := &producers{cancel: cancel, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}}}
	for i := range n {
		p.wg.Go(func() {
			for ctx.Err() == nil {
				event := next(i)
				if !p.send(fmt.Sprintf("http://%s/hooks/b%d", address, i), event.body) {
					event.pause = max(event.pause, killPause)
				}
				select {
				case <-time.After(event.pause):
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(func() { p.stop() })
	return p
}

// send reports whether the event was acknowledged.
func (p *producers) send(url, body string) bool {
	resp, err := p.client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return false // hookrun is away
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	var receipt server.Receipt
	if err != nil || resp.StatusCode/100 != 2 || json.Unmarshal(answer, &receipt) != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked = append(p.acked, cmp.Or(receipt.KeptAs, receipt.Event))
	return true
}

// count is how many events were acknowledged by now.
func (p *producers) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

func (p *producers) stop() []string {
	p.cancel()
	p.wg.Wait()
	p.client.CloseIdleConnections()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acked
}

func upTo(rng *rand.Rand, d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }

// maxLogOf bounds what a failure shows of the log, in bytes.
const maxLogOf = 4000
