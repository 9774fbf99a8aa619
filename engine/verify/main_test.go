package verify

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// made is a verifier of a configuration that must be good.
func made(t testing.TB, c Config) *Verifier {
	t.Helper()
	v, err := New(c)
	if err != nil {
		t.Fatalf("New(%s): %v", c.Scheme, err)
	}
	return v
}

// wantPass fails where a request is refused.
func wantPass(t *testing.T, v *Verifier, r Request, now time.Time) {
	t.Helper()
	if err := v.Check(t.Context(), r, now); err != nil {
		t.Errorf("Check = %q, want nil", err)
	}
}

// wantReason compares the reason of a refusal.
func wantReason(t *testing.T, v *Verifier, r Request, now time.Time, want string) {
	t.Helper()
	err := v.Check(t.Context(), r, now)
	f, ok := errors.AsType[*Failure](err)
	if !ok || f.Reason != want {
		t.Errorf("Check = %v, want a Failure %q", err, want)
	}
}

func seconds(n int64) time.Time { return time.Unix(n, 0) }

// noFetch is for configurations that must have a Fetch and don't get to it.
func noFetch(context.Context, string) ([]byte, error) { return nil, errors.New("no network here") }
