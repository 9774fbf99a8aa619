package metrics

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"hookrun/relay/account"
	"hookrun/relay/hub"
)

const id = "593fe5f4-45f9-45cc-ba23-675fdc7c1638"

func scrape(t *testing.T, o Options) (int, string) {
	t.Helper()
	data := `{"buckets":[{"id":"` + id + `","name":"deploys"}]}`
	o.Book = func() *account.Account {
		a, err := account.Decode([]byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	o.TurnedAway = func() map[string]int64 { return map[string]int64{"refused": 4} }
	w := httptest.NewRecorder()
	Handler(o).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Code, w.Body.String()
}

func TestScrapeShowsEachBucket(t *testing.T) {
	status, text := scrape(t, Options{
		Stats: func(context.Context) (map[string]hub.Stats, error) {
			return map[string]hub.Stats{id: {Counts: hub.Counts{Received: 7, Dropped: 2}, Subscribers: 3, Waiting: 5}}, nil
		},
		Kept: func(context.Context) (Kept, error) { return Kept{11, 4096}, nil },
	})
	if status != 200 {
		t.Fatalf("status %d, want 200: %s", status, text)
	}
	for _, want := range []string{
		`hookrun_relay_received_total{bucket="deploys"} 7`, `hookrun_relay_dropped_total{bucket="deploys"} 2`,
		`hookrun_relay_subscribers{bucket="deploys"} 3`, `hookrun_relay_waiting{bucket="deploys"} 5`,
		`hookrun_relay_turned_away_total{why="refused"} 4`, "hookrun_relay_kept_deliveries 11", "hookrun_relay_kept_bytes 4096",
	} {
		if !strings.Contains(text, want+"\n") {
			t.Errorf("no line %q in:\n%s", want, text)
		}
	}
}

func TestScrapeFailsWithTheStore(t *testing.T) {
	status, _ := scrape(t, Options{
		Stats: func(context.Context) (map[string]hub.Stats, error) { return nil, errors.New("disk") },
		Kept:  func(context.Context) (Kept, error) { return Kept{}, nil },
	})
	if status != 500 {
		t.Errorf("status %d, want 500", status)
	}
}
