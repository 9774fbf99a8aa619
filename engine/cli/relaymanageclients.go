package cli

import (
	"context"
	"fmt"
	"strings"

	"hookrun/relay/manage"
)

const relayClientsManual = `hookrun relay clients [flags]

Lists the clients that are connected to a relay: the key that each came with, its
program, its address, the buckets that it gets, the group that it shares them
with, how many webhooks it has not acknowledged yet, and since when it is there. A
client that does not acknowledge gets what comes while it is connected.

Examples:
  hookrun relay clients
  hookrun relay clients -json

Exit codes: 0 done, also where there is none, 1 it could not, 2 wrong usage.`

func relayClientsCommand() command {
	return command{name: "relay clients", manual: relayClientsManual, run: listOr(runRelayClients, func() []command { return nil })}
}

func runRelayClients(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var asJSON bool
	fs := flags(c)
	relay.add(fs)
	fs.BoolVar(&asJSON, "json", false, "print one JSON object a line")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	return relay.ask(c, func(client *manage.Client) error {
		all, err := client.Subscribers(ctx)
		if err != nil {
			return err
		}
		columns := []string{"KEY", "CLIENT", "ADDRESS", "BUCKETS", "GROUP", "WAITING", "SINCE"}
		return printList(p, all, asJSON, "clients connected", columns, func(s *manage.Subscriber) []string {
			waiting := "does not ack"
			if s.Acks {
				waiting = fmt.Sprint(s.Waiting)
			}
			return []string{
				printable(s.Key), clip(printable(strings.TrimSpace(s.Type+" "+s.Version)), maxRuleColumn), printable(s.IP),
				clip(printable(strings.Join(s.Buckets, ", ")), maxRuleColumn), printable(s.Group), waiting, stamp(s.SubscribedAt),
			}
		})
	})
}
