package hub

import (
	"fmt"
	"testing"
)

func TestPlainSubscriberGetsWhatComes(t *testing.T) {
	r := startRelay(t, newMemStore())
	c := r.plain()
	if resp := r.post("/extra/path?foo=bar", `{"hi": "there"}`); resp.status != 200 {
		t.Fatalf("status %d, want 200", resp.status)
	}
	w := c.webhook()
	if got, want := fmt.Sprint(w.BucketName, w.InputName, w.Path, w.Query, string(w.Body), w.Method), `deploysDefault public endpoint/extra/pathfoo=bar{"hi": "there"}POST`; got != want {
		t.Errorf("webhook %s, want %s", got, want)
	}
}

func TestConsumerGetsWhatCameWhileItWasAway(t *testing.T) {
	store := newMemStore()
	r := startRelay(t, store)
	c := r.acking("box", "")
	r.post("", "1")
	r.post("", "2")
	one := c.webhook()
	c.webhook()
	c.ack(one.ID)
	c.say(`{"action":"subscribe"}`)
	c.want(subscribed) // it was read
	c.ws.Close()
	for i := 3; i <= 500; i++ {
		r.post("", fmt.Sprint(i))
	}
	r.stop()

	r = startRelay(t, store)
	c = r.acking("box", "")
	for i := 2; i <= 500; i++ {
		w := c.webhook()
		if got, want := string(w.Body), fmt.Sprint(i); got != want {
			t.Fatalf("body %s, want %s", got, want)
		}
		c.ack(w.ID)
	}
}

func TestGroupShares(t *testing.T) {
	r := startRelay(t, newMemStore())
	a, b := r.acking("a", "g"), r.acking("b", "g")
	for i := range 100 {
		r.post("", fmt.Sprint(i))
	}
	seen := map[string]bool{}
	for range 50 {
		seen[string(a.webhook().Body)] = true
		seen[string(b.webhook().Body)] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d different webhooks, want 100", len(seen))
	}
}
