package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

const relayLogsShowManual = `hookrun relay logs show ID [flags]

Prints everything about a delivery: the request as it came, with its headers and
body, and what the destination answered. They may hold secrets of the sender.

Where there was no answer, why says what kept the relay from getting one.

Of a body the first 16 KiB are shown where they are text. -body prints it alone,
all of it and as it came; to a terminal, characters that it would obey as escapes.

Examples:
  hookrun relay logs show 0197f3c2-8a1b-7a2c
  hookrun relay logs show 0197f3c2-8a1b-7a2c -body > body.json
  hookrun relay logs show 0197f3c2-8a1b-7a2c -json

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayLogsResendManual = `hookrun relay logs resend ID [flags]

Sends a delivery again: where it went, or to -output. It gets an id of its own,
which is printed. With -unless-sent nothing happens where it has reached its
destination already; whether an earlier resend of it has does not count.

Examples:
  hookrun relay logs resend 0197f3c2-8a1b-7a2c
  hookrun relay logs resend 0197f3c2-8a1b-7a2c -output staging
  hookrun relay logs resend 0197f3c2-8a1b-7a2c -unless-sent

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

// Bounds of what is shown of a delivery.
const (
	maxBodyShown = 16 << 10 // bytes of a body
	idWindow     = 100      // deliveries among which the beginning of an id has to be the only one
)

// findLog finds a delivery by its id, or by how that begins.
func findLog(ctx context.Context, client *manage.Client, id string) (manage.Log, error) {
	id = strings.ToLower(id)
	if account.IsID(id) {
		return client.Log(ctx, id)
	}
	for _, q := range beginnings(id) {
		all, err := lastLogs(ctx, client, q, idWindow)
		if err != nil {
			return manage.Log{}, err
		}
		all = slices.DeleteFunc(all, func(l manage.Log) bool { return !strings.HasPrefix(l.ID, id) })
		switch len(all) {
		case 0:
			continue
		case 1:
			return client.Log(ctx, all[0].ID) // as it is now
		}
		return manage.Log{}, withHint(fmt.Errorf("the ids of %d deliveries begin with %s", len(all), id), "give more of it: -json lists whole ids")
	}
	return manage.Log{}, withHint(fmt.Errorf("there is no delivery whose id begins with %s", id), "hookrun relay logs lists them")
}

// beginnings are where to look for the beginning of an id: where it tells the time, as
// the UUIDs of version 7 that a relay of ours gives do, then; and among the last.
func beginnings(id string) []manage.LogsQuery {
	const around = 2 * time.Second // it is received a moment before it has an id
	last := manage.LogsQuery{}
	if len(id) < len("0197f3c2-8a1b") {
		return []manage.LogsQuery{last}
	}
	ms, err := strconv.ParseInt(id[:8]+id[9:13], 16, 64)
	if err != nil {
		return []manage.LogsQuery{last}
	}
	at := time.UnixMilli(ms).UTC()
	if at.Year() > time.Now().Year()+1 {
		return []manage.LogsQuery{last} // it is no such UUID
	}
	return []manage.LogsQuery{{From: at.Add(-around), To: at.Add(around)}, last}
}

// parseLogID is parseWords for a command that takes the id of a delivery.
func parseLogID(p Process, c command, fs *flag.FlagSet, args []string) (string, error) {
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return "", err
	}
	if len(words) == 0 || words[0] == "" {
		return "", &usageError{c.name + ": the id of a delivery is missing", "hookrun relay logs lists them"}
	}
	return words[0], nil
}

func runRelayLogsShow(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var asJSON, body bool
	fs := flags(c)
	relay.add(fs)
	fs.BoolVar(&asJSON, "json", false, "print it as one JSON object")
	fs.BoolVar(&body, "body", false, "print the body alone, as it came")
	id, err := parseLogID(p, c, fs, args)
	if err != nil {
		return err
	}
	if asJSON && body {
		return &usageError{c.name + ": -body does not go with -json", "leave one of them out"}
	}
	return relay.ask(c, func(client *manage.Client) error {
		l, err := findLog(ctx, client, id)
		if err != nil {
			return err
		}
		out := screenOf(p.Stdout)
		switch {
		case asJSON:
			return out.json(l)
		case body:
			return printBody(out, l.RawBody())
		}
		buckets, err := client.Buckets(ctx)
		if err != nil {
			return err
		}
		shownLog{fields{screen: out}, &l, bucketOf(buckets, l.BucketID)}.print()
		return nil
	})
}

// printBody prints a body as it came; to a terminal, what it would obey as escapes.
func printBody(out screen, body []byte) error {
	if out.terminal {
		_, err := io.WriteString(out, readable(string(body)))
		return err
	}
	_, err := out.Write(body)
	return err
}

