package hub

import (
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"

	"hookrun/relay/account"
	"hookrun/relay/wire"
)

// quiet is a relay for benchmarks.
func quiet(b *testing.B, pipe bool) *relay {
	b.Helper()
	return setup{store: newMemStore(), pipe: pipe, options: func(o *Options) { o.Log = nil }}.start(b)
}

// BenchmarkPublish is from Deliver to the last of so many plain subscribers.
func BenchmarkPublish(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			r := quiet(b, false)
			var got sync.WaitGroup
			for range n {
				c := r.plain()
				go func() {
					for {
						_, reader, err := c.ws.NextReader()
						if err != nil {
							return
						}
						if data, _ := io.ReadAll(reader); string(data) != ping {
							got.Done()
						}
					}
				}()
			}
			body := []byte(strings.Repeat(`{"a":"b"},`, 100))
			b.SetBytes(int64(n * len(body)))
			for b.Loop() {
				got.Add(n)
				if _, err := r.hub.Deliver(b.Context(), webhook(body)); err != nil {
					b.Fatal(err)
				}
				got.Wait()
			}
		})
	}
}

// BenchmarkConsumer is of webhooks that a client reads and acknowledges in
// batches, as one does that is busy.
func BenchmarkConsumer(b *testing.B) {
	r := quiet(b, false)
	c := r.acking("box", "")
	body := []byte(strings.Repeat(`{"a":"b"},`, 100))
	var wg sync.WaitGroup
	defer wg.Wait()
	b.ResetTimer()
	wg.Go(func() {
		for range b.N {
			if _, err := r.hub.Deliver(b.Context(), webhook(body)); err != nil {
				b.Error(err)
			}
		}
	})
	var ids []string
	for i := range b.N {
		f, err := wire.DecodeFrame([]byte(c.hear()))
		if err != nil {
			b.Fatal(err)
		}
		if ids = append(ids, f.Webhook.ID); len(ids) == windowFrames/4 || i == b.N-1 {
			c.ack(ids...)
			ids = ids[:0]
		}
	}
}

// BenchmarkIdleSubscribers reports what a subscriber takes that waits. What is
// within of the other end is half a net.Pipe.
func BenchmarkIdleSubscribers(b *testing.B) {
	const all = 10_000
	for b.Loop() {
		r := quiet(b, true)
		before := memory()
		conns := make([]net.Conn, all)
		for i := range conns {
			conns[i] = r.raw()
		}
		b.ReportMetric(float64(memory()-before)/all, "B/subscriber")
		for _, c := range conns {
			c.Close()
		}
		r.stop()
	}
}

// raw returns the connection of a subscriber, which nobody reads.
func (r *relay) raw() net.Conn {
	r.t.Helper()
	c, err := r.dials(r.t.Context(), "", "")
	if err != nil {
		r.t.Fatal(err)
	}
	buf := make([]byte, 1<<10)
	for _, step := range []struct{ say, until string }{
		{"GET /v1/socket HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", "\r\n\r\n"},
		{masked(fmt.Sprintf(`{"action":"auth","key":"key","secret":%q}`, secret)), "authenticated"},
		{masked(`{"action":"subscribe"}`), "deploys"},
	} {
		if _, err := io.WriteString(c, step.say); err != nil {
			r.t.Fatal(err)
		}
		for got := ""; !strings.Contains(got, step.until); {
			n, err := c.Read(buf)
			if got += string(buf[:n]); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	return c
}

// masked is a short text in a frame of a client, with a mask of zeros.
func masked(text string) string {
	return string([]byte{0x81, 0x80 | byte(len(text)), 0, 0, 0, 0}) + text
}

func memory() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// BenchmarkCost is of what is measured of each webhook.
func BenchmarkCost(b *testing.B) {
	l := &account.Log{Body: []byte(strings.Repeat(`{"a":"b"},`, 100))}
	b.SetBytes(int64(len(l.Body)))
	for b.Loop() {
		cost(l)
	}
}
