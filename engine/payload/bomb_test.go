package payload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// wantDefused reads a body that is to be refused, and holds what that costs
// against a bound.
func wantDefused(t *testing.T, header http.Header, raw, wantErr string, maxAlloc uint64) {
	t.Helper()
	data := []byte(raw)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	body, err := parse(header, data)
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	if err == nil || !strings.Contains(err.Error(), wantErr) {
		t.Errorf("Parse of %d bytes: error %v, want %q", len(raw), err, wantErr)
	}
	if body.Value != nil {
		t.Errorf("Parse of %d bytes gives a value", len(raw))
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > maxAlloc {
		t.Errorf("Parse of %d bytes allocated %d bytes, want at most %d", len(raw), grown, maxAlloc)
	}
	if took > 20*time.Second { // minutes, where a bound is missing
		t.Errorf("Parse of %d bytes took %s", len(raw), took)
	}
}

func zeros(size int) func(io.Writer) {
	return func(w io.Writer) {
		block := bytes.Repeat([]byte("0"), 1<<20)
		for range size >> 20 {
			w.Write(block)
		}
	}
}

// rawFrames are n zstd frames of one empty block, each of which asks for a window.
func rawFrames(n, window int) string {
	log := 0
	for 1<<(10+log) < window {
		log++
	}
	frame := append(binary.LittleEndian.AppendUint32(nil, 0xfd2fb528), 0, byte(log<<3), 1, 0, 0)
	return strings.Repeat(string(frame), n)
}

// laughs is the body of n levels, each made of ten of the one below.
func laughs(n int, level func(i int) string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(level(i))
	}
	return b.String()
}

