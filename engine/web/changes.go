package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"hookrun/engine/control"
)

// maxForm bounds a form without a body in it, in bytes.
const maxForm = 16 << 10

// changes are what forms ask for, by the pattern below /ui/.
func (s *Server) changes() map[string]answer {
	return map[string]answer{
		"events/{id}/replay":  s.replay,
		"events/{id}/explain": s.explainEdited,
		"runs/{id}/retry":     s.change(s.retry),
		"runs/{id}/cancel":    s.change(s.cancel),
		"runs/{id}/release":   s.change(s.release),
		"runs/{id}/replay":    s.change(s.replayRun),
		"pause":               s.change(ofRule(s.pause)),
		"resume":              s.change(ofRule(s.resume)),
		"arm":                 s.change(ofRule(s.arm)),
		"disarm":              s.change(ofRule(s.disarm)),
		"accept":              s.change(s.accept),
	}
}

// done says what was done, and where to look at it; "" is where the form was.
type done struct {
	text string
	to   string
}

// change makes an answer of what changes something: it leads back to the page of
// the form, which then says what came of it.
func (s *Server) change(do func(r *http.Request) (done, error)) answer {
	return func(w http.ResponseWriter, r *http.Request) error {
		if err := readForm(w, r, maxForm); err != nil {
			return err
		}
		what, err := do(r)
		return s.lead(w, r, what, err)
	}
}

// lead leads on to a page that says what came of a form. An error that is for
// people is said there too.
func (s *Server) lead(w http.ResponseWriter, r *http.Request, what done, err error) error {
	n := notice{Text: what.text}
	if err != nil {
		said, ok := errors.AsType[*control.Error](err)
		if !ok {
			return err
		}
		n = notice{Bad: true, Text: said.Msg, Hint: said.Hint}
	}
	to := what.to
	if to == "" {
		to = local(r.PostForm.Get("back"))
	}
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	q := u.Query()
	q.Set(saidParam, s.said.keep(n))
	u.RawQuery = q.Encode()
	http.Redirect(w, r, u.String(), http.StatusSeeOther)
	return nil
}

func (s *Server) replay(w http.ResponseWriter, r *http.Request) error {
	data, same, err := s.edited(w, r)
	if err != nil {
		return err
	}
	q := control.ReplayQuery{Event: r.PathValue("id"), Rule: r.PostForm.Get("rule")}
	if !same {
		body := control.Bytes(data)
		q.Body = &body
	}
	replayed, err := s.desk.Replay(r.Context(), q)
	return s.lead(w, r, done{replaySays(replayed, !same), eventAddress(replayed.Event)}, err)
}

func (s *Server) replayRun(r *http.Request) (done, error) {
	replayed, err := s.desk.Replay(r.Context(), control.ReplayQuery{Run: r.PathValue("id")})
	return done{replaySays(replayed, false), eventAddress(replayed.Event)}, err
}

// eventAddress is "" for none: where there was an error.
func eventAddress(id string) string {
	if id == "" {
		return ""
	}
	return "/events/" + url.PathEscape(id)
}

func replaySays(r control.Replayed, edited bool) string {
	what := "the event came again"
	if edited {
		what = "the event came again, with the body as edited"
	}
	switch len(r.Runs) {
	case 0:
		return what + ": no rule started a run"
	case 1:
		return fmt.Sprintf("%s: 1 run, of rule %q", what, plain(r.Runs[0].Rule))
	}
	return fmt.Sprintf("%s: %d runs", what, len(r.Runs))
}

func (s *Server) retry(r *http.Request) (done, error) {
	_, err := s.desk.Retry(r.Context(), r.PathValue("id"), r.PostForm.Get("all") == "1")
	return done{text: "the run is queued again"}, err
}

func (s *Server) cancel(r *http.Request) (done, error) {
	run, err := s.desk.Cancel(r.Context(), r.PathValue("id"))
	text := "the run is about to end"
	if run.State.Finished() {
		text = "the run is " + string(run.State)
	}
	return done{text: text}, err
}

func (s *Server) release(r *http.Request) (done, error) {
	_, err := s.desk.Release(r.Context(), r.PathValue("id"))
	return done{text: "the run goes"}, err
}

// ofRule has something done to the rule that a form names, "" for all. One that has
// lost the field does not mean all.
func ofRule(do func(ctx context.Context, rule string) (done, error)) func(*http.Request) (done, error) {
	return func(r *http.Request) (done, error) {
		if !r.PostForm.Has("rule") {
			return done{}, &control.Error{Status: http.StatusBadRequest, Msg: "the form does not say which rule it is for", Hint: "rule is its name, empty for all rules"}
		}
		return do(r.Context(), r.PostForm.Get("rule"))
	}
}

func (s *Server) pause(ctx context.Context, rule string) (done, error) {
	_, err := s.desk.Pause(ctx, rule)
	return done{text: whose(rule) + " paused: events are kept, their runs wait"}, err
}

func (s *Server) resume(ctx context.Context, rule string) (done, error) {
	_, err := s.desk.Resume(ctx, rule)
	return done{text: whose(rule) + " no longer paused"}, err
}

func (s *Server) arm(ctx context.Context, rule string) (done, error) {
	_, err := s.desk.Arm(ctx, rule)
	return done{text: whose(rule) + " armed: the next run waits for your word"}, err
}

func (s *Server) disarm(ctx context.Context, rule string) (done, error) {
	_, err := s.desk.Disarm(ctx, rule)
	return done{text: whose(rule) + " no longer armed"}, err
}

// whose begins a sentence about a rule, or about all of them.
func whose(rule string) string {
	if rule == "" {
		return "everything is"
	}
	return fmt.Sprintf("rule %q is", shortened(rule))
}

func (s *Server) accept(r *http.Request) (done, error) {
	hash := strings.TrimSpace(r.PostForm.Get("hash"))
	if hash == "" {
		return done{}, &control.Error{Status: http.StatusBadRequest, Msg: "the form does not say which rules to accept"}
	}
	_, err := s.desk.AcceptRules(r.Context(), hash)
	return done{text: "the rules are in force"}, err
}
