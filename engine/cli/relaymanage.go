package cli

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"

	"hookrun/engine"
	"hookrun/relay/account"
	"hookrun/relay/manage"
)

// managedRelay is the relay that is set up where nothing names another.
const managedRelay = "http://127.0.0.1:8080"

// maxSecretFile bounds the file that a secret is read from, in bytes.
const maxSecretFile = 4 << 10

// relayWords are the words behind relay that ask one that runs.
func relayWords() []command {
	return []command{
		relayBucketsCommand(), relayInputsCommand(), relayOutputsCommand(), relayTokensCommand(), relayLogsCommand(), relayClientsCommand(),
	}
}

// manageRelay runs the word that args begin with: it sets up a relay that runs, or
// looks into it.
func manageRelay(ctx context.Context, p Process, args []string) error {
	if args[0] == "check" {
		return &usageError{"relay: check is no word of it", "hookrun check -config relay.yaml reads a relay's file, and prints every problem"}
	}
	return pickWord(ctx, p, "relay", relayWords(), args)
}

// wordOf is the last word of a command's name.
func wordOf(c command) string { return c.name[strings.LastIndexByte(c.name, ' ')+1:] }

// pickWord runs the command whose last word args begin with. others are words that
// there are besides.
func pickWord(ctx context.Context, p Process, before string, commands []command, args []string, others ...string) error {
	words := others
	for _, c := range commands {
		if wordOf(c) == args[0] {
			return c.run(ctx, p, c, args[1:])
		}
		words = append(words, wordOf(c))
	}
	all := strings.Join(words, ", ")
	hint := cmp.Or(engine.Nearest(args[0], words), "the words are "+all)
	return &usageError{fmt.Sprintf("%s: unknown word %q", before, args[0]), hint}
}

// listOr returns what runs a command that lists where no other word follows it.
func listOr(list func(context.Context, Process, command, []string) error) func(context.Context, Process, command, []string) error {
	return func(ctx context.Context, p Process, c command, args []string) error {
		switch {
		case len(args) == 0 || strings.HasPrefix(args[0], "-"):
			return list(ctx, p, c, args)
		case args[0] == "list":
			return list(ctx, p, c, args[1:])
		}
		return pickWord(ctx, p, c.name, c.words(), args, "list")
	}
}

// relayFlags are those of every command that asks a relay. A secret stands in no
// flag: every user of the machine can read those.
type relayFlags struct {
	url, key, secretFile string
	overHTTP             bool
}

func (f *relayFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&f.url, "relay", "", "`URL` of the relay (default $RELAY_URL, else "+managedRelay+")")
	fs.StringVar(&f.key, "key", "", "`KEY` of a token of the relay (default $RELAY_KEY)")
	fs.StringVar(&f.secretFile, "secret-file", "", "`FILE` that holds the secret of the key (default $RELAY_SECRET)")
	fs.BoolVar(&f.overHTTP, "over-http", false, "also send key and secret to another machine over http://")
}

// ask has fn ask the relay.
func (f *relayFlags) ask(c command, fn func(*manage.Client) error) error {
	o, err := f.options(os.Getenv)
	if err != nil {
		return prefixed(c.name, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	defer transport.CloseIdleConnections()
	o.Client = &http.Client{Transport: transport}
	client, err := manage.New(o)
	if err == nil {
		err = fn(client)
	}
	return relayError(c, err)
}

// options are those of the flags, with what the environment says where they don't.
func (f *relayFlags) options(getenv func(string) string) (manage.Options, error) {
	o := manage.Options{
		URL: cmp.Or(f.url, getenv("RELAY_URL"), managedRelay), Key: cmp.Or(f.key, getenv("RELAY_KEY")), Secret: getenv("RELAY_SECRET"),
		Insecure: f.overHTTP, UserAgent: userAgent(),
	}
	if f.secretFile != "" {
		var err error
		if o.Secret, err = secretIn(f.secretFile); err != nil {
			return o, fmt.Errorf("-secret-file: %w", err)
		}
	}
	if o.Secret == "" || o.Key == "" && !strings.HasPrefix(o.Secret, account.SecretPrefix) {
		return o, withHint(errors.New("the relay needs a key and a secret"),
			"export RELAY_KEY=… RELAY_SECRET=…; hookrun relay prints the first ones when it starts for the first time")
	}
	return o, nil
}

// secretIn reads a secret from a file, without the end of its line.
func secretIn(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSecretFile+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(data), "\r\n")
	switch {
	case len(data) > maxSecretFile:
		return "", fmt.Errorf("%s is longer than %d bytes", path, maxSecretFile)
	case secret == "" || strings.ContainsAny(secret, "\r\n\x00"):
		return "", withHint(fmt.Errorf("%s is no secret", path), "the file holds the secret alone, on one line")
	}
	return secret, nil
}

// relayError is what a command says of an error.
func relayError(c command, err error) error {
	if err == nil {
		return nil
	}
	said, ok := errors.AsType[*manage.Error](err)
	if !ok {
		return prefixed(c.name, err)
	}
	return withHint(fmt.Errorf("%s: %s", c.name, printable(said.Message)), "%s", printable(relayHint(c, said)))
}

// relayHint is what mends an error, in the words of the command line.
func relayHint(c command, e *manage.Error) string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "RELAY_KEY and RELAY_SECRET, or -key and -secret-file, are those of a token that the relay has and that is active"
	case e.Status == http.StatusPreconditionFailed && c.name == "relay buckets delete":
		return "-force deletes it with its inputs, its outputs and the webhooks that are kept for it"
	case e.Status == http.StatusPreconditionFailed:
		return "hookrun relay inputs update -respond-from '' has it answer by itself"
	case e.Status == 0 && strings.Contains(e.Message, "without TLS"):
		return "use https://, or say -over-http where nobody can listen on the way"
	case errors.Is(e, syscall.ECONNREFUSED):
		return "is hookrun relay running there? -relay URL, or RELAY_URL, names another"
	}
	return e.Hint
}

