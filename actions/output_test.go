package actions

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"hookrun/engine"
)

func TestOutputs(t *testing.T) {
	names := []string{"version", "sha"}
	got := func(version, sha string) map[string]string { return map[string]string{"version": version, "sha": sha} }
	const others = `what stands before "=" is none of the step's outputs, which are "version", "sha"`
	tests := []struct {
		name string
		text string
		want map[string]string
		err  string // "": none
	}{
		{"plain", "version=1.2\nsha=0a1b\n", got("1.2", "0a1b"), ""},
		{"no line end", "version=1.2\nsha=0a1b", got("1.2", "0a1b"), ""},
		{"CRLF and empty lines", "\r\nversion=1.2\r\n\n\r\nsha=0a1b\r\n", got("1.2", "0a1b"), ""},
		{"the last of a name counts", "version=1\nsha=x\nversion=2\n", got("2", "x"), ""},
		{"empty", "version=\nsha=\n", got("", ""), ""},
		{"kept as they are", "version= a=b=c \nsha=\"$(x)\"\r\r\n", got(" a=b=c ", "\"$(x)\"\r"), ""},
		{"not ASCII", "version=grüße 🚀\nsha=\x01", got("grüße 🚀", "\x01"), ""},
		{"no equals sign", "version=1\ncanary\n", nil, "line 2: no name=value; a value ends where its line does"},
		{"slip", "version=1\nsha=x\nvesion=canary", nil, `line 3: "vesion" is none of the step's outputs; did you mean "version"?`},
		{"another name", "canary=1", nil, "line 1: " + others},
		{"spaces", "version = canary", nil, "line 1: " + others},
		{"no name", "\n=canary", nil, "line 2: " + others},
		{"not a name", "vers\x1bion=canary", nil, "line 1: " + others},
		{"not UTF-8", "version=canary\xff\nsha=x", nil, `line 1: the value of "version" is not UTF-8`},
		{"NUL", "sha=x\nversion=canary\x00", nil, `line 2: the value of "version" holds a NUL byte`},
		{"a fault in a line that does not count", "sha=\x00\nsha=x\nversion=1", nil, `line 1: the value of "sha" holds a NUL byte`},
		{"one is missing", "version=canary\n", nil, `the command did not write "sha"; in a script: echo "sha=…" >>"$HOOKRUN_OUTPUT"`},
		{"all are missing", "", nil, `the command did not write "version", "sha"; in a script: echo "version=…" >>"$HOOKRUN_OUTPUT"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			outputs, err := parseOutputs(tt.text, names)
			if tt.err != "" {
				wantPermanent(t, err, tt.err)
			} else if err != nil {
				t.Error(err)
			}
			if !maps.Equal(outputs, tt.want) {
				t.Errorf("got %q, want %q", outputs, tt.want)
			}
		})
	}
	if want := []string{"version", "sha"}; !slices.Equal(names, want) {
		t.Errorf("the rule's names are now %q, want %q", names, want)
	}
}

func FuzzOutputs(f *testing.F) {
	for _, s := range []string{"a=1\nbb=2", "a=1\r\n\r\nbb==", "a", "=", "b=1", "\x00", "a=\xff\nbb="} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		outputs, err := parseOutputs(text, []string{"a", "bb"})
		if err != nil {
			if !engine.IsPermanent(err) {
				t.Errorf("error %v is worth another try", err)
			}
			return
		}
		if len(outputs) != 2 {
			t.Errorf("got %q, want both names", outputs)
		}
		for name, value := range outputs {
			if !strings.Contains(text, name+"="+value) || strings.ContainsAny(value, "\n\x00") {
				t.Errorf("%s is %q, which nobody wrote", name, value)
			}
		}
	})
}

func TestOutputsThatNobodyWrote(t *testing.T) {
	_, err := command{outputs: []string{"a"}}.readOutputs("/no/such/folder/output")
	wantPermanent(t, err, `HOOKRUN_OUTPUT: the command did not write "a"; in a script: echo "a=…" >>"$HOOKRUN_OUTPUT"`)
	if outputs, err := (command{}).readOutputs(""); outputs != nil || err != nil {
		t.Errorf("got %v, %v of a command without outputs, want nothing", outputs, err)
	}
}
