package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

const relayOutputsManual = `hookrun relay outputs [list] [flags]
hookrun relay outputs create|update|delete -bucket BUCKET NAME [flags]

Lists the outputs of a relay, or of one bucket: where its webhooks go, and whether
subscribers bring them there, as hookrun forward does, or the relay itself; and
its id.

  create NAME   make one
  update NAME   change what the flags say
  delete NAME   delete one

An output is named by its name or id. Each word has a manual: hookrun relay
outputs create -h. -json also prints secrets that stand in headers and rules.

Examples:
  hookrun relay outputs
  hookrun relay outputs -bucket deploys -json

Exit codes: 0 done, also where there is none, 1 it could not, 2 wrong usage.`

const relayOutputsCreateManual = `hookrun relay outputs create -bucket BUCKET NAME -to URL [flags]

Makes an output of a bucket. Subscribers get its webhooks, with the URL as a word
to them; with -public the relay itself sends them there, and tries again where
that fails.

-rules names a file with the conditions that a webhook has to meet, YAML or JSON,
as rules: of an output has them in the relay's file.

Examples:
  hookrun relay outputs create -bucket deploys local -to http://localhost:3000/hook
  hookrun relay outputs create -bucket deploys ci -to https://ci.example.org/hook -public -retries 5 -timeout 30s
  hookrun relay outputs create -bucket deploys main -to http://localhost:3000 -rules main.yaml

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayOutputsUpdateManual = `hookrun relay outputs update -bucket BUCKET NAME [flags]

Changes what the flags say of an output, named by its name or id, and leaves the
rest. '' is none: -rules '' takes all webhooks, -header '' sets no header.

