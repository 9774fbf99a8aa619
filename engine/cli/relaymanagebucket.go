package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

const relayBucketsManual = `hookrun relay buckets [list] [flags]
hookrun relay buckets create|show|update|delete NAME [flags]

Lists the buckets of a relay: how many inputs and outputs each has, and when it
was made. A bucket holds inputs, the URLs that webhooks are sent to, and outputs,
where they go; without an output, all subscribers get them.

  create NAME   make one, and print the URL to send webhooks to
  show NAME     everything about one
  update NAME   change what the flags say
  delete NAME   delete one

Each word has a manual: hookrun relay buckets create -h. What the relay's file
names it sets up again when it reads it.

The secret of the key is read from RELAY_SECRET, or from -secret-file. -json also
prints the secrets of senders.

Examples:
  hookrun relay buckets
  hookrun relay buckets -relay https://hooks.example.org -key buildbox -secret-file secret
  hookrun relay buckets -json

Exit codes: 0 done, also where there is none, 1 it could not, 2 wrong usage.`

const relayBucketsCreateManual = `hookrun relay buckets create NAME [flags]

Makes a bucket with one input, and prints the URL to send webhooks to, alone on
its line.

With -auth senders have to show something: basic:USER a password, token a token
(Authorization: Bearer). It is read from -auth-secret-file; without it one is made
and printed.

-stream off has it go to outputs of the relay itself alone, and to no subscriber.
-durable off has senders answered before a webhook is on disk: faster, and what
comes in the moment before a crash is lost.

Examples:
  hookrun relay buckets create deploys
  hookrun relay buckets create deploys -description 'pushes to main'
  hookrun relay buckets create alerts -auth basic:monitoring
  hookrun relay buckets create alerts -auth token -auth-secret-file token.txt

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayBucketsShowManual = `hookrun relay buckets show NAME [flags]

Prints everything about a bucket, named by its name or id, with its inputs, their
URLs and its outputs. Passwords, tokens and the values of headers that outputs set
are not shown; -json prints them too.

Examples:
  hookrun relay buckets show deploys
  hookrun relay buckets show deploys -json

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayBucketsUpdateManual = `hookrun relay buckets update NAME [flags]

Changes what the flags say, and leaves the rest. -auth without a file makes a new
secret and prints it: the old one ends.

Examples:
  hookrun relay buckets update deploys -description 'all pushes' -large
  hookrun relay buckets update alerts -auth none
  hookrun relay buckets update alerts -durable off
  hookrun relay buckets update deploys -rename releases

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayBucketsDeleteManual = `hookrun relay buckets delete NAME [flags]

Deletes a bucket. One that has inputs or outputs is only deleted with -force: its
URLs are gone for good, and so are the webhooks that are kept for it.

Examples:
  hookrun relay buckets delete deploys -force

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

func relayBucketsCommand() command {
	return command{name: "relay buckets", manual: relayBucketsManual, run: listOr(runRelayBuckets), words: func() []command {
		return []command{
			{name: "relay buckets create", manual: relayBucketsCreateManual, run: runRelayBucketsCreate},
			{name: "relay buckets show", manual: relayBucketsShowManual, run: runRelayBucketsShow},
			{name: "relay buckets update", manual: relayBucketsUpdateManual, run: runRelayBucketsUpdate},
			{name: "relay buckets delete", manual: relayBucketsDeleteManual, run: runRelayBucketsDelete},
		}
	}}
}

func runRelayBuckets(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var asJSON bool
	fs := flags(c)
	relay.add(fs)
	fs.BoolVar(&asJSON, "json", false, "print one JSON object a line, with the secrets of senders")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	return relay.ask(c, func(client *manage.Client) error {
		all, err := client.Buckets(ctx)
		if err != nil {
			return err
		}
		return printList(p, all, asJSON, "buckets", []string{"NAME", "INPUTS", "OUTPUTS", "CREATED"}, func(b *manage.Bucket) []string {
			return []string{printable(b.Name), fmt.Sprint(len(b.Inputs)), fmt.Sprint(len(b.Outputs)), stamp(b.CreatedAt)}
		})
	})
}

// bucketOptions are the flags that say what a bucket is.
type bucketOptions struct {
	relay                                     relayFlags
	description, rename, auth, authSecretFile string
	large                                     bool
	stream, durable                           onOff
}

func (o *bucketOptions) add(fs *flag.FlagSet) {
	o.relay.add(fs)
	fs.StringVar(&o.description, "description", "", "what it is for, as `TEXT`")
	fs.StringVar(&o.auth, "auth", "none", "what senders have to show: none, basic:USER or token, as `WAY`")
	fs.StringVar(&o.authSecretFile, "auth-secret-file", "", "`FILE` that holds the password or token of -auth; without it one is made")
	fs.BoolVar(&o.large, "large", false, "take bodies of up to 64 MiB in place of 3 MiB")
	fs.Var(&o.stream, "stream", "whether subscribers get its webhooks: `on|off`; of a new bucket on")
	fs.Var(&o.durable, "durable", "whether senders are answered once a webhook is on disk, not before: `on|off`; of a new bucket on")
}

