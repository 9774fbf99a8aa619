package store

import (
	"encoding/binary"
	"errors"
	"maps"
	"net/http"
	"slices"
)

var errHeader = errors.New("headers are not as they were written")

// encodeHeader writes headers as the number of values and the texts of each,
// sorted by name: name, values, and again. Numbers and the lengths of texts are
// uvarints, so each byte comes back.
func encodeHeader(h http.Header) []byte {
	size := 0
	for name, values := range h {
		size += 2 + binary.MaxVarintLen16 + len(name)
		for _, v := range values {
			size += binary.MaxVarintLen16 + len(v)
		}
	}
	out := make([]byte, 0, size)
	for _, name := range slices.Sorted(maps.Keys(h)) {
		out = binary.AppendUvarint(out, uint64(len(h[name])))
		out = appendText(out, name)
		for _, v := range h[name] {
			out = appendText(out, v)
		}
	}
	return out
}

func appendText(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

// decodeHeader is encodeHeader's other way; nil where there is nothing.
func decodeHeader(data []byte) (http.Header, error) {
	if len(data) == 0 {
		return nil, nil
	}
	h := make(http.Header)
	r := lists{data}
	for len(r.rest) > 0 {
		n, ok := r.number()
		name, named := r.text()
		if !ok || !named || n > uint64(len(r.rest)) {
			return nil, errHeader
		}
		values := make([]string, n)
		for i := range values {
			if values[i], ok = r.text(); !ok {
				return nil, errHeader
			}
		}
		h[name] = values
	}
	return h, nil
}

// lists reads numbers and texts from the front of what is left.
type lists struct{ rest []byte }

func (r *lists) number() (uint64, bool) {
	n, size := binary.Uvarint(r.rest)
	if size <= 0 {
		return 0, false
	}
	r.rest = r.rest[size:]
	return n, true
}

func (r *lists) text() (string, bool) {
	n, ok := r.number()
	if !ok || n > uint64(len(r.rest)) {
		return "", false
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s, true
}
