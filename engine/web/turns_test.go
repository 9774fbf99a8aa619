package web

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// slowDesk explains nothing until it is let.
type slowDesk struct {
	*fakeDesk
	let chan struct{} // closed by the test

	mu sync.Mutex // guards at
	at int        // explaining now
}

// explaining is how many it explains now.
func (d *slowDesk) explaining() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at
}

func (d *slowDesk) Explain(ctx context.Context, q control.ExplainQuery) (*engine.Rehearsal, error) {
	d.mu.Lock()
	d.at++
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.at--
		d.mu.Unlock()
	}()
	select {
	case <-d.let:
		return d.fakeDesk.Explain(ctx, q)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// TestPagesAreMadeInTurn: the page of an event may take a hundred MiB while it is
// made.
func TestPagesAreMadeInTurn(t *testing.T) {
	for _, what := range []string{"GET /events/" + eventID, "POST /ui/events/" + eventID + "/explain"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				desk := &slowDesk{fakeDesk: &fakeDesk{text: "word"}, let: make(chan struct{})}
				s := newServer(t, Options{Desk: desk})
				method, target, _ := strings.Cut(what, " ")
				answers := make(chan *http.Response, 8)
				var wg sync.WaitGroup
				for range cap(answers) {
					wg.Go(func() { answers <- ask(s, method, target, "body=new", nil) })
				}
				synctest.Wait()
				if at := desk.explaining(); at == 0 || at >= cap(answers) {
					t.Errorf("%d of %d pages are made at one time, want some", at, cap(answers))
				}
				close(desk.let)
				wg.Wait()
				for range cap(answers) {
					resp := <-answers
					text, err := io.ReadAll(resp.Body)
					if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(text), "</html>") {
						t.Errorf("a page that waited for its turn is answered %d with %d bytes, %v; want 200 and all of it", resp.StatusCode, len(text), err)
					}
				}
			})
		})
	}
}

func TestPageThatGetsNoTurnSaysWhenToAskAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		desk := &slowDesk{fakeDesk: &fakeDesk{text: "word"}, let: make(chan struct{})}
		s := newServer(t, Options{Desk: desk})
		answers := make(chan *http.Response, 8)
		var wg sync.WaitGroup
		for range cap(answers) {
			wg.Go(func() { answers <- ask(s, http.MethodGet, "/events/"+eventID, "", nil) })
		}
		time.Sleep(time.Minute)
		refused := len(answers)
		for range refused {
			resp := <-answers
			if got := resp.Header.Get("Retry-After"); resp.StatusCode != http.StatusServiceUnavailable || got == "" {
				t.Errorf("one that gets no turn is answered %d with Retry-After %q, want 503 and when", resp.StatusCode, got)
			}
		}
		if at := desk.explaining(); at == 0 || refused != cap(answers)-at {
			t.Errorf("%d pages are being made and %d were refused, want %d together", at, refused, cap(answers))
		}
		close(desk.let)
		wg.Wait()
	})
}

// TestPageOfOneWhoIsGoneIsNotMade: what a browser asked for and left.
func TestPageOfOneWhoIsGoneIsNotMade(t *testing.T) {
	s := newServer(t, Options{Desk: &fakeDesk{text: "word"}})
	resp := ask(s, http.MethodGet, "/events/"+eventID, "", func(r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		*r = *r.WithContext(ctx)
	})
	text, err := io.ReadAll(resp.Body)
	if err != nil || len(text) > 0 {
		t.Errorf("one who is gone is sent %d bytes, %v; want none", len(text), err)
	}
}

// TestLivePageDoesNotExplainAgain: each notice of anything has an open page asked for
// again.
func TestLivePageDoesNotExplainAgain(t *testing.T) {
	for live, want := range map[string]bool{"": true, "1": false} {
		resp := ask(newServer(t, Options{Desk: &fakeDesk{text: "word"}}), http.MethodGet, "/events/"+eventID, "", func(r *http.Request) {
			r.Header.Set("Hookrun-Live", live)
		})
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		text := string(data)
		if got := strings.Contains(text, "asked 3 times, true 1"); got != want {
			t.Errorf("with Hookrun-Live: %s the page has trees: %v, want %v", live, got, want)
		}
		if !strings.Contains(text, `data-live="runs"`) {
			t.Errorf("with Hookrun-Live: %s the page does not have its live part", live)
		}
	}
}
