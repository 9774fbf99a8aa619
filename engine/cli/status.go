package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

const statusManual = `hookrun status [flags]

Prints how a hookrun is: since when it runs, whether it takes events, its relay,
the address of its dashboard, what is in its store and how much of -keep-size and
-keep-age that is, what is wrong with the rules in the files where it refuses
them, how runs ended, and what is paused, armed or held.

Where none runs, it prints what the store holds.

Examples:
  hookrun status
  hookrun status -json

Exit codes: 0 it is well, 1 it is not, or refuses the rules in the files, or none
runs, 2 wrong usage.`

func statusCommand() command {
	return command{name: "status", summary: "print how hookrun is and what its store holds", manual: statusManual, run: runStatus}
}

func runStatus(ctx context.Context, p Process, c command, args []string) error {
	var desk deskFlags
	var asJSON bool
	fs := flags(c)
	desk.add(fs)
	fs.BoolVar(&asJSON, "json", false, "print it as one JSON object")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	well := false
	err := desk.read(ctx, p, c, func(d control.Desk) error {
		s, err := askStatus(ctx, d)
		if err != nil {
			return err
		}
		well = s.Health.OK && s.Refused == nil
		out := screenOf(p.Stdout)
		if asJSON {
			return out.json(s)
		}
		s.print(shown{out: out}, time.Now())
		return nil
	})
	if err == nil && !well {
		return exitError(exitFailed)
	}
	return err
}

// status is all that status prints.
type status struct {
	control.Status
	Armed     control.Armed       `json:"armed"`
	HeldRules *control.Generation `json:"held_rules,omitempty"`
}

func askStatus(ctx context.Context, d control.Desk) (s status, err error) {
	if s.Status, err = d.Status(ctx); err != nil {
		return s, err
	}
	if s.Armed, err = d.Armed(ctx); err != nil || !s.Held {
		return s, err
	}
	list, err := d.Generations(ctx)
	s.HeldRules = list.Held
	return s, err
}

func (s *status) print(to shown, now time.Time) {
	to.field("version", s.Version)
	if !s.Since.IsZero() {
		to.field("running", fmt.Sprintf("since %s, for %s", clock(s.Since), brief(now.Sub(s.Since))))
	}
	to.field("health", s.healthLine())
	to.field("relay", s.Relay)
	to.field("listen", s.Listen)
	to.field("admin", s.Admin)
	s.printStore(to)
	s.printRuns(to)
	s.printHands(to)
}

func (s *status) healthLine() string {
	switch {
	case s.Health.OK:
		return "it takes events"
	case s.Since.IsZero():
		return s.Health.Reason
	}
	return "not well: " + s.Health.Reason
}

func (s *status) printStore(to shown) {
	i := s.Store
	to.field("store", i.Folder)
	size := sized(i.Size)
	if i.KeepSize > 0 {
		size += fmt.Sprintf(", of which %s are in use: %d%% of -keep-size %s", sized(i.Used), 100*i.Used/i.KeepSize, sized(i.KeepSize))
	}
	to.field("size", fmt.Sprintf("%s; %s of the disk are free", size, sized(i.Free)))
	kept := count(int(i.Events), "event") + ", " + count(int(i.Runs), "run")
	if !i.Oldest.IsZero() {
		kept += fmt.Sprintf(", from %s to %s", clock(i.Oldest), clock(i.Newest))
	}
	if i.KeepAge > 0 {
		age := span(i.KeepAge * float64(time.Second))
		kept += ", finished ones for " + age.String()
	}
	to.field("holds", kept)
}

func (s *status) printRuns(to shown) {
	to.field("rules", fmt.Sprint(s.Rules))
	if s.Refused != nil {
		to.field("refused", fmt.Sprintf("the files hold others since %s that are not in force:", clock(s.Refused.At)))
		for _, line := range refusalLines(s.Refused) {
			to.field("", line)
		}
	}
	if !s.Since.IsZero() {
		to.field("ended", endedLine(s.Summary.Ended))
	}
	to.field("waiting", fmt.Sprint(s.Summary.Waiting))
	if n := s.Summary.Rejected; n > 0 {
		to.field("rejected", fmt.Sprintf("%d, hookrun rejected says why", n))
	}
}

// endedLine says how many runs ended how.
func endedLine(ended map[engine.State]int64) string {
	var all []string
	for _, state := range engine.States() {
		if n := ended[state]; n > 0 {
			all = append(all, fmt.Sprintf("%d %s", n, state))
		}
	}
	return cmp.Or(strings.Join(all, ", "), "none")
}

// printHands prints what people have stopped.
func (s *status) printHands(to shown) {
	if p := s.Summary.Paused; p.All || len(p.Rules) > 0 {
		to.field("paused", strings.TrimPrefix(pausedLine(p), "paused: "))
	}
	if s.Armed.All || len(s.Armed.Rules) > 0 {
		to.field("armed", strings.TrimPrefix(armedLine(s.Armed), "armed: "))
	}
	if n := len(s.Armed.Runs); n > 0 {
		to.field("held", count(n, "run")+" for a person to release or cancel: hookrun arm lists what waits")
	}
	if g := s.HeldRules; g != nil {
		to.field("held", fmt.Sprintf("rules of %s are not in force yet: hookrun rules accept %s", clock(g.At), g.Hash))
	}
}

// sized is a number of bytes as people read it.
func sized(n int64) string {
	for _, u := range sizeUnits()[:3] {
		if n >= u.bytes {
			return fmt.Sprintf("%.1f %s", float64(n)/float64(u.bytes), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
