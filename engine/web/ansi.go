package web

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what is made of output.
const (
	maxOutput   = 64 << 10 // bytes of each half of a stream that a page shows
	maxSequence = 4 << 10  // bytes of one escape sequence: a longer one is none
	maxNumbers  = 32       // of one sequence
)

// piece is a part of an output that looks the same all over.
type piece struct {
	Class string // of ansi in the style sheet; "" for none
	Text  string
}

// look is how a terminal would show what comes next.
type look struct {
	fg, bg                                  int // 0 is none, else 1 + one of the 16 colours
	bold, dim, italic, line, strike, turned bool
}

// class is the look in the words of the style sheet.
func (l look) class() string {
	if l.turned {
		l.fg, l.bg = l.bg, l.fg
	}
	var words []string
	if l.fg > 0 {
		words = append(words, "f"+strconv.Itoa(l.fg-1))
	}
	if l.bg > 0 {
		words = append(words, "b"+strconv.Itoa(l.bg-1))
	}
	for _, w := range []struct {
		is   bool
		word string
	}{{l.bold, "bold"}, {l.dim, "dim"}, {l.italic, "italic"}, {l.line, "under"}, {l.strike, "strike"}, {l.turned && l.fg == 0 && l.bg == 0, "turned"}} {
		if w.is {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, " ")
}

// colored makes pieces of what a command printed. It knows colours; all else that
// a terminal would obey is left out, or shown where it is a character by itself. A
// carriage return would let a line hide the one before: it ends it. From so many
// pieces on there are no colours.
func colored(data []byte, most int) []piece {
	p := painter{most: most}
	text := strings.ReplaceAll(strings.ToValidUTF8(string(data), "\uFFFD"), "\r\n", "\n")
	for len(text) > 0 {
		if text[0] == '\x1b' {
			text = text[p.escape(text):]
			continue
		}
		end := strings.IndexByte(text, '\x1b')
		if end < 0 {
			end = len(text)
		}
		p.add(text[:end])
		text = text[end:]
	}
	p.end()
	return p.pieces
}

// painter holds the look while it goes through a text.
type painter struct {
	most   int // pieces
	look   look
	class  string          // of what comes,
	text   strings.Builder // the piece that is being made
	pieces []piece
}

// add adds text that has no escape in it.
func (p *painter) add(text string) {
	class := p.look.class()
	if len(p.pieces)+1 >= p.most {
		class = ""
	}
	if class != p.class {
		p.end()
		p.class = class
	}
	p.text.WriteString(plain(strings.ReplaceAll(text, "\r", "\n")))
}

// end ends the piece.
func (p *painter) end() {
	if p.text.Len() > 0 {
		p.pieces = append(p.pieces, piece{p.class, p.text.String()})
		p.text.Reset()
	}
}

// escape takes the sequence that text begins with (ECMA-48, 5.4 and 5.6) and
// returns its length.
func (p *painter) escape(text string) int {
	if len(text) < 2 {
		p.add("␛")
		return 1
	}
	switch text[1] {
	case '[':
		return p.control(text)
	case ']', 'P', 'X', '^', '_':
		return p.string(text)
	}
	i := 1
	for i < len(text) && text[i] >= ' ' && text[i] <= '/' {
		i++
	}
	if i < len(text) && text[i] >= '0' && text[i] <= '~' {
		return i + 1
	}
	p.add("␛")
	return 1
}

// control takes a control sequence: of them only those of the look mean something.
func (p *painter) control(text string) int {
	end := 2
	for end < len(text) && end < maxSequence && text[end] >= ' ' && text[end] <= '?' {
		end++
	}
	if end == len(text) || text[end] < '@' || text[end] > '~' {
		p.add("␛")
		return 1
	}
	if text[end] == 'm' {
		p.look = p.look.with(numbers(text[2:end]))
	}
	return end + 1
}

// string takes what ends with BEL or ESC \, such as a title of the window. One
// that does not end on its line is none: it could hide all that follows.
func (p *painter) string(text string) int {
	limit := min(len(text), maxSequence)
	for i := 2; i < limit; i++ {
		switch {
		case text[i] == '\a':
			return i + 1
		case text[i] == '\x1b' && i+1 < len(text) && text[i+1] == '\\':
			return i + 2
		case text[i] == '\n' || text[i] == '\x1b':
			i = limit
		}
	}
	p.add("␛")
	return 1
}

// numbers are those of a sequence; what is none is 0.
func numbers(text string) []int {
	var all []int
	for part := range strings.FieldsFuncSeq(strings.ReplaceAll(text, ";", " ;"), func(r rune) bool { return r == ';' || r == ':' }) {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 0 || n > 255 {
			n = 0
		}
		if all = append(all, n); len(all) == maxNumbers {
			break
		}
	}
	if len(all) == 0 {
		return []int{0}
	}
	return all
}

// with is the look after the numbers of an SGR sequence (ECMA-48, 8.3.117).
func (l look) with(codes []int) look {
	for i := 0; i < len(codes); i++ {
		switch c := codes[i]; {
		case c == 0:
			l = look{}
		case c >= 30 && c <= 37:
			l.fg = c - 30 + 1
		case c >= 90 && c <= 97:
			l.fg = c - 90 + 8 + 1
		case c >= 40 && c <= 47:
			l.bg = c - 40 + 1
		case c >= 100 && c <= 107:
			l.bg = c - 100 + 8 + 1
		case c == 38 || c == 48:
			color, used := wide(codes[i+1:])
			if i += used; c == 38 {
				l.fg = color
			} else {
				l.bg = color
			}
		default:
			l = l.style(c)
		}
	}
	return l
}

func (l look) style(code int) look {
	switch code {
	case 1:
		l.bold = true
	case 2:
		l.dim = true
	case 3:
		l.italic = true
	case 4, 21:
		l.line = true
	case 7:
		l.turned = true
	case 9:
		l.strike = true
	case 22:
		l.bold, l.dim = false, false
	case 23:
		l.italic = false
	case 24:
		l.line = false
	case 27:
		l.turned = false
	case 29:
		l.strike = false
	case 39:
		l.fg = 0
	case 49:
		l.bg = 0
	}
	return l
}

// wide reads one of 256 colours, or one by its parts. A page has no styles of its
// own, so it becomes the nearest of the 16.
func wide(codes []int) (color, used int) {
	switch {
	case len(codes) >= 2 && codes[0] == 5:
		return ofTable(codes[1]) + 1, 2
	case len(codes) >= 4 && codes[0] == 2:
		return nearest(codes[1], codes[2], codes[3]) + 1, 4
	}
	return 0, len(codes)
}

// ofTable is a colour of xterm's table: the 16, a cube of 6 × 6 × 6, 24 greys.
func ofTable(n int) int {
	switch {
	case n < 16:
		return n
	case n < 232:
		level := func(i int) int {
			if i == 0 {
				return 0
			}
			return 55 + 40*i
		}
		n -= 16
		return nearest(level(n/36), level(n/6%6), level(n%6))
	}
	grey := 8 + 10*(n-232)
	return nearest(grey, grey, grey)
}

// nearest is the one of the 16 colours that is nearest.
func nearest(r, g, b int) int {
	table := [16][3]int{
		{0, 0, 0}, {205, 0, 0}, {0, 205, 0}, {205, 205, 0}, {0, 0, 238}, {205, 0, 205}, {0, 205, 205}, {229, 229, 229},
		{127, 127, 127}, {255, 0, 0}, {0, 255, 0}, {255, 255, 0}, {92, 92, 255}, {255, 0, 255}, {0, 255, 255}, {255, 255, 255},
	}
	best, least := 0, -1
	for i, c := range table {
		d := (c[0]-r)*(c[0]-r) + (c[1]-g)*(c[1]-g) + (c[2]-b)*(c[2]-b)
		if least < 0 || d < least {
			best, least = i, d
		}
	}
	return best
}

// firstBytes is the beginning of a text, with no character cut.
func firstBytes(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	for i := range min(most, utf8.UTFMax) {
		if utf8.RuneStart(b[most-i]) {
			return b[:most-i]
		}
	}
	return b[:most]
}

// lastBytes is its end.
func lastBytes(b []byte, most int) []byte {
	if len(b) <= most {
		return b
	}
	b = b[len(b)-most:]
	for i := range min(len(b), utf8.UTFMax) {
		if utf8.RuneStart(b[i]) {
			return b[i:]
		}
	}
	return b
}
