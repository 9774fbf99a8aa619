//go:build unix

package cli

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2/toxics"

	"hookrun/engine"
)

var (
	lossWebhooks = flag.Int("loss", 2000, "webhooks that TestLoss has answered, at least; many of them: with long faults, for minutes")
	lossSeed     = flag.Uint64("loss-seed", 0, "of when it does what to the line, the relay and the runner; 0: another each time")
)

// Sizes of TestLoss.
const (
	lossBuckets  = 3
	lossSenders  = 4       // to each bucket
	lossBody     = 2 << 10 // bytes
	lossFill     = 'x'     // most of them
	lossCommands = 10      // of so many webhooks of the last bucket one runs a command
	lossLong     = 50_000  // webhooks from which on the test is a long one

	lossFlow    = 64 << 10              // bytes to the runner before something goes wrong
	lossBurst   = 400                   // webhooks that come to the relay while it is killed
	lossPause   = 20 * time.Millisecond // of a sender that was not answered
	lossPoll    = 20 * time.Millisecond
	lossTimeout = 30 * time.Second  // of a sender
	lossStuck   = 4 * time.Minute   // without anything new at the runner; longer than any wait of client and relay
	lossDeaf    = 110 * time.Second // longer than both sides believe in silence

	lossConnected = "relay connected" // says the runner
	lossDamaged   = "a frame was damaged on the way"
	lossUnclear   = "a frame could not be understood"
	lossDuplicate = "event is a duplicate"
	lossRefused   = "refused the key"
	lossMissed    = "webhooks were lost on the way to a client" // says the relay

	lossKey    = "loss"
	lossWatch  = "watch" // a token of its own: answers use up what the other may ask
	lossSecret = "secret-of-the-loss-test"
)

// TestLoss sends webhooks through a relay to a runner while the line between
// them is slow, cut, deaf, half-open and damages what it carries, and relay and
// runner are killed with -9. It shows that every webhook that the relay answered
// with 2xx is executed, that none makes a second event, and that those of one
// sender are executed in order.
func TestLoss(t *testing.T) {
	t.Parallel()
	seed := *lossSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-loss-seed=%d", seed)
	l := newLossRun(t, seed)
	began := time.Now()
	l.relay.start(t)
	l.runner.start(t)
	l.awaitConnected(t) // from then on the relay keeps webhooks for it
	sending := l.startSenders(t)
	for l.goesOn() {
		l.trouble(t)
	}
	l.line.set(lineFault{})
	l.await(t, "enough webhooks to be answered", func() bool { return l.ledger.answered() >= *lossWebhooks })
	sending.stop()
	l.await(t, "the runner to have executed what was answered", l.caughtUp)
	l.runner.awaitIdle(t, l)
	l.runner.stop(t)
	l.sample(t)
	l.relay.stop(t)

	l.check(t)
	l.tell(t, time.Since(began))
}

// lossForm is how long things go wrong.
type lossForm struct {
	fault, calm time.Duration // at most
	ahead       int           // answered webhooks that the runner may be behind
	long        bool
}

func formOf(webhooks int) lossForm {
	if webhooks >= lossLong {
		return lossForm{fault: 5 * time.Second, calm: 15 * time.Second, ahead: 20_000, long: true}
	}
	return lossForm{fault: 250 * time.Millisecond, calm: 300 * time.Millisecond, ahead: 1000}
}

// lossRun is a relay, a runner, the line between them, and those who send.
type lossRun struct {
	form   lossForm
	rng    *rand.Rand // owned by the test
	line   *faultyLine
	relay  *lossProgram
	runner *lossProgram
	inputs []string // ids, one of each bucket
	ledger *lossLedger

	deck   []func(t *testing.T) // what goes wrong next
	drawn  bool                 // a deck was
	faults int
	counts map[string]int64 // of relays that are gone
}

