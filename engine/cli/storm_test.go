//go:build linux

package cli

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"hookrun/engine"
)

var (
	stormEvents = flag.Int("storm-events", 600, "events that TestStorm has acknowledged, at least")
	stormKills  = flag.Int("storm-kills", 5, "how often it kills hookrun meanwhile")
	stormSeed   = flag.Uint64("storm-seed", 0, "of what it sends and when it kills; 0: another each time")
)

// Sizes of TestStorm.
const (
	stormKeys     = 5                      // of each rule
	stormHopeless = 99                     // fails of an event whose run is to be given up
	stormPause    = 20 * time.Millisecond  // the longest between two events of a rule
	stormDelay    = 50 * time.Millisecond  // the longest between the event that a kill waits for and the kill
	stormStart    = 300 * time.Millisecond // the longest between a start and a kill that waits for nothing
)

// TestStorm kills hookrun with -9 again and again while events for 20 rules come
// in, a part of whose commands fail. It shows that no lane ever has more runs
// than it may, that runs start in the order of their events, that nothing is
// lost, and that every run comes to an end that is explained.
func TestStorm(t *testing.T) {
	seed := *stormSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-storm-seed=%d", seed)
	rules := stormRules()
	d := newDaemonFiles(t, stormText(rules))
	d.prepareStorm(t, rules)
	senders := make([]stormSender, len(rules))
	for i := range senders {
		senders[i].rng = rand.New(rand.NewPCG(seed, uint64(i)))
	}
	producers := startProducers(t, d.address, len(rules), func(i int) produced { return senders[i].next() })

	began := time.Now()
	kills := rand.New(rand.NewPCG(seed, uint64(len(rules))))
	for n := range *stormKills {
		cmd := d.start(t)
		d.awaitKill(t, kills, producers, *stormEvents*(n+1)/(*stormKills+1))
		d.kill(cmd)
	}
	last := d.start(t)
	d.await(t, "the last events to be acknowledged", func() bool { return producers.count() >= *stormEvents })
	acked := producers.stop()
	r := d.reader(t)
	d.await(t, "all runs to end", func() bool { return len(unfinished(t, r)) == 0 })
	d.stop(t, last)
	t.Logf("%d events acknowledged over %d kills, all is done after %s", len(acked), *stormKills, time.Since(began).Round(time.Second))

	v := &stormView{files: d, rules: map[string]stormRule{}, runs: map[string]*engine.Run{}, ledger: d.stormLedger(t)}
	for _, rule := range rules {
		v.rules[rule.name] = rule
	}
	v.lost = len(acked) - len(ackedRuns(t, r, acked))
	for _, run := range allRuns(t, r, engine.RunFilter{}) {
		v.runs[run.ID] = run
	}
	v.checkLanes(t)
	v.checkEnds(t)
	v.tell(t)
}

// stormRule is a rule of the storm. Its runs share a lane by body.k.
type stormRule struct {
	name   string
	says   string        // keys beside concurrency
	group  string        // of concurrency
	limit  int           // of concurrency
	onBusy engine.OnBusy // of concurrency
	gives  engine.State  // how runs may end, beside done and failed; "": in no other way
	twice  bool          // it has two actions
}

