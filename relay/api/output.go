package api

import (
	"net/http"
	"slices"
	"time"

	"hookrun/relay/account"

	"github.com/google/uuid"
)

// outputBody is what can be set of an output. What is absent is cleared, but for
// name and destination. An absent tls_verification is true where the relay itself
// sends, as clients that don't know of it did not ask for less; of an internal
// output it says nothing, and clients that leave false out want it back so.
type outputBody struct {
	Name            *string            `json:"name"`
	Description     string             `json:"description"`
	Destination     *string            `json:"destination"`
	Internal        bool               `json:"internal"`
	Disabled        bool               `json:"disabled"`
	LockPath        bool               `json:"lock_path"`
	Headers         account.Header     `json:"headers"`
	Rules           *account.Rule      `json:"rules"`
	FunctionID      string             `json:"function_id"`
	Retries         int                `json:"retries"`
	Timeout         int                `json:"timeout"`
	TLSVerification *bool              `json:"tls_verification"`
	Throttle        account.Throttle   `json:"throttle"`
	Durability      account.Durability `json:"durability"`
	ReplayMissing   account.Replay     `json:"replay_missing"`
}

func (body *outputBody) apply(out *account.Output) {
	*out = account.Output{
		ID:              out.ID,
		CreatedAt:       out.CreatedAt,
		UpdatedAt:       account.At(time.Now()),
		Name:            or(body.Name, out.Name),
		BucketID:        out.BucketID,
		Description:     body.Description,
		Destination:     or(body.Destination, out.Destination),
		Internal:        body.Internal,
		Disabled:        body.Disabled,
		LockPath:        body.LockPath,
		Headers:         body.Headers,
		Rules:           body.Rules,
		FunctionID:      body.FunctionID,
		Retries:         body.Retries,
		Timeout:         body.Timeout,
		TLSVerification: or(body.TLSVerification, !body.Internal),
		Throttle:        body.Throttle,
		Durability:      body.Durability,
		ReplayMissing:   body.ReplayMissing,
		CreatedBy:       out.CreatedBy,
	}
}

// readOutput reads the body of q, and makes sure of its rules.
func (s *Server) readOutput(q *request) (*outputBody, error) {
	var body outputBody
	release, err := s.decode(q, maxBody, &body)
	defer release()
	if err != nil {
		return nil, err
	}
	body.Rules, err = s.sound(body.Rules)
	return &body, err
}

func (s *Server) createOutput(q *request) (any, error) {
	body, err := s.readOutput(q)
	if err != nil {
		return nil, err
	}
	return s.editBucket(q, func(b *account.Bucket) (any, error) {
		out := account.Output{ID: uuid.NewString(), BucketID: b.ID, CreatedBy: q.token.ID}
		body.apply(&out)
		out.CreatedAt = out.UpdatedAt
		b.Outputs = append(b.Outputs, out)
		return out, nil
	})
}

// editOutput changes an output.
func (s *Server) editOutput(q *request, fn func(*account.Output)) (any, error) {
	return s.editBucket(q, func(b *account.Bucket) (any, error) {
		out := b.Output(q.args[1])
		if out == nil {
			return nil, notFound("output", q.args[1])
		}
		fn(out)
		return *out, nil
	})
}

func (s *Server) updateOutput(q *request) (any, error) {
	body, err := s.readOutput(q)
	if err != nil {
		return nil, err
	}
	return s.editOutput(q, body.apply)
}

func (s *Server) deleteOutput(q *request) (any, error) {
	return s.editBucket(q, func(b *account.Bucket) (any, error) {
		out := b.Output(q.args[1])
		if out == nil {
			return nil, notFound("output", q.args[1])
		}
		id := out.ID
		for _, in := range b.Inputs {
			if in.ResponseFromOutput == id {
				return nil, refuse(http.StatusPreconditionFailed,
					"input '%s' answers with what output '%s' says: set its response_from_output first", in.Name, out.Name)
			}
		}
		b.Outputs = slices.DeleteFunc(b.Outputs, func(out account.Output) bool { return out.ID == id })
		return gone(id), nil
	})
}

func (s *Server) setRules(q *request) (any, error) {
	var rules *account.Rule
	release, err := s.decode(q, maxBody, &rules)
	defer release()
	if err != nil {
		return nil, err
	}
	if rules, err = s.sound(rules); err != nil {
		return nil, err
	}
	return s.editRules(q, rules)
}

func (s *Server) clearRules(q *request) (any, error) { return s.editRules(q, nil) }

func (s *Server) editRules(q *request, rules *account.Rule) (any, error) {
	return s.editOutput(q, func(out *account.Output) {
		out.Rules = rules
		out.UpdatedAt = account.At(time.Now())
	})
}

// Bounds on the rules of an output.
const (
	maxRuleDepth = 32
	maxRules     = 1000 // of a tree, with all branches
)

// sound returns rules as they are kept: an empty object is none at all. Its error
// is for whoever asked for them.
func (s *Server) sound(rules *account.Rule) (*account.Rule, error) {
	if rules == nil || parts(rules) == 0 {
		return nil, nil
	}
	left := maxRules
	if err := checkTree(rules, "rules", 1, &left); err != nil {
		return nil, err
	}
	if err := s.checkRule(rules); err != nil {
		return nil, refuse(http.StatusBadRequest, "rules: %s", err)
	}
	return rules, nil
}

// parts is how many of a rule's fields are set.
func parts(r *account.Rule) int {
	n := 0
	for _, set := range []bool{r.And != nil, r.Or != nil, r.Not != nil, r.Match != nil} {
		if set {
			n++
		}
	}
	return n
}

// checkTree makes sure that a rule is one thing, and its tree no larger than
// left.
func checkTree(r *account.Rule, at string, depth int, left *int) error {
	*left--
	switch {
	case depth > maxRuleDepth || *left < 0:
		return refuse(http.StatusBadRequest, "rules: more than %d levels, or %d rules", maxRuleDepth, maxRules)
	case parts(r) != 1:
		return refuse(http.StatusBadRequest, "%s: want one of and, or, not, match", at)
	case r.Not != nil:
		return checkTree(r.Not, at+".not", depth+1, left)
	case r.And != nil:
		return checkList(r.And, at+".and", depth, left)
	case r.Or != nil:
		return checkList(r.Or, at+".or", depth, left)
	}
	return nil
}

func checkList(rules []account.Rule, at string, depth int, left *int) error {
	if len(rules) == 0 {
		return refuse(http.StatusBadRequest, "%s: want one rule at least", at)
	}
	for i := range rules {
		if err := checkTree(&rules[i], at, depth+1, left); err != nil {
			return err
		}
	}
	return nil
}
