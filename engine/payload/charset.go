package payload

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/unicode"
)

// maxRecoded bounds text that is not UTF-8, in bytes: each may become three.
const maxRecoded = 8 << 20

// toUTF8 turns text of a charset, "" for one that is not named, into UTF-8. The
// byte order mark of UTF-16 counts for more than the name.
func toUTF8(text []byte, charset string) ([]byte, error) {
	enc, err := charsetOf(charset)
	if bytes.HasPrefix(text, []byte("\xff\xfe")) || bytes.HasPrefix(text, []byte("\xfe\xff")) {
		charset, enc, err = "utf-16", unicode.UTF16(unicode.LittleEndian, unicode.UseBOM), nil
	}
	if err != nil || enc == nil {
		return text, err
	}
	if len(text) > maxRecoded {
		return nil, fmt.Errorf("charset %s: more than %d MiB", shorten(charset), maxRecoded>>20)
	}
	out, err := enc.NewDecoder().Bytes(text)
	if err != nil {
		return nil, fmt.Errorf("charset %s: %w", shorten(charset), err)
	}
	return out, nil
}

// charsetOf returns nil for UTF-8.
func charsetOf(name string) (encoding.Encoding, error) {
	if name == "" || strings.EqualFold(name, "utf-8") {
		return nil, nil
	}
	enc, err := htmlindex.Get(name)
	if err != nil || enc == encoding.Replacement {
		return nil, fmt.Errorf("the charset %s is not known", shorten(name))
	}
	if enc == unicode.UTF8 {
		return nil, nil
	}
	return enc, nil
}

var xmlDeclaration = regexp.MustCompile(`^(?:\xef\xbb\xbf)?<\?xml[^>]{0,100}?\sencoding\s*=\s*["']([A-Za-z0-9._:-]{1,40})["']`)

// declaredCharset is the one that XML names in its first line. What can be read
// there is no UTF-16, whatever it says.
func declaredCharset(data []byte) string {
	m := xmlDeclaration.FindSubmatch(data[:min(len(data), 200)])
	if m == nil || strings.HasPrefix(strings.ToLower(string(m[1])), "utf-16") {
		return ""
	}
	return string(m[1])
}
