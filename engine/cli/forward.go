package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"hookrun/relay"
)

const forwardManual = `hookrun forward -bucket BUCKET [flags] URL

Sends the webhooks of a bucket to a server on this machine while it is being
written: each comes through the relay to the URL, and the sender gets what the
server answers. No rules file is read, and nothing is kept.

Method, query, headers and body arrive as they were sent; a path behind that of
the input is put behind the URL's. A port alone is one of this machine. Each webhook is a line: when, method, path,
status, time taken and size of the answer.

The key is read from RELAY_KEY and RELAY_SECRET, so that it stands in no list of
processes. A sender waits for its answer for 10 s at most.

With -save each webhook is also written to a file, as hookrun send -body @FILE
takes it.

Examples:
  hookrun forward -bucket deploys http://localhost:3000/hooks
  hookrun forward -bucket deploys 3000
  hookrun forward -relay https://relay.example.com -bucket deploys http://localhost:3000
  hookrun forward -bucket deploys -save testdata -retries 3 http://localhost:3000

Exit codes: 0 ended by a signal, 1 it could not start, 2 wrong usage.`

// Bounds of forward.
const (
	maxForwards    = 16               // webhooks that are being sent at once
	maxRetries     = 100              // of one webhook
	forwardTimeout = 30 * time.Second // of one request, by default
	forwardStop    = 5 * time.Second  // for what is being sent at the end
	listTimeout    = 10 * time.Second // for the relay to say where webhooks come in

	mendEvery = 250 * time.Millisecond // it is looked why the relay is not connected
)

const hostedRelay = "wss://my.webhookrelay.com/v1/socket"

// forwardOptions are the flags of forward.
type forwardOptions struct {
	buckets            list
	relay, key, secret string
	secretFile         string
	save               string
	retries            int
	timeout            span
	verbose            bool
	to                 string // http or https URL
}

func forwardCommand() command {
	return command{name: "forward", summary: "send a bucket's webhooks to a server on this machine", manual: forwardManual, run: runForward}
}

func runForward(ctx context.Context, p Process, c command, args []string) error {
	o := forwardOptions{timeout: span(forwardTimeout)}
	fs := flags(c)
	fs.Var(&o.buckets, "bucket", "the `BUCKET` whose webhooks are sent, by name or id; may be repeated")
	fs.StringVar(&o.relay, "relay", "", "`URL` of the relay (default $RELAY_URL, else "+hostedRelay+")")
	fs.StringVar(&o.key, "key", "", "`KEY` of the relay (default $RELAY_KEY)")
	fs.StringVar(&o.secretFile, "secret-file", "", "`FILE` that holds the secret of the key (default $RELAY_SECRET)")
	fs.StringVar(&o.save, "save", "", "also write each webhook to a file in this `FOLDER`")
	fs.IntVar(&o.retries, "retries", 0, "try again so `MANY` times where the server can't be reached or answers 5xx")
	fs.Var(&o.timeout, "timeout", "`TIME` that the server has to answer")
	fs.BoolVar(&o.verbose, "v", false, "log more")
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return err
	}
	if err := o.complete(words, os.Getenv); err != nil {
		return err
	}
	log, err := newLogger(p.Stderr, "text", o.verbose)
	if err != nil {
		return err
	}
	f, err := newForwarding(p, o, log)
	if err != nil {
		return err
	}
	return f.run(ctx)
}

// complete checks the options and fills in what the environment says.
func (o *forwardOptions) complete(words []string, getenv func(string) string) error {
	const example = "hookrun forward -bucket deploys http://localhost:3000"
	if len(words) == 0 {
		return &usageError{"forward: the URL of your server is missing", example}
	}
	to, err := localURL(words[0])
	switch {
	case err != nil:
		return &usageError{"forward: " + err.Error(), example}
	case len(o.buckets) == 0 || slices.Contains(o.buckets, ""):
		return &usageError{"forward: -bucket is missing", example}
	case o.retries < 0 || o.retries > maxRetries:
		return &usageError{fmt.Sprintf("forward: -retries %d: want 0 to %d", o.retries, maxRetries), "-retries 3"}
	case o.timeout == 0:
		return &usageError{"forward: -timeout 0: the server could not answer in no time", "-timeout 30s"}
	}
	o.to = to
	o.relay = socketOf(cmp.Or(o.relay, getenv("RELAY_URL"), hostedRelay))
	o.key, o.secret = cmp.Or(o.key, getenv("RELAY_KEY")), getenv("RELAY_SECRET")
	if o.secretFile != "" {
		if o.secret, err = secretIn(o.secretFile); err != nil {
			return fmt.Errorf("forward: -secret-file: %w", err)
		}
	}
	if o.key == "" || o.secret == "" {
		return withHint(errors.New("forward: the relay needs a key and a secret"), "export RELAY_KEY=… RELAY_SECRET=…")
	}
	return nil
}

// localURL reads where to send webhooks; http:// may be left out, and so may the
// host of this machine before a port.
func localURL(given string) (string, error) {
	text := given
	host, path, _ := strings.Cut(text, "/")
	_, err := strconv.ParseUint(strings.TrimPrefix(host, ":"), 10, 16)
	switch isPort := err == nil; {
	case isPort:
		text = "http://localhost:" + strings.TrimPrefix(host, ":") + "/" + path
	case !strings.Contains(text, "://"):
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", fmt.Errorf("%q is no http or https URL", given)
	}
	return u.String(), nil
}

// socketOf is the socket of a relay that is named by its address alone, as
// people know it, or by that of the socket.
func socketOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text // the client says what is wrong
	}
	switch u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	}
	if !strings.HasSuffix(u.Path, "/v1/socket") {
		u.Path = strings.TrimSuffix(u.Path, "/") + "/v1/socket"
	}
	return u.String()
}

