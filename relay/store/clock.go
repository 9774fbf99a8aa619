package store

import (
	"errors"
	"time"
)

// How far the wall clock is trusted.
const (
	clockSlack  = 2 * time.Second // by which it may leave the steady one in a minute
	clockSettle = time.Hour       // nothing is done by age for so long after it was set
)

// Why nothing is done by age.
var (
	errClockSet    = errors.New("the clock was set less than an hour ago")
	errClockBehind = errors.New("the clock is behind the newest webhook")
)

// clockWatch tells whether the wall clock can be trusted with deletions.
type clockWatch struct {
	wall, steady time.Time // at the last look; zero before the first
	setAt        time.Time // steady time of the last jump; zero: none seen
}

// look compares the wall clock with a steady one, both read just now, and
// returns errClockSet for a while after the one left the other.
func (w *clockWatch) look(wall, steady time.Time) error {
	if !w.wall.IsZero() {
		drift := wall.Round(0).Sub(w.wall.Round(0)) - steady.Sub(w.steady)
		if drift.Abs() > clockSlack {
			w.setAt = steady
		}
	}
	w.wall, w.steady = wall, steady
	if !w.setAt.IsZero() && steady.Sub(w.setAt) < clockSettle {
		return errClockSet
	}
	return nil
}
