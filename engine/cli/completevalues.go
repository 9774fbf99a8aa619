package cli

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/engine/store"
)

// Bounds of looking for what a word may become.
const (
	lookTime = 200 * time.Millisecond // in the store: a person waits at a key
	lookMost = 50                     // runs or events, the newest
)

// ofFlag is what the value of a flag may be.
func (l *typed) ofFlag(ctx context.Context, f *flag.Flag, now string) []candidate {
	switch f.Name {
	case "rule":
		return l.rules()
	case "bucket":
		return l.buckets()
	case "state":
		return parted(now, wordsOf(engine.States()))
	case "outcome":
		return parted(now, wordsOf(engine.EventOutcomes()))
	case "event":
		return l.events(ctx, now)
	case "log":
		return choices("text", "json")
	case "on-corrupt":
		return choices("stop", "fresh")
	case "since", "until", "against":
		return choices("1h", "24h", "7d", "30d")
	}
	return nil
}

// operands are what may stand behind the flags of the command.
func (l *typed) operands(ctx context.Context, now string) []candidate {
	switch l.at.name {
	case "pause", "resume", "arm":
		return onlyFirst(l, l.rules)
	case "runs show", "runs logs":
		return onlyFirst(l, func() []candidate { return l.runs(ctx, now, nil) })
	case "runs retry":
		return onlyFirst(l, func() []candidate { return l.runs(ctx, now, func(r *engine.Run) bool { return r.State.Finished() }) })
	case "runs cancel":
		return onlyFirst(l, func() []candidate { return l.runs(ctx, now, func(r *engine.Run) bool { return !r.State.Finished() }) })
	case "runs release":
		return onlyFirst(l, func() []candidate { return l.runs(ctx, now, func(r *engine.Run) bool { return r.Armed }) })
	case "events show", "events body":
		return onlyFirst(l, func() []candidate { return l.events(ctx, now) })
	case "replay":
		return l.events(ctx, now)
	case "print":
		return printWords(l.said)
	case "rollback":
		return onlyFirst(l, l.generations)
	}
	return nil
}

// onlyFirst is what find finds, for the first word alone.
func onlyFirst(l *typed, find func() []candidate) []candidate {
	if len(l.said) > 0 {
		return nil
	}
	return find()
}

func choices(words ...string) []candidate {
	var all []candidate
	for _, w := range words {
		all = append(all, candidate{text: w})
	}
	return all
}

func wordsOf[T ~string](values []T) []candidate {
	var all []candidate
	for _, v := range values {
		all = append(all, candidate{text: string(v)})
	}
	return all
}

// parted are candidates for the last of several values with commas.
func parted(now string, all []candidate) []candidate {
	before := now[:strings.LastIndexByte(now, ',')+1]
	for i := range all {
		all[i].text = before + all[i].text
	}
	return all
}

// data is the data folder that the line names.
func (l *typed) data() string {
	if data := l.given["data"]; data != "" {
		return data
	}
	return defaultData()
}

func (l *typed) rules() []candidate {
	names, _ := rules.Names(lastFiles(openArchive(l.data())))
	return choices(names...)
}

func (l *typed) buckets() []candidate {
	if strings.HasPrefix(l.at.name, "relay") {
		return nil // those of a relay are others
	}
	_, names := rules.Names(lastFiles(openArchive(l.data())))
	return choices(names...)
}

func (l *typed) generations() []candidate {
	entries, err := openArchive(l.data()).List()
	if err != nil {
		return nil
	}
	var all []candidate
	for _, e := range entries {
		all = append(all, candidate{strconv.Itoa(e.N), "in force since " + e.At.Local().Format(time.DateTime)})
	}
	return all
}

// runs are the newest whose id begins with now; good says which of them.
func (l *typed) runs(ctx context.Context, now string, good func(*engine.Run) bool) (all []candidate) {
	l.look(ctx, func(ctx context.Context, s *store.Reader) {
		runs, err := s.Runs(ctx, engine.RunFilter{IDPrefix: now, Limit: lookMost})
		if err != nil {
			return
		}
		for _, r := range runs {
			if good == nil || good(r) {
				all = append(all, candidate{idFor(r.ID, now), fmt.Sprintf("%s %s, %s", r.State, r.Rule, ago(r.Created))})
			}
		}
	})
	return distinct(all)
}

// events are the newest whose id begins with now.
func (l *typed) events(ctx context.Context, now string) (all []candidate) {
	l.look(ctx, func(ctx context.Context, s *store.Reader) {
		page, err := s.Events(ctx, engine.EventFilter{IDPrefix: now, Limit: lookMost})
		if err != nil {
			return
		}
		for _, e := range page.Events {
			all = append(all, candidate{idFor(e.ID, now), fmt.Sprintf("%s %s %s, %s", e.Outcome, e.Bucket, e.Kind, ago(e.Received))})
		}
	})
	return distinct(all)
}

// idFor is an id as lists have it, whole where more than that was typed.
func idFor(id, now string) string {
	if len(now) > shortID {
		return id
	}
	return short(id)
}

// distinct is all, each id once: two that came at one moment begin alike.
func distinct(all []candidate) []candidate {
	seen := map[string]bool{}
	return slices.DeleteFunc(all, func(c candidate) bool {
		again := seen[c.text]
		seen[c.text] = true
		return again
	})
}

// look has fn read the store, where there is one.
func (l *typed) look(ctx context.Context, fn func(context.Context, *store.Reader)) {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	s, err := store.OpenReader(ctx, l.data())
	if err != nil {
		return
	}
	fn(ctx, s)
	_ = s.Close() // it was only read
}
