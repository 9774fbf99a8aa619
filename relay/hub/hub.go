package hub

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	"golang.org/x/time/rate"

	"hookrun/relay/account"
)

// Guard bounds how often an address may fail to log in.
type Guard interface {
	Allowed(from netip.Addr) bool
	Failed(from netip.Addr)
	Passed(from netip.Addr)
}

// Options of a Hub. Store, Book and Address are required.
type Options struct {
	Store Store
	Book  *account.Book

	// Guard is asked before somebody may log in; nil: everybody may try.
	Guard Guard

	// Address tells who sent a request; required.
	Address func(r *http.Request) netip.Addr

	// Match reports whether an output's rules take a webhook; nil: all do.
	Match func(rule *account.Rule, l *account.Log) (bool, error)

	// Wake is called when there is something for the relay itself to send; nil:
	// nobody does that.
	Wake func()

	// Own reports whether a host name is the relay's own: an input that had it would
	// get what is meant for all others. nil: none is.
	Own func(host string) bool

	// Senders bounds how often an address may fail to show what a bucket asks its
	// senders for; nil: as often as it likes.
	Senders Guard

	// Strict has unknown inputs answered with 404. nil: never.
	Strict func() bool

	Log *slog.Logger // nil: nothing is logged
}

// Hub brings webhooks to subscribers. Make one with New.
type Hub struct {
	o        Options
	log      *slog.Logger
	upgrader websocket.Upgrader

	begun chan struct{} // closed by Run when clients can subscribe

	wg sync.WaitGroup

	heap      heap
	unknown   atomic.Int64  // requests to inputs that are not there
	strangers *rate.Limiter // lines in the log about these
	refusals  *rate.Limiter // lines in the log about failed logins
	saveNow   chan struct{} // of 1: positions are to be saved at once; never closed
	saving    sync.Mutex    // held while positions are saved, so that older ones don't come last

	mu        sync.Mutex      // guards all below, and the order of what is published
	life      context.Context // of connections and pumps; nil until Run
	ended     bool
	known     int64 // a feed that is new holds every delivery with a greater Seq
	last      int64 // the greatest Seq that was published
	number    int   // of the newest connection
	conns     map[*conn]bool
	feeds     map[string]*feed     // by bucket id
	recent    []*delivery          // of all feeds, the oldest first
	bytes     int                  // of recent
	moved     []move               // consumers that have another key than in the store
	consumers map[string]*consumer // by key
	waiting   map[string]*waiter   // by the id of each delivery that may answer
	waiters   quota                // of waiting
	awaitedBy map[string]int       // of these, by input id
	hasty     quota                // webhooks that are stored after their sender was answered
	reopened  map[string]time.Time // until when a delivery that was handed out late may be answered
	limits    map[string]*limiter  // by input id
	counts    map[string]*Counts   // by bucket id
}

// New returns a hub that knows how far consumers were. It starts nothing: see
// Run. ctx bounds what is read from the store.
func New(ctx context.Context, o Options) (*Hub, error) {
	h := &Hub{
		o:         o,
		log:       cmp.Or(o.Log, slog.New(slog.DiscardHandler)),
		begun:     make(chan struct{}),
		waiters:   quota{max: maxWaiting, maxBytes: maxWaitingBytes},
		hasty:     quota{max: maxHasty, maxBytes: maxHastyBytes},
		strangers: rate.NewLimiter(rate.Every(strangersEvery), maxStrangers),
		refusals:  rate.NewLimiter(1, maxRefusals),
		saveNow:   make(chan struct{}, 1),
		conns:     make(map[*conn]bool),
		feeds:     make(map[string]*feed),
		consumers: make(map[string]*consumer),
		waiting:   make(map[string]*waiter),
		awaitedBy: make(map[string]int),
		reopened:  make(map[string]time.Time),
		limits:    make(map[string]*limiter),
		counts:    make(map[string]*Counts),
	}
	h.upgrader = websocket.Upgrader{
		HandshakeTimeout:  writeTimeout,
		ReadBufferSize:    readBuffer,
		WriteBufferSize:   writeBuffer,
		WriteBufferPool:   &sync.Pool{},
		CheckOrigin:       func(*http.Request) bool { return true }, // whoever has no key gets nothing
		EnableCompression: true,
	}
	var err error
	if h.last, err = o.Store.LastSeq(ctx); err != nil {
		return nil, fmt.Errorf("open the relay: %w", err)
	}
	h.known = h.last
	saved, err := o.Store.Consumers(ctx)
	if err != nil {
		return nil, fmt.Errorf("open the relay: %w", err)
	}
	for _, s := range saved {
		if o.Book.Now().Bucket(s.BucketID) != nil {
			h.consumer(s.Name).restore(s)
		}
	}
	return h, nil
}

