package wire

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestDecodeWebhook(t *testing.T) {
	const bucket = `"bucket_name":"b"`
	none := map[string][]string{}
	tests := []struct {
		name, frame string
		want        Webhook
	}{
		{
			"as the vendor documents it",
			`{"type":"webhook","meta":{"bucked_id":"1593fe5f","bucket_name":"my-1-bucket-name","input_id":"b90f2fe9",
				"input_name":"Default public endpoint","output_name":"111","output_destination":"http://localhost:8080"},
				"headers":{"Content-Type":["application/json"]},"query":"foo=bar","body":"{\"hi\": \"there\"}","method":"PUT"}`,
			Webhook{BucketID: "1593fe5f", BucketName: "my-1-bucket-name", InputID: "b90f2fe9", InputName: "Default public endpoint",
				OutputName: "111", OutputDestination: "http://localhost:8080", Method: "PUT", Query: "foo=bar",
				Header: map[string][]string{"Content-Type": {"application/json"}}, Body: []byte(`{"hi": "there"}`)},
		},
		{
			"both spellings of the bucket's id", `{"type":"webhook","meta":{"bucked_id":"old","bucket_id":"new"}}`,
			Webhook{BucketID: "new", Header: none, Body: []byte{}},
		},
		{
			"headers as strings, lists and null", `{"type":"webhook","meta":{` + bucket + `},"headers":{"x-b":"2","X-B":["0",null],"X-Null":null}}`,
			Webhook{BucketName: "b", Header: map[string][]string{"x-b": {"2"}, "X-B": {"0", ""}, "X-Null": nil}, Body: []byte{}},
		},
		{
			"with a time and a sum", `{"type":"webhook","meta":{` + bucket + `,"received_at":1700000000123,"sum":"00000000"}}`,
			Webhook{BucketName: "b", ReceivedAt: 1700000000123, Sum: "00000000", Header: none, Body: []byte{}},
		},
		{
			"a time of another form is none", `{"type":"webhook","meta":{` + bucket + `,"received_at":"2026-01-01T00:00:00Z"}}`,
			Webhook{BucketName: "b", Header: none, Body: []byte{}},
		},
		{
			"exact bytes beside a lossy body", `{"type":"webhook","meta":{` + bucket + `},"body":"\ufffdPNG","body_base64":"iVBORw=="}`,
			Webhook{BucketName: "b", Header: none, Body: []byte("\x89PNG")},
		},
		{
			"lossy body", `{"type":"webhook","meta":{` + bucket + `},"body":"\ufffdPNG"}`,
			Webhook{BucketName: "b", Header: none, Body: []byte("\ufffdPNG"), Lossy: true},
		},
		{
			"a value of many commas", `{"type":"webhook","meta":{` + bucket + `},"headers":{"A":["` + strings.Repeat(",", 2*maxHeaderValues) + `"]}}`,
			Webhook{BucketName: "b", Header: map[string][]string{"A": {strings.Repeat(",", 2*maxHeaderValues)}}, Body: []byte{}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f, err := DecodeFrame([]byte(tt.frame))
			if got := f.Webhook; err != nil || f.Type != TypeWebhook || fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", tt.want) {
				t.Errorf("DecodeFrame = %s\n%+v, %v, want webhook\n%+v", f.Type, f.Webhook, err, tt.want)
			}
		})
	}
}

