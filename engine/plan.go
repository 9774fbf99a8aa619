package engine

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// Plan is what an action does, or would do: what the templates of its rule came
// to. Only the fields of its kind are set. What an action gives holds the texts
// whole, with secrets in them; RuleSet.Show makes of it what may be kept and shown.
type Plan struct {
	Argv  []string  `json:"argv,omitempty"` // exec, shell: the program and its arguments
	Dir   string    `json:"dir,omitempty"`  // exec, shell: "" is the folder that hookrun was started in
	Env   []PlanVar `json:"env,omitempty"`  // exec, shell: what the rule adds to the clean environment, in order
	Stdin *string   `json:"stdin,omitempty"`

	Path    string  `json:"path,omitempty"`    // file: where it is written, absolute
	Write   string  `json:"write,omitempty"`   // file: create, replace or append
	Content *string `json:"content,omitempty"` // file

	Method string    `json:"method,omitempty"` // http
	URL    string    `json:"url,omitempty"`    // http
	Header []PlanVar `json:"header,omitempty"` // http: what the rule says, in order
	Body   *string   `json:"body,omitempty"`   // http: nil where there is none

	// Open are the places in the texts above that can't be known yet: sources of
	// expressions over steps that have not run. Each stands in its text as
	// {{ source }}.
	Open []string `json:"open,omitempty"`
}

// PlanVar is a named value of a Plan.
type PlanVar struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Bounds of what is kept and shown of a Plan.
const (
	// MaxPlanText is how much of one text is, in bytes: of a longer one its
	// beginning, how long it is, and its SHA-256, so that two of them can still be
	// told apart.
	MaxPlanText = 4 << 10

	maxPlan     = 256 << 10 // of all its texts, in bytes: what comes behind it is cut short
	minPlanText = 64        // of a text that is cut short, in bytes
	maxPlanList = 1000      // arguments, variables, headers
)

// Show makes of a plan what may be kept and shown: masked, and cut unless whole.
// Two texts that are shown alike are alike once their secrets are masked.
func (s *RuleSet) Show(p Plan, whole bool) Plan {
	return showPlan(p, s.mask().string, whole)
}

// Mask puts Masked in the place of the secrets of the rules.
func (s *RuleSet) Mask(text string) string { return s.mask().string(text) }

// MaskBeginning is Mask for the beginning of a text: what may begin a secret at its
// end is left out, so many bytes.
func (s *RuleSet) MaskBeginning(p []byte) (masked []byte, left int) {
	masked, rest := s.mask().split(p)
	return masked, len(rest)
}

// showPlan is Show with what masks a text.
func showPlan(p Plan, mask func(string) string, whole bool) Plan {
	s := &planShower{mask: mask, whole: whole, left: maxPlan}
	return Plan{
		Argv: s.list(p.Argv), Dir: s.text(p.Dir), Env: s.vars(p.Env), Stdin: s.pointer(p.Stdin),
		Path: s.text(p.Path), Write: p.Write, Content: s.pointer(p.Content),
		Method: s.text(p.Method), URL: s.text(p.URL), Header: s.vars(p.Header), Body: s.pointer(p.Body),
		Open: s.list(p.Open),
	}
}

// Size is how many bytes of texts a plan has; 0 of nil.
func (p *Plan) Size() int {
	if p == nil {
		return 0
	}
	size := len(p.Dir) + len(p.Path) + len(p.Write) + len(p.Method) + len(p.URL)
	for _, text := range []*string{p.Stdin, p.Content, p.Body} {
		if text != nil {
			size += len(*text)
		}
	}
	for _, text := range slices.Concat(p.Argv, p.Open) {
		size += len(text)
	}
	for _, v := range slices.Concat(p.Env, p.Header) {
		size += len(v.Name) + len(v.Value)
	}
	return size
}

// planShower makes texts of a plan fit to be shown.
type planShower struct {
	mask  func(string) string
	whole bool
	left  int // of maxPlan
}

func (s *planShower) text(text string) string {
	text = s.mask(text)
	most := max(min(MaxPlanText, s.left), minPlanText)
	if s.whole {
		most = len(text)
	}
	shown := showText(text, most)
	s.left -= len(shown)
	return shown
}

// showText is the beginning of a text, with a note of the whole where it is not
// that: where it was cut, or is not UTF-8. A text that looks as if it had the note
// gets another, so that it passes for no other text.
func showText(text string, most int) string {
	const note = " …[%d bytes, sha256 %x]"
	noted := strings.HasSuffix(text, "]") && strings.Contains(text, " …[")
	if len(text) <= most && !noted && utf8.ValidString(text) {
		return text
	}
	end := min(len(text), most)
	for back := 0; back < utf8.UTFMax-1 && end > 0 && end < len(text) && !utf8.RuneStart(text[end]); back++ {
		end--
	}
	return strings.ToValidUTF8(text[:end], "\uFFFD") + fmt.Sprintf(note, len(text), sha256.Sum256([]byte(text)))
}

func (s *planShower) pointer(text *string) *string {
	if text == nil {
		return nil
	}
	shown := s.text(*text)
	return &shown
}

func (s *planShower) list(texts []string) []string {
	var shown []string
	for i, t := range texts {
		if left := len(texts) - i; i == maxPlanList-1 && left > 1 && !s.whole {
			rest := strings.Join(texts[i:], "\x00")
			return append(shown, fmt.Sprintf("…[%d more, sha256 %x]", left, sha256.Sum256([]byte(s.mask(rest)))))
		}
		shown = append(shown, s.text(t))
	}
	return shown
}

func (s *planShower) vars(vars []PlanVar) []PlanVar {
	var shown []PlanVar
	for i, v := range vars {
		if left := len(vars) - i; i == maxPlanList-1 && left > 1 && !s.whole {
			var rest strings.Builder
			for _, v := range vars[i:] {
				rest.WriteString(v.Name + "\x00" + v.Value + "\x00")
			}
			return append(shown, PlanVar{"…", fmt.Sprintf("[%d more, sha256 %x]", left, sha256.Sum256([]byte(s.mask(rest.String()))))})
		}
		shown = append(shown, PlanVar{s.text(v.Name), s.text(v.Value)})
	}
	return shown
}
