package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"slices"
	"strings"

	"hookrun/relay/manage"
)

const relayClientsManual = `hookrun relay clients [list] [flags]
hookrun relay clients forget NAME [flags]

Lists the clients that are connected to a relay, then those that are away: the
name under which one is known (its group's, or the beginning of its own), the key
that it came with, its program, its address, the buckets that it gets, how many
webhooks are kept for it and not acknowledged yet, and since when it is here or
away. What waits for a group stands with each of its members.

A client that does not acknowledge has no name, and gets what comes while it is
connected: nothing waits for it.

  forget NAME   forget one that is away, and what waits for it

Examples:
  hookrun relay clients
  hookrun relay clients -json

Exit codes: 0 done, also where there is none, 1 it could not, 2 wrong usage.`

const relayClientsForgetManual = `hookrun relay clients forget NAME [flags]

Forgets a client that is away and will not be back, named as it is listed, by its
whole name or the beginning of one: how far it is, and so what waits for it. The
webhooks stay in the log. Should it come again, it gets what comes from then on.

Where several have that name, -token and -group say which.

Examples:
  hookrun relay clients forget 0197f3c2-8a1b-7a2c
  hookrun relay clients forget builders -group

Exit codes: 0 done, 1 it could not, 2 wrong usage.`

func relayClientsCommand() command {
	return command{name: "relay clients", manual: relayClientsManual, run: listOr(runRelayClients), words: func() []command {
		return []command{{name: "relay clients forget", manual: relayClientsForgetManual, run: runRelayClientsForget}}
	}}
}

func runRelayClients(ctx context.Context, p Process, c command, args []string) error {
	var relay relayFlags
	var asJSON bool
	fs := flags(c)
	relay.add(fs)
	fs.BoolVar(&asJSON, "json", false, "print one JSON object a line; of one that is away with \"away\": true")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	return relay.ask(c, func(client *manage.Client) error {
		found, err := client.Clients(ctx)
		if err != nil {
			return err
		}
		var all []clientRow
		for i := range found.Connected {
			all = append(all, clientRow{here: &found.Connected[i]})
		}
		for i := range found.Absent {
			all = append(all, clientRow{away: &found.Absent[i]})
		}
		columns := []string{"NAME", "KEY", "CLIENT", "ADDRESS", "BUCKETS", "WAITING", "SINCE"}
		return printList(p, all, asJSON, "clients", columns, (*clientRow).columns)
	})
}

// clientRow is a client that is here or away.
type clientRow struct {
	here *manage.Subscriber
	away *manage.Absent
}

// MarshalJSON implements json.Marshaler.
func (r clientRow) MarshalJSON() ([]byte, error) {
	if r.here != nil {
		return json.Marshal(r.here)
	}
	return json.Marshal(struct {
		*manage.Absent
		Away bool `json:"away"`
	}{r.away, true})
}

func (r *clientRow) columns() []string {
	if a := r.away; a != nil {
		since := "away"
		if a.LastSeen != nil {
			since = "away since " + stamp(*a.LastSeen)
		}
		return []string{clientName(a.Name, a.Group), printable(a.Key), "", "", bucketColumn(a.Buckets), fmt.Sprint(a.Waiting), since}
	}
	s := r.here
	waiting := "does not ack"
	if s.Acks {
		waiting = fmt.Sprint(s.Waiting)
	}
	return []string{
		clientName(s.Name, s.Group), printable(s.Key), clip(printable(strings.TrimSpace(s.Type+" "+s.Version)), maxRuleColumn), printable(s.IP),
		bucketColumn(s.Buckets), waiting, stamp(s.SubscribedAt),
	}
}

// clientName is how a client is named in a list. A person chose that of a group.
func clientName(name, group string) string { return printable(cmp.Or(group, short(name))) }

func bucketColumn(buckets []string) string {
	return clip(printable(strings.Join(buckets, ", ")), maxRuleColumn)
}

func runRelayClientsForget(ctx context.Context, p Process, c command, args []string) error {
	var o forgetOptions
	fs := flags(c)
	o.add(fs)
	name, err := parseName(p, c, fs, args, "hookrun relay clients forget NAME")
	if err != nil {
		return err
	}
	o.name = name
	return o.relay.ask(c, func(client *manage.Client) error {
		all, err := client.Clients(ctx)
		if err != nil {
			return err
		}
		a, err := o.find(fs, all)
		if err != nil {
			return err
		}
		if err := client.ForgetClient(ctx, a); err != nil {
			return err
		}
		fmt.Fprintf(p.Stderr, "hookrun: forgotten: client %s of %s, for which %s waited\n",
			printable(a.Name), printable(strings.Join(a.Buckets, ", ")), count(int(a.Waiting), "webhook"))
		return nil
	})
}

// forgetOptions say which client is to be forgotten.
type forgetOptions struct {
	relay       relayFlags
	name, token string
	group       bool
}

func (o *forgetOptions) add(fs *flag.FlagSet) {
	o.relay.add(fs)
	fs.StringVar(&o.token, "token", "", "the one that came with this `KEY`")
	fs.BoolVar(&o.group, "group", false, "NAME is that of a group; -group=false: it is not")
}

// find finds the client that is meant, by its name or the beginning of one.
func (o *forgetOptions) find(fs *flag.FlagSet, all manage.Clients) (manage.Absent, error) {
	means := func(key, group string) bool {
		return (o.token == "" || key == o.token) && (!given(fs, "group") || (group != "") == o.group)
	}
	var exact, begin []manage.Absent
	var names []string
	for _, a := range all.Absent {
		names = append(names, a.Name)
		switch {
		case !means(a.Key, a.Group):
		case a.Name == o.name:
			exact = append(exact, a)
		case a.Group == "" && strings.HasPrefix(a.Name, o.name):
			begin = append(begin, a)
		}
	}
	found := exact
	if len(found) == 0 {
		found = begin
	}
	here := slices.ContainsFunc(all.Connected, func(s manage.Subscriber) bool {
		return means(s.Key, s.Group) && s.Acks && (s.Name == o.name || s.Group == "" && strings.HasPrefix(s.Name, o.name))
	})
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return manage.Absent{}, withHint(fmt.Errorf("%d clients that are away have the name %s", len(found), printable(o.name)),
			"-token KEY or -group says which, or more of its name: -json lists whole ones")
	case here:
		return manage.Absent{}, withHint(fmt.Errorf("client %s is connected", printable(o.name)),
			"stop it first, or take its key away: hookrun relay tokens disable KEY")
	}
	return manage.Absent{}, noSuch("client that is away", o.name, names, "hookrun relay clients")
}