func TestDecodeStatus(t *testing.T) {
	tests := []struct {
		name, frame string
		want        Frame
	}{
		{"authenticated", `{"type":"status","status":"authenticated","message":"hello"}`,
			Frame{Type: "status", Status: Status{Status: "authenticated", Message: "hello"}}},
		{"features", `{"type":"status","status":"authenticated","message":"","features":["ack","more"]}`,
			Frame{Type: "status", Status: Status{Status: "authenticated", Features: []string{"ack", "more"}}}},
		{"features of somebody else", `{"type":"status","status":"authenticated","message":"","features":{"ack":true}}`,
			Frame{Type: "status", Status: Status{Status: "authenticated"}}},
		{"features where they don't belong", `{"type":"status","status":"ping","features":["ack"],"gaps":7}`,
			Frame{Type: "status", Status: Status{Status: "ping"}}},
		{"gap", `{"type":"status","status":"gap","message":"m","gaps":[{"bucket_id":"1","bucket_name":"b","count":3,"from":5,"to":9,"reason":"retention","more":[]}]}`,
			Frame{Type: "status", Status: Status{Status: "gap", Message: "m", Gaps: []Gap{{"1", "b", 3, 5, 9, "retention"}}}}},
		{"gap without gaps", `{"type":"status","status":"gap","gaps":null}`, Frame{Type: "status", Status: Status{Status: "gap"}}},
		{"ping with more", `{"type":"status","status":"ping","meta":{"a":[1]},"body":7}`, Frame{Type: "status", Status: Status{Status: "ping"}}},
		{"a type of the future", `{"type":"shutdown","status":7,"meta":[],"body":{}}`, Frame{Type: "shutdown"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := DecodeFrame([]byte(tt.frame))
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("DecodeFrame = %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestDecodeGarbage(t *testing.T) {
	for name, data := range garbage() {
		t.Run(name, func(t *testing.T) {
			if f, err := DecodeFrame([]byte(data)); err == nil {
				t.Errorf("DecodeFrame = %+v, want an error", f)
			}
		})
	}
}

// TestHugeMetaIsNotUnderstood: only body and query may be long.
func TestHugeMetaIsNotUnderstood(t *testing.T) {
	const frame = `{"type":"webhook","meta":{"id":"%s","bucket_name":"b","output_destination":"/%s"},"headers":{"A":[%s"x"]},"method":"%s","query":"","body":"{}"}`
	long := strings.Repeat("x", 1<<21)
	tests := []struct {
		name                     string
		id, path, values, method string
	}{
		{name: "id", id: long},
		{name: "destination", path: long},
		{name: "method", method: long},
		{name: "header", values: `"` + long + `",`},
		{name: "many values", values: strings.Repeat(`"",`, 1<<20)},
	}
	if f, err := DecodeFrame(fmt.Appendf(nil, frame, "i", "p", "", "POST")); err != nil || f.Webhook.ID != "i" {
		t.Fatalf("a small one: %+v, %v", f, err)
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := DecodeFrame(fmt.Appendf(nil, frame, tt.id, tt.path, tt.values, tt.method)); err != ErrTooLong {
				t.Errorf("DecodeFrame: %v, want %v", err, ErrTooLong)
			}
		})
	}
}

// FuzzFrame reads what a relay may send. Whatever is read as a webhook survives
// the way back to the wire and in again, and has the sum that it was given there.
func FuzzFrame(f *testing.F) {
	for _, data := range garbage() {
		if len(data) < 1000 {
			f.Add([]byte(data))
		}
	}
	f.Add([]byte(`{"type":"webhook","meta":{"id":"1","bucked_id":"2","path":"/x"},"headers":{"A":"1","a":["2",null]},"query":"q","body":"\ud800","method":"put"}`))
	f.Add([]byte(`{"type":"webhook","meta":{"bucket_name":"b","output_destination":"http://h/p?q"},"body":"","body_base64":"AP8="}`))
	f.Add([]byte(`{"type":"status","status":"ping","message":""}`))
	f.Add([]byte(`{"type":"status","status":"gap","message":"","gaps":[{"bucket_id":"1","count":1}]}`))
	f.Add(encoded(f, push("\u2028\x00\x7f\"\\")))
	f.Add(encoded(f, push("\xff\ufffd")))
	f.Fuzz(func(t *testing.T, data []byte) {
		first, err := DecodeFrame(data)
		if err != nil {
			return
		}
		if first.Type == TypeStatus {
			again, err := DecodeFrame(EncodeStatus(first.Status))
			if err != nil || len(first.Status.Features)+len(first.Status.Gaps) > 0 && !reflect.DeepEqual(again, first) {
				t.Fatalf("decoded again = %+v, %v, want %+v", again, err, first)
			}
			return
		}
		if first.Type != TypeWebhook {
			return
		}
		first.Webhook.Sum = ""
		second, err := DecodeFrame(encoded(t, &first.Webhook))
		if err != nil || second.Webhook.Damaged() {
			t.Fatalf("decoded again: %v, damaged = %t", err, second.Webhook.Damaged())
		}
		second.Webhook.Sum = ""
		second.Webhook.Lossy = first.Webhook.Lossy // what is written has its exact bytes
		if got, want := plain(second.Webhook), plain(first.Webhook); !reflect.DeepEqual(got, want) {
			t.Fatalf("decoded again = %+v, want %+v", got, want)
		}
	})
}
