package payload

import (
	"encoding/json"
	"net/http"
	"reflect"
	"strings"
	"testing"
)

// plain is a value as JSON: what people compare by.
func plain(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatalf("Encode(%v) = %v", v, err)
	}
	return strings.TrimSpace(b.String())
}

func typed(contentType string) http.Header { return http.Header{"Content-Type": {contentType}} }

// wantParsed reads a body and compares its value, as JSON, and its error.
func wantParsed(t *testing.T, header http.Header, raw, value, wantErr string) Body {
	t.Helper()
	body, err := parse(header, []byte(raw))
	got := ""
	if err != nil {
		got = err.Error()
	}
	if got != wantErr {
		t.Errorf("Parse(%v, %.200q): error %q, want %q", header, raw, got, wantErr)
	}
	if v := plain(t, body.Value); v != value {
		t.Errorf("Parse(%v, %.200q) = %s, want %s", header, raw, v, value)
	}
	return body
}

func TestForms(t *testing.T) {
	const none = "null"
	tests := []struct{ name, contentType, raw, value, err string }{
		{"JSON", "application/json", `{"a":1,"b":[true,null,"x",1.50]}`, `{"a":1,"b":[true,null,"x",1.50]}`, ""},
		{"JSON of a vendor", "application/vnd.github+json; charset=utf-8", `{"a":1}`, `{"a":1}`, ""},
		{"JSON without a type", "", `[1]`, `[1]`, ""},
		{"JSON as text", "text/plain", `{"a":1}`, `{"a":1}`, ""},
		{"JSON with a byte order mark", "application/json", "\ufeff{\"a\":1}", `{"a":1}`, ""},
		{"the last of two keys", "application/json", `{"a":1,"a":2}`, `{"a":2}`, ""},
		{"scalar", "application/json", `"x"`, `"x"`, ""},
		{"blank", "application/json", " \n", none, "the body is empty"},
		{"trailing garbage", "application/json", `{"a":1} x`, none, "JSON: more follows the value that ends at byte 7"},
		{"cut off", "application/json", `{"a":`, none, "JSON: the body ends too early, at byte 5"},
		{"broken", "application/json", `{"a":tru}`, none, "JSON, byte 9: invalid character '}' in literal true (expecting 'e')"},
		{"type with a broken parameter", "application/x-www-form-urlencoded; charset", `a=1`, `{"a":"1"}`, ""},
		{"another type", "image/png", `{"a":1}`, none, "a body of type image/png is not parsed"},
		{"multipart of another kind", "multipart/mixed; boundary=x", "--x\r\n\r\n--x--", none, "a body of type multipart/mixed is not parsed"},

		{"NDJSON", "application/x-ndjson", "{\"a\":1}\n\n  \r\n[2]\n\"x\"", `[{"a":1},[2],"x"]`, ""},
		{"JSON lines", "application/jsonl", "1\n2\n", `[1,2]`, ""},
		{"JSON text sequence", "application/json-seq", "\x1e{\"a\":1}\n\x1e{\"a\":2}\n", `[{"a":1},{"a":2}]`, ""},
		{"NDJSON with a broken line", "application/x-ndjson", "{\"a\":1}\n\n{\"a\":tru}\n", none, "NDJSON, line 3: byte 18: invalid character '}' in literal true (expecting 'e')"},
		{"NDJSON that is cut off", "application/x-ndjson", "{\"a\":1}\n{\"a\":", none, "NDJSON, line 2: the body ends too early, at byte 13"},

		{"form", "application/x-www-form-urlencoded", `a=1&b=x+y%21&l=1&l=2&l=3&e=`, `{"a":"1","b":"x y!","e":"","l":["1","2","3"]}`, ""},
		{"JSON that curl -d calls a form", "application/x-www-form-urlencoded", `{"a":1}`, `{"a":1}`, ""},
		{"payload of a form", "application/x-www-form-urlencoded", `payload=%7B%22a%22%3A1%7D&x=1`, `{"a":1}`, ""},
		{"payload that is no JSON", "application/x-www-form-urlencoded", `payload=x&b=1`, `{"b":"1","payload":"x"}`, ""},
		{"broken payload", "application/x-www-form-urlencoded", `payload=%7B`, none, "form field payload: JSON: the body ends too early, at byte 1"},
		{"broken form", "application/x-www-form-urlencoded", `a=%zz`, none, `form: invalid URL escape "%zz"`},

		{"YAML", "application/yaml", "a: 1\nb: [x, true, null, 1.50]\nc:\n  d: 'y'\n", `{"a":1,"b":["x",true,null,1.50],"c":{"d":"y"}}`, ""},
		{"YAML numbers", "text/yaml", "[0x10, 0o17, 1_000, +3, -4, .5, 1., .inf, 12345678901234567890, 1e3]", `[16,15,1000,3,-4,0.5,1,".inf",12345678901234567890,1e3]`, ""},
		{"YAML dates are texts", "application/x-yaml", "at: 2026-03-01\non: yes", `{"at":"2026-03-01","on":"yes"}`, ""},
		{"YAML tags", "application/yaml", "a: !!str 1\nb: !!int \"2\"\nc: !!int x\nd: !x y\n", `{"a":"1","b":2,"c":"x","d":"y"}`, ""},
		{"YAML aliases", "application/yaml", "a: &a {x: 1}\nb: *a\n", `{"a":{"x":1},"b":{"x":1}}`, ""},
		{"YAML comment alone", "application/yaml", "# x\n", none, "YAML: there is no value"},
		{"YAML key that is no text", "application/yaml", "a: 1\n2: x\n", none, "YAML, line 2: a key that is no text"},
		{"YAML key that is a list", "application/yaml", "? [a]\n: x\n", none, "YAML, line 1: a key that is no text"},
		{"YAML key twice", "application/yaml", "a: 1\na: 2\n", none, "YAML, line 2: a key that the object has already"},
		{"YAML alias of itself", "application/yaml", "a: &a [*a]\n", none, "YAML, line 1: more than 64 levels deep"},
		{"two YAML documents", "application/yaml", "a: 1\n---\nb: 2\n", none, "YAML: a second document follows the first"},
		{"broken YAML", "application/yaml", "a: 1\nb: [\n", none, "YAML, line 2: did not find expected node content"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantParsed(t, typed(tt.contentType), tt.raw, tt.value, tt.err) })
	}
}

