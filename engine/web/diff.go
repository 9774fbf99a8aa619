package web

import "strings"

// maxDiff bounds the lines of a diff that a page shows.
const maxDiff = 2000

// diffLine is a line of a unified diff.
type diffLine struct {
	Tone string // class: "add", "del", "at", "file" or ""
	Text string
}

// diffLines takes a unified diff apart.
func diffLines(diff string) []diffLine {
	var all []diffLine
	for line := range strings.Lines(diff) {
		if len(all) == maxDiff {
			return append(all, diffLine{"at", "… the rest is left out"})
		}
		all = append(all, diffLine{diffTone(line), plain(strings.TrimRight(line, "\r\n"))})
	}
	return all
}

func diffTone(line string) string {
	switch {
	case strings.HasPrefix(line, "+++"), strings.HasPrefix(line, "---"):
		return "file"
	case strings.HasPrefix(line, "+"):
		return "add"
	case strings.HasPrefix(line, "-"):
		return "del"
	case strings.HasPrefix(line, "@@"):
		return "at"
	}
	return ""
}
