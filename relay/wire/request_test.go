package wire

import (
	"reflect"
	"strings"
	"testing"
)

func held(n int) *int { return &n }

func TestRequestsBothWays(t *testing.T) {
	tests := []struct {
		name string
		r    Request
		want string
	}{
		{"auth", Request{Action: ActionAuth, Key: "k", Secret: "s"}, `{"action":"auth","key":"k","secret":"s"}`},
		{"auth with more", Request{Action: ActionAuth, Key: "k", Secret: "s", Client: "c", Group: "g", Features: []string{"ack", "resume"}},
			`{"action":"auth","key":"k","secret":"s","client":"c","group":"g","features":["ack","resume"]}`},
		{"some buckets", Request{Action: ActionSubscribe, Buckets: []string{"a", "b"}}, `{"action":"subscribe","buckets":["a","b"]}`},
		{"all buckets", Request{Action: ActionSubscribe}, `{"action":"subscribe"}`},
		{"pong", Request{Action: ActionPong}, `{"action":"pong"}`},
		{"pong that says what is held", Request{Action: ActionPong, Held: held(0)}, `{"action":"pong","held":0}`},
		{"ack", Request{Action: ActionAck, IDs: []string{"a", "b"}}, `{"action":"ack","ids":["a","b"]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := EncodeRequest(tt.r)
			if err != nil || string(data) != tt.want {
				t.Errorf("EncodeRequest = %s, %v, want %s", data, err, tt.want)
			}
			back, err := DecodeRequest(data)
			if err != nil || !reflect.DeepEqual(back, tt.r) {
				t.Errorf("DecodeRequest = %+v, %v, want %+v", back, err, tt.r)
			}
		})
	}
}

func TestDecodeRequest(t *testing.T) {
	many := func(n int) string { return `["` + strings.Repeat(`a","`, n-1) + `a"]` }
	long := strings.Repeat("x", maxName+1)
	tests := []struct {
		name, data string
		want       Request
		err        error
	}{
		{"relayd", `{"action":"auth","key":"k","secret":"s","buckets":null}`, Request{Action: "auth", Key: "k", Secret: "s"}, nil},
		{"null and more", `{"action":"pong","held":null,"ids":null,"client":null,"features":null,"more":[{}]}`, Request{Action: "pong"}, nil},
		{"an action of the future", `{"action":"shrug"}`, Request{Action: "shrug"}, nil},
		{"no action", `{}`, Request{}, errNoAction},
		{"no JSON", `s3cret`, Request{}, errNotJSON},
		{"list", `["s3cret"]`, Request{}, errForm},
		{"key is a number", `{"action":"auth","key":7}`, Request{}, errForm},
		{"held is less than nothing", `{"action":"pong","held":-1}`, Request{}, errForm},
		{"held is no whole number", `{"action":"pong","held":1.5}`, Request{}, errForm},
		{"as many ids as may be", `{"action":"ack","ids":` + many(MaxAcks) + `}`,
			Request{Action: "ack", IDs: strings.Split(strings.Repeat("a,", MaxAcks-1)+"a", ",")}, nil},
		{"too many ids", `{"action":"ack","ids":` + many(MaxAcks+1) + `}`, Request{}, ErrTooLong},
		{"too many buckets", `{"action":"subscribe","buckets":` + many(maxBuckets+1) + `}`, Request{}, ErrTooLong},
		{"too many features", `{"action":"auth","features":` + many(maxFeatures+1) + `}`, Request{}, ErrTooLong},
		{"long client", `{"action":"auth","client":"` + long + `"}`, Request{}, ErrTooLong},
		{"long id", `{"action":"ack","ids":["` + long + `"]}`, Request{}, ErrTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeRequest([]byte(tt.data))
			if err != tt.err || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("DecodeRequest = %+v, %v, want %+v, %v", got, err, tt.want, tt.err)
			}
		})
	}
}

func TestAll(t *testing.T) {
	tests := []struct {
		data string
		want bool
	}{
		{`{"action":"subscribe"}`, true},
		{`{"action":"subscribe","buckets":null}`, true},
		{`{"action":"subscribe","buckets":[]}`, true},
		{`{"action":"subscribe","key":"","secret":"","buckets":[""]}`, true},
		{`{"action":"subscribe","buckets":["",""]}`, true},
		{`{"action":"subscribe","buckets":["","a"]}`, false},
		{`{"action":"subscribe","buckets":["a"]}`, false},
	}
	for _, tt := range tests {
		r, err := DecodeRequest([]byte(tt.data))
		if err != nil || r.All() != tt.want {
			t.Errorf("All of %s = %t, %v, want %t", tt.data, r.All(), err, tt.want)
		}
	}
}

// FuzzRequest reads what a client may send. What is read survives the way back.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"action":"auth","key":"k","secret":"s","buckets":null,"client":"c","group":"g","features":["ack"]}`,
		`{"action":"subscribe","buckets":[""]}`, `{"action":"ack","ids":["a","\ud800"]}`, `{"action":"pong","held":3}`, `{"Action":"pong"}`, ``, `null`, `[]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRequest(data)
		if err != nil {
			return
		}
		again, err := EncodeRequest(r)
		if err != nil {
			t.Fatal(err)
		}
		// Empty lists are left out, and come back as none.
		back, err := DecodeRequest(again)
		if err != nil || len(back.Buckets) != len(r.Buckets) || back.All() != r.All() || back.Key != r.Key || len(back.IDs) != len(r.IDs) {
			t.Fatalf("decoded again = %+v, %v, want %+v", back, err, r)
		}
	})
}
