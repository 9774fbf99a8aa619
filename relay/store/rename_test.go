package store

import (
	"testing"
	"time"

	"hookrun/relay/account"
)

func TestRenameConsumer(t *testing.T) {
	o := options(t)
	o.KeepAge = time.Hour
	s, clock := retained(t, o)
	ls := acceptMany(t, s, bucketA, 3)
	save := func(c account.Consumer) {
		t.Helper()
		if err := s.SaveConsumers(t.Context(), []account.Consumer{c}); err != nil {
			t.Fatal(err)
		}
	}
	save(account.Consumer{Name: "old", BucketID: bucketA, Acked: ls[0].Seq, Seen: day0})
	clock.set(day0.Add(2 * time.Hour))
	if err := s.sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if err := s.RenameConsumer(t.Context(), "old", "new"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"old": 0, "new": 1} {
		gaps, err := s.Gaps(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		if len(gaps) != want {
			t.Errorf("%d gaps of %s, want %d", len(gaps), name, want)
		}
	}
	all, err := s.Consumers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != 1 || all[0].Name != "new" || all[0].Acked != ls[2].Seq {
		t.Errorf("consumers = %+v, want the position under the new name", all)
	}
}
