package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/rules"
)

// TestExplainTellsOfRuns: an event that is kept has runs, and these are no "would".
func TestExplainTellsOfRuns(t *testing.T) {
	run := func(id, rule string, index int, state engine.State, attempts int, why string) control.Run {
		return control.Run{ID: id, Rule: rule, Index: index, State: state, Attempts: attempts, Error: why}
	}
	var many []control.Run
	for i := range maxPastShown + 1 {
		many = append(many, run(fmt.Sprint("m", i), "a", i, engine.Done, 1, ""))
	}
	superseded := run("r1", "a", 0, engine.Superseded, 0, "a newer one came")
	superseded.By = "r9"
	plan := []engine.PlannedRun{{}}
	for _, tt := range []struct {
		name    string
		runs    []control.Run
		other   bool // the rules that are asked
		planned []engine.PlannedRun
		want    string
	}{
		{name: "none", planned: plan, want: "  would run\n"},
		{name: "of another rule", runs: []control.Run{run("r1", "b", 0, engine.Done, 1, "")}, planned: plan, want: "  would run\n"},
		{name: "done", runs: []control.Run{run("r1", "a", 0, engine.Done, 1, "")}, planned: plan,
			want: "  run r1  done\n    what it did: hookrun runs show r1 -data d\n"},
		{name: "failed", runs: []control.Run{run("r1", "a", 0, engine.Failed, 2, "exit\x1b status 2")}, planned: plan,
			want: "  run r1  failed\n    exit\\u001b status 2\n    what it did: hookrun runs show r1 -data d\n"},
		{name: "superseded", runs: []control.Run{superseded}, planned: plan,
			want: "  run r1  superseded\n    by r9: a newer one came\n    hookrun runs show r1 -data d\n  would have run\n"},
		{name: "it waits", runs: []control.Run{run("r1", "a", 0, engine.Queued, 0, "")}, planned: plan,
			want: "  run r1  queued\n    hookrun runs show r1 -data d\n  is to run\n"},
		{name: "other rules are asked", other: true, runs: []control.Run{run("r1", "a", 0, engine.Done, 1, "")}, planned: plan,
			want: "  run r1  done\n    what it did: hookrun runs show r1 -data d\n  would run\n"},
		{name: "for each", runs: []control.Run{run("r1", "a", 0, engine.Done, 1, ""), run("r2", "a", 1, engine.Duplicate, 0, "")},
			planned: []engine.PlannedRun{{Element: []byte("1")}, {Index: 1, Element: []byte("2")}},
			want: "  run r1 for element 0  done\n    what it did: hookrun runs show r1 -data d\n" +
				"  run r2 for element 1  duplicate\n    hookrun runs show r2 -data d\n  would have run for element 1, 2\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			e := explained{out: screen{Writer: &out}, past: past{event: "e1", runs: tt.runs, same: !tt.other, words: " -data d"}}
			e.became("a")
			e.runs(&engine.Explanation{Rule: "a", Runs: tt.planned})
			wantText(t, "explanation", out.String(), tt.want)
		})
	}
	t.Run("very many", func(t *testing.T) {
		var out bytes.Buffer
		e := explained{out: screen{Writer: &out}, past: past{event: "e1", runs: many, words: " -data d"}}
		e.became("a")
		lines := bytes.SplitAfter(out.Bytes(), []byte("\n"))
		if got, want := len(lines)-1, 2*maxPastShown+1; got != want {
			t.Errorf("%d lines are printed, want %d:\n%s", got, want, out.String())
		}
		wantText(t, "the last line", string(lines[len(lines)-2]), "  and more: hookrun runs -event e1 -data d\n")
	})
}

// TestThenInForce: generations with equal rules are told apart by their time.
func TestThenInForce(t *testing.T) {
	dir := t.TempDir()
	archive := rules.OpenArchive(filepath.Join(dir, "generations"))
	path := filepath.Join(dir, "rules.yaml")
	hashes := map[string]string{}
	for i, text := range []string{"a", "a # again", "b", "a"} {
		content := "rules: [{name: " + text[:1] + ", bucket: b, actions: [{exec: [\"true\"]}]}]" + text[1:] + "\n"
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		g, problems := rules.Load([]string{path}, rules.Options{Dry: true})
		if g == nil {
			t.Fatal(problems)
		}
		if _, err := archive.Add(g, day("10:00:00").Add(time.Duration(i)*time.Hour)); err != nil {
			t.Fatal(err)
		}
		hashes[text[:1]] = g.Rules.Hash
	}
	entries, err := archive.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, rules, at string
		want            int
	}{
		{name: "the first", rules: "a", at: "10:30:00", want: 1},
		{name: "only its comments were others", rules: "a", at: "11:30:00", want: 2},
		{name: "others", rules: "b", at: "12:30:00", want: 3},
		{name: "again", rules: "a", at: "13:30:00", want: 4},
		{name: "kept a moment after it was in force", rules: "a", at: "09:59:59", want: 1},
		{name: "none", rules: "c", at: "10:30:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, got := thenInForce(archive, entries, hashes[tt.rules], day(tt.at)); got.N != tt.want {
				t.Errorf("thenInForce is generation %d, want %d", got.N, tt.want)
			}
		})
	}
}
