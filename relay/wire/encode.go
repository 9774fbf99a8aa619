package wire

import (
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"unicode/utf8"
)

// EncodeStatus writes a relay's word about a connection. message is always
// there: some clients can't do without.
func EncodeStatus(s Status) []byte {
	b := appendString([]byte(`{"type":"status","status":`), s.Status)
	b = appendString(append(b, `,"message":`...), s.Message)
	if len(s.Features) > 0 {
		b = appendStrings(append(b, `,"features":`...), s.Features)
	}
	if len(s.Gaps) > 0 {
		b = appendGaps(append(b, `,"gaps":`...), s.Gaps)
	}
	if len(s.Unknown) > 0 {
		b = appendStrings(append(b, `,"unknown":`...), s.Unknown)
	}
	return append(b, '}')
}

func appendGaps(b []byte, gaps []Gap) []byte {
	for i, g := range gaps {
		b = append(b, separator(i))
		b = appendString(append(b, `{"bucket_id":`...), g.BucketID)
		b = appendString(append(b, `,"bucket_name":`...), g.BucketName)
		b = strconv.AppendInt(append(b, `,"count":`...), g.Count, 10)
		b = strconv.AppendInt(append(b, `,"from":`...), g.From, 10)
		b = strconv.AppendInt(append(b, `,"to":`...), g.To, 10)
		b = appendString(append(b, `,"reason":`...), g.Reason)
		b = append(b, '}')
	}
	return append(b, ']')
}

// separator is what stands before the element of a list that has one at least.
func separator(i int) byte {
	if i == 0 {
		return '['
	}
	return ','
}

// EncodeWebhook writes a webhook. Where w has no Sum it is made here. The error is
// ErrTooLong: w has more than clients take, or the frame had more than MaxFrame
// bytes.
func EncodeWebhook(w *Webhook) ([]byte, error) {
	if w.BucketID == "" && w.BucketName == "" {
		return nil, errNoBucket
	}
	if w.tooLong() {
		return nil, ErrTooLong
	}
	valid := utf8.Valid(w.Body)
	b := make([]byte, 0, encodedSize(w, valid))
	b = appendMeta(append(b, `{"type":"webhook","meta":`...), w)
	b = appendHeader(append(b, `,"headers":`...), w.Header)
	b = appendString(append(b, `,"query":`...), w.Query)
	b = appendString(append(b, `,"body":`...), w.Body)
	b = appendString(append(b, `,"method":`...), w.Method)
	if !valid {
		b = append(b, `,"body_base64":"`...)
		b = append(base64.StdEncoding.AppendEncode(b, w.Body), '"')
	}
	b = append(b, '}')
	if len(b) > MaxFrame {
		return nil, ErrTooLong
	}
	return b, nil
}

// encodedSize is about how long the frame of w gets: most bodies are JSON, of
// which an eighth is quotes.
func encodedSize(w *Webhook, valid bool) int {
	const rest = 2 << 10
	n := rest + len(w.Body) + len(w.Body)/8 + len(w.Query)
	if !valid {
		n += len(w.Body) + base64.StdEncoding.EncodedLen(len(w.Body))
	}
	return n
}

func appendMeta(b []byte, w *Webhook) []byte {
	sum := w.Sum
	if sum == "" {
		sum = Sum(w)
	}
	b = appendString(append(b, `{"id":`...), w.ID)
	b = appendString(append(b, `,"bucked_id":`...), w.BucketID) // the name by which most clients know it
	b = appendString(append(b, `,"bucket_id":`...), w.BucketID)
	b = appendString(append(b, `,"bucket_name":`...), w.BucketName)
	b = appendString(append(b, `,"input_id":`...), w.InputID)
	b = appendString(append(b, `,"input_name":`...), w.InputName)
	b = appendString(append(b, `,"output_name":`...), w.OutputName)
	b = appendString(append(b, `,"output_destination":`...), w.OutputDestination)
	b = appendString(append(b, `,"path":`...), w.Path)
	if w.ReceivedAt != 0 {
		b = strconv.AppendInt(append(b, `,"received_at":`...), w.ReceivedAt, 10)
	}
	b = appendString(append(b, `,"sum":`...), sum)
	return append(b, '}')
}

func appendHeader(b []byte, h map[string][]string) []byte {
	b = append(b, '{')
	for i, name := range slices.Sorted(maps.Keys(h)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, name)
		b = appendStrings(append(b, ':'), h[name])
	}
	return append(b, '}')
}

func appendStrings(b []byte, all []string) []byte {
	if len(all) == 0 {
		return append(b, "[]"...)
	}
	for i, s := range all {
		b = appendString(append(b, separator(i)), s)
	}
	return append(b, ']')
}

// appendString writes s as a JSON string. A byte that is no UTF-8 becomes
// U+FFFD. U+2028 and U+2029 are escaped, as some clients read JSON as
// JavaScript, where they end a line; <, > and & are not: this is no HTML.
func appendString[T string | []byte](b []byte, s T) []byte {
	b = append(b, '"')
	begin := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c < utf8.RuneSelf {
			b = appendEscaped(append(b, s[begin:i]...), c)
			i++
			begin = i
			continue
		}
		r, n := utf8.DecodeRune([]byte(s[i:min(i+utf8.UTFMax, len(s))]))
		switch {
		case r == utf8.RuneError && n == 1:
			b = append(append(b, s[begin:i]...), "\ufffd"...)
			begin = i + n
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[begin:i]...), `\u202`...)
			b = append(b, hexDigits[r&0xf])
			begin = i + n
		}
		i += n
	}
	return append(append(b, s[begin:]...), '"')
}

const hexDigits = "0123456789abcdef"

func appendEscaped(b []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, `\n`...)
	case '\r':
		return append(b, `\r`...)
	case '\t':
		return append(b, `\t`...)
	}
	return append(append(b, `\u00`...), hexDigits[c>>4], hexDigits[c&0xf])
}
