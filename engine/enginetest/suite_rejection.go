package enginetest

import (
	"fmt"
	"testing"
	"time"

	"hookrun/engine"
)

func testRejections(t *testing.T, s engine.Store) {
	start := time.Now().UTC().Round(0)
	var all []engine.Rejection // the newest first
	for i := range engine.MaxRejections + 3 {
		r := engine.Rejection{
			ID: engine.NewID(), Received: start.Add(time.Duration(i) * time.Second), Source: engine.SourceIntake, Remote: "192.0.2.1:4711",
			Bucket: fmt.Sprint("b", i%2), Method: "POST", Path: "/p", Headers: []string{"A", "X-Sig"}, Size: i,
			Reason: "the signature differs", Likely: "the prefix sha256= is missing",
		}
		if err := s.Reject(t.Context(), r); err != nil {
			t.Fatalf("Reject: %v", err)
		}
		all = append([]engine.Rejection{r}, all...)
	}
	kept := all[:engine.MaxRejections]
	for _, tt := range []struct {
		name   string
		filter engine.RejectionFilter
		want   []engine.Rejection
	}{
		{"all that are kept", engine.RejectionFilter{}, kept},
		{"two", engine.RejectionFilter{Limit: 2}, kept[:2]},
		{"since", engine.RejectionFilter{Since: kept[4].Received}, kept[:5]},
		{"of a bucket", engine.RejectionFilter{Bucket: "b1", Limit: 1}, kept[1:2]},
		{"of a bucket that has none", engine.RejectionFilter{Bucket: "b2"}, nil},
	} {
		got, err := s.Rejections(t.Context(), tt.filter)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		wantEqual(t, tt.name, got, tt.want)
	}
	accepted := mustAccept(t, s, NewAcceptance("a"))
	if ev, err := s.Event(t.Context(), accepted.Event); err != nil || ev.ID != accepted.Event {
		t.Errorf("Event beside rejections = %v, %v", ev, err)
	}
}
