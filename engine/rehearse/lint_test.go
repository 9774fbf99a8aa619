package rehearse

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"hookrun/engine"
)

// times is n events with bodies made by format, from 0 on.
func times(n int, format string) []*engine.Event {
	var all []*engine.Event
	for i := range n {
		body := format
		if strings.Contains(format, "%d") {
			body = fmt.Sprintf(format, i)
		}
		all = append(all, push(body))
	}
	return all
}

func TestLintFindsWhatHardlyIsMeant(t *testing.T) {
	const intHint = "a text that holds a number is read by int(…); a number is written without quotes"
	tests := []struct {
		name   string
		when   string
		events []*engine.Event
		want   []string // offset, message, hint
	}{
		{"nothing to say", `body.n > 1`, times(40, `{"n":%d}`), nil},
		{"a field that never came", `body.reff == "main"`, times(3, `{"ref":"main"}`), []string{`0 body.reff was never seen in 3 push events | did you mean "ref"?`}},
		{"its object never came", `body.repo.name == "a"`, times(3, `{"repos":{"name":"a"}}`), []string{`0 body.repo was never seen in 3 push events | did you mean "repos"?`}},
		{"a field of an object further down", `body.repo.nam == "a"`, times(1, `{"repo":{"name":"a"}}`), []string{`0 body.repo.nam was never seen in 1 push event | did you mean "name"?`}},
		{"nothing is near", `body.zzzzzz == "a"`, times(3, `{"ref":"main"}`), []string{`0 body.zzzzzz was never seen in 3 push events | `}},
		{"a name that no rule can write", `body["x-y"] == "a"`, times(3, `{"x-z":"main"}`), []string{`0 body["x-y"] was never seen in 3 push events | did you mean "x-z"?`}},
		{"one event has it", `body.ref == "main"`, append(times(3, `{}`), push(`{"ref":"a"}`)), nil},
		{"a field in each element", `any(body.list, .nam == "a")`, times(3, `{"list":[{"name":"a"}]}`), []string{`15 .nam was never seen in 3 push events | `}},
		{"a default for a field that never came", `(body.reff ?? "x") == "x"`, times(3, `{"ref":"main"}`), []string{`1 body.reff was never seen in 3 push events | did you mean "ref"?`}},
		{
			"a field that was never asked for", `bucket == "c" && body.reff == "a"`, times(3, `{"ref":"main"}`), nil,
		},
		{"a header that never came", `headers["X-Github-Evnt"] == "push"`, times(3, `{}`), []string{`0 header "X-Github-Evnt" was never seen in 3 push events | did you mean "X-Github-Event"?`}},
		{"a header in another case", `headers["x-github-event"] == "push"`, times(3, `{}`), nil},
		{"values of a header", `"push" in header_values("X-Github-Evnt")`, times(3, `{}`), []string{`10 header "X-Github-Evnt" was never seen in 3 push events | did you mean "X-Github-Event"?`}},
		{"a query parameter that never came", `query.tokn == "a"`, withQuery(times(3, `{}`), "token=a"), []string{`0 query parameter "tokn" was never seen in 3 push events | did you mean "token"?`}},
		{"a number and a text", `body.n == "3"`, times(3, `{"n":%d}`), []string{`0 compares the number body.n with the text "3" in 3 of 3 push events | ` + intHint}},
		{"a text and a number", `3 != body.n`, times(3, `{"n":"%d"}`), []string{`0 compares the number 3 with the text body.n in 3 of 3 push events | ` + intHint}},
		{"a number in a list of texts", `body.n in ["1", "2"]`, times(3, `{"n":%d}`), []string{`0 compares the number body.n with the text ["1", "2"] in 3 of 3 push events | ` + intHint}},
		{"two fields", `body.n == body.m`, times(3, `{"n":%d,"m":"1"}`), []string{`0 compares the number body.n with the text body.m in 3 of 3 push events | ` + intHint}},
		{"an operator in a text", `body.t == "a == 1"`, times(3, `{"t":"a"}`), nil},
		{
			"always true", `headers["X-Github-Event"] == "push" && body.n > 10`, times(40, `{"n":%d}`),
			[]string{`0 headers["X-Github-Event"] == "push" was true for all 40 push events | `},
		},
		{"too few events to say always", `headers["X-Github-Event"] == "push" && body.n > 10`, times(minSame-1, `{"n":%d}`), nil},
		{
			"the part that is always false", `body.n > 10 && bucket == "c"`, times(40, `{"n":%d}`),
			[]string{`15 bucket == "c" was false for all 29 push events | `},
		},
		{
			"all of it is always false", `body.n > 100`, times(40, `{"n":%d}`),
			[]string{`0 body.n > 100 was false for all 40 push events | `},
		},
		{"always false as a field never came", `body.reff == "main"`, times(40, `{"ref":"main"}`), []string{`0 body.reff was never seen in 40 push events | did you mean "ref"?`}},
		{
			"the part that is always true", `bucket == "b" || body.n > 10`, times(40, `{"n":%d}`),
			[]string{`0 bucket == "b" was true for all 40 push events | `},
		},
		{
			"!= where a field is missing", `body.ref != "main"`, append(times(3, `{}`), times(7, `{"ref":"main"}`)...),
			[]string{`0 body.ref is missing in 30 % of 10 push events, and != is true there | add: body.ref != nil`},
		},
		{"!= nil is meant so", `body.ref != nil`, append(times(3, `{}`), times(7, `{"ref":"main"}`)...), nil},
		{"!= true is meant so", `body.draft != true`, append(times(3, `{}`), times(7, `{"draft":true}`)...), nil},
		{"== where a field is missing", `body.ref == "main"`, append(times(3, `{}`), times(7, `{"ref":"main"}`)...), nil},
		{"events of several kinds", `body.reff == 1`, append(times(2, `{"ref":1}`), withEvent(times(2, `{"ref":1}`), "ping")...), []string{`0 body.reff was never seen in 4 events | did you mean "ref"?`}},
		{"events of no kind", `body.reff == 1`, withEvent(times(2, `{"ref":1}`), ""), []string{`0 body.reff was never seen in 2 events | did you mean "ref"?`}},
		{"a body that is none", `body.ref == 1`, times(2, `nonsense`), []string{`0 body.ref was never seen in 2 push events | `}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := ruleSet(rule(t, "r", tt.when))
			src := happened(rules, tt.events...)
			src.page = 7
			got, err := Lint(t.Context(), src, LintOptions{Rules: rules})
			if err != nil {
				t.Fatal(err)
			}
			var said []string
			for _, f := range got.Findings {
				said = append(said, fmt.Sprintf("%d %s | %s", f.Offset, f.Msg, f.Hint))
			}
			if !slices.Equal(said, tt.want) {
				t.Errorf("findings:\n%s\nwant:\n%s", strings.Join(said, "\n"), strings.Join(tt.want, "\n"))
			}
		})
	}
}

func withQuery(events []*engine.Event, query string) []*engine.Event {
	for _, ev := range events {
		ev.Query = query
	}
	return events
}

func withEvent(events []*engine.Event, name string) []*engine.Event {
	for _, ev := range events {
		ev.Header = http.Header{"Content-Type": {"application/json"}}
		if name != "" {
			ev.Header.Set("X-Github-Event", name)
		}
	}
	return events
}

func TestLintLooksAtOneRuleAndItsWindow(t *testing.T) {
	rules := ruleSet(rule(t, "a", `body.x == 1`), rule(t, "b", `body.y == 1`))
	src := happened(rules, times(10, `{"z":1}`)...)
	got, err := Lint(t.Context(), src, LintOptions{Rules: rules, Rule: "b", Window: Window{Limit: 4}})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Findings) != 1 || got.Findings[0].Rule != "b" || got.Events != 4 || got.Left == "" {
		t.Errorf("%+v, want one finding of b over 4 events, and that others were left out", got)
	}
}
