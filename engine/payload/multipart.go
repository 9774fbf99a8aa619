package payload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"strings"
	"unicode"
)

const (
	maxPartHeader = 16 << 10 // bytes of the header of one part
	maxFileName   = 200      // bytes
)

// multipart reads multipart/form-data (RFC 7578). A field payload that holds a
// JSON object or list is the value: Plex's way. The files stay beside it.
func (r *reader) multipart(body *Body, boundary string, data []byte) error {
	if boundary == "" {
		return errors.New("multipart: the Content-Type names no boundary")
	}
	fields := fields{}
	parts := multipart.NewReader(bytes.NewReader(data), boundary)
	for n := 1; ; n++ {
		part, err := parts.NextPart()
		if err == io.EOF {
			break
		}
		if err == nil && n > MaxParts {
			return fmt.Errorf("multipart: more than %d parts", MaxParts)
		}
		if err == nil {
			err = r.part(body, fields, part)
		}
		if err != nil {
			return fmt.Errorf("multipart, part %d: %w", n, plainMultipart(err))
		}
	}
	if len(fields) == 0 && len(body.Files) == 0 {
		return errors.New("multipart: there is no part")
	}
	return r.payloadOf(body, fields)
}

func plainMultipart(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		return errors.New("the body ends too early")
	}
	return errors.New(shorten(strings.TrimPrefix(err.Error(), "multipart: ")))
}

// payloadOf makes the value of the fields.
func (r *reader) payloadOf(body *Body, fields fields) error {
	if p, ok := fields["payload"].(string); ok && looksJSON([]byte(p)) {
		v, err := r.json([]byte(p))
		if err != nil {
			return fmt.Errorf("multipart field payload: %w", err)
		}
		body.Value = v
		return nil
	}
	body.Value = map[string]any(fields)
	return nil
}

// part adds a part to the fields or to the files.
func (r *reader) part(body *Body, fields fields, part *multipart.Part) error {
	if headerSize(part.Header) > maxPartHeader {
		return fmt.Errorf("its header has more than %d KiB", maxPartHeader>>10)
	}
	data, err := io.ReadAll(part)
	if err != nil {
		return err
	}
	_, disposition, err := mime.ParseMediaType(part.Header.Get("Content-Disposition"))
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) {
		return errors.New("its Content-Disposition can't be read")
	}
	media := part.Header.Get("Content-Type")
	name, isFile := disposition["filename"]
	switch {
	case !isFile:
		return fields.add(disposition["name"], string(data), typeOf(media).charset)
	case name == "" && len(data) == 0: // a browser's field for a file, with none chosen
		return fields.add(disposition["name"], "", "")
	}
	body.Files = append(body.Files, File{
		Field: disposition["name"], Name: fileName(name), Type: strings.ToValidUTF8(media, "?"), Data: data,
	})
	return nil
}

func headerSize(h textproto.MIMEHeader) int {
	n := 0
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(v)
		}
	}
	return n
}

// fileName is the last element of a path of any system, without what can't be
// seen: it is for people, and to choose by.
func fileName(path string) string {
	name := path[strings.LastIndexAny(path, `/\`)+1:]
	name = strings.Map(func(c rune) rune {
		if unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) {
			return -1
		}
		return c
	}, strings.ToValidUTF8(name, "?"))
	if len(name) > maxFileName {
		name = strings.ToValidUTF8(name[:maxFileName], "")
	}
	if name == "." || name == ".." {
		return ""
	}
	return name
}
