package payload

import (
	"encoding/base64"
	"maps"
	"net/http"
	"testing"
)

func binaryHeader(extra http.Header) http.Header {
	h := http.Header{
		"Ce-Specversion": {"1.0"}, "Ce-Id": {"e-1"}, "Ce-Source": {"/s"}, "Ce-Type": {"com.example"},
		"Content-Type": {"application/json"},
	}
	maps.Copy(h, extra)
	return h
}

func TestBinaryCloudEvents(t *testing.T) {
	const plainEvent = `{"datacontenttype":"application/json","id":"e-1","source":"/s","specversion":"1.0","type":"com.example"}`
	tests := []struct {
		name       string
		header     http.Header
		raw, value string
		err, event string
	}{
		{"as it is", binaryHeader(nil), `{"a":1}`, `{"a":1}`, "", plainEvent},
		{"no data", binaryHeader(nil), ``, `null`, "the body is empty", plainEvent},
		{"data that is not read", binaryHeader(typed("image/png")), "x", `null`, "a body of type image/png is not parsed",
			`{"datacontenttype":"image/png","id":"e-1","source":"/s","specversion":"1.0","type":"com.example"}`},
		{"percent-encoding", binaryHeader(http.Header{"Ce-Id": {"caf%C3%A9%20%22x%22 100%"}, "Ce-Subject": {"a%20b"}}), `1`, `1`, "",
			`{"datacontenttype":"application/json","id":"caf%C3%A9%20%22x%22 100%","source":"/s","specversion":"1.0","subject":"a b","type":"com.example"}`},
		{"quotes of earlier versions", binaryHeader(http.Header{"Ce-Subject": {`"a \"b\" \\c"`}}), `1`, `1`, "",
			`{"datacontenttype":"application/json","id":"e-1","source":"/s","specversion":"1.0","subject":"a \"b\" \\c","type":"com.example"}`},
		{"what is no UTF-8", binaryHeader(http.Header{"Ce-Subject": {"%ff"}}), `1`, `1`, "",
			`{"datacontenttype":"application/json","id":"e-1","source":"/s","specversion":"1.0","subject":"` + "\ufffd" + `","type":"com.example"}`},
		{"names that no attribute has", binaryHeader(http.Header{"Ce-X-Y": {"1"}, "Ce-": {"1"}}), `1`, `1`, "", plainEvent},
		{"names in any case", http.Header{"ce-specversion": {"1.0"}, "CE-ID": {"e-1"}, "ce-source": {"/s"}, "ce-type": {"com.example"}, "content-type": {"application/json"}}, `1`, `1`, "", plainEvent},
		{"without an id", binaryHeader(http.Header{"Ce-Id": {""}}), `{"a":1}`, `{"a":1}`, "", `null`},
		{"of another version", binaryHeader(http.Header{"Ce-Specversion": {"0.2"}}), `{"a":1}`, `{"a":1}`, "", `null`},
		{"none", typed("application/json"), `{"a":1}`, `{"a":1}`, "", `null`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := wantParsed(t, tt.header, tt.raw, tt.value, tt.err)
			if got := plain(t, body.CloudEvent); got != tt.event {
				t.Errorf("cloudevent = %s, want %s", got, tt.event)
			}
		})
	}
}

func TestStructuredCloudEvents(t *testing.T) {
	const required = `"specversion":"1.0","id":"e-1","source":"/s","type":"t"`
	b64 := base64.StdEncoding.EncodeToString
	tests := []struct{ name, raw, value, err, event string }{
		{"JSON data", `{` + required + `,"data":{"a":1},"n":5}`, `{"a":1}`, "", `{"id":"e-1","n":5,"source":"/s","specversion":"1.0","type":"t"}`},
		{"no data", `{` + required + `}`, `null`, "", `{"id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"text", `{` + required + `,"datacontenttype":"text/plain","data":"{x"}`, `"{x"`, "", `{"datacontenttype":"text/plain","id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"a JSON text", `{` + required + `,"datacontenttype":"application/json","data":"{}"}`, `"{}"`, "", `{"datacontenttype":"application/json","id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"XML", `{` + required + `,"datacontenttype":"application/xml","data":"<a>é</a>"}`, `{"a":"é"}`, "", `{"datacontenttype":"application/xml","id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"broken XML", `{` + required + `,"datacontenttype":"application/xml","data":"<a>"}`, `null`, "data: XML, line 1: unexpected EOF", `{"datacontenttype":"application/xml","id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"base64", `{` + required + `,"data_base64":"` + b64([]byte(`{"a":1}`)) + `"}`, `{"a":1}`, "", `{"id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"base64 of an image", `{` + required + `,"datacontenttype":"image/png","data_base64":"AAAA"}`, `null`, "data_base64: a body of type image/png is not parsed", `{"datacontenttype":"image/png","id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"an event in an event", `{` + required + `,"datacontenttype":"application/cloudevents+json","data_base64":"` + b64([]byte(`{}`)) + `"}`, `null`, "data_base64: a body of type application/cloudevents+json is not parsed",
			`{"datacontenttype":"application/cloudevents+json","id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"broken base64", `{` + required + `,"data_base64":"!"}`, `null`, "data_base64: it is no base64", `{"id":"e-1","source":"/s","specversion":"1.0","type":"t"}`},
		{"no event", `{"specversion":"1.0","data":1}`, `{"data":1,"specversion":"1.0"}`, "", `null`},
		{"no object", `[1]`, `[1]`, "", `null`},
		{"broken", `{`, `null`, "JSON: the body ends too early, at byte 1", `null`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := wantParsed(t, typed("application/cloudevents+json; charset=utf-8"), tt.raw, tt.value, tt.err)
			if got := plain(t, body.CloudEvent); got != tt.event {
				t.Errorf("cloudevent = %s, want %s", got, tt.event)
			}
		})
	}
}

func TestBatchOfCloudEvents(t *testing.T) {
	const required = `"specversion":"1.0","id":"e","source":"/s","type":"t"`
	tests := []struct{ name, raw, value, err string }{
		{"two", `[{` + required + `,"data":{"a":1}},{` + required + `,"data_base64":"WzFd"}]`,
			`[{"data":{"a":1},"id":"e","source":"/s","specversion":"1.0","type":"t"},{"data":[1],"id":"e","source":"/s","specversion":"1.0","type":"t"}]`, ""},
		{"what is no event stays", `[{"x":1},2]`, `[{"x":1},2]`, ""},
		{"none", `[]`, `[]`, ""},
		{"no list", `{}`, `null`, "CloudEvents: the batch is no list"},
		{"broken data", `[{"x":1},{` + required + `,"data_base64":"!"}]`, `null`, "CloudEvents, event 2: data_base64: it is no base64"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if body := wantParsed(t, typed("application/cloudevents-batch+json"), tt.raw, tt.value, tt.err); body.CloudEvent != nil {
				t.Errorf("cloudevent = %v, want none", body.CloudEvent)
			}
		})
	}
}
