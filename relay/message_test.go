package relay

import (
	"net/http"
	"reflect"
	"strings"
	"testing"

	"hookrun/relay/wire"
)

func TestMessages(t *testing.T) {
	const bucket = `"bucket_name":"b"`
	tests := []struct {
		name, frame string
		want        Message
	}{
		{
			name: "as the vendor documents it",
			frame: `{"type":"webhook","meta":{"bucked_id":"1593fe5f","bucket_name":"my-1-bucket-name","input_id":"b90f2fe9",
				"input_name":"Default public endpoint","output_name":"111","output_destination":"http://localhost:8080"},
				"headers":{"Content-Type":["application/json"]},"query":"foo=bar","body":"{\"hi\": \"there\"}","method":"PUT"}`,
			want: Message{BucketID: "1593fe5f", BucketName: "my-1-bucket-name", InputID: "b90f2fe9", InputName: "Default public endpoint",
				OutputName: "111", OutputDestination: "http://localhost:8080", Path: "/", Method: "PUT", Query: "foo=bar",
				Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"hi": "there"}`)},
		},
		{
			name: "as of 2018, without outputs",
			frame: `{"type":"webhook","meta":{"bucked_id":"89e44c32","bucket_name":"123","input_id":"ee4ac550","input_name":"Default public endpoint"},
				"headers":{"Content-Length":["15"],"Accept":["*/*"]},"query":"","body":"{\"hi\": \"there\"}","method":"PUT"}`,
			want: Message{BucketID: "89e44c32", BucketName: "123", InputID: "ee4ac550", InputName: "Default public endpoint",
				Path: "/", Method: "PUT", Header: http.Header{"Content-Length": {"15"}, "Accept": {"*/*"}}, Body: []byte(`{"hi": "there"}`)},
		},
		{
			name:  "delivery id and the right spelling of the bucket id",
			frame: `{"type":"webhook","meta":{"id":"d1","bucket_id":"i1"},"method":"post"}`,
			want:  Message{ID: "d1", BucketID: "i1", Path: "/", Method: "POST"},
		},
		{
			name:  "both spellings",
			frame: `{"type":"webhook","meta":{"bucked_id":"old","bucket_id":"new"}}`,
			want:  Message{BucketID: "new", Path: "/"},
		},
		{
			name:  "headers as strings, lists, null, in any case",
			frame: `{"type":"webhook","meta":{` + bucket + `},"headers":{"x-b":"2","X-B":["0","1"],"X-Null":null,"X-Empty":[],"X-A":""}}`,
			want:  Message{BucketName: "b", Path: "/", Header: http.Header{"X-B": {"0", "1", "2"}, "X-A": {""}}},
		},
		{
			name:  "null for everything that may be",
			frame: `{"type":"webhook","meta":{` + bucket + `,"id":null,"path":null},"headers":null,"query":null,"body":null,"body_base64":null,"method":null}`,
			want:  Message{BucketName: "b", Path: "/"},
		},
		{
			name:  "exact bytes beside a lossy body",
			frame: `{"type":"webhook","meta":{` + bucket + `},"body":"\ufffdPNG","body_base64":"iVBORw=="}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("\x89PNG")},
		},
		{
			name:  "lossy body",
			frame: `{"type":"webhook","meta":{` + bucket + `},"body":"\ufffdPNG"}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("\ufffdPNG"), Lossy: true},
		},
		{
			name:  "bytes in the frame that are no UTF-8",
			frame: `{"type":"webhook","meta":{` + bucket + `},"body":"` + "\x89PNG" + `"}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("\ufffdPNG"), Lossy: true},
		},
		{
			name:  "half of a surrogate pair",
			frame: `{"type":"webhook","meta":{` + bucket + `},"body":"\ud83d"}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("\ufffd"), Lossy: true},
		},
		{
			name:  "text beyond ASCII is not lossy",
			frame: `{"type":"webhook","meta":{` + bucket + `},"body":"\ud83d\ude00 ü"}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("😀 ü")},
		},
		{
			name:  "empty base64 is no body",
			frame: `{"type":"webhook","meta":{` + bucket + `},"body":"text","body_base64":""}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("text")},
		},
		{
			name:  "unknown fields of any kind",
			frame: `{"type":"webhook","meta":{` + bucket + `,"x":{"y":[1,{}]}},"extra_path":"/p","n":1e400,"list":[[]],"body":"x"}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("x")},
		},
		{
			name:  "path of its own",
			frame: `{"type":"webhook","meta":{` + bucket + `,"path":"/a%2Fb/c","output_destination":"http://h/other"}}`,
			want:  Message{BucketName: "b", OutputDestination: "http://h/other", Path: "/a%2Fb/c"},
		},
		{
			name:  "path of its own without a slash",
			frame: `{"type":"webhook","meta":{` + bucket + `,"path":"a"}}`,
			want:  Message{BucketName: "b", Path: "/a"},
		},
		{
			name:  "path from the destination of an output",
			frame: `{"type":"webhook","meta":{` + bucket + `,"output_destination":"http://u:p@h:1/hook/ex%20tra?q=1#f"}}`,
			want:  Message{BucketName: "b", OutputDestination: "http://u:p@h:1/hook/ex%20tra?q=1#f", Path: "/hook/ex%20tra"},
		},
		{
			name:  "path in place of a destination",
			frame: `{"type":"webhook","meta":{` + bucket + `,"output_destination":"/github/push"}}`,
			want:  Message{BucketName: "b", OutputDestination: "/github/push", Path: "/github/push"},
		},
		{
			name:  "destination that is no URL",
			frame: `{"type":"webhook","meta":{` + bucket + `,"output_destination":"http://[::1"}}`,
			want:  Message{BucketName: "b", OutputDestination: "http://[::1", Path: "/"},
		},
		{
			name:  "duplicate keys: the last counts",
			frame: `{"type":"webhook","meta":{` + bucket + `},"body":"1","body":"2","headers":{"A":"1","A":"2"}}`,
			want:  Message{BucketName: "b", Path: "/", Body: []byte("2"), Header: http.Header{"A": {"2"}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.want.Header == nil {
				tt.want.Header = http.Header{}
			}
			if tt.want.Body == nil {
				tt.want.Body = []byte{}
			}
			f, err := wire.DecodeFrame([]byte(tt.frame))
			if err != nil || f.Type != wire.TypeWebhook {
				t.Fatalf("DecodeFrame = %s, %v, want a webhook", f.Type, err)
			}
			if got := message(&f.Webhook); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("message = %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

// garbage are frames that can't be understood.
func garbage() map[string]string {
	return map[string]string{
		"empty":                  ``,
		"no JSON":                `hello`,
		"half":                   `{"type":"webhook","meta":{"bucket_name":"b"`,
		"two values":             `{"type":"status","status":"ping"}{}`,
		"NUL":                    "\x00",
		"not UTF-8":              "\xff\xfe",
		"null":                   `null`,
		"number":                 `7`,
		"list":                   `[{"type":"webhook"}]`,
		"no type":                `{"meta":{"bucket_name":"b"},"body":"x"}`,
		"type is a number":       `{"type":7}`,
		"no meta":                `{"type":"webhook","body":"x","method":"POST"}`,
		"meta is null":           `{"type":"webhook","meta":null}`,
		"meta is a string":       `{"type":"webhook","meta":"b"}`,
		"meta names no bucket":   `{"type":"webhook","meta":{"id":"1"}}`,
		"bucket is a list":       `{"type":"webhook","meta":{"bucket_name":["b"]}}`,
		"headers is a list":      `{"type":"webhook","meta":{"bucket_name":"b"},"headers":[]}`,
		"header is a number":     `{"type":"webhook","meta":{"bucket_name":"b"},"headers":{"A":1}}`,
		"header is a map":        `{"type":"webhook","meta":{"bucket_name":"b"},"headers":{"A":{"b":"c"}}}`,
		"body is an object":      `{"type":"webhook","meta":{"bucket_name":"b"},"body":{}}`,
		"broken base64":          `{"type":"webhook","meta":{"bucket_name":"b"},"body_base64":"%%"}`,
		"status is an object":    `{"type":"status","status":{}}`,
		"100,000 lists deep":     `{"type":"webhook","meta":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"100,000 objects deep":   strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000),
		"100,000 deep, unclosed": strings.Repeat("[", 100_000),
	}
}

// FuzzMessage holds what Message promises against what a relay may send.
func FuzzMessage(f *testing.F) {
	for _, data := range garbage() {
		if len(data) < 1000 {
			f.Add([]byte(data))
		}
	}
	f.Add([]byte(`{"type":"webhook","meta":{"id":"1","bucked_id":"2","path":"/x"},"headers":{"A":"1","a":["2",null]},"query":"q","body":"\ud800","method":"put"}`))
	f.Add([]byte(`{"type":"webhook","meta":{"bucket_name":"b","output_destination":"http://h/p?q"},"body":"","body_base64":"AP8="}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := wire.DecodeFrame(data)
		if err != nil || frame.Type != wire.TypeWebhook {
			return
		}
		m := message(&frame.Webhook)
		if m.BucketID+m.BucketName == "" || !strings.HasPrefix(m.Path, "/") || m.Header == nil || m.Body == nil || m.Method != strings.ToUpper(m.Method) {
			t.Fatalf("message = %+v, which breaks what Message promises", m)
		}
		if m.Lossy && !strings.ContainsRune(string(m.Body), '\ufffd') {
			t.Fatalf("message = %+v, lossy without a sign of it", m)
		}
	})
}
