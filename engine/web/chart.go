package web

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

// Measures of a chart, in units of its viewBox: it is stretched to its place, and
// has no text in it for that reason.
const (
	chartWidth  = 1000
	chartHeight = 100
	barGap      = 0.18 // of the width of a bar
)

// ranges are the spans of time that charts are offered for.
func ranges() []timeRange {
	return []timeRange{
		{"1h", "last hour", time.Hour, time.Minute},
		{"24h", "last 24 hours", 24 * time.Hour, 20 * time.Minute},
		{"7d", "last 7 days", 7 * 24 * time.Hour, 2 * time.Hour},
	}
}

// timeRange is one of them.
type timeRange struct {
	Name  string
	Title string
	Whole time.Duration
	Step  time.Duration
}

// rangeOf is the range of that name, by default a day.
func rangeOf(name string) timeRange {
	for _, r := range ranges() {
		if r.Name == name {
			return r
		}
	}
	return ranges()[1]
}

// chart is rates drawn.
type chart struct {
	Title  string
	Says   string // all of it in a sentence, for who does not see it
	Bars   []bar
	Line   string // points of the polyline of events
	Max    string // what the top is
	Ticks  []string
	Legend []legend
}

// bar is a rectangle.
type bar struct {
	X, Y, W, H string
	Tone       string
	Says       string
}

type legend struct {
	Tone, Text string
}

// newChart draws how many events and runs there were.
func newChart(list control.RateList, r timeRange) *chart {
	c := &chart{Title: "Runs, " + r.Title, Ticks: ticks(list.Rates), Legend: []legend{
		{toneOK, "done"}, {toneBad, "failed, tripped"}, {toneInfo, "waiting, at work"}, {toneNone, "others"}, {"line", "events"},
	}}
	most, events, runs, bad := 1, 0, 0, 0
	for _, rate := range list.Rates {
		b := tally(rate)
		most = max(most, b.all(), rate.Events)
		events, runs, bad = events+rate.Events, runs+b.all(), bad+b.bad
	}
	c.Max = count(most)
	c.Says = fmt.Sprintf("in the %s: events %s, runs %s, of which failed %s", r.Title, count(events), count(runs), count(bad))
	points := make([]string, 0, len(list.Rates))
	width := chartWidth / float64(max(1, len(list.Rates)))
	for i, rate := range list.Rates {
		c.stack(float64(i)*width, width, most, rate)
		y := chartHeight * (1 - float64(rate.Events)/float64(most))
		points = append(points, num((float64(i)+0.5)*width)+","+num(y))
	}
	c.Line = strings.Join(points, " ")
	return c
}

// counts are runs by what they came to.
type counts struct{ ok, bad, open, rest int }

func (c counts) all() int { return c.ok + c.bad + c.open + c.rest }

func tally(rate control.Rate) counts {
	var c counts
	for state, n := range rate.Runs {
		switch tone(state) {
		case toneOK:
			c.ok += n
		case toneBad:
			c.bad += n
		case toneInfo:
			c.open += n
		default:
			c.rest += n
		}
	}
	return c
}

// stack draws the runs of one span on top of each other.
func (c *chart) stack(x, width float64, most int, rate control.Rate) {
	t := tally(rate)
	at := rate.From.Local().Format("Jan 2 15:04")
	y := float64(chartHeight)
	for _, part := range []struct {
		n    int
		tone string
		what string
	}{{t.bad, toneBad, "failed"}, {t.ok, toneOK, "done"}, {t.open, toneInfo, "waiting or at work"}, {t.rest, toneNone, "others"}} {
		if part.n == 0 {
			continue
		}
		h := chartHeight * float64(part.n) / float64(most)
		y -= h
		c.Bars = append(c.Bars, bar{
			X: num(x + width*barGap/2), Y: num(y), W: num(width * (1 - barGap)), H: num(h), Tone: part.tone,
			Says: fmt.Sprintf("%s: %s %s of %s, %s events", at, count(part.n), part.what, count(t.all()), count(rate.Events)),
		})
	}
}

