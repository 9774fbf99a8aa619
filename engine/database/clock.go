package database

import (
	"errors"
	"time"
)

// How far the wall clock is trusted.
const (
	clockSlack  = 2 * time.Second // by which it may leave the steady one in a minute
	clockSettle = time.Hour       // nothing is to be done by age for so long after it was set
)

// Why nothing is to be deleted by age.
var (
	ErrClockSet    = errors.New("the clock was set less than an hour ago")
	ErrClockBehind = errors.New("the clock is behind what came last")
)

// ClockWatch tells whether the wall clock can be trusted with deletions. The zero
// value has not looked yet.
type ClockWatch struct {
	wall, steady time.Time // at the last look; zero before the first
	setAt        time.Time // steady time of the last jump; zero: none seen
}

// Look compares the wall clock with a steady one, both read just now, and returns
// ErrClockSet for an hour after the one left the other. It is to be called about
// once a minute.
func (w *ClockWatch) Look(wall, steady time.Time) error {
	if !w.wall.IsZero() {
		drift := wall.Round(0).Sub(w.wall.Round(0)) - steady.Sub(w.steady)
		if drift.Abs() > clockSlack {
			w.setAt = steady
		}
	}
	w.wall, w.steady = wall, steady
	if !w.setAt.IsZero() && steady.Sub(w.setAt) < clockSettle {
		return ErrClockSet
	}
	return nil
}
