package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

func template(src string, w engine.World) *engine.Template {
	t, findings := engine.NewCompiler(w).Template(src, nil)
	if t == nil {
		panic(fmt.Sprint(src, findings))
	}
	return t
}

// taking is an action that takes its time, prints and exits with a code.
func taking(d time.Duration, code int, said string) engine.Action {
	return doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
		time.Sleep(d)
		fmt.Fprint(in.Stdout, said)
		if code != 0 {
			return engine.Output{ExitCode: code}, engine.Permanent(errors.New("exit code"))
		}
		return engine.Output{}, nil
	})
}

func TestWhatTheSenderIsAnswered(t *testing.T) {
	event := engine.World{}
	after := engine.World{Steps: []engine.StepShape{{ID: "1", Kind: "exec"}}, Closing: true}
	said := &engine.Respond{Wait: 10 * time.Second, Body: template(`{{ steps["1"].stdout }} {{ run.state }}`, after)}
	exits := &engine.Respond{Wait: 10 * time.Second, StatusFromExit: map[int]int{3: 404}}
	for _, tt := range []struct {
		name    string
		bucket  *engine.Respond
		rule    *engine.Respond
		action  engine.Action
		want    string // status and body, "receipt" where it is the answer
		headers http.Header
		after   time.Duration
	}{
		{name: "nothing is said", action: taking(0, 0, ""), want: "receipt"},
		{name: "the bucket's", bucket: &engine.Respond{Status: template("201", event), Body: template("got {{ body.a }}", event)}, action: taking(0, 0, ""), want: "201 got 1"},
		{name: "the rule's goes first", bucket: &engine.Respond{Body: template("bucket", event)}, rule: &engine.Respond{Body: template("rule", event)}, action: taking(0, 0, ""), want: "200 rule"},
		{
			name: "headers", rule: &engine.Respond{Body: template("x", event), Header: []engine.HeaderTemplate{{Name: "X-A", Value: template("{{ body.a }}", event)}}},
			action: taking(0, 0, ""), want: "200 x", headers: http.Header{"X-A": {"1"}},
		},
		{name: "a status of the event", rule: &engine.Respond{Status: template("{{ body.a + 203 }}", event), Body: template("x", event)}, action: taking(0, 0, ""), want: "204 x"},
		{name: "no status at all", rule: &engine.Respond{Status: template("{{ body.a }}", event)}, action: taking(0, 0, ""), want: "receipt"},
		{name: "a field that is not there", rule: &engine.Respond{Body: template("{{ body.nothing }}", event)}, action: taking(0, 0, ""), want: "receipt"},
		{name: "waits for the run", rule: said, action: taking(3*time.Second, 0, "deployed"), want: "200 deployed done", after: 3 * time.Second},
		{name: "a run that fails", rule: said, action: taking(time.Second, 2, "no"), want: "500 no failed", after: time.Second},
		{name: "a status for the exit code", rule: exits, action: taking(0, 3, ""), want: "404 "},
		{name: "an exit code without one", rule: exits, action: taking(0, 4, ""), want: "500 "},
		{name: "success without one", rule: exits, action: taking(0, 0, ""), want: "200 "},
		{
			name: "too long, with a status of its own", rule: &engine.Respond{Wait: 10 * time.Second, Status: template("200", event), Body: said.Body},
			action: taking(11*time.Second, 0, ""), want: "200 ", after: 10 * time.Second,
		},
		{name: "a run that takes too long", rule: said, action: taking(11*time.Second, 0, ""), want: "receipt", after: 10 * time.Second},
		{name: "a secret in the output", rule: said, action: taking(0, 0, "s3cret-value"), want: "200 " + engine.Masked + " done"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rule("a", tt.action)
				r.Buckets, r.Respond = []string{"b"}, tt.rule
				h := trusting(t, &engine.Bucket{Respond: tt.bucket}, r)
				receipt := h.submitBody("b", `{"a":1}`)
				began := time.Now()
				answer := h.Answer(t.Context(), receipt)
				if got := time.Since(began); got != tt.after {
					t.Errorf("answered after %s, want %s", got, tt.after)
				}
				if got := answerText(answer); got != tt.want {
					t.Errorf("Answer = %q, want %q", got, tt.want)
				}
				for name := range tt.headers {
					if got := answer.Header.Get(name); got != tt.headers.Get(name) {
						t.Errorf("header %s = %q, want %q", name, got, tt.headers.Get(name))
					}
				}
				pass(time.Minute)
				if state := h.run(receipt.Runs[0].ID).State; !state.Finished() {
					t.Errorf("the run is %s after all, want it finished", state)
				}
			})
		})
	}
}

func answerText(a *engine.Answer) string {
	if a == nil {
		return "receipt"
	}
	return fmt.Sprintf("%d %s", a.Status, a.Body)
}

// TestSenderThatHangsUpStopsNothing shows that only the answer is not made.
func TestSenderThatHangsUpStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rule("a", taking(5*time.Second, 0, ""))
		r.Buckets, r.Respond = []string{"b"}, &engine.Respond{Wait: 10 * time.Second}
		h := trusting(t, &engine.Bucket{}, r)
		receipt := h.submitBody("b", `{}`)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if answer := h.Answer(ctx, receipt); answer != nil {
			t.Errorf("Answer = %q, want none", answerText(answer))
		}
		pass(5 * time.Second)
		if state := h.run(receipt.Runs[0].ID).State; state != engine.Done {
			t.Errorf("the run is %s, want done", state)
		}
	})
}

// TestRepetitionGetsTheSameAnswer shows a sender that asks again, while the first
// is not answered yet, and after it was.
func TestRepetitionGetsTheSameAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		r := rule("a", doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
			runs++
			time.Sleep(2 * time.Second)
			fmt.Fprint(in.Stdout, "run ", runs)
			return engine.Output{}, nil
		}))
		after := engine.World{Steps: []engine.StepShape{{ID: "1", Kind: "exec"}}, Closing: true}
		r.Buckets, r.Respond = []string{"b"}, &engine.Respond{Wait: 10 * time.Second, Body: template(`{{ steps["1"].stdout }}`, after)}
		r.Dedupe = &engine.Dedupe{Key: key("body.id"), Within: time.Hour}
		h := trusting(t, &engine.Bucket{}, r)
		var got []string
		for range 2 {
			got = append(got, answerText(h.Answer(t.Context(), h.submitBody("b", `{"id":1}`))))
		}
		if want := "200 run 1|200 run 1"; strings.Join(got, "|") != want {
			t.Errorf("answers %q, want %q", strings.Join(got, "|"), want)
		}
	})
}
