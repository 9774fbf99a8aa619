package cli

import (
	"context"
	"os"
	"strings"
	"time"
)

const relayManual = `hookrun relay [-config relay.yaml] [flags]

hookrun relay buckets|inputs|outputs|tokens|logs|clients …

Is a relay of your own: it takes webhooks at public URLs, keeps each on disk, and
brings it to those who subscribed over a WebSocket, now or when they are back.
It speaks the protocol of Webhook Relay, so its clients work with it too.

Without -config it starts with an empty account, and prints a key and a secret
once. With it the file says what there is; it is read again when it changes, or
on SIGHUP. What is made with the management API, or with the commands below,
stays beside it.

  hookrun relay buckets -h     and inputs, outputs, tokens, logs, clients: set up and look
  hookrun check -config FILE   reads the file and prints every problem

SIGINT or SIGTERM: clients are told to come back. A second one does not wait.

Examples:
  hookrun relay
  hookrun relay -acme hooks.example.org
  hookrun relay -config relay.yaml -listen :8080 -data /var/lib/hookrun-relay

Exit codes: 0 ended by a signal, 1 it could not start, 2 wrong usage, 75 the
disk failed, and the next start goes on; or the store is damaged, see
-on-corrupt.`

// Bounds of a relay that are wider than those of a runner's intake.
const (
	relayMaxConns     = 20_000 // subscribers keep theirs open
	relayConnsPerAddr = 1024   // many may stand behind one router
	relayMaxHeld      = 256 << 20
	relayMaxAwait     = 1024
	challengeTimeout  = 10 * time.Second
	relayListen       = ":8080"
	relayTLSListen    = ":443"
)

// relayOptions are the flags of relay.
type relayOptions struct {
	config, listen, data string
	acme, acmeListen     string
	logFormat            string
	verbose              bool
	onCorruptFresh       bool
}

func relayCommand() command {
	return command{name: "relay", summary: "be a relay of your own: public URLs for machines without", manual: relayManual, run: runRelay, words: relayWords}
}

func runRelay(ctx context.Context, p Process, c command, args []string) error {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return manageRelay(ctx, p, args)
	}
	var o relayOptions
	fs := flags(c)
	fs.StringVar(&o.config, "config", "", "relay `FILE`; see the README")
	fs.StringVar(&o.listen, "listen", "", "take webhooks and clients on this `ADDRESS`; by default "+relayListen+", or "+relayTLSListen+" with TLS")
	fs.StringVar(&o.acme, "acme", "", "have a certificate for this `DOMAIN` from Let's Encrypt, whose terms of service you accept by this, and listen on :443; tls: in the file can say more")
	fs.StringVar(&o.acmeListen, "acme-listen", ":80", "answer the certificate authority's questions over HTTP on this `ADDRESS`; \"\": nowhere")
	fs.StringVar(&o.logFormat, "log", "text", "log `FORMAT`: text or json")
	fs.BoolVar(&o.verbose, "v", false, "log more")
	fs.StringVar(&o.data, "data", defaultRelayData(), "`FOLDER` for what is kept: one relay at a time")
	var onCorrupt string
	corruptFlag(fs, &onCorrupt)
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	var err error
	if o.onCorruptFresh, err = isFresh(onCorrupt); err != nil {
		return err
	}
	log, err := newLogger(p.Stderr, o.logFormat, o.verbose)
	if err != nil {
		return err
	}
	return relayDaemon(ctx, p, o, log)
}

// defaultRelayData is not the runner's folder: both may be on one machine.
func defaultRelayData() string {
	if os.Getenv("STATE_DIRECTORY") != "" {
		return defaultData()
	}
	return defaultData() + "-relay"
}
