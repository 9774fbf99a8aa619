package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"hookrun/engine"
	"hookrun/engine/ruletest"
	"hookrun/engine/store"
)

const recordManual = `hookrun record -event ID [flags]

Prints a test of the rules that is made of a past event: the event as it is kept,
the rules that matched it, what their actions did and came to. hookrun test takes
it, and says so where the rules as they are now do otherwise.

What held a secret is a pattern in it. Credentials in headers, such as
X-Gitlab-Token, and in the query are ***, which a comment says, and whether a rule
reads them. The test holds the event's body and its other headers: look at it
before you give it to others.

Examples:
  hookrun events
  hookrun record -event 0197f3c2 > rules.tests.yaml
  hookrun record -event 0197f3c2 -name 'a push to main is deployed' > push.tests.yaml

Exit codes: 0 done, 1 there is no such event, or no test can be made of it, 2
wrong usage.`

func recordCommand() command {
	return command{name: "record", summary: "print a test that is made of a past event", manual: recordManual, run: runRecord}
}

func runRecord(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	var id, name string
	fs := flags(c)
	desk.add(fs)
	fs.StringVar(&id, "event", "", "the `ID` of the event, or its beginning")
	fs.StringVar(&name, "name", "", "the `NAME` of the test (default: of what came and what it started)")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if id == "" {
		return &usageError{"record: -event is missing", "hookrun events lists them"}
	}
	reader, err := store.OpenReader(ctx, desk.data)
	if err != nil {
		return deskError(c, desk.noStore(err))
	}
	r := &recording{store: reader, name: name, rules: generations(openArchive(desk.data))}
	err = r.record(ctx, id)
	if err = errors.Join(err, reader.Close()); err != nil {
		return prefixedHint("record", err)
	}
	if r.note != "" {
		fmt.Fprintln(p.Stderr, "hookrun: record: "+printable(r.note))
	}
	_, err = p.Stdout.Write(r.test.Bytes())
	return err
}

// prefixedHint says which command an error is of, and keeps its hint.
func prefixedHint(command string, err error) error {
	if h, ok := errors.AsType[*hinted](err); ok {
		return withHint(fmt.Errorf("%s: %w", command, h.err), "%s", h.hint)
	}
	return fmt.Errorf("%s: %w", command, err)
}

// recording makes one test.
type recording struct {
	store *store.Reader
	name  string
	rules func(hash string) *engine.RuleSet // of generations that are kept
	asked *engine.RuleSet                   // about the event; nil: not known
	test  bytes.Buffer
	note  string // what the test says of credentials
}

func (r *recording) record(ctx context.Context, id string) error {
	past, err := r.event(ctx, id)
	if err != nil {
		return err
	}
	runs, err := r.store.RunsOf(ctx, past.Event.ID)
	if err != nil {
		return err
	}
	for _, run := range runs {
		if !run.State.Finished() {
			return withHint(fmt.Errorf("run %s of rule %q has not finished", run.ID, run.Rule), "hookrun runs logs %s -f waits for it", short(run.ID))
		}
		steps, err := r.store.Steps(ctx, run.ID)
		if err != nil {
			return err
		}
		past.Runs = append(past.Runs, ruletest.PastRun{Run: run, Steps: steps})
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	return ruletest.Record(&r.test, past, ruletest.RecordOptions{
		Name: r.name, Dir: dir, Rules: r.asked, Note: func(text string) { r.note = text },
	})
}

// event is the one event whose id begins so.
func (r *recording) event(ctx context.Context, id string) (past ruletest.Past, err error) {
	found, _, err := r.store.Records(ctx, engine.EventFilter{IDPrefix: id, Limit: 2})
	if err != nil {
		return past, err
	}
	switch {
	case len(found) == 0:
		return past, r.unknown(ctx, id)
	case len(found) > 1:
		return past, withHint(fmt.Errorf("the ids of several events begin with %s", printable(id)), "give more of it")
	}
	e := &found[0]
	switch {
	case e.MatchErr != "":
		return past, withHint(fmt.Errorf("no rule could be asked about event %s: %s", e.ID, printable(e.MatchErr)), "there is nothing that a test could want of the rules")
	case e.Outcome == engine.EventAnswered:
		return past, withHint(fmt.Errorf("event %s is the question of a service, which no rule is asked about", e.ID), "record one that rules were asked about; hookrun events lists them")
	}
	r.asked = r.rules(e.Rules)
	return ruletest.Past{Event: e.Event, Verdicts: e.Verdicts}, nil
}

// unknown is the error of an id that no event has.
func (r *recording) unknown(ctx context.Context, id string) error {
	runs, err := r.store.Runs(ctx, engine.RunFilter{IDPrefix: id, Limit: 1})
	if err != nil {
		return err
	}
	if len(runs) > 0 {
		return withHint(fmt.Errorf("%s is a run", printable(id)), "its event is %s", runs[0].Event)
	}
	return withHint(fmt.Errorf("there is no event %s", printable(id)), "hookrun events lists them; old ones are deleted")
}
