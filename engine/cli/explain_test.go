package cli

import (
	"strings"
	"testing"

	"hookrun/engine"
)

// TestRequestFile: an event is read from what a sender wrote, and from JSON as a
// person writes it.
func TestRequestFile(t *testing.T) {
	tests := []struct {
		name, file string
		want       string // method, bucket, path, query, Content-Type, X-A, body
		err        string // part of the error; "" is none
	}{
		{name: "a raw request", file: "PUT /hooks/b/sub?q=1 HTTP/1.1\r\nX-A: 1\r\nContent-Type: text/plain\r\n\r\nhello", want: "PUT b /sub q=1 text/plain 1 hello"},
		{name: "a raw request to no bucket", file: "POST /x HTTP/1.1\nX-A: 1\n\n{}", want: "POST  /x   1 {}"},
		{name: "a text", file: `{"bucket":"b","method":"get","path":"/p","query":"q=1","body":"a=1"}`, want: "get b /p q=1 application/x-www-form-urlencoded  a=1"},
		{name: "a text that is JSON", file: `{"bucket":"b","body":"{\"a\": 1}"}`, want: ` b   application/json  {"a": 1}`},
		{name: "an object", file: `{"bucket":"b","body":{"a": [1, 12345678901234567890]}}`, want: ` b   application/json  {"a": [1, 12345678901234567890]}`},
		{name: "a list", file: `{"body":[1]}`, want: `    application/json  [1]`},
		{name: "bytes", file: `{"body":{"base64":"//4="}}`, want: "    application/x-www-form-urlencoded  \xff\xfe"},
		{name: "an object with a field base64", file: `{"body":{"base64":"x","a":1}}`, want: `    application/json  {"base64":"x","a":1}`},
		{name: "no body", file: `{"bucket":"b","body":null}`, want: " b     "},
		{name: "headers", file: `{"headers":{"x-a":["1","2"],"content-type":"text/plain"},"body":"x"}`, want: "    text/plain 1,2 x"},
		{name: "an unknown field", file: `{"buckets":"b"}`, err: `unknown field "buckets"`},
		{name: "a header that is a number", file: `{"header":{"X-A":1}}`, err: "the value of a header is a text, or a list of texts"},
		{name: "two objects", file: `{} {}`, err: "there is more behind the JSON object"},
		{name: "a body alone", file: `[1]`, err: "does not begin with the first line of an HTTP request"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			made, err := requestFile([]byte(tt.file))
			if (err != nil) != (tt.err != "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Fatalf("requestFile(%q): error %v, want %q", tt.file, err, tt.err)
			}
			if err != nil {
				return
			}
			got := strings.Join([]string{
				made.Method, made.Bucket, made.Path, made.Query, strings.Join(made.Header["Content-Type"], ","), strings.Join(made.Header["X-A"], ","), string(made.Body),
			}, " ")
			if got != tt.want {
				t.Errorf("requestFile(%q) = %q, want %q", tt.file, got, tt.want)
			}
		})
	}
}

// TestPlannedText: of a text that was cut its whole size is told, and of others
// nothing is taken for a note.
func TestPlannedText(t *testing.T) {
	long := strings.Repeat("é", engine.MaxPlanText)
	cut := engine.NewRuleSet(nil, "").Show(engine.Plan{Content: &long}, false).Content
	tests := []struct {
		name, text string
		head       string // how it ends
		size       int
	}{
		{name: "short", text: "abc", head: "abc", size: 3},
		{name: "cut", text: *cut, head: "é…", size: len(long)},
		{name: "a note that is none", text: "x …[5 bytes]", head: "x …[5 bytes]", size: 14},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head, size := wholeSize(tt.text)
			if !strings.HasSuffix(head, tt.head) || size != tt.size {
				t.Errorf("wholeSize(%.20q…) = …%q, %d, want …%q, %d", tt.text, head[max(0, len(head)-20):], size, tt.head, tt.size)
			}
		})
	}
}

// TestArgument: an argument is shown so that a shell would take it as it is.
func TestArgument(t *testing.T) {
	tests := []struct{ name, arg, want string }{
		{name: "plain", arg: "REF=refs/heads/main", want: "REF=refs/heads/main"},
		{name: "empty", arg: "", want: "''"},
		{name: "a space", arg: "a b", want: "'a b'"},
		{name: "a quote", arg: "it's", want: `'it'\''s'`},
		{name: "what a shell would run", arg: "$(reboot)", want: "'$(reboot)'"},
		{name: "a home", arg: "~root", want: "'~root'"},
		{name: "what a terminal obeys", arg: "\x1b[31m", want: `'\u001b[31m'`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := argument(tt.arg); got != tt.want {
				t.Errorf("argument(%q) = %s, want %s", tt.arg, got, tt.want)
			}
		})
	}
}
