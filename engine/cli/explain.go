package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/rules"
	"hookrun/engine/store"
)

const explainManual = `hookrun explain -event ID [flags]
hookrun explain -file FILE [flags]

Says of an event what each rule makes of it, and why: of a rule that does not
match the part of its condition that decided, and the whole condition as a tree
with what every part came to; of one that matches what its actions would do, or
what became of the runs that it has. -json prints these runs, too.
Nothing is run and nothing is kept. Rules that match come first, then those that
failed, then near misses. Secrets, and what headers hold that prove who sends
(X-Hook-Secret, X-Api-Key), are shown as ***. Of very much the beginning is told,
and where it ends.

The event is one of the past, or a FILE: a raw HTTP request as a sender wrote it
(POST /hooks/deploys HTTP/1.1), or JSON: {"bucket": "deploys", "method": "POST",
"path": "/", "query": "a=1", "header": {"X-A": "1"}, "body": …}. - is standard
input.

An event of the past is explained by the rules that decided then, as long as
their files are kept (hookrun rules); with -now, and where they are not kept any
more, by those in force last; with -rules by the rules in these files. Results of
its actions are taken for known where they have run. Whether the sender of a FILE
would have been believed is not asked.

Examples:
  hookrun explain -event 0197f3c2-8a1b-7a2c
  hookrun explain -event 0197f3c2-8a1b-7a2c -rule "deploy main" -now
  hookrun explain -event 0197f3c2-8a1b-7a2c -rules rules.new.yaml
  hookrun explain -file testdata/events/github-push.http -bucket deploys

Exit codes: 0 it was answered, also where no rule matches, 1 it could not, 2
wrong usage.`

func explainCommand() command {
	return command{name: "explain", summary: "say what the rules make of an event, and why", manual: explainManual, run: runExplain}
}

// question is what explain and try are asked.
type question struct {
	desk  deskFlags
	event string
	made  madeFlags
	rules list
	rule  string
	now   bool
	json  bool
}

// add adds the flags that explain and try have both.
func (q *question) add(fs *flag.FlagSet) {
	fs.Var(&q.rules, "rules", "rules `FILE`, or folder of *.yaml; may be repeated")
	fs.StringVar(&q.rule, "rule", "", "only this `RULE`")
	fs.BoolVar(&q.json, "json", false, "print the answer as one JSON object")
	fs.StringVar(&q.made.file, "file", "", "`FILE` with a raw HTTP request, or JSON")
	fs.StringVar(&q.made.bucket, "bucket", "", "the `BUCKET` that it came to (default: what the file says)")
}

func runExplain(ctx context.Context, p Process, c command, args []string) error {
	var q question
	fs := flags(c)
	q.desk.add(fs)
	q.add(fs)
	fs.StringVar(&q.event, "event", "", "the `ID` of an event, or its beginning")
	fs.BoolVar(&q.now, "now", false, "ask the rules in force last, not those that decided then")
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return err
	}
	if len(words) > 0 && q.event == "" {
		q.event, words = words[0], nil
	}
	if err := q.check(words); err != nil {
		return err
	}
	if q.event != "" {
		return questionError(c, q.explainKept(ctx, p))
	}
	return questionError(c, q.explainMade(ctx, p))
}

// questionError is what explain and try say of an error.
func questionError(c command, err error) error {
	if _, ok := errors.AsType[*usageError](err); ok {
		return prefixed(c.name, err)
	}
	return deskError(c, err)
}

// check refuses flags that don't go together.
func (q *question) check(words []string) error {
	switch {
	case len(words) > 0:
		return &usageError{fmt.Sprintf("explain: unexpected argument %q", words[0]), "hookrun explain -h prints the manual"}
	case q.event == "" && q.made.file == "":
		return &usageError{"explain: -event or -file is missing", "hookrun events lists events; hookrun try asks about one that is made up"}
	case q.event != "" && q.made.file != "":
		return &usageError{"explain: -event does not go with -file", "one event is explained"}
	case q.event != "" && q.made.bucket != "":
		return &usageError{"explain: -event does not go with -bucket", "an event of the past has one"}
	case q.now && len(q.rules) > 0:
		return &usageError{"explain: -now does not go with -rules", "-now asks the rules in force last"}
	}
	return nil
}

// explainKept answers about an event of the past.
func (q *question) explainKept(ctx context.Context, p Process) error {
	reader, err := store.OpenReader(ctx, q.desk.data)
	if err != nil {
		return q.desk.noStore(err)
	}
	return errors.Join(q.explainOf(ctx, p, reader), reader.Close())
}

func (q *question) explainOf(ctx context.Context, p Process, reader *store.Reader) error {
	detail, err := (&control.Local{Store: reader}).Event(ctx, q.event)
	if err != nil {
		return turnedAway(ctx, reader, q.event, err)
	}
	asked, err := q.rulesOf(p, detail.Rules, detail.Received)
	if err != nil {
		return err
	}
	local := askedDesk(asked)
	local.Store = reader
	r, err := local.Explain(ctx, control.ExplainQuery{Event: detail.ID, Rule: q.rule})
	if err != nil {
		return err
	}
	e := explained{out: screenOf(p.Stdout), r: r, rules: asked.Rules, bucket: detail.Bucket, rule: q.rule, past: pastOf(&detail, q.rule)}
	e.past.same, e.past.words = asked.Rules.Hash == detail.Rules, q.desk.words()
	if !e.past.same {
		e.then = detail.Verdicts
	}
	if q.json {
		return e.out.json(explainedJSON{r, e.past.runs, e.past.more})
	}
	e.event(&detail)
	e.all()
	return nil
}

