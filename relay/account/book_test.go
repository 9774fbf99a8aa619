package account

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// shelf keeps an account in memory.
type shelf struct {
	mu    sync.Mutex // guards the others
	data  []byte
	saves int
	err   error // of SaveAccount
}

func (s *shelf) LoadAccount(context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.data, nil
}

func (s *shelf) SaveAccount(_ context.Context, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	s.data = data
	s.saves++
	return nil
}

func open(t *testing.T, s *shelf) *Book {
	t.Helper()
	b, err := Open(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func addBucket(n int) func(*Account) error {
	return func(a *Account) error {
		a.Buckets = append(a.Buckets, Bucket{ID: id(n), Name: fmt.Sprintf("bucket-%d", n)})
		return nil
	}
}

func TestConcurrentEditsLoseNothing(t *testing.T) {
	s := &shelf{}
	b := open(t, s)
	const n = 50
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := b.Edit(t.Context(), addBucket(i+1)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	again := open(t, s)
	for _, book := range []*Book{b, again} {
		if got := len(book.Now().Buckets); got != n {
			t.Errorf("%d buckets, want %d", got, n)
		}
	}
	if again.Now().Bucket("bucket-7") == nil {
		t.Error("a bucket that was saved can't be found by its name")
	}
}

func TestEditIsAllOrNothing(t *testing.T) {
	s := &shelf{}
	b := open(t, s)
	if err := b.Edit(t.Context(), addBucket(1)); err != nil {
		t.Fatal(err)
	}
	before := b.Now()
	errMine, errFull := errors.New("mine"), errors.New("disk full")
	tests := []struct {
		name string
		err  error // of the shelf
		edit func(*Account) error
		want error
	}{
		{"its own error", nil, func(a *Account) error { a.Buckets = nil; return errMine }, errMine},
		{"not sound", nil, addBucket(1), ErrInvalid},
		{"too big", nil, func(a *Account) error {
			for i := range 300 {
				a.Buckets = append(a.Buckets, Bucket{ID: id(1000 * (i + 1)), Name: fmt.Sprintf("big-%d", i), Inputs: []Input{
					{ID: id(1000*(i+1) + 1), Body: strings.Repeat("a", MaxStaticBody)}}})
			}
			return nil
		}, ErrInvalid},
		{"a bucket too big", nil, func(a *Account) error {
			for i := range 20 {
				a.Buckets[0].Inputs = append(a.Buckets[0].Inputs, Input{ID: id(1000 + i), Body: strings.Repeat("a", MaxStaticBody)})
			}
			return nil
		}, ErrInvalid},
		{"not saved", errFull, addBucket(2), errFull},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.err = tt.err
			if err := b.Edit(t.Context(), tt.edit); !errors.Is(err, tt.want) {
				t.Errorf("Edit: %v, want %v", err, tt.want)
			}
			if b.Now() != before || len(before.Buckets) != 1 {
				t.Errorf("the account changed to %+v", b.Now())
			}
		})
	}
}

// TestBucketsMayBeLargeTogether: the bound of a bucket is not one of all.
func TestBucketsMayBeLargeTogether(t *testing.T) {
	b := open(t, &shelf{})
	err := b.Edit(t.Context(), func(a *Account) error {
		for i := range 20 {
			a.Buckets = append(a.Buckets, Bucket{ID: id(1000 * (i + 1)), Name: fmt.Sprintf("b%d", i), Inputs: []Input{
				{ID: id(1000*(i+1) + 1), Body: strings.Repeat("a", MaxStaticBody)}}})
		}
		return nil
	})
	if err != nil {
		t.Errorf("Edit: %v, want nil", err)
	}
}

// TestAnEditThatWaitsEndsWithItsContext: one before it that takes long, such as on
// a slow disk, does not hold it.
func TestAnEditThatWaitsEndsWithItsContext(t *testing.T) {
	b := open(t, &shelf{})
	begun, end := make(chan struct{}), make(chan struct{})
	var slow sync.WaitGroup
	slow.Go(func() {
		err := b.Edit(t.Context(), func(a *Account) error {
			close(begun)
			<-end
			return addBucket(1)(a)
		})
		if err != nil {
			t.Errorf("the edit before: %v, want nil", err)
		}
	})
	<-begun
	ctx, cancel := context.WithCancelCause(t.Context())
	errMine := errors.New("mine")
	cancel(errMine)
	if err := b.Edit(ctx, addBucket(2)); !errors.Is(err, ErrUnavailable) || !errors.Is(err, errMine) {
		t.Errorf("Edit: %v, want ErrUnavailable and why", err)
	}
	stop := b.Watch(func(*Account) {}) // nor does it hold who wants to watch
	stop()
	close(end)
	slow.Wait()
	if a := b.Now(); a.Bucket("bucket-1") == nil || a.Bucket("bucket-2") != nil {
		t.Errorf("the account has %+v, want bucket-1 alone", a.Buckets)
	}
}

// BenchmarkEdit changes one of 1000 buckets, each with 2 inputs and 2 outputs.
func BenchmarkEdit(b *testing.B) {
	book, err := Open(b.Context(), &shelf{})
	if err != nil {
		b.Fatal(err)
	}
	if err := book.Edit(b.Context(), func(a *Account) error {
		for i := range 1000 {
			n, bucket := 100*(i+1), id(100*(i+1))
			a.Buckets = append(a.Buckets, Bucket{ID: bucket, Name: fmt.Sprintf("bucket-%d", i), Stream: true,
				Inputs: []Input{
					{ID: id(n + 1), Name: DefaultInput, BucketID: bucket},
					{ID: id(n + 2), Name: "own", BucketID: bucket, CustomDomain: "hooks.example.org", PathPrefix: fmt.Sprintf("/%d", i)},
				},
				Outputs: []Output{
					{ID: id(n + 3), Name: "local", BucketID: bucket, Destination: "http://localhost:3000/hook", Internal: true},
					{ID: id(n + 4), Name: "public", BucketID: bucket, Destination: "https://example.org/hook", Headers: Header{"X-A": {"b"}}},
				}})
		}
		return nil
	}); err != nil {
		b.Fatal(err)
	}
	n := 0
	for b.Loop() {
		n++
		if err := book.Edit(b.Context(), func(a *Account) error {
			a.Buckets[500].Description = fmt.Sprint(n)
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEditWithoutChangeIsNotSaved(t *testing.T) {
	s := &shelf{}
	b := open(t, s)
	if err := b.Edit(t.Context(), addBucket(1)); err != nil {
		t.Fatal(err)
	}
	if err := b.Edit(t.Context(), func(*Account) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if s.saves != 1 {
		t.Errorf("saved %d times, want 1", s.saves)
	}
}

func TestWatchTellsOfEachChange(t *testing.T) {
	b := open(t, &shelf{})
	var seen []int
	stop := b.Watch(func(a *Account) { seen = append(seen, len(a.Buckets)) })
	for i := range 2 {
		if err := b.Edit(t.Context(), addBucket(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if err := b.Edit(t.Context(), addBucket(3)); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(seen) != "[1 2]" {
		t.Errorf("told of %v, want [1 2]", seen)
	}
}

func TestOpenTellsOfDamage(t *testing.T) {
	if _, err := Open(t.Context(), &shelf{data: []byte("{")}); err == nil {
		t.Error("Open of half an account: no error")
	}
}

func TestLoginIsNotedToTheHour(t *testing.T) {
	s := &shelf{}
	b := open(t, s)
	err := b.Edit(t.Context(), func(a *Account) error {
		a.Tokens = []Token{{ID: "k", Active: true}}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		after time.Duration
		want  time.Duration // of the login that is noted
		saves int
	}{{0, 0, 2}, {59 * time.Minute, 0, 2}, {time.Hour, time.Hour, 3}, {time.Minute, time.Hour, 3}} {
		if err := b.Login(t.Context(), "k", begin.Add(tt.after)); err != nil {
			t.Fatal(err)
		}
		if got := b.Now().Token("k").LastLogin; !got.Equal(begin.Add(tt.want)) || s.saves != tt.saves {
			t.Errorf("login after %v: noted %v with %d saves, want %v with %d", tt.after, got, s.saves, begin.Add(tt.want), tt.saves)
		}
	}
	if err := b.Login(t.Context(), "none", begin); err != nil {
		t.Errorf("login of a token that there is not: %v", err)
	}
}
