package control

import (
	"context"
	"fmt"
	"sync"
	"time"

	"hookrun/engine"
)

// What Rates tells of where the question says nothing of it.
const (
	defaultRatesSince = 24 * time.Hour
	defaultRatesStep  = 30 * time.Minute
	minRatesStep      = time.Second
)

// Rates implements History.
func (l *Local) Rates(ctx context.Context, q RateQuery) (RateList, error) {
	if q.Since.IsZero() {
		q.Since = time.Now().Add(-defaultRatesSince)
	}
	if q.Step == 0 {
		q.Step = defaultRatesStep
	}
	if err := q.check(time.Now()); err != nil {
		return RateList{}, err
	}
	rates, err := l.Store.Rates(ctx, engine.RatesFilter{Rule: q.Rule, Since: q.Since, Step: q.Step})
	if err != nil {
		return RateList{}, err
	}
	list := RateList{Step: q.Step.Seconds(), Rates: make([]Rate, 0, len(rates))}
	for _, r := range rates {
		runs := r.Ended
		if runs == nil {
			runs = map[engine.State]int{}
		}
		list.Rates = append(list.Rates, Rate{From: r.From, Events: r.Events, Runs: runs, Median: r.Median.Seconds(), Worst: r.Worst.Seconds()})
	}
	return list, nil
}

func (q RateQuery) check(now time.Time) error {
	if q.Step < minRatesStep {
		return badRequest("", "the step is %s, and the least is %s", q.Step, minRatesStep)
	}
	if spans := now.Sub(q.Since) / q.Step; spans >= engine.MaxRates {
		return badRequest("take a longer step or a later since", "that is %d spans, and at most %d can be asked for", spans+1, engine.MaxRates)
	}
	return nil
}

// Status implements History.
func (l *Local) Status(ctx context.Context) (Status, error) {
	summary, err := l.Summary(ctx)
	if err != nil {
		return Status{}, err
	}
	info, err := l.storeInfo(ctx)
	if err != nil {
		return Status{}, fmt.Errorf("size of the store: %w", err)
	}
	s := Status{
		Version: l.About.Version, Since: summary.Since, Health: Health{Reason: "no hookrun runs"},
		Relay: summary.Relay, Listen: l.About.Listen, Admin: l.About.Admin, Store: info, Summary: summary,
	}
	if l.Health != nil {
		s.Health = l.Health()
	}
	switch {
	case l.Ruleset != nil:
		s.Rules = len(l.Ruleset().Rules)
	case l.Names != nil:
		s.Rules = len(l.Names())
	}
	if l.Gate != nil {
		s.Held, s.Refused = l.Gate.Held() != nil, l.Gate.Refused()
	}
	if l.Feed != nil {
		s.Watchers = l.Feed.Watchers()
	}
	return s, nil
}

func (l *Local) storeInfo(ctx context.Context) (StoreInfo, error) {
	i, err := l.info.of(ctx, l.Store)
	return StoreInfo{
		Folder: i.Dir, Size: i.Size, Used: i.Used, Free: i.Free, Events: i.Events, Runs: i.Runs, Oldest: i.Oldest, Newest: i.Newest,
		KeepAge: l.About.KeepAge.Seconds(), KeepSize: l.About.KeepSize,
	}, err
}

// Bounds of an infoCache.
const (
	infoTimes = 100 // an answer is good for so many times the time that it took
	maxInfo   = 10 * time.Second
)

// infoCache keeps the size of a store for as long as to ask again would be dear: to
// count a million events takes a while, and every live page of the dashboard asks.
// Its zero is ready.
type infoCache struct {
	mu    sync.Mutex // guards what follows
	kept  engine.StoreInfo
	until time.Time
}

func (c *infoCache) of(ctx context.Context, s Store) (engine.StoreInfo, error) {
	began := time.Now()
	c.mu.Lock()
	kept, until := c.kept, c.until
	c.mu.Unlock()
	if began.Before(until) {
		return kept, nil
	}
	info, err := s.Info(ctx)
	if err != nil {
		return info, err
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept, c.until = info, now.Add(min(infoTimes*now.Sub(began), maxInfo))
	return info, nil
}
