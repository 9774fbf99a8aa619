package engine

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// flushEvery is how old output may be before it is stored.
const flushEvery = 250 * time.Millisecond

// stream takes what a command prints, masks secrets in it and keeps its
// beginning and its end, MaxOutput bytes in all.
type stream struct {
	name string
	mask *masker

	mu     sync.Mutex // guards what follows
	held   []byte     // may be the beginning of a secret
	head   []byte
	tail   []byte // the last bytes behind head, up to 2 × MaxOutput/2 before it is cut down
	size   int64  // of all that was printed, masked
	stored int64  // offset up to which the store has been told
}

// Write implements io.Writer. It never fails.
func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clean, rest := s.mask.split(append(s.held, p...))
	s.held = bytes.Clone(rest)
	s.keep(clean)
	return len(p), nil
}

// finish takes what was held back: no more comes.
func (s *stream) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keep(s.mask.bytes(s.held))
	s.held = nil
}

func (s *stream) keep(p []byte) {
	const half = MaxOutput / 2
	s.size += int64(len(p))
	n := min(half-len(s.head), len(p))
	s.head = append(s.head, p[:n]...)
	p = p[n:]
	if len(p) > half {
		p = p[len(p)-half:]
		s.tail = s.tail[:0]
	}
	s.tail = append(s.tail, p...)
	if len(s.tail) > 2*half {
		s.tail = append(s.tail[:0], s.tail[len(s.tail)-half:]...)
	}
}

// text is what is kept.
func (s *stream) text() Text {
	s.mu.Lock()
	defer s.mu.Unlock()
	tail := s.tail[max(0, len(s.tail)-MaxOutput/2):]
	return Text{
		Head: bytes.Clone(s.head),
		Cut:  s.size - int64(len(s.head)+len(tail)),
		Tail: bytes.Clone(tail),
	}
}

// fresh returns what the store has not been told yet, as chunks of it.
func (s *stream) fresh(of Chunk) []Chunk {
	s.mu.Lock()
	defer s.mu.Unlock()
	of.Stream = s.name
	var chunks []Chunk
	if from := s.stored; from < int64(len(s.head)) {
		of.Offset, of.Data = from, bytes.Clone(s.head[from:])
		chunks = append(chunks, of)
	}
	tail := s.tail[max(0, len(s.tail)-MaxOutput/2):]
	start := s.size - int64(len(tail))
	if from := max(s.stored, start); from < s.size {
		of.Offset, of.Data = from, bytes.Clone(tail[from-start:])
		chunks = append(chunks, of)
	}
	s.stored = s.size
	return chunks
}

// recorder stores the output of one step as it comes.
type recorder struct {
	store          Store
	log            *slog.Logger
	of             Chunk // names the step
	stdout, stderr stream
}

// run stores output until ctx ends, and then the rest.
func (r *recorder) run(ctx context.Context) {
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	save := context.WithoutCancel(ctx)
	for {
		select {
		case <-tick.C:
			r.flush(save)
		case <-ctx.Done():
			r.stdout.finish()
			r.stderr.finish()
			r.flush(save)
			return
		}
	}
}

// flush loses output where the store does not take it: the run itself must not
// wait for its own log.
func (r *recorder) flush(ctx context.Context) {
	for _, s := range []*stream{&r.stdout, &r.stderr} {
		for _, c := range s.fresh(r.of) {
			if err := r.store.AppendOutput(ctx, c); err != nil {
				r.log.Warn("output is not stored", "run", c.Run, "step", c.Index, "stream", c.Stream, "err", err)
			}
		}
	}
}

// minMasked is the length from which a secret's value is looked for in output:
// a shorter one would stand in every second word.
const minMasked = 4

// masker puts Masked in the place of secrets. Its nil has none.
type masker struct {
	secrets  [][]byte // longest first
	replacer *strings.Replacer
}

