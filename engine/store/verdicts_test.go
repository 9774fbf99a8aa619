package store

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"hookrun/engine"
)

func TestDecodeVerdicts(t *testing.T) {
	tests := []struct {
		name    string
		list    []engine.Verdict
		unusual bool // it is left to encoding/json
	}{
		{"none", []engine.Verdict{}, true},
		{"not even a list", nil, true},
		{"a match", []engine.Verdict{{Rule: "a", Outcome: engine.Matched}}, false},
		{"several", []engine.Verdict{{Rule: "a b", Outcome: engine.Matched, Why: "the list is empty"}, {Rule: "ü", Outcome: engine.Errored, Why: "x"}}, false},
		{"what conditions are written with", []engine.Verdict{{Rule: `"a"`, Outcome: engine.NoMatch, Why: "false: body.a == \"x\\y\" &&\nbody.n > 1 || body.n < 2"}}, false},
		{"missing fields", []engine.Verdict{{Rule: "a", Outcome: engine.NoMatch, Missing: []string{"body.a", `body["x\"y"]`}}, {Rule: "b", Outcome: engine.NoMatch}}, false},
		{"a rule that was slow", []engine.Verdict{{Rule: "a", Outcome: engine.Matched, Slow: time.Second}}, true},
		{"a character that is seldom", []engine.Verdict{{Rule: "a\u2028b", Outcome: engine.Matched, Why: "\x01\t"}}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data, err := json.Marshal(tt.list)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeVerdicts(data)
			if err != nil || !reflect.DeepEqual(got, tt.list) {
				t.Errorf("verdicts = %+v, error %v, want %+v", got, err, tt.list)
			}
			if _, usual := (&verdictText{s: string(data)}).list(); usual == tt.unusual {
				t.Errorf("read without encoding/json: %v, want %v", usual, !tt.unusual)
			}
		})
	}
}

// FuzzDecodeVerdicts: whatever verdicts say, they are read as encoding/json does.
func FuzzDecodeVerdicts(f *testing.F) {
	f.Add("a", "no", `false: body.a == "x" && b`, "body.a", 0)
	f.Add("a\xff\n", "matched", "\u2028\x00<>&\\", "", 1)
	f.Fuzz(func(t *testing.T, rule, outcome, why, missing string, slow int) {
		v := engine.Verdict{Rule: rule, Outcome: engine.Outcome(outcome), Why: why, Slow: time.Duration(slow)}
		if missing != "" {
			v.Missing = []string{missing, why}
		}
		data, err := json.Marshal([]engine.Verdict{v, {Rule: why, Outcome: engine.Matched}})
		if err != nil {
			t.Fatal(err)
		}
		var want []engine.Verdict
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if got, err := decodeVerdicts(data); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: verdicts = %+v, error %v, want %+v", data, got, err, want)
		}
	})
}