// run sends webhooks until ctx ends.
func (f *forwarding) run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	answering, stopAnswers := context.WithCancel(context.WithoutCancel(ctx))
	sending, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	from := relay.NewClient(relay.Options{
		URL: f.options.relay, Key: f.options.key, Secret: f.options.secret, Buckets: f.options.buckets,
		Handle: func(ctx context.Context, m relay.Message) error { return f.handle(ctx, sending, m) },
		Hurry:  f.hurry, Log: f.log, UserAgent: userAgent(),
	})
	var wg sync.WaitGroup
	defer f.client.CloseIdleConnections()
	defer wg.Wait()
	defer stopAnswers()
	defer stop()
	wg.Go(func() { // its options are those of the client, which were looked at
		if err := f.answers.Run(answering); err != nil {
			f.log.Error("senders get no answers", "err", err)
		}
	})
	wg.Go(func() { f.greet(ctx, from) })
	err := from.Run(ctx)
	f.finish(giveUp)
	return err
}

// finish waits for what is being sent, but not for long.
func (f *forwarding) finish(giveUp context.CancelFunc) {
	over := make(chan struct{})
	var bound sync.WaitGroup
	bound.Go(func() {
		t := time.NewTimer(forwardStop)
		defer t.Stop()
		select {
		case <-t.C:
		case <-f.hurry:
		case <-over:
		}
		giveUp()
	})
	f.requests.Wait()
	close(over)
	bound.Wait()
}

// greet says where webhooks come from, once the relay is connected, and until then
// what may help.
func (f *forwarding) greet(ctx context.Context, from *relay.Client) {
	if !f.awaitConnected(ctx, from) {
		return
	}
	lines := []string{fmt.Sprintf("webhooks of %s go to %s", strings.Join(f.options.buckets, ", "), shownURL(f.options.to))}
	inputs, err := f.inputs(ctx)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		lines = append(lines, "the relay does not say where it takes them: "+err.Error())
	case len(inputs) == 0:
		lines = append(lines, "the relay has no such bucket, or no input for it, that this key may see: is it spelled right?")
	}
	for _, in := range inputs {
		lines = append(lines, "  "+in)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, text := range lines {
		fmt.Fprintln(f.out, printable(text)) // whole, to be copied
	}
}

// awaitConnected waits for the relay. If it can be seen from how that fails what
// would mend it, that is said, once.
func (f *forwarding) awaitConnected(ctx context.Context, from *relay.Client) bool {
	for said := false; ; {
		waiting, cancel := context.WithTimeout(ctx, mendEvery)
		err := from.AwaitConnected(waiting)
		cancel()
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			return false
		}
		if text := mendRelay(f.options.relay, from.Status().LastError); text != "" && !said {
			said = true
			f.mu.Lock()
			fmt.Fprintln(f.out, text)
			f.mu.Unlock()
		}
	}
}

// mendRelay is what mends an address of a relay that can't be connected to, or its
// certificate; "" where that can't be told. Of an error of the client there is the
// text alone.
func mendRelay(address, failure string) string {
	secure := strings.HasPrefix(address, "wss:") || strings.HasPrefix(address, "https:")
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(part string) bool { return strings.Contains(failure, part) })
	}
	switch {
	case secure && has("first record does not look like a TLS handshake"):
		return "the relay speaks no TLS at that port: is it http://?"
	case !secure && has("malformed HTTP", "answered 400"):
		return "the relay speaks TLS at that port, it seems: begin -relay, or RELAY_URL, with https://"
	case has("x509: certificate is valid for", "x509: cannot validate certificate for", "not valid for any names"):
		return "the relay's certificate is for another name: use the one that it is for"
	case has("x509: certificate signed by unknown authority", "x509: “"):
		return "this machine does not trust who signed the relay's certificate: SSL_CERT_FILE=ca.pem names a file with that one's certificate"
	case has("x509: certificate has expired"):
		return "the relay's certificate is not valid now: is it to be renewed, and does this machine's clock go right?"
	}
	return ""
}

// shownURL leaves out what may be secret.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return text
	}
	return u.Redacted()
}

// inputs are the addresses at which the relay takes webhooks of the buckets.
func (f *forwarding) inputs(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	buckets, err := listBuckets(ctx, f.client, f.api, f.options.key, f.options.secret)
	if err != nil {
		return nil, err
	}
	var all []string
	for _, b := range buckets {
		if !slices.Contains(f.options.buckets, b.Name) && !slices.Contains(f.options.buckets, b.ID) {
			continue
		}
		for _, in := range b.Inputs {
			if at, err := in.url(f.api); err == nil {
				all = append(all, at)
			}
		}
	}
	return all, nil
}

// newForwarding puts the parts together. An error is about the options.
func newForwarding(p Process, o forwardOptions, log *slog.Logger) (*forwarding, error) {
	to := relay.AnswerOptions{URL: o.relay, Key: o.key, Secret: o.secret, Log: log, UserAgent: userAgent(), Hurry: p.Hurry}
	api, err := to.API()
	if err != nil {
		return nil, fmt.Errorf("forward: %w", err)
	}
	if o.save != "" {
		if err := os.MkdirAll(o.save, 0o700); err != nil {
			return nil, fmt.Errorf("forward: -save: %w", err)
		}
	}
	return &forwarding{
		options: o, api: api, log: log, out: screenOf(p.Stdout), hurry: p.Hurry,
		answers: relay.NewAnswers(to), client: localClient(), slots: make(chan struct{}, maxForwards),
	}, nil
}

// localClient makes the requests to the server. What it answers is passed on as
// it is.
func localClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DisableCompression = true
	t.MaxIdleConnsPerHost = maxForwards
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}
