//go:build linux

package bench

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/hub"
	"hookrun/relay/server"
	"hookrun/relay/store"
)

// profileConns is enough for all senders and subscribers of a benchmark.
const profileConns = 1024

// BenchmarkIn takes webhooks of 2 KiB that nobody is to get.
func BenchmarkIn(b *testing.B) {
	for _, senders := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("%d senders", senders), func(b *testing.B) {
			l := load{address: serveRelay(b), senders: senders, body: jsonBody(smallBody), count: b.N}
			b.ResetTimer()
			if _, _, err := l.run(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "webhooks/s")
		})
	}
}

// BenchmarkOut takes webhooks of 2 KiB from 16 senders and brings them to
// subscribers.
func BenchmarkOut(b *testing.B) {
	for _, bb := range []struct {
		name, client string
		subscribers  int
	}{
		{"1 plain", "", 1},
		{"100 plain", "", 100},
		{"1 that acknowledges", "bench", 1},
	} {
		b.Run(bb.name, func(b *testing.B) {
			address := serveRelay(b)
			c := join(b, b.Context(), crowdOptions{address: address, subscribers: bb.subscribers, client: bb.client, most: b.N})
			l := load{
				address: address, senders: outSenders, body: jsonBody(smallBody), count: b.N,
				before: func(n int) error { return c.reach(b.Context(), n-outWindow) },
			}
			b.ResetTimer()
			if _, _, err := l.run(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := c.last(b.Context(), b.N); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(b.N*bb.subscribers)/b.Elapsed().Seconds(), "frames/s")
			b.StopTimer()
			c.close()
		})
	}
}

// serveRelay has a relay in this process until the benchmark ends, and returns
// its address.
func serveRelay(b *testing.B) string {
	b.Helper()
	st, err := store.Open(b.Context(), store.Options{Dir: filepath.Join(b.TempDir(), "data")})
	if err != nil {
		b.Fatal(err)
	}
	// What was put together first ends last.
	inParallel(b, func(ctx context.Context) error { return st.Serve(ctx) })
	book, err := account.Open(b.Context(), st)
	if err != nil {
		b.Fatal(err)
	}
	if err := book.Edit(b.Context(), furnish); err != nil {
		b.Fatal(err)
	}
	here := func(*http.Request) netip.Addr { return netip.IPv6Loopback() }
	h, err := hub.New(b.Context(), hub.Options{Store: st, Book: book, Address: here})
	if err != nil {
		b.Fatal(err)
	}
	inParallel(b, h.Run)
	intake := server.New(server.Options{Inbox: h, MaxConns: profileConns, Route: func(q *http.Request) server.Target {
		if t, ok := h.Route(q); ok {
			return t
		}
		return server.Target{Handler: http.HandlerFunc(h.ServeSocket)}
	}})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	inParallel(b, func(ctx context.Context) error { return intake.Serve(ctx, ln) })
	return ln.Addr().String()
}

// inParallel runs a part of the relay until the benchmark's clean-up gets there.
func inParallel(b *testing.B, run func(context.Context) error) {
	ctx, stop := context.WithCancel(context.WithoutCancel(b.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := run(ctx); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(func() {
		stop()
		wg.Wait()
	})
}

// furnish puts into an account what relayFile says.
func furnish(a *account.Account) error {
	const bucketID = "6ff3b1d0-7c35-4f3a-8f52-0f1f8a4a2b11"
	now := account.At(time.Now())
	a.Tokens = []account.Token{{
		ID: relayKey, Active: true, APIAccess: account.APIEnabled, SecretHash: account.HashSecret(relayToken),
		CreatedAt: now, UpdatedAt: now, LastLogin: now,
	}}
	a.Buckets = []account.Bucket{{
		ID: bucketID, AccountID: a.ID, Name: bucketName, Stream: true, CreatedAt: now, UpdatedAt: now,
		Inputs: []account.Input{{ID: inputID, BucketID: bucketID, Name: "in", CreatedAt: now, UpdatedAt: now}},
	}}
	return nil
}
