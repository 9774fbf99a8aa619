package api

import "container/list"

// recent remembers a number of values by their keys; the one not asked for for
// longest is forgotten first. It is not safe for concurrent use.
type recent[K comparable, V any] struct {
	size  int
	of    map[K]*list.Element
	order *list.List // of entry[K, V], the latest in front
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func newRecent[K comparable, V any](size int) *recent[K, V] {
	return &recent[K, V]{size: size, of: make(map[K]*list.Element), order: list.New()}
}

// get returns the value of a key.
func (r *recent[K, V]) get(key K) (value V, ok bool) {
	e := r.of[key]
	if e == nil {
		return value, false
	}
	r.order.MoveToFront(e)
	return e.Value.(entry[K, V]).value, true
}

// getOrMake returns the value of a key, which fresh makes where there is none.
func (r *recent[K, V]) getOrMake(key K, fresh func() V) V {
	if value, ok := r.get(key); ok {
		return value
	}
	if len(r.of) == r.size {
		oldest := r.order.Remove(r.order.Back()).(entry[K, V])
		delete(r.of, oldest.key)
	}
	value := fresh()
	r.of[key] = r.order.PushFront(entry[K, V]{key, value})
	return value
}