func newMasker(secrets []Secret) *masker {
	known := map[string]bool{}
	for _, s := range secrets {
		for _, form := range forms(s.Reveal()) {
			if len(form) >= minMasked {
				known[form] = true
			}
		}
	}
	if len(known) == 0 {
		return nil
	}
	values := slices.SortedFunc(maps.Keys(known), func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	m := &masker{}
	var pairs []string
	for _, v := range values {
		m.secrets = append(m.secrets, []byte(v))
		pairs = append(pairs, v, Masked)
	}
	m.replacer = strings.NewReplacer(pairs...)
	return m
}

// keyLike is a line of a secret, or the value of a line name=value or name: value
// in it, that looks like a key rather than like a word: a secret may be a file
// of which most lines are nothing special.
var keyLike = regexp.MustCompile(`^[A-Za-z0-9+/_.~-]{12,}={0,2}$`)

func isKeyLike(s string) bool {
	return keyLike.MatchString(s) && strings.ContainsAny(s, "0123456789") && strings.ContainsFunc(s, unicode.IsLetter)
}

// lineValue is what of a line of a secret may be a key by itself.
func lineValue(line string) string {
	line = strings.TrimSpace(line)
	if !isKeyLike(line) {
		if _, value, ok := strings.Cut(line, ": "); ok {
			line = value
		} else if _, value, ok := strings.Cut(line, "="); ok {
			line = value
		}
	}
	return strings.Trim(line, `"',; `)
}

// forms are the ways in which a secret's value turns up in outputs: as it is,
// its lines, and the usual encodings.
func forms(secret string) []string {
	value := strings.TrimSpace(secret)
	if len(value) < minMasked {
		return nil
	}
	all := []string{value, base64.StdEncoding.EncodeToString([]byte(value)), base64.URLEncoding.EncodeToString([]byte(value))}
	for _, escaped := range []string{url.QueryEscape(value), url.PathEscape(value)} {
		all = append(all, escaped, lowerEscapes(escaped))
	}
	if js, err := json.Marshal(value); err == nil {
		all = append(all, jsonForms(string(js))...)
	}
	if js, err := new(document).json(value); err == nil { // without HTML's escapes
		all = append(all, jsonForms(js)...)
	}
	for line := range strings.Lines(value) {
		if v := lineValue(line); isKeyLike(v) {
			all = append(all, v)
		}
	}
	return all
}

// jsonForms are the ways to write a text in JSON, without its quotation marks: as
// given, with slashes escaped too, and each of them in ASCII alone.
func jsonForms(js string) []string {
	js = js[1 : len(js)-1]
	var all []string
	for _, form := range []string{js, strings.ReplaceAll(js, "/", `\/`)} {
		all = append(all, form, asciiJSON(form, `\u%04x`), asciiJSON(form, `\u%04X`))
	}
	return all
}

// asciiJSON writes what is not ASCII in JSON as escapes (RFC 8259, 7).
func asciiJSON(js, escape string) string {
	var b strings.Builder
	for _, r := range js {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&b, escape, unit)
		}
	}
	return b.String()
}

// lowerEscapes is a text with percent escapes, these in lower case.
func lowerEscapes(s string) string {
	parts := strings.Split(s, "%")
	for i, p := range parts[1:] {
		parts[i+1] = strings.ToLower(p[:2]) + p[2:] // two digits follow each
	}
	return strings.Join(parts, "%")
}

func (m *masker) string(s string) string {
	if m == nil {
		return s
	}
	return m.replacer.Replace(s)
}

func (m *masker) bytes(p []byte) []byte {
	if m == nil {
		return p
	}
	return []byte(m.replacer.Replace(string(p)))
}

// split masks p except for the end that may be the beginning of a secret,
// which is returned as it is.
func (m *masker) split(p []byte) (clean, rest []byte) {
	if m == nil {
		return p, nil
	}
	cut := len(p)
	for _, s := range m.secrets {
		for n := min(len(s)-1, len(p)); n > 0; n-- {
			if bytes.HasPrefix(s, p[len(p)-n:]) {
				cut = min(cut, len(p)-n)
				break
			}
		}
	}
	// A whole secret that reaches over the cut goes out masked.
	for _, s := range m.secrets {
		from := max(0, cut-len(s)+1)
		if i := bytes.Index(p[from:], s); i >= 0 && from+i < cut {
			cut = max(cut, from+i+len(s))
		}
	}
	return m.bytes(p[:cut]), p[cut:]
}
