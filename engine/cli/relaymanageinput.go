package cli

import (
	"cmp"
	"context"
	"flag"
	"fmt"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

const relayInputsManual = `hookrun relay inputs [list] [flags]
hookrun relay inputs create|update|delete -bucket BUCKET NAME [flags]

Lists the inputs of a relay, or of one bucket, each with the URL that webhooks are
sent to, and its id.

  create NAME   make one, and print its URL
  update NAME   change what the flags say
  delete NAME   delete one: its URL is gone for good

An input is named by its name or id. Each word has a manual: hookrun relay inputs
create -h.

Examples:
  hookrun relay inputs
  hookrun relay inputs -bucket deploys
  hookrun relay inputs -json

Exit codes: 0 done, also where there is none, 1 it could not, 2 wrong usage.`

const relayInputsCreateManual = `hookrun relay inputs create -bucket BUCKET NAME [flags]

Makes an input of a bucket, and prints the URL to send webhooks to, alone on its
line.

A sender is answered with -status, -body and -header, or with what an output
answers: -respond-from OUTPUT, or any for whichever answers first. With -domain
the URL is below a name of your own, which has to lead to the relay.

Examples:
  hookrun relay inputs create -bucket deploys github
  hookrun relay inputs create -bucket alerts pager -status 202 -body accepted -rate 10
  hookrun relay inputs create -bucket chat slack -respond-from any
  hookrun relay inputs create -bucket deploys own -domain hooks.example.org -prefix /github -strip

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayInputsUpdateManual = `hookrun relay inputs update -bucket BUCKET NAME [flags]

Changes what the flags say of an input, named by its name or id, and leaves the
rest. '' is none: -respond-from '' has -status, -body and -header count again.

Examples:
  hookrun relay inputs update -bucket deploys github -status 204
  hookrun relay inputs update -bucket chat slack -respond-from local
  hookrun relay inputs update -bucket deploys github -rename pushes

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayInputsDeleteManual = `hookrun relay inputs delete -bucket BUCKET NAME [flags]

Deletes an input, named by its name or id. Its URL is gone for good.

Examples:
  hookrun relay inputs delete -bucket deploys github

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

// anyAnswer says on the command line that the first answer counts, whichever
// output it is from.
const anyAnswer = "any"

func relayInputsCommand() command {
	return command{name: "relay inputs", manual: relayInputsManual, run: listOr(runRelayInputs), words: func() []command {
		return []command{
			{name: "relay inputs create", manual: relayInputsCreateManual, run: runRelayInputsCreate},
			{name: "relay inputs update", manual: relayInputsUpdateManual, run: runRelayInputsUpdate},
			{name: "relay inputs delete", manual: relayInputsDeleteManual, run: runRelayInputsDelete},
		}
	}}
}

// bucketFlags are those of commands that look at buckets of a relay.
type bucketFlags struct {
	relay  relayFlags
	bucket string
	json   bool
}

// inBucket has fn ask the relay about the bucket that is named.
func (f *bucketFlags) inBucket(ctx context.Context, c command, fn func(*manage.Client, *manage.Bucket) error) error {
	return f.relay.ask(c, func(client *manage.Client) error {
		b, err := findBucket(ctx, client, f.bucket)
		if err != nil {
			return err
		}
		return fn(client, &b)
	})
}

// addList adds the flags of a list.
func (f *bucketFlags) addList(fs *flag.FlagSet, only string) {
	f.relay.add(fs)
	fs.StringVar(&f.bucket, "bucket", "", "only those of this `BUCKET`")
	fs.BoolVar(&f.json, "json", false, "print one JSON object a line"+only)
}

// addOne adds the flags of a command about one thing in a bucket.
func (f *bucketFlags) addOne(fs *flag.FlagSet) {
	f.relay.add(fs)
	fs.StringVar(&f.bucket, "bucket", "", "the `BUCKET` that it belongs to, by name or id")
}

// parseOne reads the command line of a command about one thing in a bucket.
func (f *bucketFlags) parseOne(p Process, c command, fs *flag.FlagSet, args []string) (name string, err error) {
	example := "hookrun " + c.name + " -bucket deploys NAME"
	name, err = parseName(p, c, fs, args, example)
	if err == nil && f.bucket == "" {
		err = &usageError{c.name + ": -bucket is missing", example}
	}
	return name, err
}

// inputRow is an input and the bucket that it belongs to.
type inputRow struct {
	manage.Input
	Bucket string `json:"bucket"` // its name
}

func runRelayInputs(ctx context.Context, p Process, c command, args []string) error {
	var o bucketFlags
	fs := flags(c)
	o.addList(fs, "")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	return o.relay.ask(c, func(client *manage.Client) error {
		buckets, err := someBuckets(ctx, client, o.bucket)
		if err != nil {
			return err
		}
		var all []inputRow
		for _, b := range buckets {
			for _, in := range b.Inputs {
				all = append(all, inputRow{in, b.Name})
			}
		}
		return printList(p, all, o.json, "inputs", []string{"NAME", "BUCKET", "URL", "ID"}, func(in *inputRow) []string {
			return []string{printable(in.Name), printable(in.Bucket), printable(in.URL), printable(in.ID)}
		})
	})
}

// findInput finds an input of a bucket by its id, or by a name that no other has.
func findInput(b *manage.Bucket, name string) (manage.Input, error) {
	var found []manage.Input
	var names []string
	for _, in := range b.Inputs {
		if in.ID == name {
			return in, nil
		}
		if in.Name == name {
			found = append(found, in)
		}
		names = append(names, in.Name)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return manage.Input{}, noSuch("input", name, names, "hookrun relay inputs -bucket "+b.Name)
	}
	return manage.Input{}, withHint(fmt.Errorf("bucket %s has %d inputs %q", b.Name, len(found), name), "name it by its id: hookrun relay buckets show %s", b.Name)
}

// inputOptions are the flags that say what an input is.
type inputOptions struct {
	bucketFlags
	description, rename, body, respondFrom, domain, prefix string
	headers                                                list
	status, rate                                           int
	strip                                                  bool
}

func (o *inputOptions) add(fs *flag.FlagSet) {
	o.addOne(fs)
	fs.StringVar(&o.description, "description", "", "what it is for, as `TEXT`")
	fs.IntVar(&o.status, "status", 0, "answer senders with this `STATUS`; 0 is 200")
	fs.StringVar(&o.body, "body", "", "answer senders with this `TEXT`")
	fs.Var(&o.headers, "header", "a header of the answer, as `'Name: value'`; may be repeated")
	fs.StringVar(&o.respondFrom, "respond-from", "", "answer senders with what this `OUTPUT` answers, by name or id; any: the first answer")
	fs.StringVar(&o.domain, "domain", "", "be at this `HOST`, which has to lead to the relay")
	fs.StringVar(&o.prefix, "prefix", "", "with -domain: take what is below this `PATH`")
	fs.BoolVar(&o.strip, "strip", false, "leave -prefix out of the path that is passed on")
	fs.IntVar(&o.rate, "rate", 0, "take at most `N` webhooks a second; 0: as many as come")
}

// apply sets what stands on the command line.
func (o *inputOptions) apply(fs *flag.FlagSet, b *manage.Bucket, in *account.Input) (err error) {
	in.Name = cmp.Or(o.rename, in.Name)
	fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "description":
			in.Description = o.description
		case "status":
			in.StatusCode = o.status
		case "body":
			in.Body = o.body
		case "header":
			in.Headers, err = headersOf(o.headers)
		case "domain":
			in.CustomDomain = o.domain
		case "prefix":
			in.PathPrefix = o.prefix
		case "strip":
			in.StripPathPrefix = o.strip
		case "rate":
			in.Rate = o.rate
		}
	})
	if err == nil && given(fs, "respond-from") {
		in.ResponseFromOutput, err = o.answersFrom(b)
	}
	return err
}

// answersFrom is what -respond-from says, as the relay has it.
func (o *inputOptions) answersFrom(b *manage.Bucket) (string, error) {
	if o.respondFrom == "" {
		return "", nil
	}
	if out := b.Output(o.respondFrom); out != nil {
		return out.ID, nil
	}
	if o.respondFrom == anyAnswer || o.respondFrom == account.AnyOutput {
		return account.AnyOutput, nil
	}
	return "", noSuchOutput(b, o.respondFrom)
}

func runRelayInputsCreate(ctx context.Context, p Process, c command, args []string) error {
	var o inputOptions
	fs := flags(c)
	o.add(fs)
	name, err := o.parseOne(p, c, fs, args)
	if err != nil {
		return err
	}
	return o.inBucket(ctx, c, func(client *manage.Client, b *manage.Bucket) error {
		in := account.Input{Name: name}
		if err := o.apply(fs, b, &in); err != nil {
			return err
		}
		made, err := client.CreateInput(ctx, b.ID, in)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.Stdout, printable(made.URL))
		return nil
	})
}

func runRelayInputsUpdate(ctx context.Context, p Process, c command, args []string) error {
	var o inputOptions
	fs := flags(c)
	o.add(fs)
	fs.StringVar(&o.rename, "rename", "", "its new `NAME`")
	name, err := o.parseOne(p, c, fs, args)
	if err != nil {
		return err
	}
	return o.inBucket(ctx, c, func(client *manage.Client, b *manage.Bucket) error {
		in, err := findInput(b, name)
		if err != nil {
			return err
		}
		if err := o.apply(fs, b, &in.Input); err != nil {
			return err
		}
		now, err := client.UpdateInput(ctx, b.ID, in.ID, in.Input)
		if err != nil {
			return err
		}
		fmt.Fprintln(p.Stdout, printable(now.URL))
		warnManaged(p, in.Managed, "input")
		return nil
	})
}

func runRelayInputsDelete(ctx context.Context, p Process, c command, args []string) error {
	var o bucketFlags
	fs := flags(c)
	o.addOne(fs)
	name, err := o.parseOne(p, c, fs, args)
	if err != nil {
		return err
	}
	return o.inBucket(ctx, c, func(client *manage.Client, b *manage.Bucket) error {
		in, err := findInput(b, name)
		if err != nil {
			return err
		}
		if err := client.DeleteInput(ctx, b.ID, in.ID); err != nil {
			return err
		}
		warnManaged(p, in.Managed, "input")
		return nil
	})
}
