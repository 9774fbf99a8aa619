//go:build unix

package cli

import (
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/engine/store"
)

var backlog = flag.Int("backlog", 3000, "runs that wait when TestBacklog starts hookrun")

// Sizes of TestBacklog.
const (
	backlogSenders = 64
	backlogLanes   = 1000 // of one half of the runs; the other half is in one more
)

// backlogRules are a rule with a long queue and one with none, which tells when
// its command begins.
const backlogRules = `rules:
  - name: busy
    bucket: busy
    concurrency: {key: body.k}
    actions:
      - exec: [sleep, "0.02"]
  - name: idle
    bucket: b0
    actions:
      - shell: echo begun >pipe
`

// TestBacklog starts hookrun on a store in which many runs of one rule wait, and
// shows that the first run of another rule does not wait for them, and that none
// of them is lost. It tells how long the start took, how much memory it needed,
// and how soon that run began.
func TestBacklog(t *testing.T) {
	d := newDaemonFiles(t, backlogRules)
	began := time.Now()
	d.fill(t, *backlog)
	t.Logf("%d events accepted in %s", *backlog, time.Since(began).Round(time.Millisecond))
	pipe := d.pipe(t)

	began = time.Now()
	cmd := d.start(t)
	d.awaitHealthy(t)
	t.Logf("healthy %s after its start; %s", time.Since(began).Round(time.Millisecond), memory(cmd.Process.Pid))

	r := d.reader(t)
	sender := &producers{client: http.DefaultClient}
	for n := range 3 { // nothing of the rule runs, each time
		began = time.Now()
		if !sender.send("http://"+d.address+"/hooks/b0", "{}") {
			t.Fatal("an event is not acknowledged while many runs wait")
		}
		if _, err := pipe.Read(make([]byte, len("begun\n"))); err != nil {
			t.Fatalf("wait for the run of the idle rule to begin: %v", err)
		}
		t.Logf("the idle rule's run began %s after its event was sent", time.Since(began).Round(100*time.Microsecond))
		d.await(t, "the idle rule's run to be done", func() bool {
			return len(allRuns(t, r, engine.RunFilter{Rule: "idle", States: []engine.State{engine.Done}})) == n+1
		})
	}
	waiting := len(unfinished(t, r))
	if waiting == 0 {
		t.Error("no run of the busy rule waits any more: the test shows nothing")
	}
	t.Logf("%d runs of the busy rule still wait; %s", waiting, memory(cmd.Process.Pid))
	d.stop(t, cmd)
	waiting = len(unfinished(t, r))
	done := len(allRuns(t, r, engine.RunFilter{Rule: "busy", States: []engine.State{engine.Done}}))
	if waiting+done != *backlog {
		t.Errorf("of the busy rule %d runs wait and %d are done, want %d together", waiting, done, *backlog)
	}
}

// fill has n events accepted, whose runs wait for the daemon's first start.
func (d *daemonFiles) fill(t *testing.T, n int) {
	t.Helper()
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(backlogRules)}}, rules.Options{})
	if g == nil {
		t.Fatal(problems)
	}
	st, err := store.Open(t.Context(), store.Options{Dir: d.path("data")})
	if err != nil {
		t.Fatal(err)
	}
	serving, closeStore := context.WithCancel(t.Context())
	var storing, sending sync.WaitGroup
	storing.Go(func() {
		if err := st.Serve(serving); err != nil {
			t.Error(err)
		}
	})
	defer storing.Wait()
	defer closeStore()
	e, err := engine.Open(t.Context(), engine.Options{Store: st, Rules: g.Rules})
	if err != nil {
		t.Fatal(err)
	}
	for sender := range backlogSenders {
		sending.Go(func() {
			for i := sender; i < n; i += backlogSenders {
				if _, err := e.Submit(t.Context(), backlogEvent(i)); err != nil {
					t.Errorf("event %d: %v", i, err)
					return
				}
			}
		})
	}
	sending.Wait()
}

// backlogEvent makes event number i of the busy rule.
func backlogEvent(i int) *engine.Event {
	lane := backlogLanes
	if i%2 == 0 {
		lane = i / 2 % backlogLanes
	}
	return &engine.Event{
		Source: engine.SourceIntake, Bucket: "busy", Method: http.MethodPost, Path: "/",
		Header: map[string][]string{"Content-Type": {"application/json"}}, Body: fmt.Appendf(nil, `{"k": %d}`, lane),
	}
}

// pipe makes the pipe by which the idle rule's command tells that it begins.
func (d *daemonFiles) pipe(t *testing.T) *os.File {
	t.Helper()
	if err := syscall.Mkfifo(d.path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(d.path("pipe"), os.O_RDWR, 0) // to open it for reading alone would wait for the other side
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	if err := pipe.SetReadDeadline(time.Now().Add(2 * patience)); err != nil {
		t.Fatal(err)
	}
	return pipe
}

// memory tells what a process has resident, now and at most, where the system
// says so.
func memory(pid int) string {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return "memory unknown"
	}
	var all []string
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name == "VmRSS" || name == "VmHWM" {
			all = append(all, name+" "+strings.TrimSpace(value))
		}
	}
	return strings.Join(all, ", ")
}