func TestXML(t *testing.T) {
	const none = "null"
	tests := []struct{ name, raw, value, err string }{
		{"text", `<?xml version="1.0"?><a>x</a>`, `{"a":"x"}`, ""},
		{"blanks around", "<a>\n  x y \n</a>\n", `{"a":"x y"}`, ""},
		{"empty element", `<a/>`, `{"a":""}`, ""},
		{"attributes", `<a id="1" x:k="2">t</a>`, `{"a":{"#text":"t","-id":"1","-k":"2"}}`, ""},
		{"elements", `<a><b>1</b><c>2</c></a>`, `{"a":{"b":"1","c":"2"}}`, ""},
		{"list", `<a><b>1</b><c/><b>2</b><b k="3"/></a>`, `{"a":{"b":["1","2",{"-k":"3"}],"c":""}}`, ""},
		{"text around elements", `<a>one<b/>two</a>`, `{"a":{"#text":"onetwo","b":""}}`, ""},
		{"namespaces", `<s:a xmlns="urn:x" xmlns:s="urn:s"><s:b xmlns="urn:y">1</s:b></s:a>`, `{"a":{"b":"1"}}`, ""},
		{"a comment hides nothing", `<a>refs/heads/main<!-- -->x</a>`, `{"a":"refs/heads/mainx"}`, ""},
		{"CDATA", `<a><![CDATA[<b>&amp;]]></a>`, `{"a":"<b>&amp;"}`, ""},
		{"entities of XML", `<a>&lt;&amp;&#65;</a>`, `{"a":"<&A"}`, ""},
		{"DOCTYPE", `<!DOCTYPE a SYSTEM "http://192.0.2.1/a.dtd"><a>x</a>`, `{"a":"x"}`, ""},
		{"entity of a DTD", `<!DOCTYPE a [<!ENTITY e "boom">]><a>&e;</a>`, none, "XML, line 1: invalid character entity &e;"},
		{"file of a DTD", `<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]><a>&e;</a>`, none, "XML, line 1: invalid character entity &e;"},
		{"not closed", "<a>\n<b>", none, "XML, line 2: unexpected EOF"},
		{"closed by another", "<a>\n</b>", none, "XML, line 2: element <a> closed by </b>"},
		{"two elements", "<a/>\n<b/>", none, "XML, line 2: a second element follows the first"},
		{"text behind", "<a/> x", none, "XML, line 1: there is text outside of the element"},
		{"no element", "<!-- x -->", none, "XML: there is no element"},
		{"no XML", `{"a":1}`, none, "XML, line 1: there is text outside of the element"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			wantParsed(t, typed("application/xml"), tt.raw, tt.value, tt.err)
			wantParsed(t, typed("application/soap+xml"), tt.raw, tt.value, tt.err)
		})
	}
}

