package wire

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
)

// garbage are frames of a relay that can't be understood.
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
		"sum is a number":        `{"type":"webhook","meta":{"bucket_name":"b","sum":7}}`,
		"status is an object":    `{"type":"status","status":{}}`,
		"gaps are a number":      `{"type":"status","status":"gap","gaps":7}`,
		"a gap's count is text":  `{"type":"status","status":"gap","gaps":[{"count":"1"}]}`,
		"100,000 lists deep":     `{"type":"webhook","meta":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}`,
		"100,000 objects deep":   strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000),
		"100,000 deep, unclosed": strings.Repeat("[", 100_000),
	}
}

// push is a webhook that has all there is.
func push(body string) *Webhook {
	return &Webhook{
		ID: "d1", BucketID: "1593fe5f", BucketName: "deploys", InputID: "b90f2fe9", InputName: "Default public endpoint",
		OutputName: "local", OutputDestination: "http://localhost:8080/hook?a=b", Path: "/a%2Fb", ReceivedAt: 1_700_000_000_123,
		Method: "PUT", Query: "foo=bar&x=<1>", Header: http.Header{"X-A": {"1", "2"}, "Content-Type": {"application/json"}, "X-Empty": {""}},
		Body: []byte(body),
	}
}

func encoded(t testing.TB, w *Webhook) []byte {
	t.Helper()
	data, err := EncodeWebhook(w)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(data) {
		t.Fatalf("EncodeWebhook = %.1000s, want JSON", data)
	}
	return data
}
