package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"hookrun/relay/account"
)

// When what is due is looked for, and how much at once.
const (
	page         = 16 // deliveries read at once, beside those being sent
	soonest      = 10 * time.Millisecond
	pollEvery    = time.Second      // while something is sent: the store says no more what is due then
	latest       = time.Minute      // where nothing is due
	storePause   = 5 * time.Second  // after an error of the store
	storeTimeout = 30 * time.Second // of one question to it
	stopTime     = 10 * time.Second // for what is being sent when Run's context ends
)

// Store keeps deliveries.
type Store interface {
	// Due returns public deliveries that are preparing and whose Next is not after
	// at, the oldest Next first, with their Size but without their Body.
	Due(ctx context.Context, at time.Time, limit int) ([]*account.Log, error)

	// NextDue is the oldest Next of all of them, whether it has come or not; false
	// where there is none.
	NextDue(ctx context.Context) (time.Time, bool, error)

	// Log returns a delivery with its Body.
	Log(ctx context.Context, id string) (*account.Log, error)

	// Update notes what became of a delivery. An error wraps account.ErrNotFound
	// where it is not kept any more; so does one of Log.
	Update(ctx context.Context, id string, u account.Update) error
}

// Options says what to send, and how. Store and Output are required.
type Options struct {
	Store Store

	// Output finds an output as it is now; nil where there is none any more. It is
	// called from many goroutines, and what it returns is not changed by anybody.
	Output func(bucketID, outputID string) *account.Output

	// Bucket is the name of a bucket, for the log; "" where there is none. nil: ids
	// alone are logged.
	Bucket func(id string) string

	// Done is told what a delivery came to, once it is not tried again: before that
	// is stored, as a sender may be waiting for it. A StatusCode of 0 says that
	// there was no answer; Answer is then a line for the log that says why, and not
	// for the sender. It must be quick. nil: nobody is told.
	Done func(l *account.Log, u account.Update)

	// Allow are the networks that may be reached although they are not on the
	// public internet. nil: none. Connections that are open stay so.
	Allow func() []netip.Prefix

	// Hurry is closed when nobody wants to wait for what is being sent once Run's
	// context ended. nil: never.
	Hurry <-chan struct{}

	Log       *slog.Logger // nil: nothing is logged
	UserAgent string       // for webhooks that came without one; "": hookrun
}

// Forwarder sends what is due. Make one with New.
type Forwarder struct {
	opts  Options
	lines *lines
	wake  chan struct{} // of 1: something may be due; never closed

	// send makes one HTTP request; verify says whether the other side's
	// certificate counts. Tests replace it.
	send func(req *http.Request, verify bool) (*http.Response, error)
	idle func() // ends idle connections
}

// New returns a forwarder that sends nothing until Run.
func New(o Options) *Forwarder {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.UserAgent == "" {
		o.UserAgent = "hookrun"
	}
	strict, lax := transport(o.Allow, true), transport(o.Allow, false)
	return &Forwarder{
		opts: o, lines: newLines(), wake: make(chan struct{}, 1),
		send: func(req *http.Request, verify bool) (*http.Response, error) {
			if verify {
				return strict.RoundTrip(req)
			}
			return lax.RoundTrip(req)
		},
		idle: func() {
			strict.CloseIdleConnections()
			lax.CloseIdleConnections()
		},
	}
}

// Wake says that something may be due. It never waits.
func (f *Forwarder) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run sends what is due until ctx ends; what is being sent then has 10 s, or
// until Hurry, and goes on at the next start where it is not done by then. It
// returns nil, and may be called once.
func (f *Forwarder) Run(ctx context.Context) error {
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	var tries, bound sync.WaitGroup
	for ctx.Err() == nil {
		f.pause(ctx, f.look(ctx, sending, &tries))
	}
	bound.Go(func() {
		defer giveUp()
		f.boundStop(sending)
	})
	tries.Wait()
	giveUp()
	bound.Wait()
	f.idle()
	return nil
}

// pause waits until it is time to look again.
func (f *Forwarder) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.wake:
	case <-ctx.Done():
	}
}

// boundStop returns when nothing is to be sent any longer.
func (f *Forwarder) boundStop(sending context.Context) {
	t := time.NewTimer(stopTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-f.opts.Hurry:
	case <-sending.Done(): // all is sent
	}
}

// look starts what is due and can be sent now, and returns when to look again,
// if nothing happens before.
func (f *Forwarder) look(ctx, sending context.Context, tries *sync.WaitGroup) time.Duration {
	asking, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	more, err := f.start(asking, sending, tries)
	if more && err == nil {
		return 0
	}
	var next time.Time
	found := false
	if err == nil {
		next, found, err = f.opts.Store.NextDue(asking)
	}
	switch busy := f.lines.busy(); {
	case err != nil && ctx.Err() == nil:
		f.opts.Log.Error("what is to be forwarded can't be read or put off, will try again", "in", storePause, "err", err)
		return storePause
	case !found:
		return latest
	case busy > 0:
		wait := min(max(time.Until(next), pollEvery), latest)
		if soon, ok := f.lines.soon(time.Now()); ok {
			wait = min(wait, max(soon, soonest))
		}
		return wait
	default:
		return min(max(time.Until(next), soonest), latest)
	}
}

