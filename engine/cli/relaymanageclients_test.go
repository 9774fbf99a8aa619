package cli

import (
	"strings"
	"testing"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

func TestWhichClientIsForgotten(t *testing.T) {
	all := manage.Clients{
		Connected: []manage.Subscriber{{Key: "k", Name: "0197-here", Acks: true}, {Key: "k"}},
		Absent: []manage.Absent{
			{Key: "k", Name: "0197-aaaa"},
			{Key: "k", Name: "0197-aabb"},
			{Key: "k", Name: "ops", Group: "ops"},
			{Key: "other", Name: "ops", Group: "ops"},
			{Key: "k", Name: "ops"},
		},
	}
	for _, tt := range []struct {
		args    string // flags and a name
		want    int    // of Absent
		problem string // "": none
	}{
		{"0197-aaaa", 0, ""},
		{"0197-aab", 1, ""},
		{"0197-aa", 0, "2 clients that are away have the name 0197-aa"},
		{"0197-h", 0, "client 0197-h is connected"},
		{"ops", 0, "3 clients"},
		{"-group ops", 0, "2 clients"},
		{"-group -token other ops", 3, ""},
		{"-group=false ops", 4, ""},
		{"-group=false -token other ops", 0, `no client that is away "ops"`},
		{"op", 4, ""}, // a group's name has no beginning
		{"pos", 0, `no client that is away "pos"`},
	} {
		t.Run(tt.args, func(t *testing.T) {
			var o forgetOptions
			fs := flags(command{name: "relay clients forget"})
			o.add(fs)
			if err := fs.Parse(strings.Fields(tt.args)); err != nil {
				t.Fatal(err)
			}
			o.name = fs.Arg(0)
			got, err := o.find(fs, all)
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("find = %+v, %v, want an error with %q", got, err, tt.problem)
				}
				return
			}
			if want := all.Absent[tt.want]; err != nil || got.Name != want.Name || got.Key != want.Key || got.Group != want.Group {
				t.Errorf("find = %+v, %v, want %+v", got, err, want)
			}
		})
	}
}

// A relay that tells why, and when it tries next.
func TestShownLogSaysWhy(t *testing.T) {
	next := account.At(time.Unix(1_700_000_000, 0))
	b := &manage.Bucket{}
	b.ID, b.Name = "b", "deploys"
	b.Outputs = []account.Output{{ID: "o", Name: "ci"}}
	l := &manage.Log{BucketID: "b", InputID: "gone", OutputID: "o", Status: account.StatusPreparing, Error: "nothing listens there\x1b[2J", Next: &next}
	var out strings.Builder
	shownLog{fields{screen: screenOf(&out)}, l, b}.print()
	for _, want := range []string{"bucket       deploys (b)\n", "input        gone\n", "output       ci (o)\n", "why          nothing listens there\\u001b[2J\n", "next try     "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it printed\n%s\nwant %q", out.String(), want)
		}
	}
}
