package account

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/google/uuid"
)

// Shelf is where a Book is kept. Both methods are about the whole account, as
// Encode writes it.
type Shelf interface {
	LoadAccount(ctx context.Context) ([]byte, error) // nil where none was saved yet
	SaveAccount(ctx context.Context, data []byte) error
}

// Book holds the account in force. Make one with Open.
type Book struct {
	shelf Shelf
	now   atomic.Pointer[Account]

	mu      sync.Mutex // guards changes, one at a time, and those who watch
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
	b := &Book{shelf: shelf, watches: make(map[int]func(*Account))}
	b.now.Store(a)
	return b, nil
}

// Now is the account in force. It must not be changed.
func (b *Book) Now() *Account { return b.now.Load() }

// Edit changes the account. fn gets a copy of its own; where it returns nil and
// the result is sound, that is saved, and then in force. An error of fn is
// returned as it is, one of a result that is not sound wraps ErrInvalid.
func (b *Book) Edit(ctx context.Context, fn func(*Account) error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
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
	switch {
	case string(after) == string(before):
		return nil
	case len(after) > MaxSize:
		return invalid("with that, all that is set up is more than %d bytes", MaxSize)
	}
	if err := b.shelf.SaveAccount(ctx, after); err != nil {
		return err
	}
	draft.index()
	b.now.Store(draft)
	for _, watch := range b.watches {
		watch(draft)
	}
	return nil
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
