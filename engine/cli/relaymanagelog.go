package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/relay/account"
	"hookrun/relay/manage"
)

const relayLogsManual = `hookrun relay logs [list] [flags]
hookrun relay logs follow [flags]
hookrun relay logs show|resend ID [flags]

Lists what a relay took and where it went, the newest first: when it came, to
which bucket, method and path, its status, the code that the destination answered,
the bytes of its body and its id. A webhook to several outputs has a line for
each.

  show ID     everything about one; -body prints its body alone
  resend ID   send one again
  follow      go on printing what comes, the same as -f

An id may be given by its beginning, as it is listed. Each word has a manual:
hookrun relay logs show -h.

Examples:
  hookrun relay logs
  hookrun relay logs -bucket deploys -status failed -since 24h
  hookrun relay logs -limit 500 -json
  hookrun relay logs -f

Exit codes: 0 done, also where there is none, 1 it could not, 2 wrong usage.`

const relayLogsFollowManual = `hookrun relay logs follow [flags]

Prints the last deliveries, then each that comes, and each whose status changes,
until a signal ends it. It asks the relay every second.

Examples:
  hookrun relay logs follow
  hookrun relay logs follow -bucket deploys -json

Exit codes: 0 ended by a signal, 1 the relay did not answer for a minute, or refused,
2 wrong usage.`

// maxPathColumn bounds a path in a list, in characters.
const maxPathColumn = 40

func relayLogsCommand() command {
	return command{name: "relay logs", manual: relayLogsManual, run: listOr(runRelayLogs), words: func() []command {
		return []command{
			{name: "relay logs show", manual: relayLogsShowManual, run: runRelayLogsShow},
			{name: "relay logs resend", manual: relayLogsResendManual, run: runRelayLogsResend},
			{name: "relay logs follow", manual: relayLogsFollowManual, run: runRelayLogsFollow},
		}
	}}
}

// relayLogsOptions are the flags of relay logs.
type relayLogsOptions struct {
	relay          relayFlags
	bucket, status string
	since          moment
	limit          int
	json, follow   bool
}

func (o *relayLogsOptions) add(fs *flag.FlagSet) {
	o.relay.add(fs)
	fs.StringVar(&o.bucket, "bucket", "", "only those to this `BUCKET`")
	fs.StringVar(&o.status, "status", "", "only those with this `STATUS`: "+strings.Join(logStatuses(), ", "))
	fs.Var(&o.since, "since", "only those since this `TIME`: 24h, 7d, 2026-07-01 or RFC 3339")
	fs.IntVar(&o.limit, "limit", account.DefaultLimit, "at most `N`")
	fs.BoolVar(&o.json, "json", false, "print one JSON object a line, with headers and body")
}

func logStatuses() []string {
	return []string{account.StatusReceived, account.StatusSent, account.StatusFailed, account.StatusStalled, account.StatusPreparing, account.StatusRejected}
}

// check finds what can't be meant.
func (o *relayLogsOptions) check() error {
	switch {
	case o.limit < 1 || o.limit > maxListed:
		return &usageError{fmt.Sprintf("-limit=%d is not between 1 and %d", o.limit, maxListed), ""}
	case o.status != "" && !slices.Contains(logStatuses(), o.status):
		hint := cmp.Or(engine.Nearest(o.status, logStatuses()), "the words are "+strings.Join(logStatuses(), ", "))
		return &usageError{fmt.Sprintf("-status %q: there is no such status", o.status), hint}
	}
	return nil
}

func (o *relayLogsOptions) query() manage.LogsQuery {
	return manage.LogsQuery{Bucket: o.bucket, Status: o.status, From: time.Time(o.since)}
}

func runRelayLogs(ctx context.Context, p Process, c command, args []string) error {
	var o relayLogsOptions
	fs := flags(c)
	o.add(fs)
	fs.BoolVar(&o.follow, "f", false, "go on printing what comes; see hookrun relay logs follow -h")
	return o.run(ctx, p, c, fs, args)
}

func runRelayLogsFollow(ctx context.Context, p Process, c command, args []string) error {
	o := relayLogsOptions{follow: true}
	fs := flags(c)
	o.add(fs)
	return o.run(ctx, p, c, fs, args)
}

func (o *relayLogsOptions) run(ctx context.Context, p Process, c command, fs *flag.FlagSet, args []string) error {
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return prefixed(c.name, err)
	}
	return o.relay.ask(c, func(client *manage.Client) error {
		if o.bucket != "" {
			b, err := findBucket(ctx, client, o.bucket)
			if err != nil {
				return err
			}
			o.bucket = b.ID
		}
		if o.follow {
			return follow(ctx, p, client, o)
		}
		return o.list(ctx, p, client)
	})
}

func (o *relayLogsOptions) list(ctx context.Context, p Process, client *manage.Client) error {
	names, err := bucketNames(ctx, client)
	if err != nil {
		return err
	}
	all, err := lastLogs(ctx, client, o.query(), o.limit)
	if err != nil {
		return err
	}
	columns := []string{"TIME", "BUCKET", "METHOD", "PATH", "STATUS", "CODE", "BYTES", "ID"}
	return printList(p, all, o.json, "such deliveries", columns, func(l *manage.Log) []string { return logRow(l, names) })
}

// lastLogs asks page by page for the newest that q matches.
func lastLogs(ctx context.Context, client *manage.Client, q manage.LogsQuery, most int) (all []manage.Log, err error) {
	for len(all) < most {
		q.Limit = min(most-len(all), account.MaxLimit)
		page, err := client.Logs(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Data...)
		if q.Cursor = page.NextCursor; q.Cursor == "" {
			break
		}
	}
	return all, nil
}

// bucketNames are those of all buckets, by id.
func bucketNames(ctx context.Context, client *manage.Client) (map[string]string, error) {
	all, err := client.Buckets(ctx)
	names := make(map[string]string, len(all))
	for _, b := range all {
		names[b.ID] = b.Name
	}
	return names, err
}

func logRow(l *manage.Log, names map[string]string) []string {
	code := ""
	if l.StatusCode != 0 {
		code = strconv.Itoa(l.StatusCode)
	}
	return []string{
		stamp(l.CreatedAt), printable(cmp.Or(names[l.BucketID], l.BucketID)), printable(l.Method),
		clip(printable(cmp.Or(l.Path, "/")), maxPathColumn), printable(l.Status), code, strconv.Itoa(len(l.RawBody())), printable(short(l.ID)),
	}
}