func stormRules() []stormRule {
	const first = "throttle: {every: 300ms, key: body.k}"
	const last = "throttle: {every: 100ms, key: body.k, mode: last}"
	const dedupe = "dedupe: {key: body.d, within: 1h}"
	return []stormRule{
		{name: "queue-1", limit: 1, onBusy: engine.BusyQueue},
		{name: "queue-2", limit: 1, onBusy: engine.BusyQueue},
		{name: "queue-3", limit: 1, onBusy: engine.BusyQueue, twice: true},
		{name: "queue-4", limit: 1, onBusy: engine.BusyQueue, twice: true},
		{name: "queue-5", limit: 1, onBusy: engine.BusyQueue, group: "shared"},
		{name: "queue-6", limit: 1, onBusy: engine.BusyQueue, group: "shared"},
		{name: "limit-1", limit: 2, onBusy: engine.BusyQueue},
		{name: "limit-2", limit: 2, onBusy: engine.BusyQueue, twice: true},
		{name: "skip-1", limit: 1, onBusy: engine.BusySkip, gives: engine.Skipped},
		{name: "skip-2", limit: 2, onBusy: engine.BusySkip, gives: engine.Skipped, twice: true},
		{name: "replace-1", limit: 1, onBusy: engine.BusyReplace, gives: engine.Replaced},
		{name: "replace-2", limit: 1, onBusy: engine.BusyReplace, gives: engine.Replaced, twice: true},
		{name: "latest-1", limit: 1, onBusy: engine.BusyLatest, gives: engine.Superseded},
		{name: "latest-2", limit: 1, onBusy: engine.BusyLatest, gives: engine.Superseded, twice: true},
		{name: "first-1", limit: 1, onBusy: engine.BusyQueue, says: first, gives: engine.Throttled},
		{name: "last-1", limit: 1, onBusy: engine.BusyQueue, says: last, gives: engine.Superseded},
		{name: "last-2", limit: 1, onBusy: engine.BusyLatest, says: last, gives: engine.Superseded},
		{name: "dedupe-1", limit: 1, onBusy: engine.BusyQueue, says: dedupe, gives: engine.Duplicate},
		{name: "dedupe-2", limit: 1, onBusy: engine.BusyQueue, says: dedupe, gives: engine.Duplicate, twice: true},
		{name: "dedupe-3", limit: 2, onBusy: engine.BusyQueue, says: dedupe, gives: engine.Duplicate},
	}
}

// stormText is the rules file. Few runs may wait: the producers go on as the
// runs do, however fast the machine is.
func stormText(rules []stormRule) string {
	var text strings.Builder
	text.WriteString("max_runs: 16\nqueue_limit: 100\ndefaults: {retry: {attempts: 3, backoff: 10ms}}\nrules:\n")
	for i, r := range rules {
		fmt.Fprintf(&text, "  - name: %s\n    bucket: b%d\n    %s\n", r.name, i, r.says)
		group := ""
		if r.group != "" {
			group = "group: " + r.group + ", "
		}
		fmt.Fprintf(&text, "    concurrency: {%skey: body.k, limit: %d, on_busy: %s}\n    actions:\n", group, r.limit, r.onBusy)
		action := `      - exec: [/bin/sh, work.sh, %s, "%d"]
        env: {K: "{{ body.k }}", N: "{{ body.n }}", TAKE: "{{ body.take }}", FAILS: %s}
`
		fmt.Fprintf(&text, action, r.lane(), r.limit, `"{{ body.fails }}"`)
		if r.twice { // failures of both count together: one is enough
			fmt.Fprintf(&text, action, r.lane(), r.limit, `"0"`)
		}
	}
	return text.String()
}

// lane is the name of the rule's lanes, without the key.
func (r stormRule) lane() string {
	if r.group != "" {
		return r.group
	}
	return r.name
}

// stormWork is the command: work.sh LANE LIMIT. It tells in the ledger what it
// does, and of a lane that has more in it than it may.
//
// Who is in a lane stands in its folder as RUN.PID.START. First each writes
// itself down, then it looks who else is there: of two that meet the later one
// sees the earlier one. Nobody strikes itself out, so that it counts to its very
// end; what does not live any more, also after a kill, does not count.
const stormWork = `
lives() { # PID START
	{ read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 1
	start=$2
	set -- ${stat##*) } # field 3 of proc(5) and those behind it
	[ "$1" != Z ] && [ "$1" != X ] && [ "${20}" = "$start" ]
}
lane=lanes/$1.$K limit=$2
read -r stat <"/proc/$$/stat"
set -- ${stat##*) }
me=$HOOKRUN_RUN_ID.$$.${20}
: >"$lane/$me"

with= others=0 dead=
for other in "$lane"/*; do
	name=${other##*/}
	id=${name#*.}
	if [ "$name" = "$me" ]; then
		continue
	elif lives "${id%.*}" "${id#*.}"; then
		with="$with $name" others=$((others + 1))
	else
		dead="$dead $other"
	fi
done
say="$HOOKRUN_RUN_ID $HOOKRUN_ATTEMPT $HOOKRUN_STEP $N $FAILS"
if [ "$others" -ge "$limit" ]; then
	echo "overlap $say$with" >>ledger
fi
echo "begun $say" >>ledger

if [ "$TAKE" != 0 ]; then
	sleep "$TAKE"
fi
tries=1
if [ "$FAILS" != 0 ]; then
	echo try >>"tries/$HOOKRUN_RUN_ID" # appended: its own end in the middle takes none away
	tries=0
	while read -r _; do tries=$((tries + 1)); done <"tries/$HOOKRUN_RUN_ID"
fi
if [ "$tries" -le "$FAILS" ]; then
	echo "failed $say" >>ledger
	exit 1
fi
echo "ended $say" >>ledger
if [ "$dead" ]; then
	exec rm -f $dead
fi
`