// explainMade answers about an event that is made up.
func (q *question) explainMade(ctx context.Context, p Process) error {
	made, err := q.made.request(p.Stdin)
	if err != nil {
		return err
	}
	asked, err := q.rulesOf(p, "", time.Time{})
	if err != nil {
		return err
	}
	if made.Bucket == "" {
		return noBucket(asked.Rules)
	}
	r, err := askedDesk(asked).Explain(ctx, control.ExplainQuery{Made: made, Rule: q.rule})
	if err != nil {
		return err
	}
	e := explained{out: screenOf(p.Stdout), r: r, rules: asked.Rules, bucket: made.Bucket, rule: q.rule}
	if q.json {
		return e.out.json(r)
	}
	e.made(made)
	e.all()
	return nil
}

// noBucket is the error for an event without a bucket.
func noBucket(set *engine.RuleSet) error {
	hint := "-bucket deploys"
	if known := bucketsOf(set); len(known) > 0 {
		hint = "-bucket says it; the rules know " + strings.Join(known, ", ")
	}
	return &usageError{"the event has no bucket: its path is not /hooks/BUCKET", hint}
}

// askedDesk answers by these rules.
func askedDesk(g *rules.Generation) *control.Local {
	return &control.Local{Ruleset: func() *engine.RuleSet { return g.Rules }, Names: func() []string { return ruleNames(g.Rules) }}
}

// turnedAway says of an event that is not kept, and err says so, that it was
// turned away.
func turnedAway(ctx context.Context, reader *store.Reader, id string, err error) error {
	rejections, failed := reader.Rejections(ctx, engine.RejectionFilter{})
	if failed != nil {
		return err
	}
	for _, r := range rejections {
		if strings.HasPrefix(r.ID, strings.ToLower(strings.TrimSpace(id))) {
			return withHint(fmt.Errorf("event %s was turned away before any rule was asked, and is not kept: %s", r.ID, printable(r.Reason)), "hookrun rejected -bucket %s says more", printable(r.Bucket))
		}
	}
	return err
}

// rulesOf are the rules to ask about an event that rules with this hash decided
// at that time; "": none did.
func (q *question) rulesOf(p Process, hash string, at time.Time) (*rules.Generation, error) {
	if len(q.rules) > 0 {
		g, problems := rules.Load(q.rules, rules.Options{Dry: true})
		if g == nil {
			printProblems(p, problems)
			return nil, exitError(exitFailed)
		}
		return g, nil
	}
	archive := openArchive(q.desk.data)
	entries, err := archive.List()
	if err != nil {
		return nil, err
	}
	if len(entries) == 0 {
		return nil, withHint(fmt.Errorf("%s holds no rules", q.desk.data), "-rules FILE names those to ask, -data the folder that hookrun runs with")
	}
	if hash != "" && !q.now {
		if g, e := thenInForce(archive, entries, hash, at); g != nil {
			fmt.Fprintf(p.Stderr, "hookrun: asked the rules that decided then: generation %d, %s\n", e.N, strings.Join(e.Paths, " "))
			return g, nil
		}
	}
	return q.lastGeneration(p, archive, entries[0], hash)
}

// thenInForce is the generation with rules of this hash that was in force then:
// one that changes nothing of them has the same. entries are the newest first.
func thenInForce(archive *rules.Archive, entries []rules.Entry, hash string, at time.Time) (g *rules.Generation, of rules.Entry) {
	for _, e := range entries {
		if g != nil && of.At.Before(at) {
			break
		}
		if same := parsed(archive, e.N); same != nil && same.Rules.Hash == hash {
			g, of = same, e
		}
	}
	return g, of
}

// lastGeneration are the rules that were in force last.
func (q *question) lastGeneration(p Process, archive *rules.Archive, last rules.Entry, hash string) (*rules.Generation, error) {
	g := parsed(archive, last.N)
	if g == nil {
		return nil, withHint(fmt.Errorf("generation %d of the rules can't be read any more", last.N), "-rules FILE names rules to ask")
	}
	before := ""
	if hash != "" && hash != g.Rules.Hash && !q.now {
		before = "the rules that decided then are not kept any more: "
	}
	fmt.Fprintf(p.Stderr, "hookrun: %sasked the rules in force last: generation %d, %s\n", before, last.N, strings.Join(last.Paths, " "))
	return g, nil
}

// parsed is a generation of the archive, nil where it can't be read.
func parsed(archive *rules.Archive, n int) *rules.Generation {
	files, err := archive.Load(n)
	if err != nil {
		return nil
	}
	g, _ := rules.Parse(files, rules.Options{Dry: true})
	return g
}