func newLossRun(t *testing.T, seed uint64) *lossRun {
	relayFiles, runnerFiles := newDaemonFiles(t, ""), newDaemonFiles(t, "")
	l := &lossRun{form: formOf(*lossWebhooks), rng: rand.New(rand.NewPCG(seed, 0)), counts: make(map[string]int64)}
	for i := range lossBuckets {
		l.inputs = append(l.inputs, fmt.Sprintf("7d3b1c52-0f4e-4c58-9d5e-%012d", i))
	}
	l.line = newFaultyLine(t, relayFiles.address, seed)
	l.relay = &lossProgram{files: relayFiles, args: []string{"relay", "-config", "rules.yaml", "-data", "data", "-listen", relayFiles.address}}
	l.runner = &lossProgram{files: runnerFiles, args: []string{"-rules", "rules.yaml", "-data", "data", "-listen", runnerFiles.address}}
	l.relay.write(t, l.relayText())
	l.runner.write(t, l.runnerText())
	l.ledger = newLossLedger(runnerFiles, l.form.ahead)
	return l
}

func (l *lossRun) relayText() string {
	var text strings.Builder
	fmt.Fprintf(&text, "tokens:\n  - {key: %s, secret: \"${env:RELAY_SECRET}\"}\n  - {key: %s, secret: \"${env:RELAY_SECRET}\"}\nbuckets:\n", lossKey, lossWatch)
	for i, id := range l.inputs {
		fmt.Fprintf(&text, "  - {name: b%d, inputs: [{name: in, id: %s}]}\n", i, id)
	}
	return text.String()
}

// runnerText has the webhooks of a sender in one lane: it is that which keeps
// their order. What was damaged and taken all the same matches nothing.
func (l *lossRun) runnerText() string {
	var text strings.Builder
	fmt.Fprintf(&text, "relay: {url: \"ws://%s/v1/socket\", key: %s, secret: \"${env:RELAY_SECRET}\"}\nrules:\n", l.line.address(), lossKey)
	for i := range lossBuckets {
		fmt.Fprintf(&text, `  - name: b%d
    bucket: b%d
    when: body.fill matches "^%c+$"
    concurrency: {key: body.s, limit: 1, on_busy: queue}
    actions:
      - file: %s
        write: append
        content: "{{ event.id }} {{ body.s }} {{ body.n }}\n"
`, i, i, lossFill, l.runner.files.path(lossFile(i)))
	}
	fmt.Fprintf(&text, `  - name: command
    bucket: b%d
    when: body.n %% %d == 0
    concurrency: {key: body.s, limit: 1, on_busy: queue}
    actions:
      - shell: echo "$E $S $N" >>%s
        env: {E: "{{ event.id }}", S: "{{ body.s }}", N: "{{ body.n }}"}
`, lossBuckets-1, lossCommands, lossFile(lossBuckets))
	return text.String()
}

// lossFile is the file of a bucket, or behind these that of the command.
func lossFile(i int) string {
	if i == lossBuckets {
		return "of-command"
	}
	return fmt.Sprintf("of-b%d", i)
}

// goesOn reports whether there is still something to go wrong: everything once,
// and in a long test again and again.
func (l *lossRun) goesOn() bool {
	return !l.drawn || len(l.deck) > 0 || l.form.long && l.ledger.answered() < *lossWebhooks
}

func (l *lossRun) awaitConnected(t *testing.T) {
	t.Helper()
	l.runner.files.await(t, "the runner to be connected", func() bool { return l.runner.said(t, lossConnected)[lossConnected] > 0 })
}

// trouble makes one thing go wrong, while webhooks flow.
func (l *lossRun) trouble(t *testing.T) {
	if len(l.deck) == 0 {
		l.draw()
	}
	before := l.line.carried.Load()
	l.await(t, "webhooks to come to the runner", func() bool { return l.line.carried.Load() > before+lossFlow })
	wait(t, upTo(l.rng, l.form.calm))
	next := l.deck[0]
	l.deck = l.deck[1:]
	next(t)
}

