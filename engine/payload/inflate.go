package payload

import (
	"bufio"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

const (
	maxCodings = 3       // of one body
	zstdWindow = 8 << 20 // what a sender may ask for (RFC 9659)
)

// inflate undoes the codings of a Content-Encoding (RFC 9110, 8.4).
func inflate(header []string, raw []byte) ([]byte, error) {
	names := codings(header)
	if len(names) == 0 || len(raw) == 0 {
		return raw, nil
	}
	if len(names) > maxCodings {
		return nil, fmt.Errorf("Content-Encoding: %d codings, more than %d", len(names), maxCodings)
	}
	var r io.Reader = bytes.NewReader(raw)
	for _, name := range slices.Backward(names) { // the last one was put on last
		opened, done, err := decoder(name, r)
		if err != nil {
			return nil, codingError(name, err)
		}
		defer done()
		r = &coding{name: name, r: opened, left: MaxInflated}
	}
	return readBounded(r)
}

// codings are the names in a Content-Encoding, without those that change
// nothing.
func codings(header []string) []string {
	var names []string
	for name := range strings.SplitSeq(strings.Join(header, ","), ",") {
		name = strings.ToLower(strings.TrimSpace(name))
		if name != "" && name != "identity" {
			names = append(names, strings.TrimPrefix(name, "x-"))
		}
	}
	return names
}

// decoder opens one coding. done frees what it holds.
func decoder(name string, r io.Reader) (opened io.Reader, done func(), err error) {
	switch name {
	case "gzip":
		opened, err = gzip.NewReader(r)
		return opened, func() {}, err
	case "deflate":
		opened, err = openDeflate(r)
		return opened, func() {}, err
	case "zstd":
		// One at a time makes no goroutines.
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(zstdWindow), zstd.WithDecoderMaxMemory(MaxInflated))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	}
	return nil, nil, errors.New("this coding is not known; gzip, deflate and zstd are")
}

// openDeflate reads zlib, which deflate is by its definition, and the bare stream
// that some senders make instead.
func openDeflate(r io.Reader) (io.Reader, error) {
	const method, check = 8, 31 // RFC 1950, 2.2
	b := bufio.NewReader(r)
	head, err := b.Peek(2)
	if err == nil && head[0]&0xf == method && (int(head[0])<<8|int(head[1]))%check == 0 {
		return zlib.NewReader(b)
	}
	return flate.NewReader(b), nil
}

// coding is one coding that is being undone. All that comes out of it is
// bounded, also what goes into another: megabytes of it may make nothing.
type coding struct {
	name string
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (c *coding) Read(p []byte) (int, error) {
	n, err := c.r.Read(p[:min(len(p), c.left+1)])
	c.left -= n
	if c.left < 0 {
		return 0, codingError(c.name, fmt.Errorf("more than %d MiB", MaxInflated>>20))
	}
	if err != nil && err != io.EOF {
		err = codingError(c.name, err)
	}
	return n, err
}

// badCoding is an error of a coding, which others pass on.
type badCoding struct{ error }

func codingError(name string, err error) error {
	var inner badCoding
	if errors.As(err, &inner) {
		return inner
	}
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = errors.New("the body ends too early")
	}
	name = shorten(name)
	return badCoding{fmt.Errorf("Content-Encoding %s: %s", name, strings.TrimPrefix(err.Error(), name+": "))}
}

// readBounded reads all of r, which ends by MaxInflated bytes.
func readBounded(r io.Reader) ([]byte, error) {
	buf := make([]byte, 0, 64<<10)
	for {
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if err == io.EOF {
			return buf, nil
		}
		if err != nil {
			return nil, err
		}
		if len(buf) == cap(buf) {
			more := make([]byte, len(buf), min(2*cap(buf), MaxInflated+1))
			copy(more, buf)
			buf = more
		}
	}
}
