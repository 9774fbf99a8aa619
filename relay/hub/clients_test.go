package hub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/account"
)

// clients are those that the hub tells of.
func (r *relay) clients() []account.Client {
	r.t.Helper()
	all, err := r.hub.Clients(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// client is the one of that name.
func (r *relay) client(name string) account.Client {
	r.t.Helper()
	all := r.clients()
	i := slices.IndexFunc(all, func(c account.Client) bool { return c.Name == name })
	if i < 0 {
		r.t.Fatalf("there is no client %q among %+v", name, all)
	}
	return all[i]
}

// inflight is how many deliveries the members of that name have not acknowledged.
func (r *relay) inflight(name string) int {
	r.hub.mu.Lock()
	defer r.hub.mu.Unlock()
	n := 0
	for c := range r.hub.conns {
		if c.member == nil {
			continue
		}
		if _, is := c.member.of.owner(); is == name {
			n += len(c.member.inflight)
		}
	}
	return n
}

// savedPositions is how many the store has.
func (r *relay) savedPositions() int {
	r.t.Helper()
	saved, err := r.store.Consumers(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return len(saved)
}

// A client that is away is told with all that waits for it, after a restart too,
// and goes on where it was.
func TestWhoIsAwayIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		r := setup{store: store, pipe: true}.start(t)
		c := r.acking("box", "")
		for range 3 {
			r.post("", "x")
		}
		_, two, three := c.webhook(), c.webhook(), c.webhook()
		c.ack(two.ID)
		synctest.Wait()
		if k := r.client("box"); k.Away || !k.LastSeen.IsZero() || k.Waiting["deploys"] != 2 {
			t.Errorf("connected: %+v, want 2 waiting", k)
		}
		c.ws.Close()
		time.Sleep(time.Second) // its position is saved
		left := time.Now()
		time.Sleep(time.Hour)
		for range 4 {
			r.post("", "x")
		}
		check := func() {
			t.Helper()
			k := r.client("box")
			if !k.Away || !k.Acks || k.AccessTokenKey != "key" || k.Group != "" || k.Waiting["deploys"] != 6 || !slices.Equal(k.Buckets, []string{"deploys"}) || k.IP != "" {
				t.Errorf("away: %+v, want 6 waiting in deploys", k)
			}
			if seen := left.Sub(k.LastSeen.Time); seen < 0 || seen > 3*time.Second {
				t.Errorf("last seen %s, want about %s", k.LastSeen, left)
			}
		}
		check()
		r.stop()
		r = setup{store: store, pipe: true}.start(t)
		check()
		c = r.acking("box", "")
		c.webhook()
		if k := r.client("box"); k.Away || k.Waiting["deploys"] != 6 {
			t.Errorf("back: %+v, want it connected, and 6 waiting", k)
		}
		if got := c.webhook().ID; got != three.ID {
			t.Errorf("second delivery %s, want %s", got, three.ID)
		}
		// Behind the window too.
		for range windowFrames {
			r.post("", "x")
		}
		if got := r.client("box").Waiting["deploys"]; got != windowFrames+6 {
			t.Errorf("%d waiting, want %d", got, windowFrames+6)
		}
	})
}

// What retention took waits for nobody.
func TestWhatIsGoneDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		c := r.acking("box\nclient\nx", "")
		for range 3 {
			r.post("", "x")
		}
		for range 3 {
			c.webhook()
		}
		c.ws.Close()
		time.Sleep(time.Second)
		r.store.retain(func(l *account.Log) bool { return l.Seq <= 2 })
		if k := r.client("box\nclient\nx"); !k.Away || k.Waiting["deploys"] != 1 {
			t.Errorf("away: %+v, want 1 waiting", k)
		}
	})
}

func TestForgetWhoIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		r := setup{store: store, pipe: true}.start(t)
		first, other := r.acking("box", "g"), r.acking("g", "")
		r.post("", "1")
		first.webhook()
		other.webhook()
		group := r.client("g")
		if group.Group != "g" {
			group = r.clients()[1]
		}
		if err := r.hub.Forget(t.Context(), group); !errors.Is(err, account.ErrConnected) {
			t.Errorf("forget who is connected: %v, want that it is", err)
		}
		first.ws.Close()
		synctest.Wait()

		store.mu.Lock()
		store.broken = errBroken
		store.mu.Unlock()
		if err := r.hub.Forget(t.Context(), group); !errors.Is(err, errBroken) {
			t.Errorf("forget on a broken disk: %v, want its error", err)
		}
		store.mu.Lock()
		store.broken = nil
		store.mu.Unlock()
		if all := r.clients(); len(all) != 2 || !all[1].Away || all[1].Waiting["deploys"] != 1 {
			t.Errorf("clients %+v, want both", all)
		}

		if err := r.hub.Forget(t.Context(), group); err != nil {
			t.Fatal(err)
		}
		if err := r.hub.Forget(t.Context(), group); !errors.Is(err, account.ErrNotFound) {
			t.Errorf("forget it again: %v, want that there is none", err)
		}
		time.Sleep(time.Second) // nothing that was to be saved comes back
		if k := r.client("g"); k.Group != "" || k.Away || k.Waiting["deploys"] != 1 || r.savedPositions() != 1 {
			t.Errorf("client %+v, %d saved, want the other one alone", k, r.savedPositions())
		}
		r.post("", "2")
		first = r.acking("box", "g")
		r.post("", "3")
		if got := string(first.webhook().Body); got != "3" {
			t.Errorf("body %q, want 3: it begins at the end", got)
		}
	})
}

var errBroken = errors.New("broken")

// Who comes while it is being forgotten loses nothing.
func TestComesWhileItIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		busy := &comesBack{memStore: store}
		r := setup{store: store, pipe: true, options: func(o *Options) { o.Store = busy }}.start(t)
		c := r.acking("box", "")
		r.post("", "1")
		c.webhook()
		c.ws.Close()
		time.Sleep(time.Second)
		k := r.client("box")
		busy.meanwhile = func() { c = r.acking("box", "") }
		if err := r.hub.Forget(t.Context(), k); !errors.Is(err, account.ErrConnected) {
			t.Errorf("forget: %v, want that it is connected", err)
		}
		c.webhook()
		time.Sleep(time.Second)
		if n := r.savedPositions(); n != 1 {
			t.Errorf("%d positions are saved, want 1", n)
		}
		c.ws.Close()
		synctest.Wait()
		r.stop()
		r = setup{store: store, pipe: true}.start(t)
		if got := string(r.acking("box", "").webhook().Body); got != "1" {
			t.Errorf("body %q, want 1", got)
		}
	})
}

// comesBack has something happen while a consumer is being forgotten.
type comesBack struct {
	*memStore
	meanwhile func()
}

func (s *comesBack) ForgetConsumer(ctx context.Context, name string) error {
	s.meanwhile()
	return s.memStore.ForgetConsumer(ctx, name)
}

// The store is asked once for what several are to get.
func TestBacklogsAreCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := setup{store: newMemStore(), pipe: true}.start(t)
		r.post("", "before") // nobody is at the very beginning
		first := r.acking("first", "")
		for i := range 5 {
			r.acking(fmt.Sprint("box", i), "")
		}
		first.ws.Close()
		r.post("", "x")
		synctest.Wait()
		asked := 0
		r.store.mu.Lock()
		r.store.afterRead = func(int) { asked++ }
		r.store.mu.Unlock()
		if all := r.clients(); len(all) != 6 || all[2].Waiting["deploys"] != 1 {
			t.Errorf("clients %+v, want 6", all)
		}
		if asked > 2 {
			t.Errorf("the store was asked %d times, want 2 at most", asked)
		}
	})
}
