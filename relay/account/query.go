package account

import (
	"errors"
	"time"
)

// ErrNotFound tells that there is no such delivery.
var ErrNotFound = errors.New("not found")

// ErrLate tells that a delivery can't be answered any more: its sender got an
// answer, or has waited for too long.
var ErrLate = errors.New("too late")

// Bounds of what is asked for at once.
const (
	DefaultLimit = 20
	MaxLimit     = 100
)

// Query asks for logs, the newest first.
type Query struct {
	BucketIDs []string  // of these buckets; nil: of all
	Status    string    // one of the words of Log.Status; "": any
	From, To  time.Time // received in [From, To); zero: no bound
	Limit     int       // 1 to MaxLimit
	Offset    int       // from the first match; not with Cursor
	Cursor    string    // Page.NextCursor of the page before; "": the first
}

// Page is the answer to a Query.
type Page struct {
	Logs       []*Log
	Total      int64  // that match, without Limit, Offset and Cursor
	Truncated  bool   // Total stopped counting: there are more
	NextCursor string // "" on the last page
}

// Pull asks for deliveries that were not pulled yet, the oldest first.
type Pull struct {
	BucketIDs []string  // of these buckets; nil: of all
	OutputID  string    // "": of any output, or none
	Limit     int       // 1 to MaxLimit
	Since     time.Time // received at or after
}