func TestBombs(t *testing.T) {
	const kib, mib = 1 << 10, 1 << 20
	const readable = 3*MaxInflated + mib // what reading up to the bound costs: the buffer is made anew as it grows
	gigabytes := strings.Repeat(packed(t, "gzip", zeros(16<<20)), 640)
	nothing := pack(t, "gzip", "")
	longXML := coded("gzip")
	longXML.Set("Content-Type", "application/xml")
	entities := laughs(9, func(i int) string {
		return fmt.Sprintf("<!ENTITY l%d \"%s\">", i+1, strings.Repeat(fmt.Sprintf("&l%d;", i), 10))
	})
	aliases := "l0: &l0 lol\n" + laughs(9, func(i int) string {
		return fmt.Sprintf("l%d: &l%d [%s]\n", i+1, i+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*l%d,", i), 10), ","))
	})
	part := "Content-Disposition: form-data; name=\"a\"; filename=\"x\"\r\n\r\n1"
	manyParts := make([]string, 100_000)
	for i := range manyParts {
		manyParts[i] = part
	}
	tests := []struct {
		name   string
		header http.Header
		raw    string
		err    string
		alloc  uint64
	}{
		{"10 GB of gzip", coded("gzip"), gigabytes, "Content-Encoding gzip: more than 8 MiB", readable},
		{"10 GB of gzip in gzip", coded("gzip, gzip"), pack(t, "gzip", gigabytes), "Content-Encoding gzip: more than 8 MiB", readable},
		{"much gzip of nothing", coded("gzip, gzip"), pack(t, "gzip", strings.Repeat(nothing, 40*mib/len(nothing))), "Content-Encoding gzip: more than 8 MiB", 10 * mib},
		{"deflate", coded("deflate"), packed(t, "zlib", zeros(40<<20)), "Content-Encoding deflate: more than 8 MiB", readable},
		{"zstd", coded("zstd"), packed(t, "zstd", zeros(40<<20)), "Content-Encoding zstd: more than 8 MiB", readable + 32*mib},
		{"text that would become longer", typed("application/json; charset=windows-1252"), strings.Repeat("\x80", 9*mib), "charset windows-1252: more than 8 MiB", 64 * kib},
		{"window of zstd", coded("zstd"), rawFrames(1, 1<<30), "Content-Encoding zstd: window size exceeded", mib},
		{"windows of zstd", coded("zstd"), rawFrames(100_000, 8<<20), "the body is empty", 32 * mib},

		{"deep JSON", typed("application/json"), strings.Repeat("[", 100_000), "JSON, byte 65: more than 64 levels deep", 64 * kib},
		{"wide JSON", typed("application/json"), "[" + strings.Repeat("{},", mib) + "{}]", "more than 250000 values", 64 * kib},
		{"a million keys", typed("application/json"), "{" + strings.Repeat(`"k":1,`, 1_000_000) + `"k":1}`, "more than 250000 values", 64 * kib},
		{"wide NDJSON", typed("application/x-ndjson"), strings.Repeat("{}\n", mib), "more than 250000 values", 64 * kib},
		{"wide NDJSON of scalars", typed("application/x-ndjson"), strings.Repeat("1 ", mib), "more than 250000 values", 64 * mib},
		{"deep NDJSON", typed("application/x-ndjson"), "1\n" + strings.Repeat("[", 100_000), "more than 64 levels deep", 64 * kib},
		{"form of a million fields", typed("application/x-www-form-urlencoded"), strings.Repeat("k=1&", 1_000_000), "form: 1000001 fields, more than 10000", 64 * kib},
		{"wide payload of a form", typed("application/x-www-form-urlencoded"), "payload=[" + strings.Repeat("{},", mib) + "{}]", "form field payload: JSON, byte", 16 * mib},
		{"100,000 parts", typed(multiType), multi(manyParts...), "multipart: more than 1000 parts", 8 * mib},
		{"long header of a part", typed(multiType), multi(strings.Repeat("X: y\r\n", mib) + part), "multipart, part 1", 64 * mib},

		{"billion laughs", typed("application/xml"), "<!DOCTYPE l0 [<!ENTITY l0 \"lol\">" + entities + "]><a>&l9;</a>", "invalid character entity &l9;", 64 * kib},
		{"deep XML", typed("application/xml"), strings.Repeat("<a>", 100_000), "more than 64 levels deep", 64 * kib},
		{"wide XML", typed("application/xml"), "<a>" + strings.Repeat("<b/>", 300_000) + "</a>", "XML: more than 250000 values", 64 * kib},
		{"600,000 attributes", typed("application/xml"), "<a " + strings.Repeat(`b="" `, 600_000) + "/>", "XML: more than 250000 values", 64 * kib},
		{"long XML", longXML, packed(t, "gzip", zeros(5<<20)), "XML: more than 4 MiB", readable},

		{"YAML aliases", typed("application/yaml"), aliases, "more than 250000 values", 64 * mib},
		{"deep YAML", typed("application/yaml"), strings.Repeat("[", 5000) + strings.Repeat("]", 5000), "more than 64 levels deep", 16 * mib},
		{"deeper YAML", typed("application/yaml"), strings.Repeat("[", 90_000), "YAML", 64 * mib},
		{"YAML in lines ever deeper", typed("application/yaml"), laughs(900, func(i int) string { return strings.Repeat(" ", i) + "a:\n" }), "more than 64 levels deep", 16 * mib},
		{"wide YAML", typed("application/yaml"), strings.Repeat("- \n", 200_000), "YAML, line 100001: more than 100000 values", 64 * kib},
		{"wide YAML in one line", typed("application/yaml"), "[" + strings.Repeat("{},", 200_000) + "]", "YAML, line 1: more than 100000 values", 64 * kib},
		{"long YAML", typed("application/yaml"), strings.Repeat("a", 2<<20), "YAML: more than 1 MiB", 64 * kib},

		{"wide batch of events", typed("application/cloudevents-batch+json"), "[" + strings.Repeat("{},", mib) + "{}]", "more than 250000 values", 64 * kib},
		{"wide data in events", typed("application/cloudevents-batch+json"), "[" + strings.Repeat(`{"specversion":"1.0","id":"e","source":"s","type":"t","datacontenttype":"text/xml","data":"<a>`+strings.Repeat("<b/>", 5000)+`</a>"},`, 50) + "{}]",
			"XML: more than 250000 values", 128 * mib},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantDefused(t, tt.header, tt.raw, tt.err, tt.alloc) })
	}
}