// onOff is a flag that says on or off. It is no switch: it has to say which.
type onOff bool

func (f *onOff) String() string { return "" }

func (f *onOff) Set(text string) error {
	if text != "on" && text != "off" {
		return errors.New("want on or off")
	}
	*f = text == "on"
	return nil
}

// apply sets what stands on the command line. made is the secret that was made for
// senders; "" where none was.
func (o *bucketOptions) apply(fs *flag.FlagSet, b *account.Bucket) (made string, err error) {
	if given(fs, "description") {
		b.Description = o.description
	}
	if given(fs, "large") {
		b.LargeWebhooks = o.large
	}
	if given(fs, "stream") {
		b.Stream = bool(o.stream)
	}
	if given(fs, "durable") {
		b.Hasty = !bool(o.durable)
	}
	b.Name = cmp.Or(o.rename, b.Name)
	switch {
	case given(fs, "auth"):
		b.Auth, made, err = o.sendersAuth()
	case o.authSecretFile != "":
		err = &usageError{"-auth-secret-file does not go without -auth", "-auth token"}
	}
	return made, err
}

// sendersAuth is what -auth says.
func (o *bucketOptions) sendersAuth() (a account.Auth, made string, err error) {
	kind, user, _ := strings.Cut(o.auth, ":")
	switch {
	case o.auth == account.AuthNone:
		if o.authSecretFile != "" {
			return a, "", &usageError{"-auth none has no secret", "leave -auth-secret-file out"}
		}
		return account.Auth{Type: account.AuthNone}, "", nil
	case o.auth == account.AuthToken, kind == account.AuthBasic && user != "":
	case kind == account.AuthBasic:
		return a, "", &usageError{"-auth basic names no user", "-auth basic:USER"}
	default:
		return a, "", &usageError{fmt.Sprintf("-auth %s: there is no such way", o.auth), "none, basic:USER or token"}
	}
	secret := ""
	if o.authSecretFile == "" {
		made = rand.Text()
		secret = made
	} else if secret, err = secretIn(o.authSecretFile); err != nil {
		return a, "", fmt.Errorf("-auth-secret-file: %w", err)
	}
	if kind == account.AuthBasic {
		return account.Auth{Type: kind, Username: user, Password: secret}, made, nil
	}
	return account.Auth{Type: kind, Token: secret}, made, nil
}

// printAuth prints what senders have to show, where that was made now.
func printAuth(out io.Writer, a account.Auth, made string) {
	switch {
	case made == "":
	case a.Type == account.AuthBasic:
		fmt.Fprintf(out, "user: %s\npassword: %s\n", printable(a.Username), made)
	default:
		fmt.Fprintf(out, "Authorization: Bearer %s\n", made)
	}
}

func runRelayBucketsCreate(ctx context.Context, p Process, c command, args []string) error {
	var o bucketOptions
	fs := flags(c)
	o.add(fs)
	name, err := parseName(p, c, fs, args, "hookrun relay buckets create deploys")
	if err != nil {
		return err
	}
	b := account.Bucket{Name: name, Stream: true}
	secret, err := o.apply(fs, &b)
	if err != nil {
		return prefixed(c.name, err)
	}
	return o.relay.ask(c, func(client *manage.Client) error {
		made, err := client.CreateBucket(ctx, b)
		if err != nil {
			return err
		}
		for _, in := range made.Inputs {
			fmt.Fprintln(p.Stdout, printable(in.URL))
		}
		printAuth(p.Stdout, b.Auth, secret)
		return nil
	})
}

func runRelayBucketsUpdate(ctx context.Context, p Process, c command, args []string) error {
	var o bucketOptions
	fs := flags(c)
	o.add(fs)
	fs.StringVar(&o.rename, "rename", "", "its new `NAME`")
	name, err := parseName(p, c, fs, args, "hookrun relay buckets update deploys -description TEXT")
	if err != nil {
		return err
	}
	return o.relay.ask(c, func(client *manage.Client) error {
		b, err := findBucket(ctx, client, name)
		if err != nil {
			return err
		}
		secret, err := o.apply(fs, &b.Bucket)
		if err != nil {
			return err
		}
		if _, err := client.UpdateBucket(ctx, b.ID, b.Bucket); err != nil {
			return err
		}
		printAuth(p.Stdout, b.Auth, secret)
		warnManaged(p, b.Managed, "bucket")
		return nil
	})
}

func runRelayBucketsDelete(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var force bool
	fs := flags(c)
	relay.add(fs)
	fs.BoolVar(&force, "force", false, "with its inputs, outputs and the webhooks that are kept for it")
	name, err := parseName(p, c, fs, args, "hookrun relay buckets delete deploys")
	if err != nil {
		return err
	}
	return relay.ask(c, func(client *manage.Client) error {
		b, err := findBucket(ctx, client, name)
		if err != nil {
			return err
		}
		if err := client.DeleteBucket(ctx, b.ID, force); err != nil {
			return err
		}
		warnManaged(p, b.Managed, "bucket")
		return nil
	})
}
