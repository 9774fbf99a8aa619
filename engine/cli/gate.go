package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"hookrun/engine/control"
	"hookrun/engine/rehearse"
	"hookrun/engine/rules"
)

// Bounds of the comparison that a reload waits for, or is followed by.
const (
	gateSince  = 24 * time.Hour
	gateEvents = 10_000 // the newest
	gateTime   = 5 * time.Second
)

// gate stands between rules that were read and their coming into force. It says
// what they would have decided otherwise in the last day, and holds them where
// on_reload says so until a person accepts them: of the rules in force, so that an
// edit can't take away what it is held by; of the new ones where those say nothing.
// Rules that loosen on_reload are held whatever they change, and so are those of
// which it can't be told what they change: who sends events decides how many there
// are to ask about.
type gate struct {
	store   rehearse.Source
	log     *slog.Logger
	enforce func(old, now *rules.Generation) // puts rules in force and keeps them
	tell    func(control.Notice)
	most    int           // events that a comparison asks about; 0: gateEvents
	within  time.Duration // how long it may take; 0: gateTime

	mu      sync.Mutex // guards what follows; held while rules come into force
	inForce *rules.Generation
	held    *heldRules       // nil: none are
	refused *control.Refusal // of what the files hold now; nil: they are good
	changed []changed        // the newest maxChanged
}

// changed is what it changed that rules took the place of others.
type changed struct {
	before, now string // hashes
	changes     *control.Changes
}

// maxChanged bounds what a gate remembers of past reloads: the archive has no more
// generations.
const maxChanged = 20

// heldRules are rules that wait for a person.
type heldRules struct {
	rules *rules.Generation
	shown control.Generation
}

var _ control.Gate = (*gate)(nil)

// current are the rules in force.
func (g *gate) current() *rules.Generation {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.inForce
}

// confirming is what decides whether next is held.
func confirming(current, next *rules.Generation) rules.OnReload {
	if current.OnReload.Confirm {
		return current.OnReload
	}
	return next.OnReload
}

// offer takes rules that were read: it puts them in force, or holds them. It is
// called by one goroutine at a time, for which it takes up to gateTime twice.
func (g *gate) offer(ctx context.Context, next *rules.Generation) {
	g.forgive()
	current := g.current()
	on := confirming(current, next)
	if !on.Confirm {
		g.put(next)
		g.tellOf(current, next, g.compare(ctx, current, next, true))
		return
	}
	for {
		why, report := g.judge(ctx, current, next, on)
		if ctx.Err() != nil {
			return // hookrun ends
		}
		again := g.current() // others may have been accepted meanwhile
		if again == current {
			if why != "" {
				g.hold(current, next, g.detailed(ctx, current, next, report), why)
				return
			}
			g.put(next)
			g.tellOf(current, next, g.detailed(ctx, current, next, report))
			return
		}
		current, on = again, confirming(again, next)
	}
}

// judge says why rules are held that on_reload is asked about; "": they are not.
// The report is of decisions alone, for which there is time for more events; nil:
// what they change can't be told.
func (g *gate) judge(ctx context.Context, current, next *rules.Generation, on rules.OnReload) (why string, report *rehearse.Report) {
	report = g.compare(ctx, current, next, false)
	switch was := current.OnReload; {
	case was.Confirm && !next.OnReload.Confirm:
		why = "they take on_reload away"
	case was.Confirm && next.OnReload.Over > was.Over:
		why = fmt.Sprintf("they raise confirm_if_changes_over from %d to %d", was.Over, next.OnReload.Over)
	case report == nil:
		why = "it can't be told what they change"
	case report.Flipped > on.Over:
		why = fmt.Sprintf("they change %s, which is more than %d", count(report.Flipped, "decision"), on.Over)
	case report.Left != "":
		why = fmt.Sprintf("it can't be told what they change: %s of the last 24h were asked about, older ones were left out, as %s", count(report.Events, "event"), report.Left)
	}
	return why, report
}

