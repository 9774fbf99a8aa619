package payload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

func (r *reader) json(raw []byte) (any, error) {
	raw = bytes.TrimPrefix(raw, []byte("\ufeff"))
	if err := r.measureJSON(raw); err != nil {
		return nil, fmt.Errorf("JSON, %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, fmt.Errorf("JSON%w", jsonError(raw, err))
	}
	end := dec.InputOffset()
	if _, err := dec.Token(); err != io.EOF {
		return nil, fmt.Errorf("JSON: more follows the value that ends at byte %d", end)
	}
	return v, nil
}

// lines reads JSON values behind each other: a value in each line, or each
// behind a record separator (RFC 7464).
func (r *reader) lines(text []byte) (any, error) {
	const separator = 0x1e
	text = bytes.TrimPrefix(text, []byte("\ufeff"))
	if bytes.IndexByte(text, separator) >= 0 { // it can't stand in a value
		text = bytes.ReplaceAll(text, []byte{separator}, []byte(" "))
	}
	if err := r.measureJSON(text); err != nil {
		return nil, fmt.Errorf("NDJSON, %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	list := []any{}
	for {
		var v any
		err := dec.Decode(&v)
		if err == io.EOF {
			return list, nil
		}
		if err == nil {
			err = r.take(1)
		} else {
			err = jsonError(text, err)
		}
		if err != nil {
			return nil, fmt.Errorf("NDJSON, line %d: %s", lineAt(text, dec.InputOffset()), strings.TrimLeft(err.Error(), ",: "))
		}
		list = append(list, v)
	}
}

// lineAt is the line of the first value behind an offset.
func lineAt(text []byte, offset int64) int {
	rest := text[min(int(offset), len(text)):]
	at := len(text) - len(bytes.TrimLeft(rest, " \t\r\n"))
	return bytes.Count(text[:at], []byte("\n")) + 1
}

// jsonError begins with the place of the error, behind the form that the caller
// puts in front.
func jsonError(raw []byte, err error) error {
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf(", byte %d: %s", syntax.Offset, strings.TrimPrefix(syntax.Error(), "json: "))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fmt.Errorf(": the body ends too early, at byte %d", len(raw))
	}
	return fmt.Errorf(": %w", err)
}

// measureJSON counts depth and values before any of them is made: 2 MB of "{}"
// would become 87 MB otherwise.
func (r *reader) measureJSON(raw []byte) error {
	depth, inString := 0, false
	nodes := 1
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		if inString {
			switch c {
			case '\\':
				i++
			case '"':
				inString = false
			}
			continue
		}
		switch c {
		case '"':
			inString = true
		case '{', '[':
			depth++
			nodes++
		case '}', ']':
			depth--
		case ',', ':':
			nodes++
		}
		if depth > MaxDepth {
			return fmt.Errorf("byte %d: more than %d levels deep", i+1, MaxDepth)
		}
		if nodes > r.nodes {
			return fmt.Errorf("byte %d: more than %d values", i+1, MaxNodes)
		}
	}
	return r.take(nodes)
}
