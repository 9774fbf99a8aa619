//go:build unix

package cli

import (
	"bytes"
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
	kills := 50
	if testing.Short() {
		kills = 5
	}
	d := newDaemonFiles(t)
	producers := startProducers(t, d.address)
	for range kills {
		cmd := d.start(t)
		d.awaitHealthy(t)
		wait(t, time.Duration(50+rand.IntN(250))*time.Millisecond)
		cmd.Process.Signal(syscall.SIGKILL)
		cmd.Wait()
	}
	last := d.start(t)
	d.awaitHealthy(t)
	acked := producers.stop()
	if len(acked) < kills {
		t.Fatalf("only %d events were acknowledged over %d kills: the test shows nothing", len(acked), kills)
	}
	d.awaitLedger(t, acked)
	last.Process.Signal(syscall.SIGTERM)
	if err := last.Wait(); err != nil {
		t.Errorf("hookrun ended with %v after SIGTERM, want exit code 0", err)
	}
	d.checkStore(t, acked)
	t.Logf("%d kills, %d events acknowledged, 0 lost", kills, len(acked))
}

// daemonFiles are what a daemon is started with, again and again.
type daemonFiles struct {
	dir, address string
}

func newDaemonFiles(t *testing.T) *daemonFiles {
	d := &daemonFiles{dir: t.TempDir(), address: freeAddress()}
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
	if err := os.WriteFile(d.path("rules.yaml"), []byte(rules.String()), 0o600); err != nil {
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

// checkStore reads what hookrun left.
func (d *daemonFiles) checkStore(t *testing.T, acked []string) {
	t.Helper()
	ctx := t.Context()
	st, err := store.Open(ctx, store.Options{Dir: d.path("data")})
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { st.Serve(running) })
	defer wg.Wait()
	defer stop()
	cut := 0
	for _, id := range acked {
		if _, err := st.Event(ctx, id); err != nil {
			t.Errorf("event %s was acknowledged and is lost: %v", id, err)
			continue
		}
		runs, err := st.RunsOf(ctx, id)
		if err != nil || len(runs) != 1 || runs[0].State != engine.Done {
			t.Errorf("event %s has runs %+v, %v, want one that is done", id, runs, err)
			continue
		}
		if runs[0].Cut > 0 {
			cut++
		}
	}
	if cut == 0 {
		t.Error("no kill cut a run off: the test shows nothing of going on at a step")
	}
	t.Logf("%d runs were cut off and went on", cut)
}

// producers send events for as long as they are let, whether hookrun is there
// or not, and note those that it acknowledged.
type producers struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	client *http.Client

	mu    sync.Mutex // guards acked
	acked []string
}

func startProducers(t *testing.T, address string) *producers {
	ctx, cancel := context.WithCancel(t.Context())
	p := &producers{cancel: cancel, client: &http.Client{Transport: &http.Transport{}}}
	for i := range killProducers {
		p.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				p.send(fmt.Sprintf("http://%s/hooks/b%d", address, i), n)
				select {
				case <-time.After(killPause):
				case <-ctx.Done():
				}
			}
		})
	}
	t.Cleanup(func() { p.stop() })
	return p
}

func (p *producers) send(url string, n int) {
	resp, err := p.client.Post(url, "application/json", strings.NewReader(fmt.Sprintf(`{"n":%d}`, n)))
	if err != nil {
		return // hookrun is away: nothing was acknowledged
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	var receipt server.Receipt
	if err != nil || resp.StatusCode != http.StatusAccepted || json.Unmarshal(answer, &receipt) != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked = append(p.acked, receipt.Event)
}

func (p *producers) stop() []string {
	p.cancel()
	p.wg.Wait()
	p.client.CloseIdleConnections()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.acked
}