// detailed adds to a report what rules that match as before would do otherwise,
// where that can be told of as many events.
func (g *gate) detailed(ctx context.Context, current, next *rules.Generation, report *rehearse.Report) *rehearse.Report {
	if report == nil {
		return nil
	}
	if more := g.compare(ctx, current, next, true); more != nil && more.Events >= report.Events {
		return more
	}
	return report
}

// put puts rules in force. Those that were held are gone: these came after them.
func (g *gate) put(next *rules.Generation) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil && g.held.rules.Hash != next.Hash {
		g.log.Info("rules that were held are gone: others came after them", "hash", shortHash(g.held.rules.Hash))
	}
	g.held = nil
	g.enforce(g.inForce, next)
	g.inForce = next
}

// compare asks both about the last day, with plans also what they would do. It
// returns nil where that can't be told.
func (g *gate) compare(ctx context.Context, current, next *rules.Generation, plans bool) *rehearse.Report {
	if current.Rules.Hash == next.Rules.Hash {
		return &rehearse.Report{}
	}
	report, err := rehearse.Compare(ctx, g.store, rehearse.Options{
		Window: rehearse.Window{Since: time.Now().Add(-gateSince), Limit: cmp.Or(g.most, gateEvents), Time: cmp.Or(g.within, gateTime), Workers: 1},
		Rules:  next.Rules, Before: current.Rules, Plans: plans,
	})
	if err != nil {
		if ctx.Err() == nil {
			g.log.Warn("it can't be told what the rules would have decided in the last day", "err", err)
		}
		return nil
	}
	return report
}

// tellOf tells of rules that came into force, and of what they change.
func (g *gate) tellOf(before, now *rules.Generation, report *rehearse.Report) {
	shown := shownGeneration(before, now, report)
	shown.Current = true
	g.mu.Lock()
	g.remember(before.Hash, &shown)
	g.mu.Unlock()
	if report != nil && !report.Same() { // now it can be asked for
		g.log.Info("rules would have decided otherwise", countsOf(report)...)
	}
	g.tellRules(shown)
}

// tellRules tells of rules without their diff: who wants it asks for it.
func (g *gate) tellRules(shown control.Generation) {
	shown.Diff = ""
	g.tell(control.Notice{Rules: &shown})
}

// remember keeps what the rules changed that took the place of others. mu is held.
func (g *gate) remember(before string, now *control.Generation) {
	if now.Changes == nil || before == now.Hash {
		return
	}
	if len(g.changed) == maxChanged {
		g.changed = slices.Delete(g.changed, 0, 1)
	}
	g.changed = append(g.changed, changed{before, now.Hash, now.Changes})
}

// changesOf is what was changed when the rules of one hash took the place of those
// of another, the last time that they did; nil: that is not known.
func (g *gate) changesOf(before, now string) *control.Changes {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range slices.Backward(g.changed) {
		if c.before == before && c.now == now {
			return c.changes
		}
	}
	return nil
}

// hold has rules wait for a person.
func (g *gate) hold(current, next *rules.Generation, report *rehearse.Report, why string) {
	h := &heldRules{next, shownGeneration(current, next, report)}
	h.shown.Why = why
	g.mu.Lock()
	g.held = h
	g.mu.Unlock()
	attrs := append([]any{"hash", shortHash(next.Hash), "why", why}, countsOf(report)...)
	g.log.Warn("rules are held, those before go on: hookrun rules says what they change, hookrun rules accept puts them in force", attrs...)
	g.tellRules(h.shown)
}

// countsOf are the attributes for the log of what rules change.
func countsOf(report *rehearse.Report) []any {
	if report == nil {
		return nil
	}
	newly, noMore, differs := 0, 0, 0
	for _, r := range report.Rules {
		newly, noMore, differs = newly+r.Newly, noMore+r.NoMore, differs+r.Differs
	}
	return []any{"newly", newly, "no_more", noMore, "differs", differs, "events", report.Events}
}

