package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

// Bounds of following.
const (
	followEvery    = time.Second
	followPatience = time.Minute // without an answer
	followPages    = 10          // that are asked for at once, of account.MaxLimit deliveries
	followWatched  = 20          // of the newest, whose status may yet change
	followKept     = 10_000      // deliveries that are remembered, so that none is printed twice
)

// follower prints deliveries as they come.
type follower struct {
	client *manage.Client
	o      *relayLogsOptions
	out    screen
	say    func(format string, args ...any)

	names map[string]string // of buckets, by id
	seen  map[string]string // status that was printed last, by id of a delivery; nil: nothing was asked for yet
}

// follow prints the last deliveries, and what comes, until ctx ends.
func follow(ctx context.Context, p Process, client *manage.Client, o *relayLogsOptions) error {
	f := &follower{client: client, o: o, out: screenOf(p.Stdout), names: map[string]string{}}
	f.say = func(format string, args ...any) { fmt.Fprintf(p.Stderr, "hookrun: "+format+"\n", args...) }
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	answered := time.Now()
	for quiet := false; ; {
		err := f.look(ctx)
		switch {
		case ctx.Err() != nil:
			return nil // a person has seen enough
		case err == nil && quiet:
			f.say("the relay answers again")
			answered, quiet = time.Now(), false
		case err == nil:
			answered = time.Now()
		case f.seen == nil || !passes(err) || time.Since(answered) > followPatience:
			return err
		case !quiet:
			f.say("%s; it is asked again", printable(err.Error()))
			quiet = true
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// passes reports whether an error may go away by itself.
func passes(err error) bool {
	said, ok := errors.AsType[*manage.Error](err)
	return ok && (said.Status == 0 || said.Status >= 500 || said.Status == http.StatusTooManyRequests)
}

// look asks once, and prints what is new, the oldest first.
func (f *follower) look(ctx context.Context) error {
	logs, err := f.fetch(ctx)
	if err != nil {
		return err
	}
	hidden := 0 // of the oldest
	if f.seen == nil {
		hidden = max(len(logs)-f.o.limit, 0)
	}
	if f.seen == nil || len(f.seen) > followKept {
		f.seen = f.only(logs)
	}
	slices.Reverse(logs)
	for i := range logs {
		l := &logs[i]
		if status, known := f.seen[l.ID]; i >= hidden && (!known || status != l.Status) {
			if err := f.print(ctx, l); err != nil {
				return err // it is printed next time
			}
		}
		f.seen[l.ID] = l.Status
	}
	return nil
}

// only is what is known of these alone.
func (f *follower) only(logs []manage.Log) map[string]string {
	kept := make(map[string]string, len(logs))
	for i := range logs {
		if status, known := f.seen[logs[i].ID]; known {
			kept[logs[i].ID] = status
		}
	}
	return kept
}

// fetch asks for the newest, and goes back to one that was seen.
func (f *follower) fetch(ctx context.Context) ([]manage.Log, error) {
	q := f.o.query()
	if f.seen == nil {
		return lastLogs(ctx, f.client, q, max(f.o.limit, followWatched))
	}
	var all []manage.Log
	q.Limit = followWatched
	for range followPages {
		page, err := f.client.Logs(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		known := slices.ContainsFunc(page.Data, func(l manage.Log) bool { _, ok := f.seen[l.ID]; return ok })
		if q.Cursor = page.NextCursor; known || q.Cursor == "" {
			return all, nil
		}
		q.Limit = account.MaxLimit
	}
	if len(f.seen) > 0 {
		f.say("more came at once than is printed: hookrun relay logs -limit N lists all")
	}
	return all, nil
}

func (f *follower) print(ctx context.Context, l *manage.Log) error {
	if f.o.json {
		return f.out.json(l)
	}
	if f.names[l.BucketID] == "" {
		names, err := bucketNames(ctx, f.client)
		if err != nil {
			return err
		}
		f.names = names
	}
	row := logRow(l, f.names)
	_, err := fmt.Fprintf(f.out, "%s  %-16s  %-6s  %-24s  %-9s  %-4s  %7s  %s\n", row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7])
	return err
}
