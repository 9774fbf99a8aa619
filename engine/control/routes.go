package control

import (
	_ "embed"
	"fmt"
	"net/http"
	"strconv"

	"hookrun/engine"
)

func (s *Server) release(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Release(r.Context(), r.PathValue("id"))
}

func (s *Server) events(r *http.Request) (any, error) {
	p, err := params(r, "bucket", "rule", "outcome", "since", "until", "before", "after", "limit")
	if err != nil {
		return nil, err
	}
	q := EventQuery{
		Bucket: p.text("bucket"), Rule: p.text("rule"), Outcomes: words[engine.EventOutcome](p, "outcome"),
		Since: p.time("since"), Until: p.time("until"), Before: p.number("before"), After: p.number("after"), Limit: p.limit(),
	}
	if p.err != nil {
		return nil, p.err
	}
	return s.desk.Events(r.Context(), q)
}

func (s *Server) event(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Event(r.Context(), r.PathValue("id"))
}

// body sends the body of an event as bytes that no browser takes for a page.
func (s *Server) body(w http.ResponseWriter, r *http.Request) {
	_, err := params(r)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	body, err := s.desk.Body(r.Context(), r.PathValue("id"))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="%s.body"`, body.Event))
	h.Set("Content-Length", strconv.Itoa(len(body.Data)))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cache-Control", "no-store")
	h.Set(headerEvent, body.Event)
	if body.Type != "" {
		h.Set(headerType, body.Type)
	}
	_, _ = w.Write(body.Data) // one that hung up can't be told anything
}

// Headers of the answer that is the body of an event.
const (
	headerEvent = "Hookrun-Event"
	headerType  = "Hookrun-Content-Type" // as its sender said
)

func (s *Server) explainKept(r *http.Request) (any, error) {
	p, err := params(r, "rule")
	if err != nil {
		return nil, err
	}
	return s.desk.Explain(r.Context(), ExplainQuery{Event: r.PathValue("id"), Rule: p.text("rule")})
}

func (s *Server) explain(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	var q ExplainQuery
	if err := readBody(r, &q); err != nil {
		return nil, err
	}
	return s.desk.Explain(r.Context(), q)
}

func (s *Server) rejections(r *http.Request) (any, error) {
	p, err := params(r, "bucket", "since", "limit")
	if err != nil {
		return nil, err
	}
	q := RejectionQuery{Bucket: p.text("bucket"), Since: p.time("since"), Limit: p.limit()}
	if p.err != nil {
		return nil, p.err
	}
	return s.desk.Rejections(r.Context(), q)
}

func (s *Server) rates(r *http.Request) (any, error) {
	p, err := params(r, "rule", "since", "step")
	if err != nil {
		return nil, err
	}
	q := RateQuery{Rule: p.text("rule"), Since: p.time("since"), Step: p.duration("step")}
	if p.err != nil {
		return nil, p.err
	}
	return s.desk.Rates(r.Context(), q)
}

func (s *Server) status(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Status(r.Context())
}

func (s *Server) replay(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	var q ReplayQuery
	if err := readBody(r, &q); err != nil {
		return nil, err
	}
	return s.desk.Replay(r.Context(), q)
}

func (s *Server) armed(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Armed(r.Context())
}

func (s *Server) arm(r *http.Request) (any, error) {
	p, err := params(r, "rule")
	if err != nil {
		return nil, err
	}
	return s.desk.Arm(r.Context(), p.text("rule"))
}

func (s *Server) disarm(r *http.Request) (any, error) {
	p, err := params(r, "rule")
	if err != nil {
		return nil, err
	}
	return s.desk.Disarm(r.Context(), p.text("rule"))
}

func (s *Server) rules(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Rules(r.Context())
}

func (s *Server) generations(r *http.Request) (any, error) {
	if _, err := params(r); err != nil {
		return nil, err
	}
	return s.desk.Generations(r.Context())
}

func (s *Server) acceptRules(r *http.Request) (any, error) {
	p, err := params(r, "hash")
	if err != nil {
		return nil, err
	}
	return s.desk.AcceptRules(r.Context(), p.text("hash"))
}

//go:embed openapi.json
var openAPI []byte

// OpenAPI is the description of the API that Server answers, as JSON: OpenAPI 3.1.
// Its paths begin with /v1.
func OpenAPI() []byte { return openAPI }

func (s *Server) describe(w http.ResponseWriter, r *http.Request) {
	if _, err := params(r); err != nil {
		s.refuse(w, r, err)
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	_, _ = w.Write(OpenAPI()) // one that hung up can't be told anything
}
