package wire

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Request is a frame of a client. Which fields are set depends on Action.
type Request struct {
	Action  string   `json:"action"`
	Key     string   `json:"key,omitempty"`     // of auth
	Secret  string   `json:"secret,omitempty"`  // of auth
	Buckets []string `json:"buckets,omitempty"` // of subscribe: names or ids; see All

	Client   string   `json:"client,omitempty"`   // of auth: a name that the client keeps
	Group    string   `json:"group,omitempty"`    // of auth: clients of one group share the webhooks
	Features []string `json:"features,omitempty"` // of auth

	IDs  []string `json:"ids,omitempty"`  // of ack: meta.id of webhooks that are safe
	Held *int     `json:"held,omitempty"` // of pong: webhooks read up to the ping and not acked yet; nil: not said
}

// All reports whether a subscription is to every bucket. Clients say that in
// many ways: no list, null, an empty one, or one of empty names.
func (r Request) All() bool {
	return !slices.ContainsFunc(r.Buckets, func(b string) bool { return b != "" })
}

// EncodeRequest writes a client's frame.
func EncodeRequest(r Request) ([]byte, error) {
	data, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode %s frame: %w", r.Action, err)
	}
	return data, nil
}

// DecodeRequest reads a client's frame of up to MaxRequest bytes. Any field but
// action may be null or absent, and fields unknown here may hold anything.
func DecodeRequest(data []byte) (Request, error) {
	var r Request
	if err := unmarshal(data, &r); err != nil {
		return Request{}, err
	}
	switch {
	case r.Action == "":
		return Request{}, errNoAction
	case r.Held != nil && *r.Held < 0:
		return Request{}, errForm
	case r.tooLong():
		return Request{}, ErrTooLong
	}
	return r, nil
}

func (r Request) tooLong() bool {
	if len(r.Buckets) > maxBuckets || len(r.Features) > maxFeatures || len(r.IDs) > MaxAcks {
		return true
	}
	return anyLong(r.Action, r.Key, r.Secret, r.Client, r.Group) || anyLong(r.Buckets...) || anyLong(r.Features...) || anyLong(r.IDs...)
}

func anyLong(names ...string) bool {
	return slices.ContainsFunc(names, func(s string) bool { return len(s) > maxName })
}
