package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"hookrun/relay/account"
)

// firstKey makes a token where there is none, and shows it once.
func (r *relaying) firstKey(ctx context.Context, p Process) error {
	if len(r.book.Now().Tokens) > 0 {
		return nil
	}
	key, secret := "relay-"+strings.ToLower(rand.Text()[:8]), account.SecretPrefix+rand.Text()+rand.Text()
	err := r.book.Edit(ctx, func(a *account.Account) error {
		now := account.At(time.Now())
		a.Tokens = append(a.Tokens, account.Token{
			ID: key, Description: "made at the first start", Active: true, APIAccess: account.APIEnabled,
			CreatedAt: now, UpdatedAt: now, SecretHash: account.HashSecret(secret),
		})
		return nil
	})
	if err != nil {
		return err
	}
	base := r.publicURL(nil)
	fmt.Fprintf(p.Stdout, `This relay has no key yet. Here is one; the secret is shown only now:

  export RELAY_URL=%s
  export RELAY_KEY=%s
  export RELAY_SECRET=%s

To try it, in another terminal, with these three set:

  hookrun relay buckets create deploys                   prints the URL to send webhooks to
  hookrun forward -bucket deploys http://localhost:3000/ sends them to a server on your machine

A hookrun with rules connects with key and secret set, and in its rules

  relay: {url: "%s"}

`, base, key, secret, socketURL(base))
	return nil
}

// socketURL is the address of the socket of a relay.
func socketURL(base string) string {
	return strings.Replace(base, "http", "ws", 1) + "/v1/socket"
}

// greet says where the relay is, and where webhooks go.
func (r *relaying) greet() {
	a := r.book.Now()
	r.log.Info("the relay is running", "version", version(), "address", r.socket.Addr().String(), "buckets", len(a.Buckets), "tokens", len(a.Tokens))
	public := r.publicURL(nil)
	const most = 20
	for i, b := range a.Buckets {
		if i == most {
			r.log.Info("and others: hookrun relay inputs lists them all", "buckets", len(a.Buckets)-most)
			return
		}
		for _, in := range b.Inputs {
			r.log.Info("webhooks go to", "bucket", b.Name, "url", inputURL(public, &in))
		}
	}
}
