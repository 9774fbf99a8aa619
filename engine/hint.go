package engine

import (
	"fmt"
	"slices"

	"github.com/agnivade/levenshtein"
)

// Nearest returns a hint with the candidate that name was likely meant to be,
// or "" where none is near.
func Nearest(name string, candidates []string) string {
	slices.Sort(candidates) // so that ties go one way
	best, dist := "", 1+len(name)/3
	for _, c := range candidates {
		if d := levenshtein.ComputeDistance(name, c); d <= dist && c != name && (best == "" || d < dist) {
			best, dist = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}
