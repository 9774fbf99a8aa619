package store

import (
	"slices"
	"testing"

	"hookrun/engine"
	"hookrun/engine/database"
)

// TestRunsOfABucketByEitherWay: those of one with few events are found by these,
// those of others among all runs.
func TestRunsOfABucketByEitherWay(t *testing.T) {
	s := serve(t, options(t)).Store
	crowd := newCrowd(3 * fewEvents)
	fill(t, s, crowd)
	to := map[string][]string{} // by event, the names of its bucket
	for _, r := range runsAsked(t, s, engine.RunFilter{Limit: crowd.events * 2}) {
		e, err := s.Event(t.Context(), r.Event)
		if err != nil {
			t.Fatal(err)
		}
		to[r.Event] = []string{e.Bucket, e.BucketID}
	}
	few := map[string]bool{}
	for _, bucket := range []string{"bucket-0", "id-0", "bucket-1", "bucket-3", "id-5", "bucket-9", "nowhere"} {
		err := s.lend(t.Context(), func(c *database.Conn) (err error) {
			few[bucket], err = isRare(c, bucket)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []engine.RunFilter{{}, {Rule: "rule-2"}, {States: []engine.State{engine.Failed, engine.Shadow}}, {Rule: "rule-0", States: []engine.State{engine.Done}}} {
			f.Limit = crowd.events * 2
			all := runsAsked(t, s, f)
			f.Bucket = bucket
			got := runsAsked(t, s, f)
			want := slices.DeleteFunc(all, func(r *engine.Run) bool { return !slices.Contains(to[r.Event], bucket) })
			if !slices.EqualFunc(got, want, func(a, b *engine.Run) bool { return a.ID == b.ID }) {
				t.Errorf("%+v: %d runs, want %d, or in another order", f, len(got), len(want))
			}
		}
	}
	if few["bucket-0"] || !few["bucket-9"] || !few["nowhere"] {
		t.Errorf("buckets with few events are %v; one way was not gone", few)
	}
}

func runsAsked(t *testing.T, s *Store, f engine.RunFilter) []*engine.Run {
	t.Helper()
	runs, err := s.Runs(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	return runs
}
