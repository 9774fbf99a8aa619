package hub

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"hookrun/relay/account"
)

// memStore is a Store, and a shelf for the account, in memory.
type memStore struct {
	shelf sync.Mutex // guards book
	book  []byte

	mu        sync.Mutex // guards all below
	seq       int64
	logs      []*account.Log
	consumers map[string]account.Consumer
	gaps      []account.Gap
	broken    error // what every call returns, if not nil
	abandoned bool  // see abandon

	// Called on the caller's goroutine, if not nil, the first with mu held.
	beforeCommit func()      // the deliveries have their Seq by then
	afterRead    func(n int) // n deliveries were read
	beforeSave   func()
}

var _ Store = (*memStore)(nil)

func newMemStore() *memStore { return &memStore{consumers: make(map[string]account.Consumer)} }

func (m *memStore) lock() (unlock func(), err error) {
	m.mu.Lock()
	if err := m.broken; err != nil {
		m.mu.Unlock()
		return nil, err
	}
	return m.mu.Unlock, nil
}

func (m *memStore) Accept(_ context.Context, ds []*account.Log, committed func()) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for _, l := range ds {
		m.seq++
		l.Seq = m.seq
	}
	if m.beforeCommit != nil {
		m.beforeCommit()
	}
	m.logs = append(m.logs, ds...)
	committed()
	return nil
}

// abandon has what is saved from now on thrown away, as if the machine had
// stopped, until adopt.
func (m *memStore) abandon() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abandoned = true
}

func (m *memStore) adopt() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.abandoned = false
}

// retain deletes deliveries, as retention does, and notes who lost them.
func (m *memStore) retain(gone func(*account.Log) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.logs {
		if !l.Internal || !gone(l) {
			continue
		}
		for key, c := range m.consumers {
			if c.BucketID == l.BucketID && c.Acked < l.Seq && !slices.Contains(c.Above, l.Seq) {
				m.gaps = append(m.gaps, account.Gap{Consumer: c.Name, BucketID: c.BucketID, Count: 1, From: l.Received, To: l.Received, Reason: "age"})
				c.Above = slices.Sorted(slices.Values(append(slices.Clone(c.Above), l.Seq)))
				m.consumers[key] = c
			}
		}
	}
	m.logs = slices.DeleteFunc(slices.Clone(m.logs), gone)
}

func (m *memStore) find(id string) (int, error) {
	i := slices.IndexFunc(m.logs, func(l *account.Log) bool { return l.ID == id })
	if i < 0 {
		return 0, fmt.Errorf("delivery %s: %w", id, account.ErrNotFound)
	}
	return i, nil
}

func (m *memStore) Update(_ context.Context, id string, u account.Update) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	i, err := m.find(id)
	if err != nil {
		return err
	}
	l := *m.logs[i]
	l.Status, l.StatusCode, l.Answer, l.AnswerHead, l.Retries = u.Status, u.StatusCode, u.Answer, u.AnswerHead, u.Retries
	m.logs[i] = &l
	return nil
}

func (m *memStore) Log(_ context.Context, id string) (*account.Log, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	i, err := m.find(id)
	if err != nil {
		return nil, err
	}
	return m.logs[i], nil
}

func (m *memStore) After(_ context.Context, bucketID string, seq int64, limit, maxBytes int) ([]*account.Log, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	var ls []*account.Log
	defer func() {
		read := m.afterRead
		unlock()
		if read != nil {
			read(len(ls))
		}
	}()
	for _, l := range m.logs {
		if l.BucketID != bucketID || !l.Internal || l.Seq <= seq {
			continue
		}
		if maxBytes -= len(l.Body); len(ls) == limit || len(ls) > 0 && maxBytes < 0 {
			break
		}
		ls = append(ls, l)
	}
	return ls, nil
}

func (m *memStore) LastSeq(context.Context) (int64, error) {
	unlock, err := m.lock()
	if err != nil {
		return 0, err
	}
	defer unlock()
	return m.seq, nil
}

func (m *memStore) Waiting(ctx context.Context, bucketID string, seq int64) (int64, error) {
	ls, err := m.After(ctx, bucketID, seq, 1<<30, 1<<30)
	return int64(len(ls)), err
}

func (m *memStore) Consumers(context.Context) ([]account.Consumer, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var cs []account.Consumer
	for _, c := range m.consumers {
		cs = append(cs, c)
	}
	return cs, nil
}

func (m *memStore) SaveConsumers(_ context.Context, cs []account.Consumer) error {
	m.mu.Lock()
	before := m.beforeSave
	m.mu.Unlock()
	if before != nil {
		before()
	}
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if m.abandoned {
		return nil
	}
	for _, c := range cs {
		key := c.Name + "\n" + c.BucketID
		before := m.consumers[key]
		c.Acked = max(c.Acked, before.Acked)
		c.Above = append(slices.Clone(c.Above), before.Above...)
		slices.Sort(c.Above)
		c.Above = slices.DeleteFunc(slices.Compact(c.Above), func(seq int64) bool { return seq <= c.Acked })
		m.consumers[key] = c
	}
	return nil
}

func (m *memStore) RenameConsumer(_ context.Context, from, to string) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for key, c := range m.consumers {
		if c.Name == from {
			delete(m.consumers, key)
			c.Name = to
			m.consumers[to+"\n"+c.BucketID] = c
		}
	}
	for i := range m.gaps {
		if m.gaps[i].Consumer == from {
			m.gaps[i].Consumer = to
		}
	}
	return nil
}

func (m *memStore) ForgetConsumer(_ context.Context, name string) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	for key, c := range m.consumers {
		if c.Name == name {
			delete(m.consumers, key)
		}
	}
	m.gaps = slices.DeleteFunc(m.gaps, func(g account.Gap) bool { return g.Consumer == name })
	return nil
}

func (m *memStore) Gaps(_ context.Context, consumer string) ([]account.Gap, error) {
	unlock, err := m.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	var gaps []account.Gap
	for _, g := range m.gaps {
		if g.Consumer == consumer {
			gaps = append(gaps, g)
		}
	}
	return gaps, nil
}

func (m *memStore) ForgetGaps(_ context.Context, gaps []account.Gap) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	m.gaps = slices.DeleteFunc(m.gaps, func(g account.Gap) bool { return slices.Contains(gaps, g) })
	return nil
}

func (m *memStore) LoadAccount(context.Context) ([]byte, error) {
	m.shelf.Lock()
	defer m.shelf.Unlock()
	return m.book, nil
}

func (m *memStore) SaveAccount(_ context.Context, data []byte) error {
	m.shelf.Lock()
	defer m.shelf.Unlock()
	m.book = data
	return nil
}
