package rules

// InWhen returns the place of a byte of a rule's condition as a Problem without
// words: of that rule. Where it can't be told it has the rule's name alone. The
// files are read again when it is first asked for, so that rules that nobody asks
// about don't keep their sources.
func (g *Generation) InWhen(rule string, offset int) Problem {
	p, ok := g.whens()[rule]
	if !ok {
		return Problem{Rule: rule}
	}
	line, col := p.d.src.inScalar(p.node, offset)
	return Problem{File: p.d.src.path, Line: line, Col: col, Rule: rule}
}

// whensOf are the conditions in files that were read without a problem, by the
// name of their rule.
func whensOf(files []File) map[string]place {
	l := &loader{kind: rulesKind()}
	for _, f := range files {
		l.open(f)
	}
	whens := map[string]place{}
	for _, t := range l.tops {
		if t.keys.values["rules"] == nil {
			continue
		}
		for _, item := range t.keys.list("rules", false) {
			if n := t.d.entries(item, "a rule").values["when"]; n != nil {
				whens[nameOf(item)] = place{t.d, n}
			}
		}
	}
	return whens
}
