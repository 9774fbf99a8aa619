//go:build linux

package bench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// What the relay's file says, and what everybody here uses.
const (
	bucketName = "load"
	inputID    = "0b5e1f8a-52d1-4c0e-9d7e-6f3a4f0c7a10"
	relayKey   = "bench"
	relayToken = "bench-secret-of-this-machine-only"
	hookPath   = "/v1/webhooks/" + inputID
	relayFile  = `tokens: [{key: ` + relayKey + `, secret: ` + relayToken + `}]
retention: {age: 24h, size: 64GiB}
buckets:
  - name: ` + bucketName + `
    inputs: [{name: in, id: ` + inputID + `}]
`
)

const (
	startTime = 60 * time.Second // for a start to succeed, with all that is held
	stopTime  = 30 * time.Second
	tickRate  = 100 // ticks a second in /proc/PID/stat, on every Linux (USER_HZ)
)

// relayProcess is a hookrun relay with a folder of its own. It ends with the test.
type relayProcess struct {
	t       *testing.T
	dir     string
	cmd     *exec.Cmd
	log     *relayLog
	ended   chan error    // gets one value when the process ended
	address string        // host:port
	ready   time.Duration // from its start to the answer that it is ready
}

// startRelay starts a relay that has nothing yet.
func startRelay(t *testing.T) *relayProcess {
	t.Helper()
	r := &relayProcess{t: t, dir: t.TempDir()}
	if err := os.WriteFile(filepath.Join(r.dir, "relay.yaml"), []byte(relayFile), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.kill)
	r.start()
	return r
}

// start starts the relay on what is in its folder, and returns when it is ready.
func (r *relayProcess) start() {
	r.t.Helper()
	begin := time.Now()
	r.log = &relayLog{address: make(chan string, 1)}
	cmd := exec.Command(setup.binary, "relay", "-log", "json", "-listen", "127.0.0.1:0",
		"-config", filepath.Join(r.dir, "relay.yaml"), "-data", filepath.Join(r.dir, "data"))
	cmd.Stderr = r.log
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan error, 1)
	r.cmd, r.ended = cmd, ended
	go func() { ended <- cmd.Wait() }()
	select {
	case r.address = <-r.log.address:
	case err := <-r.ended:
		r.cmd = nil
		r.t.Fatalf("the relay ended at its start: %v\n%s", err, r.log.bad())
	case <-time.After(startTime):
		r.t.Fatalf("the relay has not started in %v\n%s", startTime, r.log.bad())
	}
	r.get("/readyz")
	r.ready = time.Since(begin)
}

// get asks the relay for something that it answers with 200.
func (r *relayProcess) get(path string) []byte {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: startTime}
	q, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.address+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	q.SetBasicAuth(relayKey, relayToken)
	resp, err := client.Do(q)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	const most = 1 << 20
	body, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil || resp.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s answers %s, %v: %s", path, resp.Status, err, body)
	}
	return body
}

// stop ends the relay as a service manager does, and returns how long that took.
func (r *relayProcess) stop() time.Duration {
	r.t.Helper()
	begin := time.Now()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		r.t.Fatal(err)
	}
	select {
	case err := <-r.ended:
		r.cmd = nil
		if err != nil {
			r.t.Fatalf("the relay ended with %v\n%s", err, r.log.bad())
		}
	case <-time.After(stopTime):
		r.t.Fatalf("the relay has not stopped in %v\n%s", stopTime, r.log.bad())
	}
	return time.Since(begin)
}

// kill ends the relay as a crash does; one that has ended is left alone.
func (r *relayProcess) kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // fails where it has ended just now
	<-r.ended
	r.cmd = nil
	if r.t.Failed() {
		r.t.Logf("what the relay complained about:\n%s", r.log.bad())
	}
}

// memory is the memory of the relay that is in use now, and the most that ever
// was since its start; bytes.
func (r *relayProcess) memory() (now, peak int64) {
	r.t.Helper()
	status := r.proc("status")
	field := func(name string) int64 {
		_, rest, ok := strings.Cut(status, "\n"+name+":")
		kib, err := strconv.ParseInt(strings.TrimSpace(cutAt(rest, "kB")), 10, 64)
		if !ok || err != nil {
			r.t.Fatalf("no %s in the status of the relay: %v", name, err)
		}
		return kib << 10
	}
	return field("VmRSS"), field("VmHWM")
}

func cutAt(s, sep string) string {
	before, _, _ := strings.Cut(s, sep)
	return before
}

// cpu is the processor's time that the relay took since its start, in steps of
// 10 ms.
func (r *relayProcess) cpu() time.Duration {
	r.t.Helper()
	stat := r.proc("stat")
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // from the third field on
	const utime, stime = 14 - 3, 15 - 3
	user, err1 := strconv.ParseInt(fields[utime], 10, 64)
	system, err2 := strconv.ParseInt(fields[stime], 10, 64)
	if err := cmp.Or(err1, err2); err != nil {
		r.t.Fatal(err)
	}
	return time.Duration(user+system) * (time.Second / tickRate)
}

func (r *relayProcess) proc(file string) string {
	r.t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", r.cmd.Process.Pid, file))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}

// metrics are what GET /metrics says, by name with labels.
func (r *relayProcess) metrics() map[string]float64 {
	r.t.Helper()
	all := make(map[string]float64)
	for line := range strings.Lines(string(r.get("/metrics"))) {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || line[0] == '#' {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			r.t.Fatalf("metric %q: %v", line, err)
		}
		all[line[:i]] = n
	}
	return all
}

// Metrics that are looked at.
const (
	ofBucket       = `{bucket="` + bucketName + `"}`
	metricReceived = "hookrun_relay_received_total" + ofBucket
	metricAcked    = "hookrun_relay_acked_total" + ofBucket
	metricDropped  = "hookrun_relay_dropped_total" + ofBucket
	metricWaiting  = "hookrun_relay_waiting" + ofBucket
	metricKept     = "hookrun_relay_kept_deliveries"
	metricHeap     = "go_memstats_heap_inuse_bytes"
	metricStack    = "go_memstats_stack_inuse_bytes"
)

// expect fails the test where metrics are not what they must be.
func (r *relayProcess) expect(want map[string]int) {
	r.t.Helper()
	all := r.metrics()
	for name, n := range want {
		got, ok := all[name]
		if !ok || got != float64(n) {
			r.t.Fatalf("%s = %v (there: %t), want %d", name, got, ok, n)
		}
	}
}

// relayLog takes the log of a relay: it finds the address, and keeps the end of
// what is no mere information.
type relayLog struct {
	address chan string // of 1: gets the address once the relay is running

	mu   sync.Mutex // guards all below
	rest []byte     // of a line that is not complete
	tail [][]byte   // warnings and errors
}

const maxTail = 20 // lines

func (l *relayLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte{'\n'})
		if !ok {
			return len(p), nil
		}
		l.line(line)
		l.rest = rest
	}
}

func (l *relayLog) line(line []byte) {
	if bytes.Contains(line, []byte(`"level":"INFO"`)) {
		if bytes.Contains(line, []byte(`"msg":"the relay is running"`)) {
			var said struct{ Address string }
			if json.Unmarshal(line, &said) == nil {
				l.address <- said.Address
			}
		}
		return
	}
	l.tail = append(l.tail, bytes.Clone(line))
	if len(l.tail) > maxTail {
		l.tail = l.tail[1:]
	}
}

func (l *relayLog) bad() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(bytes.Join(l.tail, []byte{'\n'}))
}
