package cli

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hookrun/engine"
	"hookrun/engine/control"
)

// Bounds of what explain prints of a text that an action would use.
const (
	plannedText  = 200 // characters of a value
	plannedLines = 8   // of a content, a body or an input
)

// explained prints a Rehearsal.
type explained struct {
	out    screen
	r      *engine.Rehearsal
	rules  *engine.RuleSet
	bucket string
	rule   string           // asked about alone; "": all
	then   []engine.Verdict // what other rules made of the event when it came
	past   past             // of an event that is kept
}

// event prints which event of the past was asked about.
func (e *explained) event(d *control.EventDetail) {
	s := shown{out: e.out}
	s.field("event", d.ID)
	s.field("received", clock(d.Received))
	s.field("request", requestOf(d))
	s.field("outcome", string(d.Outcome))
	if d.Outcome == engine.EventAnswered {
		s.field("note", "it was the question of a service: no rule was asked when it came")
	}
}

// made prints which event was made up.
func (e *explained) made(r *control.Request) {
	line := cmp.Or(strings.ToUpper(r.Method), "POST") + " " + cmp.Or(r.Path, "/")
	if r.Query != "" {
		line += "?" + strings.TrimPrefix(r.Query, "?")
	}
	shown{out: e.out}.field("request", fmt.Sprintf("%s to bucket %s, %d bytes", line, r.Bucket, len(r.Body)))
}

// all prints what each rule makes of it.
func (e *explained) all() {
	s := shown{out: e.out}
	s.field("problem", e.r.MatchErr)
	if e.r.BodyErr != "" {
		s.field("problem", "the body can't be read, so that body is nil: "+e.r.BodyErr)
	}
	asked := slices.Clone(e.r.Asked)
	slices.SortStableFunc(asked, func(a, b engine.Explanation) int {
		return cmp.Or(cmp.Compare(rank(&a), rank(&b)), cmp.Compare(b.Near, a.Near))
	})
	for i := range asked {
		e.explanation(&asked[i])
	}
	if len(asked) == 0 && e.r.MatchErr == "" {
		e.none()
	}
}

// rank puts matches before errors before all others.
func rank(x *engine.Explanation) int {
	return slices.Index([]engine.Outcome{engine.Matched, engine.Errored, engine.NoMatch}, x.Verdict.Outcome)
}

// none says why there is nothing to say.
func (e *explained) none() {
	if r := e.rules.Rule(e.rule); r != nil {
		fmt.Fprintf(e.out, "\nrule %q is about bucket %s; this event came to %s\n",
			printable(r.Name), printable(strings.Join(r.Buckets, ", ")), printable(e.bucket))
		return
	}
	fmt.Fprintf(e.out, "\nno rule that is switched on is about bucket %s", printable(e.bucket))
	if len(e.rules.Rules) == 0 {
		fmt.Fprintln(e.out, ": there is none")
		return
	}
	hint := engine.Nearest(e.bucket, bucketsOf(e.rules))
	if hint == "" {
		hint = "the rules know " + strings.Join(bucketsOf(e.rules), ", ")
	}
	fmt.Fprintf(e.out, ": %s\n", printable(hint))
}

func (e *explained) explanation(x *engine.Explanation) {
	word, c := "no match", yellow
	switch x.Verdict.Outcome {
	case engine.Matched:
		word, c = "matched", green
	case engine.Errored:
		word, c = "error", red
	}
	after := "  " + x.Place
	if x.Shadow {
		after = "  mode: shadow, so that nothing would run" + after
	}
	fmt.Fprintln(e.out)
	e.out.marked(printable(x.Rule)+"  ", word, printable(after), c)
	e.was(x)
	e.became(x.Rule)
	e.why(x)
	if x.Undrawn != "" {
		fmt.Fprintf(e.out, "  %s\n", printable(x.Undrawn))
	}
	if x.Verdict.Outcome == engine.Matched {
		e.runs(x)
	}
}