func TestCharsets(t *testing.T) {
	tests := []struct{ name, contentType, raw, value, err string }{
		{"Latin-1 JSON", "application/json; charset=ISO-8859-1", "{\"a\":\"caf\xe9\"}", `{"a":"café"}`, ""},
		{"Windows JSON", `application/json; charset="windows-1252"`, "{\"a\":\"\x80\"}", `{"a":"€"}`, ""},
		{"Shift JIS", "text/plain; charset=Shift_JIS", "[\"\x93\xfa\"]", `["日"]`, ""},
		{"UTF-16 by its mark", "application/json", "\xff\xfe[\x00\"\x00\xe9\x00\"\x00]\x00", `["é"]`, ""},
		{"UTF-16, the other way round", "application/json; charset=utf-16", "\xfe\xff\x00[\x00\"\x00\xe9\x00\"\x00]", `["é"]`, ""},
		{"UTF-16 by its name", "application/json; charset=utf-16le", "[\x00\"\x00\xe9\x00\"\x00]\x00", `["é"]`, ""},
		{"UTF-8 by its other name", "application/json; charset=UTF8", `["é"]`, `["é"]`, ""},
		{"what is no UTF-8", "application/json", "[\"\xe9\"]", `["` + "\ufffd" + `"]`, ""},
		{"form", "application/x-www-form-urlencoded; charset=iso-8859-1", "a=caf%E9&b=\xe9", `{"a":"café","b":"é"}`, ""},
		{"XML by the type", "text/xml; charset=iso-8859-1", "<a>\xe9</a>", `{"a":"é"}`, ""},
		{"XML by itself", "text/xml", "<?xml version='1.0' encoding='ISO-8859-1'?><a>\xe9</a>", `{"a":"é"}`, ""},
		{"XML that is UTF-8 and says UTF-16", "text/xml", `<?xml version="1.0" encoding="UTF-16"?><a>é</a>`, `{"a":"é"}`, ""},
		{"NDJSON", "application/x-ndjson; charset=latin1", "\"\xe9\"\n", `["é"]`, ""},
		{"YAML", "application/yaml; charset=latin1", "a: \xe9\n", `{"a":"é"}`, ""},
		{"one that nobody knows", "application/json; charset=klingon", "{}", "null", "the charset klingon is not known"},
		{"one that only replaces", "application/json; charset=iso-2022-kr", "{}", "null", "the charset iso-2022-kr is not known"},
		{"one that nobody knows, of a form", "application/x-www-form-urlencoded; charset=klingon", "a=1", "null", "form: the charset klingon is not known"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { wantParsed(t, typed(tt.contentType), tt.raw, tt.value, tt.err) })
	}
}

// multi makes a multipart body of parts, each a header and what it holds.
func multi(parts ...string) string {
	return "--b\r\n" + strings.Join(parts, "\r\n--b\r\n") + "\r\n--b--\r\n"
}

const multiType = `multipart/form-data; boundary=b`

