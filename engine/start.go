package engine

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// plan is a run that a rule asks for, and what is still to be decided about it
// inside of the commit that takes its event in.
type plan struct {
	rule    *Rule
	run     Run       // as it comes into the commit
	cancels []Pending // whose runs its event ends
	loop    bool      // a call of the same rule led to the event
	byHand  bool      // a person has it run: what keeps from doing things twice does not

	first     string // event of the run that this one is a duplicate of
	tripped   bool   // it is the one that made the breaker trip
	recovered bool   // it is the first after the breaker had tripped
}

// plans makes the runs that a rule that matched asks for: one, or one for each
// element of a list. Keys are texts from here on: what an edit of the rule makes
// of them is for later events.
func (r *Rule) plans(scope *Scope, mark string) ([]*plan, error) {
	loop := mark != "" && slices.Contains(viaMarks(scope.event), mark)
	if r.ForEach == nil {
		p, err := r.plan(scope, nil, loop)
		return []*plan{p}, err
	}
	list, err := r.ForEach.List.list(scope)
	if err != nil {
		return nil, fmt.Errorf("for_each.list: %w", err)
	}
	if len(list) > MaxForEach {
		return nil, fmt.Errorf("for_each.list: it has %d elements, more than %d", len(list), MaxForEach)
	}
	plans := make([]*plan, 0, len(list))
	size := 0
	for i, value := range list {
		p, err := r.plan(scope, &Element{r.ForEach.As, value}, loop)
		if err != nil { // the others are not to blame
			end(&p.run, Failed, nil, fmt.Sprintf("element %d: %v", i, err))
		}
		p.run.Index = i
		if size += len(p.run.Element); size > maxElementBytes {
			return nil, fmt.Errorf("for_each.list: its elements have more than %d MiB", maxElementBytes>>20)
		}
		plans = append(plans, p)
	}
	return plans, nil
}

// maxElementBytes bounds the elements of all runs that one event starts of a rule.
const maxElementBytes = 32 << 20

func (r *Rule) plan(scope *Scope, element *Element, loop bool) (*plan, error) {
	ev := scope.event
	p := &plan{rule: r, loop: loop, run: Run{
		ID: NewID(), Event: ev.ID, Rule: r.Name, RuleHash: r.Hash, State: Queued, Created: ev.Received,
	}}
	var each *Key
	if element != nil {
		json, err := scope.doc.json(element.Value)
		if err != nil {
			return p, fmt.Errorf("for_each.list: %w", err)
		}
		p.run.Element = json
		scope = scope.With(View{Element: element})
		each = r.ForEach.Key
	}
	return p, r.keys(scope, each, p)
}

// keys evaluates the keys of a run. each is what those that are not given are
// by default; nil: there is one for all.
func (r *Rule) keys(scope *Scope, each *Key, p *plan) error {
	key := func(name string, k *Key) (text string, err error) {
		if k == nil {
			k, name = each, "for_each"
		}
		if k == nil {
			return "", nil
		}
		if text, err = k.Eval(scope); err != nil {
			return "", fmt.Errorf("%s.key: %w", name, err)
		}
		return text, nil
	}
	run := &p.run
	var err error
	if run.Key, err = key("concurrency", r.Concurrency.Key); err != nil {
		return err
	}
	run.Lane = r.Concurrency.lane(r.Name, run.Key)
	if r.Throttle != nil {
		text, err := key("throttle", r.Throttle.Key)
		if err != nil {
			return err
		}
		run.Throttle = scoped(text)
	}
	if r.AtMost != nil {
		text, err := key("at_most", r.AtMost.Key)
		if err != nil {
			return err
		}
		run.Breaker = scoped(text)
	}
	if r.Dedupe != nil {
		text, err := r.Dedupe.Key.Eval(scope)
		if err != nil && !IsNil(err) {
			return fmt.Errorf("dedupe.key: %w", err)
		}
		if text != "" { // else it could be anything: it is done once more rather than not at all
			run.Dedupe = scoped(text)
		}
	}
	return r.cancelKeys(scope, p)
}

func (r *Rule) cancelKeys(scope *Scope, p *plan) error {
	for _, c := range r.Cancels {
		q := Pending{Rule: c.Rule}
		if c.Key != nil {
			text, err := c.Key.Eval(scope)
			if err != nil {
				return fmt.Errorf("cancels.key: %w", err)
			}
			if text == "" {
				continue // it could be anybody's
			}
			q.Key = &text
		}
		p.cancels = append(p.cancels, q)
	}
	return nil
}

// scoped is a key as a run keeps it: "" is for runs that have none.
func scoped(key string) string { return "=" + key }

// lane names the lane of a run, for people too: rule "deploy", key "acme/app".
func (c Concurrency) lane(rule, key string) string {
	if c.None {
		return ""
	}
	name := "rule " + strconv.Quote(rule)
	if c.Group != "" {
		name = "group " + strconv.Quote(c.Group)
	}
	if key != "" {
		name += ", key " + strconv.Quote(key)
	}
	return name
}

// limit is how many runs of a lane go at one time.
func (c Concurrency) limit() int { return max(c.Limit, 1) }

// The header ViaHeader lists marks, oldest first: a rule of one hookrun that made
// a call, and so led to the event. It holds no name, as strangers read it.

// maxVia bounds the marks that a call passes on.
const maxVia = 32

// mark stands for a rule of this hookrun in ViaHeader; "" where the instance has
// no name. Who does not know the instance can't make one: it stands for no rule
// in a forged header.
func mark(instance, rule string) string {
	if instance == "" {
		return ""
	}
	const enough = 12 // bytes
	sum := hmac.New(sha256.New, []byte(instance))
	sum.Write([]byte(rule))
	return hex.EncodeToString(sum.Sum(nil)[:enough])
}

// aMark is what a mark looks like: all else in the header is a stranger's, and is
// not passed on.
var aMark = regexp.MustCompile(`^[0-9a-f]{24}$`)

// viaMarks are the marks that an event came with.
func viaMarks(ev *Event) []string {
	var marks []string
	for name, values := range ev.Header {
		if !strings.EqualFold(name, ViaHeader) {
			continue
		}
		for m := range strings.SplitSeq(strings.Join(values, ","), ",") {
			if m = strings.TrimSpace(m); aMark.MatchString(m) && len(marks) < maxVia {
				marks = append(marks, m)
			}
		}
	}
	return marks
}

// via is the header of calls that a run of the rule makes for the event.
func via(ev *Event, mark string) string {
	if mark == "" {
		return ""
	}
	marks := append(viaMarks(ev), mark)
	return strings.Join(marks[max(0, len(marks)-maxVia):], ", ")
}

// element reads what plan has written, for expressions.
func (r *Rule) element(run *Run) (*Element, error) {
	if run.Element == "" {
		return nil, nil
	}
	if r.ForEach == nil {
		return nil, Permanent(errors.New("the run is for an element of a list, but its rule has no for_each any more"))
	}
	doc, err := parseJSON([]byte(run.Element))
	if err != nil {
		return nil, Permanent(fmt.Errorf("element of for_each: %w", err))
	}
	return &Element{r.ForEach.As, doc.value}, nil
}
