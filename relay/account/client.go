package account

// Client is a subscriber that is connected.
type Client struct {
	AccessTokenKey string   // of the token that it logged in with
	Buckets        []string // names of those it is subscribed to
	IP             string   // without a port
	Type           string   // what it says it is; "" where it does not
	Version        string
	Destination    string // where it forwards to, as it says
	SubscribedAt   Time
	Group          string // that it shares a position with; "": none
	Acks           bool   // it acknowledges what it gets
	Waiting        int64  // deliveries that are kept for it and not acknowledged yet
}