// start reads what is due. more reports that there may be more of it.
func (f *Forwarder) start(ctx, sending context.Context, tries *sync.WaitGroup) (more bool, err error) {
	limit := f.lines.begin() + page
	now := time.Now()
	due, err := f.opts.Store.Due(ctx, now, limit)
	if err != nil {
		return false, err
	}
	var late []postponed
	for _, l := range due {
		p, until := f.lines.enter(l, now)
		switch p {
		case taken:
			tries.Go(func() { f.forward(sending, l) })
		case full:
			late = append(late, postponed{l, until})
		case crowded:
			return false, f.postpone(ctx, late)
		}
	}
	return len(due) == limit, f.postpone(ctx, late)
}

// postponed is a delivery whose output is busy enough.
type postponed struct {
	log   *account.Log
	until time.Time
}

// postpone gives them a later time in the store, so that they stand in the way
// of no other output.
func (f *Forwarder) postpone(ctx context.Context, all []postponed) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { // the store writes what comes together in one go
			u := soFar(p.log)
			u.Next = p.until
			errs[i] = f.opts.Store.Update(ctx, p.log.ID, u)
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil && !errors.Is(err, account.ErrNotFound) {
			return fmt.Errorf("put a delivery off: %w", err)
		}
	}
	return nil
}

// soFar is what is noted of a delivery already.
func soFar(l *account.Log) account.Update {
	return account.Update{
		Status: l.Status, StatusCode: l.StatusCode, Answer: l.Answer, AnswerHead: l.AnswerHead,
		Retries: l.Retries, Duration: l.Duration, Next: l.Next,
	}
}

// forward makes one try of a delivery that is due.
func (f *Forwarder) forward(ctx context.Context, due *account.Log) {
	started := time.Now()
	l, err := f.whole(ctx, due.ID)
	if err == nil {
		f.forwardWhole(ctx, l, started)
	} else if !errors.Is(err, account.ErrNotFound) && ctx.Err() == nil {
		f.opts.Log.Error("a delivery can't be read, will try again", "delivery", due.ID, "in", storePause, "err", err)
		pause(ctx, storePause) // it stays due
	}
	f.lines.leave(due, time.Since(started))
	f.Wake()
}

// whole reads a delivery with its body.
func (f *Forwarder) whole(ctx context.Context, id string) (*account.Log, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return f.opts.Store.Log(ctx, id)
}

// forwardWhole makes the try and notes what came of it. What is cut off by the
// end of ctx counts as not tried.
func (f *Forwarder) forwardWhole(ctx context.Context, l *account.Log, started time.Time) {
	out := f.opts.Output(l.BucketID, l.OutputID)
	r := f.try(ctx, l, out)
	took := time.Since(started)
	if r.err == nil || ctx.Err() == nil {
		u := outcome(l, out, r, took, time.Now())
		f.note(l, out, u, r)
		if u.Status != account.StatusPreparing && f.opts.Done != nil {
			f.opts.Done(l, u)
		}
		f.save(ctx, l, u)
	}
}

// note logs when an output begins to fail, and when it works again, but not each
// delivery.
func (f *Forwarder) note(l *account.Log, out *account.Output, u account.Update, r result) {
	log := f.opts.Log.With("delivery", l.ID, "bucket_id", l.BucketID, "output_id", l.OutputID)
	if f.opts.Bucket != nil {
		log = log.With("bucket", f.opts.Bucket(l.BucketID))
	}
	if out != nil {
		log = log.With("output", out.Name)
	}
	if u.Status == account.StatusSent {
		if f.lines.failing(l.OutputID, false) {
			log.Info("an output works again")
		}
		return
	}
	level := slog.LevelDebug
	if !f.lines.failing(l.OutputID, true) {
		level = slog.LevelWarn
	}
	log = log.With("status_code", r.status, "retries", u.Retries)
	if r.err != nil {
		log = log.With("err", r.err)
	}
	if u.Status == account.StatusPreparing {
		log.Log(context.Background(), level, "an output failed, will try again", "at", u.Next.UTC().Format(time.RFC3339))
		return
	}
	log.Log(context.Background(), level, "an output failed, the delivery is not tried again")
}

// Waits between tries of the store.
const (
	firstSaveWait = time.Second
	maxSaveWait   = 30 * time.Second
)

// save stores what became of a delivery, again until it works: it would be sent
// again otherwise.
func (f *Forwarder) save(ctx context.Context, l *account.Log, u account.Update) {
	for wait := firstSaveWait; ; wait = min(2*wait, maxSaveWait) {
		err := f.saveOnce(ctx, l.ID, u)
		if err == nil || errors.Is(err, account.ErrNotFound) {
			return
		}
		if ctx.Err() != nil {
			f.opts.Log.Error("what became of a delivery could not be stored, it is sent again at the next start", "delivery", l.ID, "err", err)
			return
		}
		f.opts.Log.Error("what became of a delivery could not be stored, will try again", "delivery", l.ID, "in", wait, "err", err)
		pause(ctx, wait)
	}
}

// pause waits until d has passed or ctx ended.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

func (f *Forwarder) saveOnce(ctx context.Context, id string, u account.Update) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTimeout)
	defer cancel()
	return f.opts.Store.Update(ctx, id, u)
}