Examples:
  hookrun relay outputs update -bucket deploys ci -disable
  hookrun relay outputs update -bucket deploys ci -public=false
  hookrun relay outputs update -bucket deploys main -rules ''

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayOutputsDeleteManual = `hookrun relay outputs delete -bucket BUCKET NAME [flags]

Deletes an output, named by its name or id.

Examples:
  hookrun relay outputs delete -bucket deploys ci

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

func relayOutputsCommand() command {
	return command{name: "relay outputs", manual: relayOutputsManual, run: listOr(runRelayOutputs), words: func() []command {
		return []command{
			{name: "relay outputs create", manual: relayOutputsCreateManual, run: runRelayOutputsCreate},
			{name: "relay outputs update", manual: relayOutputsUpdateManual, run: runRelayOutputsUpdate},
			{name: "relay outputs delete", manual: relayOutputsDeleteManual, run: runRelayOutputsDelete},
		}
	}}
}

// outputRow is an output and the bucket that it belongs to.
type outputRow struct {
	account.Output
	Bucket string `json:"bucket"` // its name
}

func runRelayOutputs(ctx context.Context, p Process, c command, args []string) error {
	var o bucketFlags
	fs := flags(c)
	o.addList(fs, ", with the secrets in headers and rules")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	return o.relay.ask(c, func(client *manage.Client) error {
		buckets, err := someBuckets(ctx, client, o.bucket)
		if err != nil {
			return err
		}
		var all []outputRow
		for _, b := range buckets {
			for _, out := range b.Outputs {
				all = append(all, outputRow{out, b.Name})
			}
		}
		return printList(p, all, o.json, "outputs", []string{"NAME", "BUCKET", "TO", "SENT BY", "NOTES", "ID"}, func(out *outputRow) []string {
			return []string{
				printable(out.Name), printable(out.Bucket), printable(shownURL(out.Destination)), sentBy(&out.Output), outputNotes(&out.Output), printable(out.ID),
			}
		})
	})
}

// outputNotes is what is not as usual with an output.
func outputNotes(out *account.Output) string {
	var notes []string
	for _, n := range []struct {
		is   bool
		word string
	}{
		{out.Disabled, "disabled"},
		{out.Rules != nil, "rules"},
		{out.LockPath, "path locked"},
		{!out.TLSVerification, "certificate not checked"},
	} {
		if n.is {
			notes = append(notes, n.word)
		}
	}
	return strings.Join(notes, ", ")
}

func noSuchOutput(b *manage.Bucket, name string) error {
	var names []string
	for _, out := range b.Outputs {
		names = append(names, out.Name)
	}
	return noSuch("output", name, names, "hookrun relay outputs -bucket "+b.Name)
}

// findOutput finds an output of a bucket by its name or id.
func findOutput(b *manage.Bucket, name string) (account.Output, error) {
	if out := b.Output(name); out != nil {
		return *out, nil
	}
	return account.Output{}, noSuchOutput(b, name)
}

// maxOutputTimeout bounds how long the relay waits for a destination.
const maxOutputTimeout = 180 * time.Second

// outputOptions are the flags that say what an output is.
type outputOptions struct {
	bucketFlags
	description, rename, to, rules              string
	headers                                     list
	retries                                     int
	timeout                                     span
	public, lockPath, insecure, disable, enable bool
}

func (o *outputOptions) add(fs *flag.FlagSet) {
	o.addOne(fs)
	fs.StringVar(&o.description, "description", "", "what it is for, as `TEXT`")
	fs.StringVar(&o.to, "to", "", "the `URL` that webhooks go to")
	fs.BoolVar(&o.public, "public", false, "the relay itself sends them, not a subscriber")
	fs.BoolVar(&o.lockPath, "lock-path", false, "the path behind the input's is not appended to the URL")
	fs.Var(&o.headers, "header", "a header to set in place of the sender's, as `'Name: value'`; may be repeated")
	fs.IntVar(&o.retries, "retries", 0, "with -public: try again so `MANY` times after the first three tries; -1: not even the second time")
	fs.Var(&o.timeout, "timeout", "with -public: `TIME` that the destination has to answer, up to 180s; 0: the relay's own")
	fs.BoolVar(&o.insecure, "insecure", false, "with -public: don't check the destination's certificate")
	fs.BoolVar(&o.disable, "disable", false, "send nothing there")
	fs.BoolVar(&o.enable, "enable", false, "send there again")
	fs.StringVar(&o.rules, "rules", "", "only webhooks that meet the conditions in this `FILE`")
}

// check finds what can't be meant.
func (o *outputOptions) check() error {
	switch t := time.Duration(o.timeout); {
	case o.disable && o.enable:
		return &usageError{"-enable does not go with -disable", "leave one of them out"}
	case t > maxOutputTimeout || t%time.Second != 0:
		return &usageError{fmt.Sprintf("-timeout %s: want whole seconds, at most %s", t, maxOutputTimeout), "-timeout 30s"}
	}
	return nil
}

// apply sets what stands on the command line.
func (o *outputOptions) apply(p Process, fs *flag.FlagSet, out *account.Output) (err error) {
	out.Name = cmp.Or(o.rename, out.Name)
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "description":
			out.Description = o.description
		case "to":
			out.Destination = o.to
		case "public":
			out.Internal = !o.public
		case "lock-path":
			out.LockPath = o.lockPath
		case "header":
			out.Headers, err = headersOf(o.headers)
		case "retries":
			out.Retries = o.retries
		case "timeout":
			out.Timeout = int(time.Duration(o.timeout) / time.Second)
		case "insecure":
			out.TLSVerification = !o.insecure
		case "disable":
			out.Disabled = o.disable
		case "enable":
			out.Disabled = !o.enable
		}
	})
	if err == nil && given(fs, "rules") {
		out.Rules, err = rulesInFile(p, o.rules)
	}
	return err
}

func runRelayOutputsCreate(ctx context.Context, p Process, c command, args []string) error {
	var o outputOptions
	fs := flags(c)
	o.add(fs)
	name, err := o.parseOne(p, c, fs, args)
	if err != nil {
		return err
	}
	if o.to == "" {
		return &usageError{c.name + ": -to is missing", "-to http://localhost:3000/hook"}
	}
	out := account.Output{Name: name, Internal: true, TLSVerification: true}
	if err = o.check(); err == nil {
		err = o.apply(p, fs, &out)
	}
	if err != nil {
		return prefixed(c.name, err)
	}
	return o.inBucket(ctx, c, func(client *manage.Client, b *manage.Bucket) error {
		made, err := client.CreateOutput(ctx, b.ID, out)
		if err != nil {
			return err
		}
		printOutput(p, b, &made)
		return nil
	})
}

// printOutput says what becomes of the webhooks of an output.
func printOutput(p Process, b *manage.Bucket, out *account.Output) {
	text := fmt.Sprintf("webhooks of %s go to %s, sent by %s", b.Name, shownURL(out.Destination), sentBy(out))
	if out.Disabled {
		text = fmt.Sprintf("no webhooks of %s go to %s: it is disabled", b.Name, shownURL(out.Destination))
	}
	fmt.Fprintln(p.Stdout, printable(text))
}

func runRelayOutputsUpdate(ctx context.Context, p Process, c command, args []string) error {
	var o outputOptions
	fs := flags(c)
	o.add(fs)
	fs.StringVar(&o.rename, "rename", "", "its new `NAME`")
	name, err := o.parseOne(p, c, fs, args)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return prefixed(c.name, err)
	}
	return o.inBucket(ctx, c, func(client *manage.Client, b *manage.Bucket) error {
		out, err := findOutput(b, name)
		if err != nil {
			return err
		}
		if err := o.apply(p, fs, &out); err != nil {
			return err
		}
		now, err := client.UpdateOutput(ctx, b.ID, out.ID, out)
		if err != nil {
			return err
		}
		printOutput(p, b, &now)
		warnManaged(p, out.Managed, "output")
		return nil
	})
}

func runRelayOutputsDelete(ctx context.Context, p Process, c command, args []string) error {
	var o bucketFlags
	fs := flags(c)
	o.addOne(fs)
	name, err := o.parseOne(p, c, fs, args)
	if err != nil {
		return err
	}
	return o.inBucket(ctx, c, func(client *manage.Client, b *manage.Bucket) error {
		out, err := findOutput(b, name)
		if err != nil {
			return err
		}
		if err := client.DeleteOutput(ctx, b.ID, out.ID); err != nil {
			return err
		}
		warnManaged(p, out.Managed, "output")
		return nil
	})
}
