package api

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"hookrun/relay/account"
)

// clientView is a subscriber as it is shown.
type clientView struct {
	AccessTokenKey string       `json:"access_token_key"`
	Buckets        []string     `json:"buckets"`
	ClientIP       string       `json:"client_ip"`
	ClientType     string       `json:"client_type"`
	ClientVersion  string       `json:"client_version"`
	Destination    string       `json:"destination"`
	SubscribedAt   account.Time `json:"subscribed_at"`

	// Ours.
	Name    string `json:"name,omitempty"` // of one that acknowledges
	Group   string `json:"group,omitempty"`
	Acks    bool   `json:"acks"`
	Waiting int64  `json:"waiting"`
}

// absentView is a client that acknowledges and is away.
type absentView struct {
	AccessTokenKey string        `json:"access_token_key"`
	Name           string        `json:"name"`
	Group          string        `json:"group,omitempty"`
	Buckets        []string      `json:"buckets"`
	LastSeen       *account.Time `json:"last_seen,omitempty"`
	Waiting        int64         `json:"waiting"`
}

type clientsView struct {
	WebhookClients []clientView `json:"webhook_clients"`
	TunnelClients  []struct{}   `json:"tunnel_clients"`

	// Ours.
	AbsentClients []absentView `json:"absent_clients"`
}

func (s *Server) listClients(q *request) (any, error) {
	all, err := s.hub.Clients(q.Context())
	if err != nil {
		return nil, err
	}
	v := clientsView{[]clientView{}, []struct{}{}, []absentView{}}
	a := s.book.Now()
	for _, c := range all {
		buckets, waiting, ok := q.sees(a, c)
		switch {
		case !ok:
		case c.Away:
			one := absentView{c.AccessTokenKey, c.Name, c.Group, buckets, nil, waiting}
			if !c.LastSeen.IsZero() {
				one.LastSeen = &c.LastSeen
			}
			v.AbsentClients = append(v.AbsentClients, one)
		default:
			v.WebhookClients = append(v.WebhookClients, clientView{
				c.AccessTokenKey, buckets, c.IP, c.Type, c.Version, c.Destination, c.SubscribedAt, c.Name, c.Group, c.Acks, waiting,
			})
		}
	}
	return v, nil
}

// sees leaves out the buckets of a client that the token may not know of, and
// what waits there. It reports whether any is left: a client without one is shown
// to those who see everything.
func (q *request) sees(a *account.Account, c account.Client) (buckets []string, waiting int64, ok bool) {
	buckets = []string{} // a list in JSON, also where it is empty
	for _, name := range c.Buckets {
		if b := a.Bucket(name); b != nil && q.token.Sees(b) {
			buckets = append(buckets, b.Name)
			waiting += c.Waiting[name]
		}
	}
	return buckets, waiting, len(buckets) > 0 || !isScoped(q.token)
}

// forgetClient forgets a client that is away: how far it is, and so what waits for
// it. access_token_key and group say which, where several have that name. A token
// that is bound to some buckets may forget its own clients alone.
func (s *Server) forgetClient(q *request) (any, error) {
	all, err := s.hub.Clients(q.Context())
	if err != nil {
		return nil, err
	}
	c, err := q.named(all, q.args[0])
	if err != nil {
		return nil, err
	}
	err = s.hub.Forget(q.Context(), c)
	switch {
	case errors.Is(err, account.ErrConnected):
		return nil, connected(c.Name)
	case errors.Is(err, account.ErrNotFound):
		return nil, notFound("client", c.Name)
	case err != nil:
		return nil, err
	}
	return forgotten{c.Name, "forgotten"}, nil
}

type forgotten struct {
	Name   string `json:"name"`
	Status string `json:"status"`
}

// named finds the client of a name that may be forgotten.
func (q *request) named(all []account.Client, name string) (account.Client, error) {
	in := q.URL.Query()
	key, kind := in.Get("access_token_key"), in.Get("group")
	group, err := strconv.ParseBool(kind)
	if kind != "" && err != nil {
		return account.Client{}, refuse(http.StatusBadRequest, "group: want true or false")
	}
	all = slices.DeleteFunc(slices.Clone(all), func(c account.Client) bool {
		return c.Name != name || !c.Acks || isScoped(q.token) && c.AccessTokenKey != q.token.ID ||
			key != "" && c.AccessTokenKey != key || kind != "" && (c.Group != "") != group
	})
	away := slices.DeleteFunc(slices.Clone(all), func(c account.Client) bool { return !c.Away })
	switch {
	case len(away) == 1:
		return away[0], nil
	case len(away) > 1:
		return account.Client{}, refuse(http.StatusConflict, "%d clients are named '%s': access_token_key and group say which", len(away), name)
	case len(all) > 0:
		return account.Client{}, connected(name)
	}
	return account.Client{}, notFound("client", name)
}

func connected(name string) error {
	return refuse(http.StatusConflict, "client '%s' is connected: one that is away can be forgotten", name)
}