// draw mixes everything that can go wrong.
func (l *lossRun) draw() {
	l.drawn = true
	for _, f := range lossFaults() {
		l.deck = append(l.deck, func(t *testing.T) { l.spoil(t, f) })
	}
	for range 2 {
		l.deck = append(l.deck, l.killRelay, l.runner.again)
	}
	l.rng.Shuffle(len(l.deck), func(i, j int) { l.deck[i], l.deck[j] = l.deck[j], l.deck[i] })
}

// killRelay kills the relay while senders wait for its answer, even where they
// would have to wait for the runner.
func (l *lossRun) killRelay(t *testing.T) {
	l.sample(t)
	l.ledger.allow(lossBurst)
	enough := l.ledger.answered() + 1 + l.rng.IntN(lossBurst/2)
	l.await(t, "webhooks to come to the relay", func() bool { return l.ledger.answered() >= enough })
	l.relay.again(t)
	l.ledger.allow(-lossBurst)
}

// lossFaults are the faults of the line.
func lossFaults() []lineFault {
	deaf := func(*lineWay) toxics.Toxic { return new(toxics.TimeoutToxic) } // takes everything, passes nothing on
	cut := func(w *lineWay) toxics.Toxic { return &toxics.LimitDataToxic{Bytes: int64(w.rng.IntN(8 * lossBody))} }
	slow := func(*lineWay) toxics.Toxic { return &toxics.LatencyToxic{Latency: 60, Jitter: 50} }
	narrow := func(*lineWay) toxics.Toxic { return &toxics.BandwidthToxic{Rate: 200} }
	slices := func(*lineWay) toxics.Toxic {
		return &toxics.SlicerToxic{AverageSize: 100, SizeVariation: 90, Delay: 10}
	}
	reset := func(*lineWay) toxics.Toxic { return new(toxics.ResetToxic) }
	fills := func(w *lineWay) toxics.Toxic { return flipToxic{way: w, every: 4 << 10, only: lossFill} }
	flips := func(w *lineWay) toxics.Toxic { return flipToxic{way: w, every: 4 << 10} }
	return []lineFault{
		{name: "slow", up: slow, down: slow},
		{name: "narrow", up: narrow, down: narrow},
		{name: "in slices", up: slices, down: slices},
		{name: "reset", down: reset, cuts: true},
		{name: "cut in the middle of a frame", down: cut, cuts: true},
		{name: "cut in the middle of an ack", up: cut, cuts: true},
		{name: "deaf", up: deaf, down: deaf, cuts: true, silent: true},
		{name: "deaf to the runner", up: deaf, cuts: true, silent: true},
		{name: "deaf to the relay", down: deaf, cuts: true, silent: true},
		{name: "damages webhooks", down: flips, cuts: true},
		{name: "damages bodies, of frames that stay whole", down: fills},
		{name: "damages acks", up: flips, cuts: true},
	}
}

// spoil has the line faulty for a while.
func (l *lossRun) spoil(t *testing.T, f lineFault) {
	l.faults++
	l.line.set(f)
	wait(t, l.faultTime(f))
	l.line.set(lineFault{})
	if f.cuts {
		l.goOn(t)
	}
}

func (l *lossRun) faultTime(f lineFault) time.Duration {
	if l.form.long && f.silent && l.rng.IntN(8) == 0 {
		return lossDeaf
	}
	return l.form.fault/4 + upTo(l.rng, l.form.fault)
}

// goOn is what follows a fault that ends connections. A client that lost its
// connection again and again waits longer and longer; one that starts connects
// at once: so the runner is killed now and then. In a long test both sides mostly
// find out themselves, however long that takes.
func (l *lossRun) goOn(t *testing.T) {
	n := l.rng.IntN(6)
	switch {
	case n < 5 && !l.form.long, n < 1:
		l.runner.again(t)
	case !l.form.long:
		l.line.cutAll()
	}
}

