package engine

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func one(string) int { return 1 }

// take is next for a run that is expected to be there.
func take(t *testing.T, q *queue) Ref {
	t.Helper()
	ref, ok, wait := q.next(8)
	if !ok {
		t.Fatalf("next: nothing, wait %s, want a run", wait)
	}
	return ref
}

func TestQueueRunsOneOfARuleAtATimeInOrder(t *testing.T) {
	q := newQueue(one)
	q.add(Ref{ID: "1", Seq: 1, Rule: "a", Lane: "a"}, Ref{ID: "2", Seq: 2, Rule: "a", Lane: "a"}, Ref{ID: "3", Rule: "b", Lane: "b"})
	first, second := take(t, q), take(t, q)
	if first.ID != "1" || second.ID != "3" {
		t.Errorf("next gave %s, %s, want 1 and, beside it, 3", first.ID, second.ID)
	}
	if ref, ok, _ := q.next(8); ok {
		t.Errorf("next gave %s while 1 of the same rule runs", ref.ID)
	}
	q.done(first, nil)
	if got := take(t, q); got.ID != "2" {
		t.Errorf("next gave %s after 1, want 2", got.ID)
	}
}

func TestRunsThatComeOutOfOrderAreSorted(t *testing.T) {
	q := newQueue(one)
	q.add(Ref{ID: "2", Seq: 2, Rule: "a", Lane: "a"})
	q.add(Ref{ID: "1", Seq: 1, Rule: "a", Lane: "a"}, Ref{ID: "3", Seq: 3, Rule: "a", Lane: "a"})
	for _, want := range []string{"1", "2", "3"} {
		ref := take(t, q)
		if ref.ID != want {
			t.Errorf("next gave %s, want %s", ref.ID, want)
		}
		q.done(ref, nil)
	}
}

func TestLongLaneDelaysNoOther(t *testing.T) {
	q := newQueue(one)
	for i := range 100_000 {
		q.add(Ref{ID: fmt.Sprint(i), Seq: int64(i), Rule: "busy", Lane: "busy"})
	}
	q.add(Ref{ID: "x", Rule: "idle", Lane: "idle"})
	take(t, q)
	if got := take(t, q); got.ID != "x" {
		t.Errorf("next gave %s, want the first run of the idle rule", got.ID)
	}
	if n := q.waiting(); n != 99_999 {
		t.Errorf("waiting = %d, want 99999", n)
	}
}

func TestRetryBlocksItsLaneUntilItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue(one)
		q.add(Ref{ID: "1", Seq: 1, Rule: "a", Lane: "a"}, Ref{ID: "2", Seq: 2, Rule: "a", Lane: "a"})
		first := take(t, q)
		again := first
		again.Begun = true
		again.Due = time.Now().Add(time.Minute)
		q.done(first, &again)
		if ref, ok, wait := q.next(8); ok || wait != time.Minute {
			t.Errorf("next = %s, %v, wait %s, want nothing for a minute", ref.ID, ok, wait)
		}
		time.Sleep(time.Minute)
		if got := take(t, q); got.ID != "1" {
			t.Errorf("next gave %s, want the retry before what came later", got.ID)
		}
	})
}

func TestQueueForgetsEmptyLanes(t *testing.T) {
	q := newQueue(one)
	for i := range 100 {
		q.add(Ref{ID: "1", Rule: fmt.Sprint(i), Lane: fmt.Sprint(i)})
		q.done(take(t, q), nil)
	}
	if n := len(q.lanes) + len(q.turns); n != 0 {
		t.Errorf("%d lanes and turns are remembered, want none", n)
	}
}

func ref(seq int64, rule, lane string) Ref {
	return Ref{ID: fmt.Sprint(seq), Seq: seq, Rule: rule, Lane: lane}
}

// taken is the ids of all that may start now.
func taken(q *queue, maxRuns int) (ids []string, refs []Ref) {
	for {
		ref, ok, _ := q.next(maxRuns)
		if !ok {
			return ids, refs
		}
		ids, refs = append(ids, ref.ID), append(refs, ref)
	}
}

func wantTaken(t *testing.T, q *queue, maxRuns int, want ...string) []Ref {
	t.Helper()
	ids, refs := taken(q, maxRuns)
	if !slices.Equal(ids, want) {
		t.Errorf("next gave %q, want %q", ids, want)
	}
	return refs
}

func TestManyLanesOfARuleDelayNoOther(t *testing.T) {
	q := newQueue(one)
	for i := range int64(100_000) {
		q.add(ref(i, "busy", fmt.Sprint("lane ", i)))
	}
	q.add(ref(100_000, "idle", "idle"))
	wantTaken(t, q, 4, "0", "100000", "1")
}

func TestParkedRuleStartsNothingUntilItIsBack(t *testing.T) {
	q := newQueue(one)
	q.add(ref(1, "a", "shared"), ref(2, "b", "shared"), ref(3, "a", "other"))
	q.park("a", "its rule is paused")
	q.add(ref(4, "a", "shared"))
	refs := wantTaken(t, q, 9, "2")
	if n, why := q.waiting(), q.why(ref(4, "a", "shared")); n != 3 || why != "its rule is paused" {
		t.Errorf("%d wait, %q; want 3 and the reason", n, why)
	}
	q.remove(ref(3, "a", "other"))
	q.unpark("a")
	q.done(refs[0], nil)
	refs = wantTaken(t, q, 9, "1")
	q.done(refs[0], nil)
	wantTaken(t, q, 9, "4")
	if n := q.waiting(); n != 0 {
		t.Errorf("%d wait, want none", n)
	}
}

func TestHastenedRunNeedsNoWait(t *testing.T) {
	q := newQueue(one)
	begun := ref(1, "a", "l")
	begun.Begun, begun.Due = true, time.Now().Add(time.Hour)
	q.add(begun, ref(2, "a", "l"))
	wantTaken(t, q, 9)
	q.hasten(begun)
	q.done(wantTaken(t, q, 9, "1")[0], nil)
	q.done(wantTaken(t, q, 9, "2")[0], nil)

	q.park("a", "paused") // how it ends is decided: that is not held up by a pause
	q.add(begun)
	begun.Ends = true
	q.hasten(begun)
	wantTaken(t, q, 9, "1")
}

func TestLimitsMayChange(t *testing.T) {
	q := newQueue(one)
	q.add(ref(1, "a", "l"), ref(2, "a", "l"), ref(3, "a", "l"))
	refs := wantTaken(t, q, 9, "1")
	q.review(func(string) int { return 2 })
	refs = append(refs, wantTaken(t, q, 9, "2")...)
	q.review(one)
	q.done(refs[0], nil)
	wantTaken(t, q, 9)
	q.done(refs[1], nil)
	wantTaken(t, q, 9, "3")
}

func TestStoppedQueueGivesNothing(t *testing.T) {
	q := newQueue(one)
	q.add(ref(1, "a", "l"))
	q.stop(true)
	wantTaken(t, q, 9)
	if why := q.why(ref(1, "a", "l")); why != "everything is paused" {
		t.Errorf("why = %q", why)
	}
	q.stop(false)
	wantTaken(t, q, 9, "1")
}
