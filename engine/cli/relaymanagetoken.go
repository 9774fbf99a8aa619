package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

const relayTokensManual = `hookrun relay tokens [list] [flags]
hookrun relay tokens create [flags]
hookrun relay tokens enable|disable|delete KEY [flags]

Lists the tokens of a relay: key, what it is for, the buckets that it is bound to,
its state, whether it may set up the relay, and when it was used last.

  create        make one, and print its key and secret, once
  disable KEY   let nobody in with it
  enable KEY    let them in again
  delete KEY    delete one

Each word has a manual: hookrun relay tokens create -h.

Examples:
  hookrun relay tokens
  hookrun relay tokens -json

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayTokensCreateManual = `hookrun relay tokens create [flags]

Makes a token, and prints its key and secret as a shell takes them. The secret is
shown only now.

With -bucket it sees these buckets alone; with -receive-only it gets webhooks and
answers them, and can't look into the relay or set anything up.

Examples:
  hookrun relay tokens create -description 'build box' -bucket deploys -receive-only
  hookrun relay tokens create -bucket deploys -bucket alerts > buildbox.env

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayTokensDisableManual = `hookrun relay tokens disable KEY [flags]

Lets nobody in with a token. Who is connected with it is sent away.

Examples:
  hookrun relay tokens disable 5a3c2f80-6f2e-4c57-9c11-3df1a7b4f1aa

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayTokensEnableManual = `hookrun relay tokens enable KEY [flags]

Lets a token in again that was disabled.

Examples:
  hookrun relay tokens enable 5a3c2f80-6f2e-4c57-9c11-3df1a7b4f1aa

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

const relayTokensDeleteManual = `hookrun relay tokens delete KEY [flags]

Deletes a token. The last one that can set up everything can't be deleted.

Examples:
  hookrun relay tokens delete 5a3c2f80-6f2e-4c57-9c11-3df1a7b4f1aa

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

func relayTokensCommand() command {
	return command{name: "relay tokens", manual: relayTokensManual, run: listOr(runRelayTokens), words: func() []command {
		return []command{
			{name: "relay tokens create", manual: relayTokensCreateManual, run: runRelayTokensCreate},
			{name: "relay tokens disable", manual: relayTokensDisableManual, run: withToken(setActive(false))},
			{name: "relay tokens enable", manual: relayTokensEnableManual, run: withToken(setActive(true))},
			{name: "relay tokens delete", manual: relayTokensDeleteManual, run: withToken(deleteToken)},
		}
	}}
}

func runRelayTokens(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var asJSON bool
	fs := flags(c)
	relay.add(fs)
	fs.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	return relay.ask(c, func(client *manage.Client) error {
		all, err := client.Tokens(ctx)
		if err != nil {
			return err
		}
		columns := []string{"KEY", "BUCKETS", "STATE", "MAY", "LAST LOGIN", "DESCRIPTION"}
		return printList(p, all, asJSON, "tokens", columns, tokenRow)
	})
}

func tokenRow(t *manage.Token) []string {
	buckets, state, may := "all", "active", "set up"
	if len(t.Scopes.Buckets) > 0 {
		buckets = clip(printable(strings.Join(t.Scopes.Buckets, ", ")), maxRuleColumn)
	}
	if !t.Active {
		state = "disabled"
	}
	if t.APIAccess == account.APIDisabled {
		may = "receive"
	}
	login := "never"
	if at, err := time.Parse(time.RFC3339, t.LastLogin); err == nil {
		login = clock(at)
	}
	return []string{printable(t.ID), buckets, state, may, login, printable(t.Description)}
}

func runRelayTokensCreate(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var buckets list
	var description string
	var receiveOnly bool
	fs := flags(c)
	relay.add(fs)
	fs.Var(&buckets, "bucket", "bind it to this `BUCKET`; may be repeated")
	fs.StringVar(&description, "description", "", "who it is for, as `TEXT`")
	fs.BoolVar(&receiveOnly, "receive-only", false, "it gets webhooks and answers them, no more")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	t := manage.NewToken{Description: description, APIAccess: account.APIEnabled}
	t.Scopes.Buckets = buckets
	if receiveOnly {
		t.APIAccess = account.APIDisabled
	}
	return relay.ask(c, func(client *manage.Client) error {
		for _, name := range buckets { // a token may be made before its bucket: a mistake would not be noticed
			if _, err := findBucket(ctx, client, name); err != nil {
				return err
			}
		}
		made, err := client.CreateToken(ctx, t)
		if err != nil {
			return err
		}
		fmt.Fprintf(p.Stdout, "export RELAY_KEY=%s\nexport RELAY_SECRET=%s\n", shellWord(made.Key), shellWord(made.Secret))
		fmt.Fprintln(p.Stderr, "hookrun: the secret is shown only now")
		return nil
	})
}

// shellWord is text that a shell takes as one word and does nothing with, whatever
// the relay says.
func shellWord(text string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_.-", r)
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(printable(text), "'", `'\''`) + "'"
}

// withToken returns what runs a command that does something with one token.
func withToken(do func(context.Context, *manage.Client, manage.Token) error) func(context.Context, Process, command, []string) error {
	return func(ctx context.Context, p Process, c command, args []string) error {
		var relay relayFlags
		fs := flags(c)
		relay.add(fs)
		words, err := parseWords(p, c, fs, args, 1)
		if err != nil {
			return err
		}
		if len(words) == 0 || words[0] == "" {
			return &usageError{c.name + ": the key of a token is missing", "hookrun relay tokens lists them"}
		}
		return relay.ask(c, func(client *manage.Client) error {
			t, err := findToken(ctx, client, words[0])
			if err != nil {
				return err
			}
			return do(ctx, client, t)
		})
	}
}

func findToken(ctx context.Context, client *manage.Client, key string) (manage.Token, error) {
	all, err := client.Tokens(ctx)
	if err != nil {
		return manage.Token{}, err
	}
	var keys []string
	for _, t := range all {
		if t.ID == key {
			return t, nil
		}
		keys = append(keys, t.ID)
	}
	return manage.Token{}, noSuch("token", key, keys, "hookrun relay tokens")
}

func setActive(active bool) func(context.Context, *manage.Client, manage.Token) error {
	return func(ctx context.Context, client *manage.Client, t manage.Token) error {
		t.Active = active
		_, err := client.UpdateToken(ctx, t)
		return err
	}
}

func deleteToken(ctx context.Context, client *manage.Client, t manage.Token) error {
	return client.DeleteToken(ctx, t.ID)
}