// sample notes what the relay counted, which it forgets when it ends.
func (l *lossRun) sample(t *testing.T) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+l.relay.files.address+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(lossWatch, lossSecret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Errorf("ask the relay what it counted: %v", err)
		return
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Errorf("the relay answered %s, %v, when it was asked what it counted: %s", resp.Status, err, text)
		return
	}
	l.counts["waiting"] = 0
	for line := range strings.Lines(string(text)) {
		name, rest, ok := strings.Cut(line, "{")
		var n float64
		if _, value, _ := strings.Cut(rest, "} "); !ok || !strings.HasPrefix(name, "hookrun_relay_") {
			continue
		} else if _, err := fmt.Sscan(value, &n); err != nil {
			continue
		}
		name = strings.TrimSuffix(strings.TrimPrefix(name, "hookrun_relay_"), "_total")
		l.counts[name] += int64(n)
	}
}

// await waits until something is so. It is patient for as long as the runner
// executes more and more.
func (l *lossRun) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	last, since := -1, time.Now()
	for {
		if err := l.ledger.read(); err != nil {
			t.Fatal(err)
		}
		if ok() {
			return
		}
		if n := l.ledger.lines(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > lossStuck {
			l.ledger.check(t)
			t.Fatalf("waited in vain for %s, with %d lines written; the runner's log ends with\n%s\nthat of the relay with\n%s", what, last, l.runner.logEnd(), l.relay.logEnd())
		}
		wait(t, lossPoll)
	}
}

// caughtUp reports whether everything that was answered is executed.
func (l *lossRun) caughtUp() bool { return l.ledger.missing() == 0 }

// lossProgram is a relay or a runner that is killed and started again.
type lossProgram struct {
	files *daemonFiles
	args  []string
	cmd   *exec.Cmd
	kills int
}

func (p *lossProgram) write(t *testing.T, text string) {
	t.Helper()
	if err := os.WriteFile(p.files.path("rules.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (p *lossProgram) start(t *testing.T) {
	t.Helper()
	log, err := os.OpenFile(p.files.path("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(builtBinary, p.args...)
	cmd.Dir, cmd.Stderr, cmd.Stdout = p.files.dir, log, log
	cmd.Env = append(os.Environ(), "RELAY_SECRET="+lossSecret)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.cmd = cmd
	t.Cleanup(func() { cmd.Process.Kill() })
	p.files.awaitHealthy(t)
}

// again kills it in the middle of what it does, and starts it.
func (p *lossProgram) again(t *testing.T) {
	t.Helper()
	p.kills++
	p.files.kill(p.cmd)
	p.start(t)
}

func (p *lossProgram) stop(t *testing.T) {
	t.Helper()
	p.files.stop(t, p.cmd)
}

// awaitIdle waits until no run waits or runs.
func (p *lossProgram) awaitIdle(t *testing.T, l *lossRun) {
	t.Helper()
	r := p.files.reader(t)
	l.await(t, "all runs to end", func() bool { return len(unfinished(t, r)) == 0 })
}

func (p *lossProgram) logEnd() []byte {
	log, _ := os.ReadFile(p.files.path("log"))
	return log[max(0, len(log)-maxLogOf):]
}

// said counts the lines of the log that hold a text.
func (p *lossProgram) said(t *testing.T, texts ...string) map[string]int {
	t.Helper()
	log, err := os.ReadFile(p.files.path("log"))
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]int)
	for _, text := range texts {
		said[text] = bytes.Count(log, []byte(text))
	}
	return said
}

// lossSending is those who send.
type lossSending struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
	client *http.Client
}

// startSenders starts all senders. Each sends one webhook after the other; one
// that is not answered with 2xx is not sent again.
func (l *lossRun) startSenders(t *testing.T) *lossSending {
	ctx, cancel := context.WithCancel(t.Context())
	s := &lossSending{cancel: cancel, client: &http.Client{Timeout: lossTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: lossBuckets * lossSenders}}}
	for b, input := range l.inputs {
		url := "http://" + l.relay.files.address + "/v1/webhooks/" + input
		for i := range lossSenders {
			s.wg.Go(func() {
				for n := 0; l.ledger.room(ctx); n++ {
					if s.send(url, lossText(i, n)) {
						l.ledger.answer(b, i, n)
					} else {
						wait(t, lossPause)
					}
				}
			})
		}
	}
	t.Cleanup(s.stop)
	return s
}

