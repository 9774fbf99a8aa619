package hub

import (
	"context"

	"hookrun/relay/account"
)

// Store keeps deliveries, and how far each consumer is. Its methods are called
// from many goroutines at once. Logs that it is given or gives are not changed
// afterwards by either side, but for Seq in Accept.
type Store interface {
	// Accept keeps the deliveries of one webhook, all or none, and sets their
	// Seq: greater than any before. It returns nil only when they are on disk;
	// committed is called before, in the order of Seq over all calls, and must be
	// quick.
	Accept(ctx context.Context, ds []*account.Log, committed func()) error

	// Update notes what became of a delivery. An error wraps account.ErrNotFound
	// where it is not kept any more.
	Update(ctx context.Context, id string, u account.Update) error

	// Log finds a delivery; the error wraps account.ErrNotFound.
	Log(ctx context.Context, id string) (*account.Log, error)

	// After returns a bucket's deliveries for subscribers behind a Seq, the oldest
	// first: at most limit, and no more than about maxBytes of bodies, but one at
	// least where there is one.
	After(ctx context.Context, bucketID string, seq int64, limit, maxBytes int) ([]*account.Log, error)

	// LastSeq is the greatest Seq ever given, 0 before the first.
	LastSeq(ctx context.Context) (int64, error)

	// Waiting counts a bucket's deliveries for subscribers behind a Seq.
	Waiting(ctx context.Context, bucketID string, seq int64) (int64, error)

	// Consumers returns all that were saved, one for each name and bucket, and that
	// were not forgotten since: it is for the store to say who was away for too long.
	Consumers(ctx context.Context) ([]account.Consumer, error)

	// SaveConsumers keeps the positions of consumers, in one transaction. A
	// position never goes back: the greater Acked stays, and what is acknowledged
	// above it stays so.
	SaveConsumers(ctx context.Context, cs []account.Consumer) error

	// RenameConsumer gives the positions and gaps of a name another one, which has
	// none.
	RenameConsumer(ctx context.Context, from, to string) error

	// ForgetConsumer forgets the positions and gaps of a name.
	ForgetConsumer(ctx context.Context, name string) error

	// Gaps returns what retention took from a consumer, the oldest first;
	// ForgetGaps forgets those, once they were told.
	Gaps(ctx context.Context, consumer string) ([]account.Gap, error)
	ForgetGaps(ctx context.Context, gaps []account.Gap) error
}