// was says where the rules made something else of the event when it came.
func (e *explained) was(x *engine.Explanation) {
	if e.then == nil {
		return
	}
	at := slices.IndexFunc(e.then, func(v engine.Verdict) bool { return v.Rule == x.Rule })
	switch {
	case at < 0:
		fmt.Fprintln(e.out, "  when it came this rule was not asked")
	case e.then[at].Outcome != x.Verdict.Outcome:
		said := map[engine.Outcome]string{engine.Matched: "it matched", engine.NoMatch: "it did not match", engine.Errored: "its condition failed"}[e.then[at].Outcome]
		fmt.Fprintf(e.out, "  when it came %s%s\n", said, because(e.then[at].Why))
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + printable(why)
}

// why prints the parts that decided, and then the whole tree where that is more.
func (e *explained) why(x *engine.Explanation) {
	if x.When == nil {
		if x.Verdict.Why != "" {
			e.out.whole("  " + printable(x.Verdict.Why))
		}
		return
	}
	decided := x.When.Deciders()
	for _, n := range decided {
		e.out.whole("  " + printable(n.WholeLine()))
	}
	if x.When.State == engine.NodeTrue && x.Verdict.Why != "" { // the condition is not to blame
		fmt.Fprintf(e.out, "  %s\n", printable(x.Verdict.Why))
	}
	if len(decided) > 0 && len(x.When.Lines()) == 1 {
		return
	}
	if len(decided) == 0 {
		e.tree("  ", x.When)
		return
	}
	fmt.Fprintln(e.out, "  the whole condition:")
	e.tree("    ", x.When)
}

func (e *explained) tree(indent string, n *engine.Node) {
	for _, line := range n.WholeLines() {
		e.out.whole(indent + printable(line))
	}
}

// runs prints what the rule would do. Of what it has done hookrun runs show tells.
func (e *explained) runs(x *engine.Explanation) {
	for i := range x.Runs {
		r := &x.Runs[i]
		title := e.wouldRun(x.Rule, r)
		if title == "" {
			continue
		}
		if len(r.Element) > 0 {
			title += fmt.Sprintf(" for element %d, %s", r.Index, clip(string(r.Element), plannedText))
		}
		if r.Key != "" {
			title += fmt.Sprintf(" [%s]", r.Key)
		}
		fmt.Fprintf(e.out, "  %s\n", printable(title))
		if r.Err != "" {
			fmt.Fprintf(e.out, "    it would fail at once: %s\n", printable(r.Err))
		}
		for j := range r.Steps {
			e.step(&r.Steps[j])
		}
		if r.Unplanned != "" {
			fmt.Fprintf(e.out, "    %s\n", printable(r.Unplanned))
		}
	}
}

func (e *explained) step(s *engine.PlannedStep) {
	title := plannedTitle(s)
	if !s.Skip && s.Err == "" {
		title += "  " + action(s.Kind, &s.Plan)
	}
	fmt.Fprintf(e.out, "    %s\n", printable(title))
	if s.Open {
		e.detail("if", "not known: it depends on a step that has not run")
	} else if s.If != nil {
		e.tree("      if      ", s.If)
	}
	if s.Skip || s.Err != "" {
		return
	}
	if n := len(s.Plan.Argv); s.Kind == shellKind && n > 0 {
		e.content("script", &s.Plan.Argv[n-1])
	}
	e.plan(&s.Plan)
}

// plannedTitle names a step, and says what keeps it from being done.
func plannedTitle(s *engine.PlannedStep) string {
	title := fmt.Sprintf("%s (%s)", s.Step, s.Kind)
	switch {
	case s.Skip:
		title += "  skipped"
	case s.Err != "":
		title += "  it would fail: " + s.Err
	}
	return title
}

// shellKind is the kind of an action whose last argument is a script.
const shellKind = "shell"

// action is what a plan comes to, on one line.
func action(kind string, p *engine.Plan) string {
	switch {
	case len(p.Argv) > 0:
		words := make([]string, len(p.Argv))
		for i, arg := range p.Argv {
			words[i] = argument(arg)
		}
		if kind == shellKind {
			words[len(words)-1] = "…"
		}
		return clip(strings.Join(words, " "), 2*plannedText)
	case p.URL != "":
		return p.Method + " " + p.URL
	case p.Path != "":
		return p.Write + " " + p.Path
	}
	return ""
}

// plan prints the rest of it.
func (e *explained) plan(p *engine.Plan) {
	e.detail("dir", p.Dir)
	for _, v := range p.Env {
		e.detail("env", v.Name+"="+argument(v.Value))
	}
	for _, h := range p.Header {
		e.detail("header", h.Name+": "+h.Value)
	}
	e.content("stdin", p.Stdin)
	e.content("content", p.Content)
	e.content("body", p.Body)
	for _, open := range p.Open {
		e.detail("unknown", "{{ "+open+" }}: that step has not run")
	}
}

func (e *explained) detail(name, value string) {
	if value != "" {
		fmt.Fprintf(e.out, "      %-7s %s\n", name, printable(clip(value, plannedText)))
	}
}

// content prints how long a text is and its beginning.
func (e *explained) content(name string, text *string) {
	if text == nil {
		return
	}
	head, size := wholeSize(*text)
	lines := strings.Split(strings.TrimRight(readable(head), "\n"), "\n")
	if len(lines) == 1 {
		e.detail(name, fmt.Sprintf("%s: %s", count(size, "byte"), lines[0]))
		return
	}
	e.detail(name, count(size, "byte")+":")
	for _, line := range lines[:min(len(lines), plannedLines)] {
		fmt.Fprintf(e.out, "        %s\n", clip(line, plannedText))
	}
	if more := len(lines) - plannedLines; more > 0 {
		fmt.Fprintf(e.out, "        … %s more\n", count(more, "line"))
	}
}

// cutNote stands behind a text of a plan that was cut: see engine.MaxPlanText.
var cutNote = regexp.MustCompile(` …\[(\d+) bytes, sha256 [0-9a-f]{64}\]$`)

// wholeSize is a text of a plan without its note, and how long the whole is.
func wholeSize(text string) (head string, size int) {
	at := cutNote.FindStringSubmatchIndex(text)
	if at == nil {
		return text, len(text)
	}
	size, err := strconv.Atoi(text[at[2]:at[3]])
	if err != nil {
		return text, len(text)
	}
	return text[:at[0]] + "…", size
}

// argument writes one as one would in a shell.
func argument(s string) string {
	special := func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_.-/:=@%+,", r))
	}
	if s != "" && !strings.ContainsFunc(s, special) {
		return s
	}
	return shellWord(s)
}
