package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"hookrun/engine"
	"hookrun/engine/store"
)

const rejectedManual = `hookrun rejected [flags]

Lists the webhooks that were turned away as their sender was not known, or sent
from an address that allow does not have, the newest first: when, bucket, sender,
why, and what the likely cause is, as far as hookrun has tried it out. Bodies are
not kept; the newest 1000 are.

Examples:
  hookrun rejected
  hookrun rejected -bucket deploys -since 1h
  hookrun rejected -json -limit 10

Exit codes: 0 done, also where there is none, 1 it could not, 2 wrong usage.`

func rejectedCommand() command {
	return command{name: "rejected", summary: "list webhooks whose sender was not known, and why", manual: rejectedManual, run: runRejected}
}

// defaultRejected is how many are listed.
const defaultRejected = 50

func runRejected(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	var bucket string
	var since moment
	var asJSON bool
	limit := defaultRejected
	fs := flags(c)
	desk.add(fs)
	fs.StringVar(&bucket, "bucket", "", "only those to this `BUCKET`")
	fs.Var(&since, "since", "only those since this `TIME`: 24h, 7d, 2026-07-01 or RFC 3339")
	fs.IntVar(&limit, "limit", limit, "at most `N`")
	fs.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if limit < 1 || limit > engine.MaxRejections {
		return &usageError{fmt.Sprintf("rejected: -limit=%d is not between 1 and %d", limit, engine.MaxRejections), ""}
	}
	reader, err := store.OpenReader(ctx, desk.data)
	if err != nil {
		return desk.noStore(err)
	}
	found, err := reader.Rejections(ctx, engine.RejectionFilter{Bucket: bucket, Since: time.Time(since), Limit: limit})
	if err := errors.Join(err, reader.Close()); err != nil {
		return fmt.Errorf("rejected: %w", err)
	}
	return printRejected(screenOf(p.Stdout), found, asJSON)
}

func printRejected(out screen, found []engine.Rejection, asJSON bool) error {
	for _, r := range found {
		if !asJSON {
			printRejection(out, r)
		} else if err := out.json(r); err != nil {
			return err
		}
	}
	if len(found) == 0 && !asJSON {
		out.line("none")
	}
	return nil
}

func printRejection(out screen, r engine.Rejection) {
	from := cmp.Or(r.Remote, r.Source)
	out.line(fmt.Sprintf("%s  %s  from %s: %s", clock(r.Received), printable(r.Bucket), printable(from), printable(r.Reason)))
	if r.Likely != "" {
		out.line("    likely: " + printable(r.Likely))
	}
}