// shownGeneration is a generation as people see it, beside the one that is or was
// in force.
func shownGeneration(before, g *rules.Generation, report *rehearse.Report) control.Generation {
	var hide concealer
	older, files := hide.files(absoluteFiles(before)), hide.files(absoluteFiles(g))
	became := diffFiles(edition{"before", older}, edition{"after", files})
	diff := before.Rules.Mask(g.Rules.Mask(hide.shown()(became)))
	shown := control.Generation{Hash: g.Hash, At: time.Now().UTC(), Files: []string{}, Diff: diff}
	for _, f := range files {
		shown.Files = append(shown.Files, f.Path)
	}
	if report != nil {
		changes := shownChanges(report, "the last 24h")
		shown.Changes = &changes
	}
	return shown
}

// absoluteFiles are the files of a generation by their absolute paths, as an
// archive has them.
func absoluteFiles(g *rules.Generation) []rules.File {
	files := slices.Clone(g.Files)
	for i := range files {
		if abs, err := filepath.Abs(files[i].Path); err == nil { // it fails where there is no working directory
			files[i].Path = abs
		}
	}
	return files
}

// Held implements control.Gate.
func (g *gate) Held() *control.Generation {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil {
		return nil
	}
	shown := g.held.shown
	return &shown
}

// Accept implements control.Gate.
func (g *gate) Accept(_ context.Context, hash string) (control.Generation, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held == nil || hash != "" && g.held.rules.Hash != hash {
		return control.Generation{}, &control.Error{Status: http.StatusConflict, Msg: "these rules are not held any more", Hint: "hookrun rules lists what there is"}
	}
	h := g.held
	before := g.inForce.Hash
	g.enforce(g.inForce, h.rules)
	g.inForce, g.held = h.rules, nil
	h.shown.Current, h.shown.Why = true, ""
	g.remember(before, &h.shown)
	g.log.Info("rules that were held are accepted by hand", "hash", shortHash(h.rules.Hash))
	g.tellRules(h.shown)
	return h.shown, nil
}

// shownHash is how much of a hash people see: enough to tell generations apart.
const shownHash = 12

func shortHash(hash string) string { return hash[:min(len(hash), shownHash)] }

// openGate makes the gate and decides with what hookrun starts: with the rules
// that were in force last where these hold what stands in the files now.
func (r *running) openGate(ctx context.Context) *gate {
	g := &gate{store: r.store, log: r.log, enforce: r.swap, tell: each(r.feed.Publish, r.countHeld), inForce: r.first}
	if r.loader.refused != nil {
		g.refused = newRefusal(r.loader.refused, r.first.Rules.Mask)
	}
	last := r.lastInForce()
	if last == nil || last.Hash == r.first.Hash {
		return g
	}
	on := confirming(last, r.first)
	if !on.Confirm {
		return g
	}
	next := r.first
	why, report := g.judge(ctx, last, next, on)
	if why == "" {
		return g
	}
	r.first, g.inForce = last, last
	g.hold(last, next, g.detailed(ctx, last, next, report), why)
	return g
}

// lastInForce are the rules that were in force last; nil where there are none of
// these files, or none that can be used.
func (r *running) lastInForce() *rules.Generation {
	entry, files, err := r.loader.archive.Newest(r.options.rules)
	if err != nil || files == nil || entry.Hash == r.first.Hash {
		return nil
	}
	last, _ := rules.Parse(files, r.loader.options)
	if last == nil {
		r.log.Warn("the rules that were in force last can't be used any more: those of the files are taken, whatever they change", "generation", entry.N)
	}
	return last
}