// isMissing reports whether an error says that there is no such thing.
func isMissing(err error) bool {
	said, ok := errors.AsType[*manage.Error](err)
	return ok && said.Status == http.StatusNotFound
}

// noSuch is the error about a name that is not among those that there are.
func noSuch(what, name string, names []string, list string) error {
	hint := cmp.Or(engine.Nearest(name, slices.Clone(names)), list+" lists them")
	return withHint(fmt.Errorf("there is no %s %q", what, name), "%s", printable(hint))
}

// findBucket finds a bucket by name or id.
func findBucket(ctx context.Context, client *manage.Client, name string) (manage.Bucket, error) {
	b, err := client.Bucket(ctx, name)
	if !isMissing(err) {
		return b, err
	}
	all, err := client.Buckets(ctx)
	if err != nil {
		return b, err
	}
	var names []string
	for _, b := range all {
		names = append(names, b.Name)
	}
	return b, noSuch("bucket", name, names, "hookrun relay buckets")
}

// someBuckets are the one that is named, or all.
func someBuckets(ctx context.Context, client *manage.Client, name string) ([]manage.Bucket, error) {
	if name == "" {
		return client.Buckets(ctx)
	}
	b, err := findBucket(ctx, client, name)
	return []manage.Bucket{b}, err
}

// parseName is parseWords for a command that takes one name.
func parseName(p Process, c command, fs *flag.FlagSet, args []string, example string) (string, error) {
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return "", err
	}
	if len(words) == 0 || words[0] == "" {
		return "", &usageError{c.name + ": the name is missing", example}
	}
	return words[0], nil
}

// warnManaged tells that what was changed comes back.
func warnManaged(p Process, managed bool, what string) {
	if managed {
		fmt.Fprintf(p.Stderr, "hookrun: the relay's file names this %s, and sets it up again when it is read next\n", what)
	}
}

// printList prints values as a table, or each as JSON on a line of its own; where
// there are none it says so.
func printList[T any](p Process, all []T, asJSON bool, what string, columns []string, row func(*T) []string) error {
	out := screenOf(p.Stdout)
	out.width = 0 // what stands at the end is to be copied
	if asJSON {
		for i := range all {
			if err := out.json(all[i]); err != nil {
				return err
			}
		}
	} else if len(all) > 0 {
		rows := [][]string{columns}
		for i := range all {
			rows = append(rows, row(&all[i]))
		}
		out.columns(rows)
	}
	if len(all) == 0 {
		fmt.Fprintf(p.Stderr, "hookrun: there are no %s\n", what)
	}
	return nil
}

// stamp is a time on the wire as people read it; "" where there is none.
func stamp(t account.Time) string {
	if t.IsZero() {
		return ""
	}
	return clock(t.Time)
}

// yes is a word for true in a table.
func yes(v bool, word string) string {
	if v {
		return word
	}
	return ""
}

// headersOf reads 'Name: value' as often as it is given; "" alone is none.
func headersOf(lines []string) (account.Header, error) {
	all := http.Header{}
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if line == "" && len(lines) == 1 {
			break
		}
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, &usageError{fmt.Sprintf("-header %q is no header", line), "-header 'X-Team: ops'"}
		}
		all.Add(name, strings.TrimSpace(value))
	}
	return account.Header(all), nil
}

// given reports whether a flag stands on the command line.
func given(fs *flag.FlagSet, name string) bool {
	found := false
	fs.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}
