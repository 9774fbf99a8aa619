package engine

import (
	"fmt"
	"strings"
	"time"
)

// String returns the text with a line in the place of what was cut.
func (t Text) String() string {
	if t.Cut == 0 {
		return string(t.Head) + string(t.Tail)
	}
	return fmt.Sprintf("%s\n… %d bytes cut …\n%s", t.Head, t.Cut, t.Tail)
}

// spell writes a length of time as people do: 72h, not 72h0m0s.
func spell(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
