package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"hookrun/engine/rules"
	"hookrun/relay/account"
)

// maxRulesFile bounds a file with the rules of one output, in bytes.
const maxRulesFile = 1 << 20

// aroundRules is a relay's file of which only the rules of one output are missing.
// They are read as part of one, so that they mean the same in both places.
const aroundRules = `buckets:
- name: bucket
  outputs:
  - name: output
    destination: http://localhost
    rules:
`

const rulesIndent = "      " // behind rules: in aroundRules

// rulesInFile reads the rules of an output from a file; nil where path is "".
func rulesInFile(p Process, path string) (*account.Rule, error) {
	if path == "" {
		return nil, nil
	}
	data, err := readRules(path)
	if err != nil {
		return nil, fmt.Errorf("-rules: %w", err)
	}
	f, problems := rules.ParseRelayFile(rules.File{Path: path, Data: within(data)}, rules.Options{})
	if problems = moved(problems); rules.FirstError(problems) != nil {
		printProblems(p, problems)
		return nil, exitError(exitFailed)
	}
	return ruleOf(f.Buckets[0].Outputs[0].Rules), nil
}

func readRules(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRulesFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxRulesFile:
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxRulesFile)
	case len(bytes.TrimSpace(data)) == 0:
		return nil, withHint(fmt.Errorf("%s is empty", path), "begin with: match: {type: value, parameter: {source: header, name: X-GitHub-Event}, value: push}")
	}
	return data, nil
}

// within puts the text of rules into aroundRules.
func within(data []byte) []byte {
	text := strings.TrimPrefix(string(data), "\ufeff") // as Windows' editors begin a file
	if rest, ok := strings.CutPrefix(text, "---\n"); ok {
		text = "#\n" + rest // lines keep their numbers
	}
	return []byte(aroundRules + rulesIndent + strings.ReplaceAll(text, "\n", "\n"+rulesIndent) + "\n")
}

// moved are problems at their places in the file alone. There are no tokens around
// the rules, which is only warned of.
func moved(problems []rules.Problem) []rules.Problem {
	var all []rules.Problem
	for _, one := range problems {
		inside := one.Line - strings.Count(aroundRules, "\n")
		if inside < 1 && one.Warning {
			continue
		}
		one.Line, one.Col = max(inside, 0), max(one.Col-len(rulesIndent), 0)
		all = append(all, one)
	}
	return all
}
