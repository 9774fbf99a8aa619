package engine

import (
	"crypto/rand"
	"math/big"
	"slices"
	"strings"
)

// standIn stands in a rendered text for an expression over steps that have not
// run. Its token is made of digits, so that it passes for a part of a path, of a
// URL's host or port, of a header or a JSON text, and is escaped nowhere; nobody
// who sends an event knows it.
type standIn struct {
	token  string
	source string // of the expression
}

// isOpen reports whether the program reads a step that has not run.
func (s *Scope) isOpen(p *program) bool {
	if len(s.open) == 0 {
		return false
	}
	return p.anyStep || slices.ContainsFunc(p.steps, func(id string) bool { return slices.Contains(s.open, id) })
}

// standIn returns the token for the program.
func (s *Scope) standIn(p *program) string {
	for _, known := range s.standIns {
		if known.source == p.src {
			return known.token
		}
	}
	token := newToken()
	s.standIns = append(s.standIns, standIn{token, p.src})
	return token
}

// newToken is a number of 30 digits.
func newToken() string {
	const digits = 30
	least := new(big.Int).Exp(big.NewInt(10), big.NewInt(digits-1), nil)
	n, _ := rand.Int(rand.Reader, new(big.Int).Mul(least, big.NewInt(9))) // its reader never fails
	return n.Add(n, least).String()
}

// reveal notes what a secret came to in a text, for conceal.
func (s *Scope) reveal(text string) {
	if text != "" && !slices.Contains(s.revealed, text) {
		s.revealed = append(s.revealed, text)
	}
}

// conceal makes of a text that was rendered in s one that may be shown: without
// its secrets, be they so short that the masker does not look for them, and with
// {{ source }} in the place of each stand-in.
func (s *Scope) conceal(mask veil, text string) string {
	for _, in := range s.standIns { // first: a secret may be a number
		text = strings.ReplaceAll(text, in.token, "{{ "+in.source+" }}")
	}
	for _, secret := range s.revealed {
		if mask.string(secret) == Masked {
			continue
		}
		text = strings.ReplaceAll(text, secret, Masked)
		if js, err := s.doc.json(secret); err == nil {
			text = strings.ReplaceAll(text, js[1:len(js)-1], Masked)
		}
	}
	return mask.string(text)
}

// show makes of a plan that was rendered in s what may be kept and shown.
func (s *Scope) show(p Plan, mask *masker, whole bool) Plan {
	return s.veiled(p, newVeil(mask, s.event), whole)
}

// veiled is show with what masks a text.
func (s *Scope) veiled(p Plan, mask veil, whole bool) Plan {
	p.Open = s.opened()
	return showPlan(p, func(text string) string { return s.conceal(mask, text) }, whole)
}

// opened are the sources of the stand-ins, in the order of their first use.
func (s *Scope) opened() []string {
	var sources []string
	for _, in := range s.standIns {
		sources = append(sources, in.source)
	}
	return sources
}
