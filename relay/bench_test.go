package relay

import (
	"fmt"
	"strings"
	"testing"
)

func BenchmarkDecode(b *testing.B) {
	for _, size := range []int{2 << 10, 1 << 20, 20 << 20} {
		frame := []byte(`{"type":"webhook","meta":{"id":"1","bucked_id":"2","bucket_name":"deploys"},"headers":{"Content-Type":["application/json"],` +
			`"X-Github-Event":["push"]},"query":"","body":"` + strings.Repeat(`{\"a\":1}`, size/9) + `","method":"POST"}`)
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(frame)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := decode(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