func TestMultipart(t *testing.T) {
	const (
		field   = "Content-Disposition: form-data; name=\"a\"\r\n\r\n1"
		again   = "Content-Disposition: form-data; name=\"a\"\r\n\r\n2"
		latin   = "Content-Disposition: form-data; name=\"l\"\r\nContent-Type: text/plain; charset=iso-8859-1\r\n\r\n\xe9"
		file    = "Content-Disposition: form-data; name=\"f\"; filename=\"C:\\\\dir\\\\x.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\x00"
		second  = "Content-Disposition: form-data; name=\"g\"; filename*=UTF-8''%e2%82%ac.txt\r\n\r\ny"
		unset   = "Content-Disposition: form-data; name=\"u\"; filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n"
		plex    = "Content-Disposition: form-data; name=\"payload\"\r\nContent-Type: application/json\r\n\r\n{\"event\":\"media.play\"}"
		broken  = "Content-Disposition: form-data; name=\"payload\"\r\n\r\n{\"event\":"
		unnamed = "Content-Type: text/plain\r\n\r\nx"
	)
	jpeg := File{Field: "f", Name: "x.jpg", Type: "image/jpeg", Data: []byte("\xff\xd8\x00")}
	tests := []struct {
		name, raw, value, err string
		files                 []File
	}{
		{"fields", multi(field, latin), `{"a":"1","l":"é"}`, "", nil},
		{"repeated field", multi(field, again), `{"a":["1","2"]}`, "", nil},
		{"files", multi(file, field, second), `{"a":"1"}`, "", []File{jpeg, {Field: "g", Name: "€.txt", Data: []byte("y")}}},
		{"field for a file, none chosen", multi(unset), `{"u":""}`, "", nil},
		{"payload as Plex sends it", multi(plex, file), `{"event":"media.play"}`, "", []File{jpeg}},
		{"broken payload", multi(file, broken), "null", "multipart field payload: JSON: the body ends too early, at byte 9", []File{jpeg}},
		{"part without a name", multi(file, unnamed), "null", "multipart, part 2: its Content-Disposition can't be read", []File{jpeg}},
		{"cut off", strings.TrimSuffix(multi(file), "\r\n--b--\r\n"), "null", "multipart, part 1: the body ends too early", nil},
		{"no part", "--b--\r\n", "null", "multipart: there is no part", nil},
		{"no boundary in it", "x", "null", "multipart, part 1: the body ends too early", nil},
		{"long header", multi("X: " + strings.Repeat("x", 20<<10) + "\r\n" + field), "null", "multipart, part 1: its header has more than 16 KiB", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if body := wantParsed(t, typed(multiType), tt.raw, tt.value, tt.err); !reflect.DeepEqual(body.Files, tt.files) {
				t.Errorf("files = %+v, want %+v", body.Files, tt.files)
			}
		})
	}
	wantParsed(t, typed("multipart/form-data"), multi(field), "null", "multipart: the Content-Type names no boundary")
}

// TestFileNames: the name of a file leads nowhere and looks like what it is.
func TestFileNames(t *testing.T) {
	tests := []struct{ name, path, want string }{
		{"plain", "x.jpg", "x.jpg"},
		{"folders", "../../etc/passwd", "passwd"},
		{"folders of Windows", `..\..\boot.ini`, "boot.ini"},
		{"nothing but folders", "../..", ""},
		{"the folder itself", "a/.", ""},
		{"ends as a folder", "a/", ""},
		{"control characters", "a\x00b\n\x1b[31mc\x7f", "ab[31mc"},
		{"turned round", "photo\u202egpj.exe", "photogpj.exe"},
		{"not UTF-8", "a\xffb", "a?b"},
		{"long", strings.Repeat("é", 300), strings.Repeat("é", 100)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := fileName(tt.path); got != tt.want {
				t.Errorf("fileName(%q) = %q, want %q", tt.path, got, tt.want)
			}
		})
	}
}

// TestHeaderNamesInAnyCase: a relay may pass them on as it likes.
func TestHeaderNamesInAnyCase(t *testing.T) {
	wantParsed(t, http.Header{"content-TYPE": {"application/x-www-form-urlencoded"}}, "a=1", `{"a":"1"}`, "")
}
