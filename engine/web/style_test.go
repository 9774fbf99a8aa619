package web

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"testing"
)

// Contrast that WCAG 2.2 AA asks for (1.4.3, 1.4.11).
const (
	ofText     = 4.5
	ofControls = 3
)

// palette is the colours of the style sheet, light and dark, by name.
func palette(t *testing.T) [2]map[string]float64 {
	t.Helper()
	css, err := assets.ReadFile("assets/app.css")
	if err != nil {
		t.Fatal(err)
	}
	all := [2]map[string]float64{{}, {}}
	for _, m := range regexp.MustCompile(`--([a-z0-9-]+): light-dark\(#([0-9a-f]{6}), #([0-9a-f]{6})\);`).FindAllStringSubmatch(string(css), -1) {
		all[0][m[1]], all[1][m[1]] = luminance(t, m[2]), luminance(t, m[3])
	}
	for _, m := range regexp.MustCompile(`var\(--([a-z0-9-]+)\)`).FindAllStringSubmatch(string(css), -1) {
		if _, ok := all[0][m[1]]; !ok && m[1] != "sans" && m[1] != "mono" {
			t.Errorf("the style sheet uses --%s, which has no light and dark colour", m[1])
		}
	}
	if m := regexp.MustCompile(`: #|rgb\(\d+ \d+ \d+\)`).FindString(regexp.MustCompile(`(?s):root \{.*?\n\}`).ReplaceAllString(string(css), "")); m != "" {
		t.Errorf("the style sheet has a colour beside its variables: %s", m)
	}
	return all
}

// luminance is the relative luminance of a colour, as WCAG defines it.
func luminance(t *testing.T, hex string) float64 {
	t.Helper()
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	part := func(c uint64) float64 {
		v := float64(c&0xff) / 255
		if v <= 0.04045 {
			return v / 12.92
		}
		return math.Pow((v+0.055)/1.055, 2.4)
	}
	return 0.2126*part(n>>16) + 0.7152*part(n>>8) + 0.0722*part(n)
}

func contrast(a, b float64) float64 { return (max(a, b) + 0.05) / (min(a, b) + 0.05) }

func TestContrastIsThatOfWCAG(t *testing.T) {
	type pair struct {
		over, under string
		least       float64
	}
	var pairs []pair
	for _, under := range []string{"bg", "surface", "sunken", "hover"} {
		for _, over := range []string{"text", "muted", "link"} {
			pairs = append(pairs, pair{over, under, ofText})
		}
		pairs = append(pairs, pair{"accent", under, ofControls}) // the ring of what has the focus
	}
	for _, tone := range []string{"ok", "bad", "warn", "info", "none"} {
		pairs = append(pairs, pair{tone, tone + "-bg", ofText}, pair{tone, "surface", ofText}, pair{tone, "sunken", ofText}, pair{tone + "-fill", "surface", ofControls})
	}
	for i := range 16 {
		c := fmt.Sprint("c", i)
		pairs = append(pairs, pair{c, "sunken", ofText}, pair{c, "none-bg", ofText})
	}
	pairs = append(pairs, pair{"on-accent", "accent", ofText}, pair{"edge", "surface", ofControls}, pair{"edge", "bg", ofControls}, pair{"text", "none-bg", ofText}, pair{"sunken", "text", ofText})
	for i, colors := range palette(t) {
		for _, p := range pairs {
			over, ok := colors[p.over]
			under, okUnder := colors[p.under]
			if !ok || !okUnder {
				t.Fatalf("there is no colour %s or %s", p.over, p.under)
			}
			if got := contrast(over, under); got < p.least {
				t.Errorf("%s: %s on %s has a contrast of %.2f, want %.1f or more", [...]string{"light", "dark"}[i], p.over, p.under, got, p.least)
			}
		}
	}
}
