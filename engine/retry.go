package engine

import (
	"math/rand/v2"
	"time"
)

// maxAskedWait bounds a wait that another side asks for, and one that was
// noted before the clock was set back.
const maxAskedWait = time.Hour

// tryAgain reports whether the run is tried again after err, and after what wait;
// where it is not, why says for people what of that is not plain.
func (a *attempt) tryAgain(err error) (wait time.Duration, ok bool, why string) {
	policy := a.rule.Retry
	if a.failing != nil && a.failing.Retry != nil {
		policy = *a.failing.Retry
	}
	try := a.tries()
	wait, ok = policy.again(try, err)
	if policy.If == nil || !ok {
		if try < policy.Attempts && !ok {
			why = "; not tried again: it would fail again"
		}
		return wait, ok, why
	}
	ok, _, evalErr := policy.If.Eval(a.scope(err.Error()))
	switch {
	case evalErr != nil:
		return 0, false, "; retry.if: " + evalErr.Error()
	case !ok:
		return 0, false, "; not tried again: retry.if is false"
	}
	return wait, true, ""
}

// again reports whether a run that failed at its try-th try is tried again, and
// after what wait. A policy with a condition does not ask whether the action
// thinks that another try helps.
func (r Retry) again(try int, err error) (wait time.Duration, ok bool) {
	if try >= r.Attempts || r.If == nil && IsPermanent(err) {
		return 0, false
	}
	return max(r.backoff(try), min(AskedWait(err), maxAskedWait)), true
}

// tries counts the failures that the failing step's policy is about, this one
// included: of the step itself where it has its own, else of all that have none.
func (a *attempt) tries() int {
	own := map[string]bool{} // keys of steps with a policy of their own
	for _, s := range a.rule.Steps {
		own[s.key()] = s.Retry != nil
	}
	failing := ""
	if a.failing != nil && a.failing.Retry != nil {
		failing = a.failing.key()
	}
	n := 1
	for _, r := range a.earlier {
		if r.State != StepFailed || r.Passed || r.Phase != PhaseMain || r.Attempt <= a.run.Base {
			continue
		}
		if failing == "" && !own[r.key()] || failing != "" && r.key() == failing {
			n++
		}
	}
	return n
}

// backoff is exponential with full jitter: anything between nothing and
// Backoff doubled for each try before this one, at most Max. The first
// millisecond is kept, so that a retry never comes at once.
func (r Retry) backoff(try int) time.Duration {
	base, most := r.Backoff, r.Max
	if base == 0 {
		base = DefaultBackoff
	}
	if most == 0 {
		most = max(DefaultMaxBackoff, base)
	}
	ceiling := most
	if shift := try - 1; shift < 32 && base<<shift > 0 && base<<shift < most {
		ceiling = base << shift
	}
	return time.Millisecond + rand.N(ceiling)
}
