package store

import (
	"encoding/json"
	"strings"

	"hookrun/engine"
)

// decodeVerdicts reads what json.Marshal made of verdicts. An event may have a
// hundred, and a replay reads a hundred thousand events: what is usual in them is
// read here, in a tenth of the time; the rest is for encoding/json.
func decodeVerdicts(data []byte) ([]engine.Verdict, error) {
	v := &verdictText{s: string(data)} // once: texts are parts of it
	if list, ok := v.list(); ok {
		return list, nil
	}
	var list []engine.Verdict
	err := json.Unmarshal(data, &list)
	return list, err
}

// verdictText is what is left of the JSON of verdicts.
type verdictText struct {
	s     string
	plain strings.Builder // all texts that had escapes, one behind the other; of them, too, texts are parts
}

// take takes a token off; false: it does not stand there.
func (v *verdictText) take(token string) (ok bool) {
	v.s, ok = strings.CutPrefix(v.s, token)
	return ok
}

// list reads all; false: there is something that is not usual.
func (v *verdictText) list() ([]engine.Verdict, bool) {
	if !v.take("[") {
		return nil, false
	}
	v.plain.Grow(len(v.s)) // no text grows
	list := make([]engine.Verdict, 0, strings.Count(v.s, `{"rule":`))
	for {
		one, ok := v.verdict()
		if !ok {
			return nil, false
		}
		list = append(list, one)
		if !v.take(",") {
			return list, v.s == "]"
		}
	}
}

func (v *verdictText) verdict() (one engine.Verdict, ok bool) {
	if !v.take(`{"rule":`) {
		return one, false
	}
	if one.Rule, ok = v.text(); !ok || !v.take(`,"outcome":`) {
		return one, false
	}
	outcome, ok := v.text()
	if !ok {
		return one, false
	}
	one.Outcome = engine.Outcome(outcome)
	if v.take(`,"why":`) {
		if one.Why, ok = v.text(); !ok {
			return one, false
		}
	}
	if v.take(`,"missing":[`) {
		if one.Missing, ok = v.texts(); !ok {
			return one, false
		}
	}
	return one, v.take("}")
}

// texts reads a list behind its bracket.
func (v *verdictText) texts() ([]string, bool) {
	var all []string
	for {
		text, ok := v.text()
		if !ok {
			return nil, false
		}
		all = append(all, text)
		if !v.take(",") {
			return all, v.take("]")
		}
	}
}

// text reads a text. Only escapes that json.Marshal uses, for what conditions are
// written with, are usual.
func (v *verdictText) text() (string, bool) {
	if !v.take(`"`) {
		return "", false
	}
	end := endOfPlain(v.s)
	if end < 0 {
		return "", false
	}
	if v.s[end] == '"' {
		text := v.s[:end]
		v.s = v.s[end+1:]
		return text, true
	}
	from := v.plain.Len()
	for {
		end := endOfPlain(v.s)
		if end < 0 {
			return "", false
		}
		v.plain.WriteString(v.s[:end])
		v.s = v.s[end:]
		if v.take(`"`) {
			return v.plain.String()[from:], true
		}
		char, ok := v.escape()
		if !ok {
			return "", false
		}
		v.plain.WriteByte(char)
	}
}

// endOfPlain is where the next quotation mark or backslash stands; -1: nowhere.
func endOfPlain(s string) int {
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			return i
		}
	}
	return -1
}

func (v *verdictText) escape() (byte, bool) {
	switch {
	case v.take(`\"`):
		return '"', true
	case v.take(`\\`):
		return '\\', true
	case v.take(`\u0026`):
		return '&', true
	case v.take(`\u003e`):
		return '>', true
	case v.take(`\u003c`):
		return '<', true
	case v.take(`\n`):
		return '\n', true
	}
	return 0, false
}
