package control

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/enginetest"
)

// takeAll takes every turn, and returns what gives one back.
func takeAll(t *testing.T, turns *Turns) (giveBack func()) {
	t.Helper()
	for range maxTurns {
		done, err := turns.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		giveBack = done
	}
	return giveBack
}

var busy = Error{http.StatusServiceUnavailable, "hookrun is busy with what others asked for", "try again in some seconds"}

func TestTurnsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns Turns
		giveBack := takeAll(t, &turns)
		begun := time.Now()
		_, err := turns.Take(t.Context())
		wantError(t, err, busy)
		if got := time.Since(begun); got != turnWait {
			t.Errorf("one who gets none waits %v, want %v", got, turnWait)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := turns.Take(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("one who is gone gets %v, want why", err)
		}
		time.AfterFunc(time.Second, giveBack)
		done, err := turns.Take(t.Context())
		if err != nil {
			t.Fatalf("one who waits for a turn that ends gets %v", err)
		}
		done()
	})
}

// TestExplainsTakeTurns: each may take some tens of MiB.
func TestExplainsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rules := engine.NewRuleSet(nil, "")
		l := &Local{Store: &enginetest.MemStore{}, Ruleset: func() *engine.RuleSet { return rules }}
		giveBack := takeAll(t, &l.turns)
		h := NewServer(l, nil).Handler(t.Context())
		explain := func() *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodPost, "/v1/explain", strings.NewReader(`{"made":{"bucket":"b"}}`))
			r.Header.Set("Content-Type", "application/json")
			h.ServeHTTP(w, r)
			return w
		}
		if w := explain(); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("with every turn taken it is answered %d, Retry-After %q; want 503 and when", w.Code, w.Header().Get("Retry-After"))
		}
		giveBack()
		for range 2 * maxTurns {
			if w := explain(); w.Code != http.StatusOK {
				t.Fatalf("with a turn free it is answered %d %s, want 200", w.Code, w.Body)
			}
		}
	})
}
