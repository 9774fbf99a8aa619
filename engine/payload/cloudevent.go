package payload

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// CloudEvents come in three ways (HTTP Protocol Binding for CloudEvents 1.0.2):
// the attributes in the header and the data as the body (binary), both in one
// JSON object (structured), and a list of such objects (batch). What lacks an
// attribute that the specification requires is no CloudEvent but a body like
// others: a sender's mistake is not worth losing it.
//
// CNCF's own SDK is a client and a server for six transports with a logger of its
// own; of all that only these few rules are needed here.

// binaryEvent returns the attributes of an event that stand in the header, nil
// where there is none.
func binaryEvent(header http.Header) map[string]any {
	attributes := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		key, ok := strings.CutPrefix(strings.ToLower(name), "ce-")
		if v := header[name]; ok && isAttribute(key) && len(v) > 0 {
			attributes[key] = headerText(v[0])
		}
	}
	if !isCloudEvent(attributes) {
		return nil
	}
	if t := first(header, "Content-Type"); t != "" {
		attributes["datacontenttype"] = strings.ToValidUTF8(t, "?")
	}
	return attributes
}

// isAttribute reports whether a name is one that an attribute may have.
func isAttribute(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// isCloudEvent reports whether the attributes that are required are there.
func isCloudEvent(attributes map[string]any) bool {
	for _, name := range []string{"id", "source", "type"} {
		if s, ok := attributes[name].(string); !ok || s == "" {
			return false
		}
	}
	version, _ := attributes["specversion"].(string)
	return strings.HasPrefix(version, "1.")
}

// headerText undoes the quotes that earlier versions allowed, then the
// percent-encoding. What is no percent-encoding stays as it is.
func headerText(v string) string {
	v = unquote(strings.TrimSpace(v))
	if text, err := url.PathUnescape(v); err == nil {
		v = text
	}
	return strings.ToValidUTF8(v, "\ufffd")
}

// unquote undoes a quoted-string (RFC 9110, 5.6.4).
func unquote(v string) string {
	if len(v) < 2 || v[0] != '"' || v[len(v)-1] != '"' {
		return v
	}
	var b strings.Builder
	v = v[1 : len(v)-1]
	for i := 0; i < len(v); i++ {
		if v[i] == '\\' && i+1 < len(v) {
			i++
		}
		b.WriteByte(v[i])
	}
	return b.String()
}

// events reads the structured and the batch form.
func (r *reader) events(body *Body, t contentType, data []byte) error {
	text, err := toUTF8(data, t.charset)
	if err != nil {
		return err
	}
	v, err := r.json(text)
	if err != nil {
		return err
	}
	if t.form() == isBatch {
		body.Value, err = r.batch(v)
		return err
	}
	object, ok := v.(map[string]any)
	if !ok || !isCloudEvent(object) {
		body.Value = v
		return nil
	}
	body.CloudEvent = maps.Clone(object)
	delete(body.CloudEvent, "data")
	delete(body.CloudEvent, "data_base64")
	body.Value, err = r.dataOf(object)
	return err
}

// batch puts the data of each event of a list as it is read into its data.
func (r *reader) batch(v any) (any, error) {
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("CloudEvents: the batch is no list")
	}
	for i := range list {
		object, ok := list[i].(map[string]any)
		if !ok || !isCloudEvent(object) {
			continue
		}
		data, err := r.dataOf(object)
		if err != nil {
			return nil, fmt.Errorf("CloudEvents, event %d: %w", i+1, err)
		}
		object["data"] = data
		delete(object, "data_base64")
	}
	return list, nil
}

// dataOf reads the data of an event. As a text it is what its datacontenttype
// says; one that is JSON stands there as itself.
func (r *reader) dataOf(object map[string]any) (any, error) {
	named, _ := object["datacontenttype"].(string)
	t := typeOf(named)
	if encoded, ok := object["data_base64"].(string); ok {
		raw, err := base64.StdEncoding.DecodeString(encoded)
		if err != nil {
			return nil, errors.New("data_base64: it is no base64")
		}
		if isBlank(raw) {
			return nil, nil
		}
		return r.named("data_base64", t, raw)
	}
	text, ok := object["data"].(string)
	if !ok || isBlank([]byte(text)) {
		return object["data"], nil
	}
	switch t.form() {
	case isLines, isForm, isXML, isYAML:
		t.charset = "utf-8" // all of the object is
		return r.named("data", t, []byte(text))
	}
	return text, nil
}

// named reads a member of an event.
func (r *reader) named(member string, t contentType, raw []byte) (any, error) {
	v, err := r.plain(t, raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", member, err)
	}
	return v, nil
}
