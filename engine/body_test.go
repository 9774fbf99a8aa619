package engine

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
)

// twoFiles is a multipart body with the fields a and payload, as Plex sends it.
const twoFiles = "--b\r\nContent-Disposition: form-data; name=\"thumb\"; filename=\"../x.JPG\"\r\nContent-Type: image/jpeg\r\n\r\n\xff\xd8\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"payload\"\r\nContent-Type: application/json\r\n\r\n{\"event\":\"media.play\",\"n\":1.50}\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"log\"; filename=\"y.tar.gz; rm -rf\"\r\n\r\n\r\n--b--\r\n"

func eventOf(header http.Header, body string) *Event {
	ev := jsonEvent(body)
	ev.Header = header
	return ev
}

func typedEvent(contentType, body string) *Event {
	return eventOf(http.Header{"Content-Type": {contentType}}, body)
}

func zipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(text))
	w.Close()
	return b.String()
}

// TestWhatRulesSeeOfEachForm asks conditions about bodies in all forms.
func TestWhatRulesSeeOfEachForm(t *testing.T) {
	cloudEvent := http.Header{
		"Content-Type": {"application/json"}, "Ce-Specversion": {"1.0"}, "Ce-Id": {"e-1"},
		"Ce-Source": {"/s"}, "Ce-Type": {"com.example.push"}, "Ce-Subject": {"caf%C3%A9"},
	}
	coded := http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}
	multipart := "multipart/form-data; boundary=b"
	tests := []struct {
		name string
		ev   *Event
		src  string
	}{
		{"XML", typedEvent("text/xml", `<push id="7"><ref>main</ref><file>a</file><file>b</file></push>`),
			`body.push.ref == "main" && body.push["-id"] == "7" && "b" in body.push.file`},
		{"YAML", typedEvent("application/yaml", "ref: main\nn: 3\nbig: 12345678901234567890\n"), `body.ref == "main" && body.n == 3 && string(body.big) == "12345678901234567890"`},
		{"NDJSON", typedEvent("application/x-ndjson", "{\"n\":1}\n{\"n\":2}\n"), `len(body) == 2 && body[1].n == 2 && any(body, .n == 1)`},
		{"charset", typedEvent("application/json; charset=iso-8859-1", "{\"a\":\"caf\xe9\"}"), `body.a == "café"`},
		{"raw is what came", typedEvent("application/json; charset=iso-8859-1", "{\"a\":\"caf\xe9\"}"), `len(raw) > 0 && !(raw contains "café")`},
		{"gzip", eventOf(coded, zipped(`{"a":1}`)), `body.a == 1`},
		{"raw stays packed", eventOf(coded, zipped(`{"a":1}`)), `!(raw contains "a")`},
		{"files", typedEvent(multipart, twoFiles), `len(files) == 2 && files[0].name == "x.JPG" && files[0].field == "thumb" && files[0].type == "image/jpeg" && files[0].size == 2`},
		{"file without bytes", typedEvent(multipart, twoFiles), `files[1].size == 0 && files[-1].type == ""`},
		{"predicate over files", typedEvent(multipart, twoFiles), `any(files, .type startsWith "image/" && .size < 100)`},
		{"payload beside files", typedEvent(multipart, twoFiles), `body.event == "media.play" && body.n == 1.5`},
		{"files are nowhere yet", typedEvent(multipart, twoFiles), `all(files, .path == "")`},
		{"no files", jsonEvent(`{}`), `len(files) == 0 && files[0].name == nil`},
		{"CloudEvent", eventOf(cloudEvent, `{"n":1}`), `cloudevent.type == "com.example.push" && cloudevent.subject == "café" && body.n == 1`},
		{"structured CloudEvent", typedEvent("application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"/s","type":"t","level":3,"data":{"n":1}}`),
			`cloudevent.type == "t" && cloudevent.level == 3 && cloudevent.data == nil && body.n == 1`},
		{"no CloudEvent", jsonEvent(`{}`), `cloudevent == nil && cloudevent.type == nil`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if ok, missing, err := condition(t, tt.src).Eval(NewScope(tt.ev)); !ok || err != nil {
				t.Errorf("Eval(%s) = %v, %v, %v, want true", tt.src, ok, missing, err)
			}
		})
	}
}

// TestNumbersOfAllFormsArePrintedAsTheyCame: not only those of JSON.
func TestNumbersOfAllFormsArePrintedAsTheyCame(t *testing.T) {
	tests := []struct {
		name string
		ev   *Event
		src  string
		want string
	}{
		{"YAML", typedEvent("application/yaml", "a: 1.50\nb: 9007199254740993\n"), `{{ body.a }} {{ body.b }} {{ body }}`, `1.50 9007199254740993 {"a":1.50,"b":9007199254740993}`},
		{"attribute of a CloudEvent", typedEvent("application/cloudevents+json", `{"specversion":"1.0","id":"1","source":"/s","type":"t","v":2.50}`), `{{ cloudevent.v }}`, "2.50"},
		{"files", typedEvent("multipart/form-data; boundary=b", twoFiles), `{{ files[0] }}`, `{"field":"thumb","name":"x.JPG","path":"","size":2,"type":"image/jpeg"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := template(t, tt.src).Render(NewScope(tt.ev)); got != tt.want || err != nil {
				t.Errorf("Render(%s) = %q, %v, want %q", tt.src, got, err, tt.want)
			}
		})
	}
}

// TestMistypedMembersOfFiles: the members of a file are known.
func TestMistypedMembersOfFiles(t *testing.T) {
	_, findings := NewCompiler(World{}).Condition(`any(files, .nmae == "x")`)
	if len(findings) != 1 || findings[0].Hint != `did you mean "name"?` {
		t.Errorf("findings = %+v, want the name that was meant", findings)
	}
}

// TestUnreadableBodiesAreKeptWithTheReason: the event stays, and raw too.
func TestUnreadableBodiesAreKeptWithTheReason(t *testing.T) {
	tests := []struct {
		name string
		ev   *Event
		want string
	}{
		{"XML", typedEvent("text/xml", "<a>\n<b></a>"), "XML, line 2: element <b> closed by </a>"},
		{"charset", typedEvent("application/json; charset=klingon", "{}"), "the charset klingon is not known"},
		{"coding", eventOf(http.Header{"Content-Encoding": {"br"}}, "{}"), "Content-Encoding br: this coding is not known; gzip, deflate and zstd are"},
		{"bomb", eventOf(http.Header{"Content-Encoding": {"gzip"}}, zipped(strings.Repeat(" ", 33<<20))), "Content-Encoding gzip: more than 8 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := NewScope(tt.ev)
			if ok, _, err := condition(t, `body == nil && len(raw) > 0`).Eval(s); !ok || err != nil {
				t.Errorf("Eval = %v, %v, want no body and the raw one", ok, err)
			}
			if err := s.BodyErr(); err == nil || err.Error() != tt.want {
				t.Errorf("BodyErr = %v, want %q", err, tt.want)
			}
		})
	}
}