// newDurations draws how long runs took: a bar to the median, one behind it to the
// worst. The scale is that of logarithms, for they are of all sizes.
func newDurations(list control.RateList, r timeRange) *chart {
	c := &chart{Title: "Durations, " + r.Title, Ticks: ticks(list.Rates), Legend: []legend{{toneInfo, "median"}, {toneNone, "slowest"}}}
	worst := 0.0
	for _, rate := range list.Rates {
		worst = max(worst, rate.Worst, rate.Median)
	}
	if worst == 0 {
		return nil
	}
	c.Max = seconds(worst)
	c.Says = fmt.Sprintf("the slowest run of the %s took %s", r.Title, seconds(worst))
	width := chartWidth / float64(len(list.Rates))
	for i, rate := range list.Rates {
		at := rate.From.Local().Format("Jan 2 15:04")
		for _, part := range []struct {
			v    float64
			tone string
			what string
		}{{rate.Worst, toneNone, "the slowest took"}, {rate.Median, toneInfo, "half of them took less than"}} {
			if part.v <= 0 {
				continue
			}
			h := logShare(part.v, worst) * chartHeight
			c.Bars = append(c.Bars, bar{
				X: num(float64(i)*width + width*barGap/2), Y: num(chartHeight - h), W: num(width * (1 - barGap)), H: num(h), Tone: part.tone,
				Says: fmt.Sprintf("%s: %s %s", at, part.what, seconds(part.v)),
			})
		}
	}
	return c
}

// logShare is where between 1 ms and the worst a time lies, by its logarithm.
func logShare(v, worst float64) float64 {
	const least = 0.001
	if worst <= least || v <= least {
		return 0.03 // to be seen at all
	}
	return max(0.03, math.Log(v/least)/math.Log(worst/least))
}

// ticks are the times that stand under a chart, which ends now.
func ticks(rates []control.Rate) []string {
	const most = 5
	if len(rates) == 0 {
		return nil
	}
	layout := "15:04"
	if rates[len(rates)-1].From.Sub(rates[0].From) > 36*time.Hour {
		layout = "Jan 2"
	}
	var all []string
	for i := range most - 1 {
		all = append(all, rates[i*(len(rates)-1)/(most-1)].From.Local().Format(layout))
	}
	return append(all, "now")
}

// num is a number of a drawing.
func num(f float64) string { return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64) }

// meter is a share drawn as a bar.
type meter struct {
	W    string // of chartWidth
	Tone string
	Says string
}

// newMeter is one of bytes.
func newMeter(used, whole int64) *meter {
	m := share(float64(used), float64(whole))
	if m == nil {
		return nil
	}
	m.Says = fmt.Sprintf("%s of %s", size(used), size(whole))
	if full := 0.9 * float64(whole); float64(used) > full {
		m.Tone = toneWarn
	}
	return m
}

// share is a meter that says nothing yet; nil where there is no whole.
func share(part, whole float64) *meter {
	if whole <= 0 {
		return nil
	}
	const least = 0.01 // to be seen at all
	of := clamp(part / whole)
	if part > 0 {
		of = max(of, least)
	}
	return &meter{W: num(of * chartWidth), Tone: toneInfo}
}

// lane is a step drawn beside the others of its run.
type lane struct {
	X, W string // of chartWidth
	Tone string
}

// newLane draws when something ran in a span of time.
func newLane(from, to, began, ended time.Time, state engine.StepState) lane {
	whole := to.Sub(from)
	if whole <= 0 {
		return lane{"0", num(chartWidth), stepTone(state)}
	}
	if ended.IsZero() {
		ended = to
	}
	x := clamp(float64(began.Sub(from)) / float64(whole))
	w := clamp(float64(ended.Sub(began)) / float64(whole))
	const least = 0.005 // to be seen at all
	w = max(w, least)
	x = min(x, 1-w)
	return lane{num(x * chartWidth), num(w * chartWidth), stepTone(state)}
}

func clamp(f float64) float64 { return min(1, max(0, f)) }