func (s *lossSending) stop() {
	s.cancel()
	s.wg.Wait()
	s.client.CloseIdleConnections()
}

func lossText(sender, n int) string {
	text := fmt.Sprintf(`{"s":%d,"n":%d,"fill":"`, sender, n)
	return text + strings.Repeat(string(lossFill), lossBody-len(text)-2) + `"}`
}

// send reports whether the webhook was answered with 2xx. One that is on its way
// at the end is waited for.
func (s *lossSending) send(url, body string) bool {
	resp, err := s.client.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err == nil && resp.StatusCode/100 == 2
}

// check looks at what is left when all is over.
func (l *lossRun) check(t *testing.T) {
	if n := l.ledger.answered(); n < *lossWebhooks {
		t.Errorf("%d webhooks were answered, want %d", n, *lossWebhooks)
	}
	if l.relay.kills < 2 || l.runner.kills < 2 || l.line.cuts.Load() == 0 {
		t.Errorf("%d kills of the relay, %d of the runner, %d connections cut: the test shows nothing", l.relay.kills, l.runner.kills, l.line.cuts.Load())
	}
	if l.ledger.sent() == l.ledger.answered() {
		t.Error("no sender was left without an answer: the kills of the relay show nothing")
	}
	if n := l.counts["dropped"]; n != 0 {
		t.Errorf("the relay says that it dropped %d", n)
	}
	l.ledger.check(t)
	cut := l.checkRuns(t)
	if l.ledger.twice > cut {
		t.Errorf("%d effects came twice, more than the %d runs that were cut off", l.ledger.twice, cut)
	}
}

// checkRuns looks at the runner's store: one event for each webhook, and one run
// of it for each rule, which is done. It returns how many were cut off.
func (l *lossRun) checkRuns(t *testing.T) (cut int) {
	files := map[string]int{"command": lossBuckets}
	for i := range lossBuckets {
		files[fmt.Sprintf("b%d", i)] = i
	}
	wrote, seen := l.ledger.effects(), map[lossEffect]bool{}
	for _, run := range allRuns(t, l.runner.files.reader(t), engine.RunFilter{}) {
		if run.State != engine.Done {
			t.Errorf("run %s of rule %s is %s (%s), want done", run.ID, run.Rule, run.State, run.Err)
		}
		cut += min(run.Cut, 1)
		of := lossEffect{files[run.Rule], run.Event}
		if seen[of] {
			t.Errorf("event %s has a second run of rule %s", run.Event, run.Rule)
		}
		seen[of] = true
		if !wrote[of] {
			t.Errorf("run %s of rule %s is done, and has written nothing", run.ID, run.Rule)
		}
	}
	if len(seen) != len(wrote) {
		t.Errorf("the store has %d runs, want %d: one for each webhook and rule", len(seen), len(wrote))
	}
	return cut
}

func (l *lossRun) tell(t *testing.T, took time.Duration) {
	runner := l.runner.said(t, lossConnected, lossDamaged, lossUnclear, lossDuplicate, lossRefused)
	relay := l.relay.said(t, lossMissed)
	a := l.ledger
	t.Logf("%d webhooks sent, %d answered, in %s", a.sent(), a.answered(), took.Round(time.Second))
	t.Logf("%d faults, %d connections cut, %d bytes changed; the relay killed %d times, the runner %d times", l.faults, l.line.cuts.Load(), l.line.flipped.Load(), l.relay.kills, l.runner.kills)
	t.Logf("%d connections of the runner; found damaged: %d, not understood: %d, missed by the relay: %d; keys refused: %d",
		runner[lossConnected], runner[lossDamaged], runner[lossUnclear], relay[lossMissed], runner[lossRefused])
	t.Logf("the relay: %v", l.counts)
	t.Logf("recognised as duplicates: %d; effects twice, as a kill fell between effect and record: %d; lost: %d; second events: %d; out of order: %d",
		runner[lossDuplicate], a.twice, a.lost, a.second, a.disorder)
}