// prepareStorm makes what stormWork needs.
func (d *daemonFiles) prepareStorm(t *testing.T, rules []stormRule) {
	t.Helper()
	dirs := []string{"tries"}
	for _, r := range rules {
		for k := range stormKeys {
			dirs = append(dirs, filepath.Join("lanes", fmt.Sprintf("%s.%d", r.lane(), k)))
		}
	}
	for _, dir := range dirs {
		if err := os.MkdirAll(d.path(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(d.path("work.sh"), []byte(stormWork), 0o600); err != nil {
		t.Fatal(err)
	}
}

// stormSender makes the events of one rule. Its goroutine is that of the
// producer.
type stormSender struct {
	rng *rand.Rand
	n   int // of the next event
	key int
}

// next makes the next event. Every other one goes on with the key of the one
// before, and every other one is followed at once by the next: bursts.
func (s *stormSender) next() produced {
	if s.rng.IntN(2) == 0 {
		s.key = s.rng.IntN(stormKeys)
	}
	fails := []int{0, 0, 0, 0, 0, 0, 0, 1, 2, stormHopeless}
	takes := []string{"0", "0", "0", "0", "0", "0", "0.02", "0.02", "0.05", "0.4"} // the last one outlives a start of hookrun
	event := produced{body: fmt.Sprintf(`{"k": %d, "n": %d, "d": %d, "fails": %d, "take": %q}`,
		s.key, s.n, s.n/2, fails[s.rng.IntN(len(fails))], takes[s.rng.IntN(len(takes))])}
	if s.rng.IntN(2) == 0 {
		event.pause = upTo(s.rng, stormPause)
	}
	s.n++
	return event
}

// awaitKill waits until it is time for a kill: soon after so many events, or, one
// time in four, whatever hookrun does after its start.
func (d *daemonFiles) awaitKill(t *testing.T, rng *rand.Rand, p *producers, events int) {
	t.Helper()
	if rng.IntN(4) == 0 {
		wait(t, upTo(rng, stormStart))
		return
	}
	d.await(t, fmt.Sprintf("%d events to be acknowledged", events), func() bool { return p.count() >= events })
	wait(t, upTo(rng, stormDelay))
}

// stormEntry is a line of the ledger.
type stormEntry struct {
	line     string
	what     string // begun, failed, ended, overlap
	run      string // id
	attempt  int
	step     string
	n, fails int // of the event
}

func (d *daemonFiles) stormLedger(t *testing.T) []stormEntry {
	t.Helper()
	ledger, err := os.ReadFile(d.path("ledger"))
	if err != nil {
		t.Fatal(err)
	}
	var all []stormEntry
	for line := range strings.Lines(string(ledger)) {
		e := stormEntry{line: strings.TrimSpace(line)}
		if _, err := fmt.Sscan(line, &e.what, &e.run, &e.attempt, &e.step, &e.n, &e.fails); err != nil {
			t.Fatalf("line %q of the ledger: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// stormView is what is left when the storm is over.
type stormView struct {
	files  *daemonFiles
	rules  map[string]stormRule
	runs   map[string]*engine.Run // by id
	ledger []stormEntry

	overlaps, disorder, lost, unexplained int
}

// checkLanes looks at what the commands saw, in the lanes and in their order: of
// a lane for one run at a time the entries of a run stand together, whatever
// number of attempts and actions it has, and its runs of one rule, whose events
// were sent one after the other, stand in that order.
func (v *stormView) checkLanes(t *testing.T) {
	seen := map[string]bool{}            // runs
	inLane := map[string]string{}        // the run that a lane saw last
	before := map[[2]string]stormEntry{} // of a rule in a lane: of the run that began last
	fail := func(count *int, e stormEntry, what string) {
		*count++
		t.Errorf("lane %s: %s: %s\n%s", v.runs[e.run].Lane, what, e.line, v.files.logOf(e.run))
	}
	for _, e := range v.ledger {
		run := v.runs[e.run]
		if run == nil {
			t.Errorf("the ledger has a run that the store has not: %s", e.line)
			continue
		}
		if e.what == "overlap" {
			fail(&v.overlaps, e, "more runs than it may have")
		}
		if v.rules[run.Rule].limit > 1 || inLane[run.Lane] == run.ID {
			continue
		}
		inLane[run.Lane] = run.ID
		if seen[run.ID] {
			fail(&v.overlaps, e, "another run was there in the middle of this one")
			continue
		}
		seen[run.ID] = true
		of := [2]string{run.Rule, run.Lane}
		if b, any := before[of]; any && (b.n >= e.n || v.runs[b.run].Seq >= run.Seq) {
			fail(&v.disorder, e, "a run of a later event began before this one: "+b.line)
		}
		before[of] = e
	}
}

// checkEnds looks at how the runs ended: each in a way that its rule has, for a
// reason that is told, and as its commands did.
func (v *stormView) checkEnds(t *testing.T) {
	entries := map[string][]stormEntry{} // by run
	for _, e := range v.ledger {
		entries[e.run] = append(entries[e.run], e)
	}
	for id, run := range v.runs {
		if wrong := v.wrong(run, entries[id]); wrong != "" {
			v.unexplained++
			t.Errorf("run %+v: %s\n%s", run, wrong, v.files.logOf(id))
		}
	}
}

// wrong says what is wrong with how a run ended, or "".
func (v *stormView) wrong(run *engine.Run, entries []stormEntry) string {
	rule := v.rules[run.Rule]
	by := v.runs[run.By]
	switch {
	case run.State != engine.Done && run.State != engine.Failed && run.State != rule.gives:
		return "its rule has no such end"
	case run.State == rule.gives && (by == nil || by.ID == run.ID || run.Err == ""):
		return "there is no run that decided so, or no reason"
	case run.State == engine.Failed && run.Err == "":
		return "it failed for no reason"
	case run.Finished.IsZero():
		return "it has ended at no time"
	}
	begun := map[int]int{} // entries, by attempt
	ended := map[string]bool{}
	fails := 0
	for _, e := range entries {
		fails = max(fails, e.fails)
		switch e.what {
		case "begun":
			begun[e.attempt]++
		case "ended":
			ended[e.step] = true
		}
	}
	for attempt, n := range begun {
		if attempt > run.Attempt || n > 2 {
			return fmt.Sprintf("attempt %d began %d actions", attempt, n)
		}
	}
	switch run.State {
	case engine.Done:
		if !ended["1"] || rule.twice && !ended["2"] || fails == stormHopeless {
			return "it is done, and its commands are not"
		}
	case engine.Failed:
		if fails != stormHopeless {
			return "its commands would have been done at the next try"
		}
	}
	return ""
}

// logOf returns what the log says of a run.
func (d *daemonFiles) logOf(run string) string {
	log, err := os.ReadFile(d.path("log"))
	if err != nil {
		return err.Error()
	}
	var of []byte
	for line := range bytes.Lines(log) {
		if bytes.Contains(line, []byte(run)) && len(of) < maxLogOf {
			of = append(of, line...)
		}
	}
	return string(of)
}

func (v *stormView) tell(t *testing.T) {
	states, cut, tries := map[engine.State]int{}, 0, 0
	for _, run := range v.runs {
		states[run.State]++
		if run.Cut > 0 {
			cut++
		}
	}
	for _, e := range v.ledger {
		if e.what == "begun" {
			tries++
		}
	}
	if cut == 0 && *stormKills > 0 {
		t.Error("no kill cut a run off: the test shows nothing")
	}
	t.Logf("%d runs:", len(v.runs))
	for _, state := range slices.Sorted(maps.Keys(states)) {
		t.Logf("%7d %s", states[state], state)
	}
	t.Logf("%d commands, %d runs cut off; overlaps %d, out of order %d, lost %d, ends unexplained %d", tries, cut, v.overlaps, v.disorder, v.lost, v.unexplained)
}
