package account

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// ErrUnavailable tells that nothing can be changed or noted now, such as on a full
// disk, and that it may be tried again later.
var ErrUnavailable = errors.New("can't be saved now")

// Shelf is where a Book is kept. Both methods are about the whole account, as
// Encode writes it. An error of SaveAccount wraps ErrUnavailable where it is that.
type Shelf interface {
	LoadAccount(ctx context.Context) ([]byte, error) // nil where none was saved yet
	SaveAccount(ctx context.Context, data []byte) error
}

// Book holds the account in force. Make one with Open.
type Book struct {
	shelf Shelf
	now   atomic.Pointer[Account]
	turn  chan struct{} // holds one value while somebody changes it; never closed

	mu      sync.Mutex // guards those who watch
	watches map[int]func(*Account)
	next    int
}

// Open reads the account from a shelf; where there is none yet it is empty.
func Open(ctx context.Context, shelf Shelf) (*Book, error) {
	data, err := shelf.LoadAccount(ctx)
	if err != nil {
		return nil, err
	}
	a, err := Decode(data)
	if err != nil {
		return nil, err
	}
	if a.ID == "" {
		a.ID = uuid.NewString() // is saved with the first change
	}
	b := &Book{shelf: shelf, turn: make(chan struct{}, 1), watches: make(map[int]func(*Account))}
	b.now.Store(a)
	return b, nil
}

// Now is the account in force. It must not be changed.
func (b *Book) Now() *Account { return b.now.Load() }

// Edit changes the account. fn gets a copy of its own; where it returns nil and
// the result is sound, that is saved, and then in force. An error of fn is
// returned as it is, one of a result that is not sound wraps ErrInvalid. Changes
// are made one after the other; the error of one whose ctx ends while it waits for
// others wraps ErrUnavailable.
func (b *Book) Edit(ctx context.Context, fn func(*Account) error) error {
	select {
	case b.turn <- struct{}{}:
		defer func() { <-b.turn }()
	case <-ctx.Done():
		return fmt.Errorf("%w: waited for other changes: %w", ErrUnavailable, context.Cause(ctx))
	}
	before, err := b.Now().Encode()
	if err != nil {
		return err
	}
	draft, err := Decode(before)
	if err != nil {
		return err
	}
	if err := fn(draft); err != nil {
		return err
	}
	if err := draft.check(); err != nil {
		return err
	}
	after, err := draft.Encode()
	if err != nil {
		return err
	}
	if string(after) == string(before) {
		return nil
	}
	if err := draft.fits(len(after)); err != nil {
		return err
	}
	if err := b.shelf.SaveAccount(ctx, after); err != nil {
		return err
	}
	draft.index()
	b.now.Store(draft)
	b.tell(draft)
	return nil
}

func (b *Book) tell(a *Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, watch := range b.watches {
		watch(a)
	}
}

// Watch has fn called after each change, on the goroutine of whoever made it; fn
// must be quick. stop ends that.
func (b *Book) Watch(fn func(*Account)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.next
	b.next++
	b.watches[n] = fn
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.watches, n)
	}
}