// shownLog prints the parts of a delivery.
type shownLog struct {
	fields
	l *manage.Log
	b *manage.Bucket // that it came to; nil where it is gone
}

// bucketOf is the bucket with an id; nil where there is none.
func bucketOf(all []manage.Bucket, id string) *manage.Bucket {
	i := slices.IndexFunc(all, func(b manage.Bucket) bool { return b.ID == id })
	if i < 0 {
		return nil
	}
	return &all[i]
}

func (s shownLog) print() {
	l := s.l
	s.field("delivery", l.ID)
	s.field("resent from", l.Resent)
	s.places()
	s.field("received", stamp(l.CreatedAt))
	s.field("from", l.IP)
	s.field("status", s.status())
	s.field("why", l.Error)
	if l.Next != nil {
		s.field("next try", stamp(*l.Next))
	}
	request := l.Method + " " + cmp.Or(l.Path, "/")
	if l.Query != "" {
		request += "?" + l.Query
	}
	s.field("request", request)
	s.inner().headers("header", l.Headers)
	s.body(l.RawBody())
	if l.StatusCode == 0 {
		return
	}
	s.field("answer", strconv.Itoa(l.StatusCode))
	s.inner().headers("header", l.AnswerHeader)
	s.body(l.Answer)
}

// places are the names of where it came in and where it goes, with their ids.
func (s shownLog) places() {
	var bucket, input, output string
	if s.b != nil {
		bucket = s.b.Name
		for i := range s.b.Inputs {
			if s.b.Inputs[i].ID == s.l.InputID {
				input = s.b.Inputs[i].Name
			}
		}
		for i := range s.b.Outputs {
			if s.b.Outputs[i].ID == s.l.OutputID {
				output = s.b.Outputs[i].Name
			}
		}
	}
	s.field("bucket", nameAndID(bucket, s.l.BucketID))
	s.field("input", nameAndID(input, s.l.InputID))
	s.field("output", nameAndID(output, s.l.OutputID))
}

// nameAndID is a name with its id in brackets; the id alone where the name is not
// known.
func nameAndID(name, id string) string {
	if name == "" || id == "" {
		return id
	}
	return name + " (" + id + ")"
}

// status is the word for what became of it, and what it took.
func (s shownLog) status() string {
	status := s.l.Status
	if s.l.DurationMS > 0 {
		status += ", after " + brief(time.Duration(s.l.DurationMS)*time.Millisecond)
	}
	if s.l.Retries > 0 {
		status += ", tried again " + count(s.l.Retries, "time")
	}
	return status
}

// body prints the beginning of a body, where it is text.
func (s shownLog) body(data []byte) {
	kept := data[:min(len(data), maxBodyShown)]
	switch text := strings.ToValidUTF8(string(kept), ""); {
	case len(data) == 0:
		return
	case !utf8.Valid(data):
		s.inner().field("body", fmt.Sprintf("%d bytes that are no text", len(data)))
	default:
		s.inner().field("body", fmt.Sprintf("%d bytes", len(data)))
		for line := range strings.SplitSeq(strings.TrimRight(readable(text), "\n"), "\n") {
			fmt.Fprintln(s, strings.TrimRight("    "+line, " "))
		}
		if more := len(data) - len(kept); more > 0 {
			fmt.Fprintf(s, "    and %d bytes more: -json prints all\n", more)
		}
	}
}

func runRelayLogsResend(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var output string
	var unlessSent bool
	fs := flags(c)
	relay.add(fs)
	fs.StringVar(&output, "output", "", "send it to this `OUTPUT` of its bucket, by name or id")
	fs.BoolVar(&unlessSent, "unless-sent", false, "not where it has reached its destination already")
	id, err := parseLogID(p, c, fs, args)
	if err != nil {
		return err
	}
	return relay.ask(c, func(client *manage.Client) error {
		l, err := findLog(ctx, client, id)
		if err != nil {
			return err
		}
		again, err := client.Resend(ctx, l.ID, output, !unlessSent)
		if output != "" && isMissing(err) {
			return resendHint(ctx, client, &l, output, err)
		}
		if err != nil {
			return err
		}
		if again.ID == l.ID {
			fmt.Fprintln(p.Stderr, "hookrun: it was sent already, and is not sent again")
			return nil
		}
		fmt.Fprintf(p.Stdout, "%s %s\n", printable(again.ID), printable(again.Status))
		return nil
	})
}

// resendHint tells an output that there is not from what else may be missing.
func resendHint(ctx context.Context, client *manage.Client, l *manage.Log, output string, err error) error {
	b, findErr := client.Bucket(ctx, l.BucketID)
	if findErr != nil || b.Output(output) != nil {
		return err
	}
	return noSuchOutput(&b, output)
}