// shownChanges is a report in the shape that others read.
func shownChanges(r *rehearse.Report, of string) control.Changes {
	c := control.Changes{Events: r.Events, Of: of, Flipped: r.Flipped}
	for _, rule := range r.Rules {
		one := control.RuleChanges{Rule: rule.Rule, Newly: rule.Newly, NoMore: rule.NoMore, Differs: rule.Differs}
		for _, g := range rule.Groups {
			one.Sample = append(one.Sample, g.Sample[:min(len(g.Sample), max(0, rehearse.MaxSample-len(one.Sample)))]...)
			one.Details = append(one.Details, groupLine(g))
			for _, d := range g.Diffs {
				one.Details = append(one.Details, diffLine(d))
			}
		}
		c.Rules = append(c.Rules, one)
	}
	return c
}

// printHeld prints the rules that the hookrun of a data folder holds, if one runs
// and does.
func printHeld(ctx context.Context, out screen, data string) error {
	client, err := control.Dial(ctx, data)
	if errors.Is(err, control.ErrNoDaemon) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := client.Generations(ctx)
	if err != nil || list.Held == nil {
		return err
	}
	printHeldRules(out, list.Held)
	out.line("      hookrun rules accept " + shortHash(list.Held.Hash) + " puts them in force; an edit of the files takes their place")
	return nil
}

func printHeldRules(out screen, held *control.Generation) {
	out.line(fmt.Sprintf("held  %s  %s  %s", clock(held.At), shortHash(held.Hash), printable(strings.Join(held.Files, " "))))
	out.line("      " + printable(held.Why))
	switch {
	case held.Changes == nil:
		out.line("      what they would have decided otherwise can't be told")
	case held.Changes.Events > 0: // else nothing was asked about: the reason says all
		printChanges(out, held.Changes)
	}
}

// printChanges prints what rules that are held change.
func printChanges(out screen, c *control.Changes) {
	out.line(fmt.Sprintf("      they would have decided otherwise: %s of %s of %s", count(c.Flipped, "time"), count(c.Events, "event"), printable(c.Of)))
	for _, r := range c.Rules {
		out.line(printable(fmt.Sprintf("      rule %q: +%d -%d ~%d", r.Rule, r.Newly, r.NoMore, r.Differs)))
		for _, line := range r.Details[:min(len(r.Details), maxShownDiffs)] {
			out.line("        " + printable(line))
		}
	}
}

const acceptManual = `hookrun rules accept [HASH] [flags]

Puts the rules in force that on_reload holds: those that would have decided
otherwise more often than confirm_if_changes_over allows, those of which that
can't be told, and those that loosen on_reload. A decision is whether a rule
matches: other arguments, paths or bodies of one that matches as before are shown
and hold nothing. hookrun rules shows them and what they change, and so does
this. With HASH, which may be its beginning, they are accepted only if they are
these: the files may have been edited since.

Examples:
  hookrun rules
  hookrun rules accept 4f2c91d03ab1

Exit codes: 0 they are in force, 1 none are held, or others, or no hookrun
answers, 2 wrong usage.`

func acceptCommand() command {
	return command{name: "rules accept", manual: acceptManual, run: runAccept}
}

func runAccept(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	fs := flags(c)
	desk.add(fs)
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return err
	}
	client, err := control.Dial(ctx, desk.data)
	if errors.Is(err, control.ErrNoDaemon) {
		return withHint(fmt.Errorf("rules accept: no hookrun answers on %s", desk.data), "-data names the folder that hookrun runs with; one that starts holds the rules again where they change too much")
	}
	if err == nil {
		err = accept(ctx, p, client, slices.Concat(words, []string{""})[0])
	}
	return deskError(c, err)
}

// accept accepts the rules that are held if their hash begins so.
func accept(ctx context.Context, p Process, desk control.Control, hash string) error {
	list, err := desk.Generations(ctx)
	if err != nil {
		return err
	}
	if list.Held != nil && strings.HasPrefix(list.Held.Hash, hash) {
		printHeldRules(screenOf(p.Stdout), list.Held)
		hash = list.Held.Hash
	}
	g, err := desk.AcceptRules(ctx, hash)
	if err != nil {
		return err
	}
	fmt.Fprintf(p.Stdout, "the rules %s are in force\n", shortHash(g.Hash))
	return nil
}
