package verify

import (
	"context"
	"strings"
	"time"
)

// gitlab is the checker of GitLab's two ways: the old token, sent as it is, and
// the signing token, which begins with whsec_ and signs as Standard Webhooks
// does. https://docs.gitlab.com/user/project/integrations/webhooks/
type gitlab struct {
	token   *token     // nil without such a secret
	signing *signature // likewise
	first   checker    // that of the first secret
}

var _ checker = (*gitlab)(nil)

func newGitlab(c Config) (checker, error) {
	tokens, signing := c, c
	tokens.Secrets, signing.Secrets = nil, nil
	for _, s := range c.Secrets {
		if strings.HasPrefix(s, "whsec_") {
			signing.Secrets = append(signing.Secrets, s)
		} else {
			tokens.Secrets = append(tokens.Secrets, s)
		}
	}
	g := &gitlab{}
	if len(tokens.Secrets) > 0 {
		g.token = &token{header: "X-Gitlab-Token", secrets: tokens.Secrets}
		g.first = g.token
	}
	if len(signing.Secrets) > 0 {
		s, err := build(gitlabRow(), signing)
		if err != nil {
			return nil, err
		}
		g.signing = s
	}
	if g.token == nil || g.signing != nil && strings.HasPrefix(c.Secrets[0], "whsec_") {
		g.first = g.signing
	}
	return g, nil
}

// gitlabRow is how a signing token signs.
func gitlabRow() row {
	return row{
		scheme: "gitlab", names: standardNames()[:1], list: " ", encoding: "base64",
		payload: "{{id}}.{{timestamp}}.{{raw}}", key: keyStandard,
	}
}

func (g *gitlab) check(ctx context.Context, r Request, now time.Time) error {
	c := g.choose(r)
	if c == nil {
		return fail("the request is signed, and no secret begins with whsec_")
	}
	return c.check(ctx, r, now)
}

// choose is the checker for a request, or nil. A signature that is there and
// can be checked is: a right token does not help a wrong signature.
func (g *gitlab) choose(r Request) checker {
	signed := len(values(r.Header, "Webhook-Signature")) > 0
	switch {
	case g.signing != nil && (signed || g.token == nil):
		return g.signing
	case signed && len(values(r.Header, g.token.header)) == 0:
		return nil
	}
	return g.token
}

func (g *gitlab) sign(r Request, now time.Time, id string) (Signed, error) {
	return g.first.sign(r, now, id)
}

func (g *gitlab) diagnose(ctx context.Context, r Request, now time.Time, known []Known) string {
	c := g.choose(r)
	if c == nil {
		return ""
	}
	return c.diagnose(ctx, r, now, known)
}