// quota is how much is under way of something that takes memory, and its bounds.
type quota struct {
	n, max          int
	bytes, maxBytes int
}

// take notes one more. It reports false where that is too much; one alone never
// is.
func (q *quota) take(bytes int) bool {
	if q.n >= q.max || q.n > 0 && q.bytes+bytes > q.maxBytes {
		return false
	}
	q.n++
	q.bytes += bytes
	return true
}

func (q *quota) give(bytes int) {
	q.n--
	q.bytes -= bytes
}

// Run serves subscribers until ctx ends. Then it tells each to come back, saves
// how far consumers are and returns nil. Nothing may be delivered to the hub any
// more by then. Run may be called once; who comes before it waits for it.
func (h *Hub) Run(ctx context.Context) error {
	life, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	h.mu.Lock()
	h.life = life
	h.mu.Unlock()
	stopWatching := h.o.Book.Watch(h.accountChanged)
	defer stopWatching()
	close(h.begun)

	h.wg.Go(func() { h.keep(ctx) })
	h.tick(ctx)

	h.mu.Lock()
	h.ended = true
	for c := range h.conns {
		c.finish(websocket.CloseServiceRestart, reasonRestarting)
	}
	h.mu.Unlock()
	cutLater := time.AfterFunc(goodbyeTime, cut)
	h.wg.Wait()
	cutLater.Stop()
	h.saveOrTell(context.WithoutCancel(ctx))
	return nil
}

// tick does what is to be done from time to time, until ctx ends. It waits for no
// disk: clients count on their pings.
func (h *Hub) tick(ctx context.Context) {
	pings := time.NewTicker(pingEvery / pingShares)
	defer pings.Stop()
	for share := 0; ; {
		select {
		case <-pings.C:
			h.ping(share)
			share = (share + 1) % pingShares
			if share == 0 {
				h.tidy(time.Now())
			}
		case <-ctx.Done():
			return
		}
	}
}

// keep has the positions of consumers stored, until ctx ends.
func (h *Hub) keep(ctx context.Context) {
	saves, touches := time.NewTicker(saveEvery), time.NewTicker(touchEvery)
	defer saves.Stop()
	defer touches.Stop()
	for {
		select {
		case <-saves.C:
		case <-h.saveNow:
		case <-touches.C:
			h.touch()
			if err := h.forget(ctx); err != nil && ctx.Err() == nil {
				h.log.Warn("clients that were away for long are not forgotten, will try again", "in", touchEvery, "err", err)
			}
		case <-ctx.Done():
			return
		}
		h.saveOrTell(ctx)
	}
}

// ping has a share of the subscribers pinged, so that not all are at once.
func (h *Hub) ping(share int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		if c.number%pingShares == share && c.subscribed {
			c.enqueuePing()
		}
	}
}

// tidy forgets what has run out.
func (h *Hub) tidy(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, until := range h.reopened {
		if now.After(until) {
			delete(h.reopened, id)
		}
	}
	a := h.o.Book.Now()
	h.forgetFeeds(a)
	for id := range h.limits {
		if _, in := a.Input(id); in == nil {
			delete(h.limits, id)
		}
	}
	for id := range h.counts {
		if a.Bucket(id) == nil {
			delete(h.counts, id)
		}
	}
}

// touch has it noted which consumers are here.
func (h *Hub) touch() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.consumers {
		for id, p := range c.positions {
			p.dirty = p.dirty || c.followedByOther(nil, id)
		}
	}
}

// accountChanged brings subscriptions in line with a changed account.
func (h *Hub) accountChanged(a *account.Account) {
	h.adjust(a)
	h.saveOrTell(context.Background()) // before anybody can know of a new bucket
}

func (h *Hub) adjust(a *account.Account) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.conns {
		if c.token == "" {
			continue // not logged in yet
		}
		if !admits(a, c.token, c.secretHash) {
			h.cut(c, websocket.ClosePolicyViolation, reasonRevoked)
			continue
		}
		h.follow(c, a)
	}
	for _, c := range h.consumers {
		for id := range c.positions {
			if a.Bucket(id) == nil {
				delete(c.positions, id)
			}
		}
	}
}

// admits reports whether a token still gives access with that secret.
func admits(a *account.Account, token, secretHash string) bool {
	t := a.Token(token)
	return t != nil && t.Active && t.SecretHash == secretHash
}
