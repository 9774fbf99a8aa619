package api

import (
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
	Group   string `json:"group,omitempty"`
	Acks    bool   `json:"acks"`
	Waiting int64  `json:"waiting"`
}

type clientsView struct {
	WebhookClients []clientView `json:"webhook_clients"`
	TunnelClients  []struct{}   `json:"tunnel_clients"`
}

func (s *Server) listClients(q *request) (any, error) {
	v := clientsView{[]clientView{}, []struct{}{}}
	a := s.book.Now()
	for _, c := range s.hub.Clients() {
		if one, ok := newClientView(q, a, c); ok {
			v.WebhookClients = append(v.WebhookClients, one)
		}
	}
	return v, nil
}

// newClientView leaves out buckets that the token may not know of, and reports
// whether any is left: a client without one is shown to those who see everything.
func newClientView(q *request, a *account.Account, c account.Client) (v clientView, ok bool) {
	v = clientView{c.AccessTokenKey, []string{}, c.IP, c.Type, c.Version, c.Destination, c.SubscribedAt, c.Group, c.Acks, c.Waiting}
	for _, name := range c.Buckets {
		if b := a.Bucket(name); b != nil && q.token.Sees(b) {
			v.Buckets = append(v.Buckets, b.Name)
		}
	}
	return v, len(v.Buckets) > 0 || !isScoped(q.token)
}
