package engine

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

// take is next for a run that is expected to be there.
func take(t *testing.T, q *queue) Ref {
	t.Helper()
	ref, ok, wait := q.next()
	if !ok {
		t.Fatalf("next: nothing, wait %s, want a run", wait)
	}
	return ref
}

func TestQueueRunsOneOfARuleAtATimeInOrder(t *testing.T) {
	q := newQueue()
	q.add(Ref{ID: "1", Rule: "a"}, Ref{ID: "2", Rule: "a"}, Ref{ID: "3", Rule: "b"})
	first, second := take(t, q), take(t, q)
	if first.ID != "1" || second.ID != "3" {
		t.Errorf("next gave %s, %s, want 1 and, beside it, 3", first.ID, second.ID)
	}
	if ref, ok, _ := q.next(); ok {
		t.Errorf("next gave %s while 1 of the same rule runs", ref.ID)
	}
	q.done(first, nil)
	if got := take(t, q); got.ID != "2" {
		t.Errorf("next gave %s after 1, want 2", got.ID)
	}
}

func TestRunsThatComeOutOfOrderAreSorted(t *testing.T) {
	q := newQueue()
	q.add(Ref{ID: "2", Seq: 2, Rule: "a"})
	q.add(Ref{ID: "1", Seq: 1, Rule: "a"}, Ref{ID: "3", Seq: 3, Rule: "a"})
	for _, want := range []string{"1", "2", "3"} {
		ref := take(t, q)
		if ref.ID != want {
			t.Errorf("next gave %s, want %s", ref.ID, want)
		}
		q.done(ref, nil)
	}
}

func TestLongLaneDelaysNoOther(t *testing.T) {
	q := newQueue()
	for i := range 100_000 {
		q.add(Ref{ID: fmt.Sprint(i), Rule: "busy"})
	}
	q.add(Ref{ID: "x", Rule: "idle"})
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
		q := newQueue()
		q.add(Ref{ID: "1", Rule: "a"}, Ref{ID: "2", Rule: "a"})
		first := take(t, q)
		again := first
		again.Due = time.Now().Add(time.Minute)
		q.done(first, &again)
		if ref, ok, wait := q.next(); ok || wait != time.Minute {
			t.Errorf("next = %s, %v, wait %s, want nothing for a minute", ref.ID, ok, wait)
		}
		time.Sleep(time.Minute)
		if got := take(t, q); got.ID != "1" {
			t.Errorf("next gave %s, want the retry before what came later", got.ID)
		}
	})
}

func TestQueueForgetsEmptyLanes(t *testing.T) {
	q := newQueue()
	for i := range 100 {
		q.add(Ref{ID: "1", Rule: fmt.Sprint(i)})
		q.done(take(t, q), nil)
	}
	if len(q.lanes) != 0 {
		t.Errorf("%d lanes are remembered, want none", len(q.lanes))
	}
}
