package engine

import "fmt"

// String returns the text with a line in the place of what was cut.
func (t Text) String() string {
	if t.Cut == 0 {
		return string(t.Head) + string(t.Tail)
	}
	return fmt.Sprintf("%s\n… %d bytes cut …\n%s", t.Head, t.Cut, t.Tail)
}
