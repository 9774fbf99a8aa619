package payload

import (
	"encoding/json"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// contentTypes are one or two for each form.
func contentTypes() []string {
	return []string{
		"", "application/json", "text/plain; charset=latin1", "application/json; charset=utf-16",
		"application/x-ndjson", "application/json-seq", "application/x-www-form-urlencoded",
		"application/x-www-form-urlencoded; charset=shift_jis", multiType, "application/xml", "text/xml; charset=gbk",
		"application/yaml", "application/cloudevents+json", "application/cloudevents-batch+json", "image/png",
	}
}

// check reads a body and holds what no body may break: there is no panic, what
// comes out is plain, within the bounds, and the same each time.
func check(t *testing.T, header http.Header, raw []byte) {
	sent := string(raw)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	body, err := parse(header, raw)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 256<<20 {
		t.Errorf("%d bytes made it allocate %d", len(raw), grown)
	}
	if string(raw) != sent {
		t.Error("the bytes were changed")
	}
	if err != nil && (body.Value != nil || err.Error() == "" || len(err.Error()) > 1000) {
		t.Errorf("with the error %q there is the value %v", err, body.Value)
	}
	nodes := 0
	for _, v := range []any{body.Value, body.CloudEvent} {
		measure(t, v, 0, &nodes)
	}
	if nodes > 2*MaxNodes {
		t.Errorf("%d values", nodes)
	}
	for _, f := range body.Files {
		if strings.ContainsAny(f.Name, "/\\\x00\r\n") || f.Name == ".." || len(f.Name) > maxFileName {
			t.Errorf("a file has the name %q", f.Name)
		}
	}
	again, againErr := parse(header, raw)
	if (err == nil) != (againErr == nil) || plainOf(body) != plainOf(again) {
		t.Errorf("it is %s, %v, and when read again %s, %v", plainOf(body), err, plainOf(again), againErr)
	}
}

func plainOf(b Body) string {
	s, err := json.Marshal([]any{b.Value, b.CloudEvent, b.Files})
	if err != nil {
		return err.Error() // of a number that is none
	}
	return string(s)
}

// measure walks a value.
func measure(t *testing.T, v any, depth int, nodes *int) {
	*nodes++
	if depth > 2*MaxDepth+4 { // a document in the data of an event begins anew
		t.Fatal("the value is too deep")
	}
	switch v := v.(type) {
	case nil, bool, string:
	case json.Number:
		if !json.Valid([]byte(v)) {
			t.Errorf("the number %q is none", v)
		}
	case []any:
		for _, e := range v {
			measure(t, e, depth+1, nodes)
		}
	case map[string]any:
		for _, e := range v {
			measure(t, e, depth+1, nodes)
		}
	default:
		t.Errorf("a value is a %T", v)
	}
}

func FuzzParse(f *testing.F) {
	for i := range contentTypes() {
		for _, body := range []string{`{"a":[1,-2.5e3,null,true,"x\u00e9"]}`, "a=1&b=%e9&payload={}", "\xff\xfe{\x00}\x00", "<a b='c'>d</a>", "a: &x [1, *x]\n"} {
			f.Add(uint8(i), "", []byte(body))
		}
	}
	for _, coding := range []string{"gzip", "zlib", "flate", "zstd"} {
		f.Add(uint8(1), strings.NewReplacer("zlib", "deflate", "flate", "deflate").Replace(coding), []byte(pack(f, coding, `{"a":1}`)))
	}
	f.Add(uint8(1), "zstd, gzip", []byte(pack(f, "gzip", pack(f, "zstd", `{"a":1}`))))
	f.Fuzz(func(t *testing.T, kind uint8, coding string, raw []byte) {
		types := contentTypes()
		check(t, http.Header{"Content-Type": {types[int(kind)%len(types)]}, "Content-Encoding": {coding}}, raw)
	})
}

func FuzzNDJSON(f *testing.F) {
	for _, s := range []string{"{\"a\":1}\n{\"b\":2}\n", "\x1e1\n\x1e2\n", "1 2\r\n\r\n\"x", "[\n1\n]\n{", "\ufeff{}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { check(t, typed("application/x-ndjson"), raw) })
}

func FuzzMultipart(f *testing.F) {
	for _, s := range []string{
		multi("Content-Disposition: form-data; name=\"a\"\r\n\r\n1"),
		multi("Content-Disposition: form-data; name=payload\r\n\r\n{\"a\":1}", "Content-Disposition: form-data; name=f; filename=\"../x.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\xff"),
		multi("Content-Disposition: form-data; name=q\r\nContent-Transfer-Encoding: quoted-printable\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n=C3=A9="),
		"--b--", "--b\r\n", "\r\n--b \t\r\nX", "--b\n\n--b--\n",
	} {
		f.Add("b", []byte(s))
	}
	f.Add(`a"b`, []byte("--a\"b\r\n\r\n--a\"b--"))
	f.Fuzz(func(t *testing.T, boundary string, raw []byte) {
		check(t, typed("multipart/form-data; boundary=\""+strings.ReplaceAll(boundary, `"`, `\"`)+"\""), raw)
	})
}

func FuzzCloudEvent(f *testing.F) {
	const required = `"specversion":"1.0","id":"e-1","source":"/s","type":"t"`
	f.Add(false, "e%C3%A9", `"a \"b"`, []byte(`{`+required+`,"data":{"a":1}}`))
	f.Add(false, "%", "%zz", []byte(`{`+required+`,"datacontenttype":"application/xml","data":"<a>x</a>"}`))
	f.Add(true, "", "\xff", []byte(`[{`+required+`,"data_base64":"e30="},1]`))
	f.Add(true, "x", `"`, []byte(`[{`+required+`,"datacontenttype":"application/x-ndjson","data":"1\n2"}]`))
	f.Fuzz(func(t *testing.T, batch bool, id, subject string, raw []byte) {
		h := binaryHeader(http.Header{"Ce-Id": {id}, "Ce-Subject": {subject}})
		check(t, h, raw)
		h.Set("Content-Type", "application/cloudevents+json")
		if batch {
			h.Set("Content-Type", "application/cloudevents-batch+json")
		}
		check(t, h, raw)
	})
}

func FuzzXML(f *testing.F) {
	for _, s := range []string{
		`<?xml version="1.0" encoding="iso-8859-1"?><a b="c">d<e/>f<e>g</e></a>`, `<a:b xmlns:a="u" a:c="1"/>`,
		`<!DOCTYPE a [<!ENTITY e "x">]><a>&e;</a>`, `<a><![CDATA[<]]>&lt;<!-- - --><?p i?></a>`, "<a></b>", "<a", "\xff\xfe<\x00a\x00/\x00>\x00",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { check(t, typed("application/xml"), raw) })
}

func FuzzYAML(f *testing.F) {
	for _, s := range []string{
		"a: 1\nb: [x, true, null, 1.5, 0x1f, .inf, 2026-03-01]\n", "a: &a {<<: {b: 1}}\nc: *a\n", "- !!int x\n- !!binary aGk=\n- |\n  t\n  u\n",
		"? [a]\n: b\n", "a: 1\n---\nb\n", "%YAML 1.1\n--- x", "\xef\xbb\xbfa: \"\\u00e9\"", "&a [*a]", "a: b: c", "\t- x",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) { check(t, typed("application/yaml"), raw) })
}
