package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// When a connection is not believed any more.
const (
	watchEvery = 5 * time.Second  // between looks
	maxSilence = 90 * time.Second // without a byte; relays ping once a minute or more often
	maxDrift   = 15 * time.Second // between the wall clock and the monotonic one, per look
)

var (
	errSilent = fmt.Errorf("nothing came for %s", maxSilence)
	errSlept  = errors.New("the clock jumped, this machine may have slept")
)

// watch returns why the connection behind p should be given up, or nil when ctx
// ends first. A machine that slept wakes with connections that look alive and
// that the other side, or a router between, has forgotten; the monotonic clock
// stands still in sleep, so that only the wall clock tells.
func watch(ctx context.Context, p *pulse, wall func() time.Time) error {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	lastMono, lastWall := time.Now(), wall()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		mono, now := time.Now(), wall()
		drift := now.Sub(lastWall) - mono.Sub(lastMono)
		if drift.Abs() > maxDrift {
			return errSlept
		}
		if p.silence() >= maxSilence {
			return errSilent
		}
		lastMono, lastWall = mono, now
	}
}

// wallClock is the time without its monotonic part.
func wallClock() time.Time { return time.Now().Round(0) }

// pulse notes when bytes come. It counts bytes and not frames, so that a large
// frame on a slow line is not silence.
type pulse struct {
	start time.Time
	last  atomic.Int64 // nanoseconds since start
}

func newPulse() *pulse { return &pulse{start: time.Now()} }

func (p *pulse) beat() { p.last.Store(int64(time.Since(p.start))) }

func (p *pulse) silence() time.Duration {
	return time.Since(p.start) - time.Duration(p.last.Load())
}

// pulseConn tells a pulse of what is read.
type pulseConn struct {
	net.Conn
	pulse *pulse
}

func (c pulseConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 {
		c.pulse.beat()
	}
	return n, err
}
