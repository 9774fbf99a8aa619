package payload

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// packed is what a coding makes of what write writes.
func packed(t testing.TB, coding string, write func(io.Writer)) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch coding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "zlib":
		w = zlib.NewWriter(&b)
	case "flate":
		w, err = flate.NewWriter(&b, flate.BestCompression)
	case "zstd":
		w, err = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	}
	if err != nil {
		t.Fatal(err)
	}
	write(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func pack(t testing.TB, coding, text string) string {
	return packed(t, coding, func(w io.Writer) { io.WriteString(w, text) })
}

func coded(codings ...string) http.Header {
	return http.Header{"Content-Type": {"application/json"}, "Content-Encoding": codings}
}

func TestContentEncodings(t *testing.T) {
	const text, none = `{"a":1}`, "null"
	gz := pack(t, "gzip", text)
	both := pack(t, "gzip", pack(t, "zstd", text))
	tests := []struct {
		name    string
		codings []string
		raw     string
		value   string
		err     string
	}{
		{"gzip", []string{"gzip"}, gz, text, ""},
		{"gzip by its old name, in capitals", []string{"X-GZIP"}, gz, text, ""},
		{"gzip in two members", []string{"gzip"}, pack(t, "gzip", `{"a"`) + pack(t, "gzip", `:1}`), text, ""},
		{"deflate", []string{"deflate"}, pack(t, "zlib", text), text, ""},
		{"deflate without zlib around it", []string{"deflate"}, pack(t, "flate", text), text, ""},
		{"zstd", []string{"zstd"}, pack(t, "zstd", text), text, ""},
		{"none", []string{"identity"}, text, text, ""},
		{"two, in one header", []string{"gzip, identity, zstd"}, pack(t, "zstd", gz), text, ""},
		{"three, in two headers", []string{"gzip, deflate", "gzip"}, pack(t, "gzip", pack(t, "zlib", gz)), text, ""},
		{"four", []string{"gzip, gzip, gzip, gzip"}, gz, none, "Content-Encoding: 4 codings, more than 3"},
		{"empty body", []string{"gzip"}, "", none, "the body is empty"},
		{"one that nobody knows", []string{"br"}, text, none, "Content-Encoding br: this coding is not known; gzip, deflate and zstd are"},
		{"not gzip", []string{"gzip"}, text, none, "Content-Encoding gzip: the body ends too early"},
		{"not gzip, and long", []string{"gzip"}, strings.Repeat(text, 10), none, "Content-Encoding gzip: invalid header"},
		{"gzip that is cut off", []string{"gzip"}, gz[:len(gz)-9], none, "Content-Encoding gzip: the body ends too early"},
		{"gzip with a wrong sum", []string{"gzip"}, gz[:len(gz)-8] + "xxxxxxxx", none, "Content-Encoding gzip: invalid checksum"},
		{"gzip with more behind", []string{"gzip"}, gz + "0123456789", none, "Content-Encoding gzip: invalid header"},
		{"not zstd", []string{"zstd"}, text, none, "Content-Encoding zstd: invalid input: magic number mismatch"},
		{"broken inside", []string{"gzip, zstd"}, pack(t, "zstd", strings.Repeat(text, 10)), none, "Content-Encoding gzip: invalid header"},
		{"broken outside", []string{"zstd, gzip"}, both[:len(both)-9], none, "Content-Encoding gzip: the body ends too early"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantParsed(t, coded(tt.codings...), tt.raw, tt.value, tt.err) })
	}
}
