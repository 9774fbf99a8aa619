package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestEncodeStatus(t *testing.T) {
	tests := []struct {
		name string
		s    Status
		want string
	}{
		{"authenticated", Status{Status: StatusAuthenticated, Message: "connected successfully, subscribe to buckets"},
			`{"type":"status","status":"authenticated","message":"connected successfully, subscribe to buckets"}`},
		{"features", Status{Status: StatusAuthenticated, Features: []string{FeatureAck, FeatureResume}},
			`{"type":"status","status":"authenticated","message":"","features":["ack","resume"]}`},
		{"ping", Status{Status: StatusPing}, `{"type":"status","status":"ping","message":""}`},
		{"a name that needs care", Status{Status: StatusSubscribed, Message: "a\"b\\<\n\u2028\x01\xff"},
			`{"type":"status","status":"subscribed","message":"a\"b\\<\n\u2028\u0001` + "\ufffd" + `"}`},
		{"gaps", Status{Status: StatusGap, Message: "m", Gaps: []Gap{{"1", "b", 3, 5, 9, "age"}, {"2", "c", 1, 6, 6, "size"}}},
			`{"type":"status","status":"gap","message":"m","gaps":[{"bucket_id":"1","bucket_name":"b","count":3,"from":5,"to":9,"reason":"age"},` +
				`{"bucket_id":"2","bucket_name":"c","count":1,"from":6,"to":6,"reason":"size"}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(EncodeStatus(tt.s)); got != tt.want {
				t.Errorf("EncodeStatus = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestEncodeWebhook(t *testing.T) {
	tests := []struct {
		name string
		w    *Webhook
		want string
	}{
		{"text", push(`{"a":1}`), `{"type":"webhook","meta":{"id":"d1","bucked_id":"1593fe5f","bucket_id":"1593fe5f","bucket_name":"deploys","input_id":"b90f2fe9",` +
			`"input_name":"Default public endpoint","output_name":"local","output_destination":"http://localhost:8080/hook?a=b","path":"/a%2Fb",` +
			`"received_at":1700000000123,"sum":"SUM"},"headers":{"Content-Type":["application/json"],"X-A":["1","2"],"X-Empty":[""]},` +
			`"query":"foo=bar&x=<1>","body":"{\"a\":1}","method":"PUT"}`},
		{"bytes", &Webhook{BucketName: "b", Body: []byte("\x89P")}, `{"type":"webhook","meta":{"id":"","bucked_id":"","bucket_id":"","bucket_name":"b","input_id":"",` +
			`"input_name":"","output_name":"","output_destination":"","path":"","sum":"SUM"},"headers":{},` +
			`"query":"","body":"` + "\ufffd" + `P","method":"","body_base64":"iVA="}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := string(encoded(t, tt.w))
			if want := strings.Replace(tt.want, "SUM", Sum(tt.w), 1); got != want {
				t.Errorf("EncodeWebhook = %s\nwant %s", got, want)
			}
		})
	}
}

// TestStringsAreWhatJSONReads holds every byte, and every pair with a
// neighbour, against encoding/json.
func TestStringsAreWhatJSONReads(t *testing.T) {
	texts := []string{"", "\u2028\u2029\u2027\u202a", "\ud7ff\ue000\U0010ffff", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x80", "a\xe2\x80\xa8b\xe2", "😀\xf0\x9f\x98"}
	for a := range 256 {
		texts = append(texts, string([]byte{byte(a)}))
		for _, b := range []byte{'x', '"', 0x80, 0xa8, 0xff} {
			texts = append(texts, string([]byte{byte(a), b}), string([]byte{b, byte(a), b}))
		}
	}
	for _, text := range texts {
		want, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		var wanted, got, same string
		data := appendString(nil, text)
		if err := errors.Join(json.Unmarshal(want, &wanted), json.Unmarshal(data, &got), json.Unmarshal(appendString(nil, []byte(text)), &same)); err != nil {
			t.Fatalf("%q became %s: %v", text, data, err)
		}
		if got != wanted || same != wanted {
			t.Errorf("%q became %q and %q, want %q", text, got, same, wanted)
		}
		if bytes.ContainsAny(data, "\u2028\u2029") || bytes.ContainsFunc(data, func(r rune) bool { return r < ' ' }) {
			t.Errorf("%q became %q, which not all readers take", text, data)
		}
	}
}

func TestWebhooksThatClientsDontTakeAreNotWritten(t *testing.T) {
	long := strings.Repeat("x", 2<<20)
	tests := []struct {
		name   string
		change func(*Webhook)
		want   error
	}{
		{"no bucket", func(w *Webhook) { w.BucketID, w.BucketName = "", "" }, errNoBucket},
		{"long id", func(w *Webhook) { w.ID = long }, ErrTooLong},
		{"long header", func(w *Webhook) { w.Header["A"] = []string{long} }, ErrTooLong},
		{"many values", func(w *Webhook) { w.Header["A"] = make([]string, maxHeaderValues+1) }, ErrTooLong},
		{"a frame that is too long", func(w *Webhook) { w.Body = bytes.Repeat([]byte{1}, MaxFrame/6) }, ErrTooLong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := push("")
			tt.change(w)
			if _, err := EncodeWebhook(w); err != tt.want {
				t.Errorf("EncodeWebhook: %v, want %v", err, tt.want)
			}
		})
	}
}

