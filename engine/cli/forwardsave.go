package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"hookrun/relay"
	"hookrun/relay/forward"
)

// Bounds of the names of saved webhooks.
const (
	maxSavedID    = 64   // characters of the delivery's id
	maxSavedTwice = 1000 // files of one time and id
)

// saveWebhook writes a webhook to a new file in a folder, as a raw HTTP request.
func saveWebhook(dir string, m relay.Message) error {
	name := filepath.Join(dir, m.Read.UTC().Format("20060102T150405.000Z")+"-"+savedID(m.ID))
	for n := range maxSavedTwice {
		path := name + ".http"
		if n > 0 {
			path = fmt.Sprintf("%s-%d.http", name, n+1)
		}
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		_, err = f.Write(rawRequest(m))
		return errors.Join(err, f.Close())
	}
	return fmt.Errorf("%s: there are %d files of that name", name, maxSavedTwice)
}

// savedID is a delivery's id as part of a file's name: a relay may send anything
// for one.
func savedID(id string) string {
	safe := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' {
			return r
		}
		return -1
	}, id)
	if safe = safe[:min(len(safe), maxSavedID)]; safe == "" {
		return "webhook"
	}
	return safe
}

// rawRequest is the request that the sender made, as far as the relay tells it.
// Its length is always said, as a reader of the file needs it.
func rawRequest(m relay.Message) []byte {
	var b bytes.Buffer
	target := m.Path
	if m.Query != "" {
		target += "?" + m.Query
	}
	fmt.Fprintf(&b, "%s %s HTTP/1.1\n", methodOf(m), oneWord(target))
	header := plainHeader(forward.EndToEnd(m.Header))
	for _, name := range slices.Sorted(maps.Keys(header)) {
		for _, v := range header[name] {
			fmt.Fprintf(&b, "%s: %s\n", name, v)
		}
	}
	fmt.Fprintf(&b, "Content-Length: %d\n\n", len(m.Body))
	b.Write(m.Body)
	return b.Bytes()
}

// oneWord encodes what would end a word or a line.
func oneWord(target string) string {
	var b strings.Builder
	for _, c := range []byte(target) {
		if c <= ' ' || c == 0x7f {
			fmt.Fprintf(&b, "%%%02X", c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}