func TestRoundTrip(t *testing.T) {
	bodies := map[string][]byte{
		"empty":              {},
		"JSON":               []byte(`{"a":["\u0000",1]}`),
		"all bytes":          everyByte(),
		"control characters": bytes.Repeat([]byte("\x00\x1f\x7f\u2028"), 1000),
		"3 MiB of the worst": bytes.Repeat([]byte{1}, 3<<20),
		"3 MiB of no UTF-8":  bytes.Repeat([]byte{0xff}, 3<<20),
	}
	for name, body := range bodies {
		t.Run(name, func(t *testing.T) {
			w := push("")
			w.Body, w.Query = body, "a=\xff"
			f, err := DecodeFrame(encoded(t, w))
			if err != nil || f.Webhook.Damaged() {
				t.Fatalf("DecodeFrame: %v, damaged = %t", err, f.Webhook.Damaged())
			}
			w.Query, w.Sum = "a=\ufffd", Sum(w)
			if !reflect.DeepEqual(plain(f.Webhook), plain(*w)) {
				t.Errorf("read %.1000s\nwant %.1000s", fmt.Sprint(plain(f.Webhook)), fmt.Sprint(plain(*w)))
			}
		})
	}
}

// plain is w with a header of one type.
func plain(w Webhook) Webhook {
	h := map[string][]string{}
	for name, values := range w.Header {
		h[name] = append([]string{}, values...)
	}
	w.Header = h
	return w
}

func everyByte() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}

func TestSum(t *testing.T) {
	// As another implementation makes it.
	if got, want := Sum(push(`{"a":1}`)), "e4fbe6c2"; got != want {
		t.Errorf("Sum = %s, want %s", got, want)
	}
	seen := map[string]string{Sum(push("")): "unchanged"}
	changes := map[string]func(*Webhook){
		"id": func(w *Webhook) { w.ID += "x" }, "bucket id": func(w *Webhook) { w.BucketID += "x" }, "bucket name": func(w *Webhook) { w.BucketName += "x" },
		"input id": func(w *Webhook) { w.InputID += "x" }, "input name": func(w *Webhook) { w.InputName += "x" }, "output": func(w *Webhook) { w.OutputName += "x" },
		"destination": func(w *Webhook) { w.OutputDestination += "x" }, "path": func(w *Webhook) { w.Path += "x" }, "time": func(w *Webhook) { w.ReceivedAt++ },
		"method": func(w *Webhook) { w.Method += "x" }, "query": func(w *Webhook) { w.Query += "x" }, "body": func(w *Webhook) { w.Body = []byte("x") },
		"a value":         func(w *Webhook) { w.Header["X-A"] = []string{"1", "3"} },
		"values in one":   func(w *Webhook) { w.Header["X-A"] = []string{"12"} },
		"values' order":   func(w *Webhook) { w.Header["X-A"] = []string{"2", "1"} },
		"a header":        func(w *Webhook) { w.Header["X-B"] = nil },
		"text moved over": func(w *Webhook) { w.ID, w.BucketID = w.ID+w.BucketID[:1], w.BucketID[1:] },
	}
	for name, change := range changes {
		w := push("")
		change(w)
		sum := Sum(w)
		if other, ok := seen[sum]; ok {
			t.Errorf("sum with another %s = %s, as %s", name, sum, other)
		}
		seen[sum] = name
	}
	bad := push("x")
	bad.Sum = Sum(push("y"))
	if f, err := DecodeFrame(encoded(t, bad)); err != nil || !f.Webhook.Damaged() {
		t.Errorf("a frame with the sum of another: %v, damaged = %t, want true", err, f.Webhook.Damaged())
	}
}

func BenchmarkEncodeWebhook(b *testing.B) {
	bodies := []struct{ name, unit string }{
		{"JSON", `{"ref":"refs/heads/main","after":"0123456789abcdef"},`}, {"text", "text "}, {"bytes", "\x89PNG\x00\xff"},
	}
	for _, size := range []int{2 << 10, 3 << 20} {
		for _, body := range bodies {
			w := push(strings.Repeat(body.unit, size/len(body.unit)))
			b.Run(fmt.Sprintf("%s/%dKiB", body.name, size>>10), func(b *testing.B) {
				b.SetBytes(int64(len(w.Body)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := EncodeWebhook(w); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkDecodeFrame(b *testing.B) {
	for _, size := range []int{2 << 10, 1 << 20, 20 << 20} {
		data := encoded(b, push(strings.Repeat(`{"a":1}`, size/9)))
		b.Run(fmt.Sprintf("%dKiB", size>>10), func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := DecodeFrame(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
