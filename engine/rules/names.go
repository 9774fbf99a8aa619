package rules

import (
	"maps"
	"slices"
)

// Names are the rules that files hold and the buckets that they name, sorted, as
// far as that can be read: nothing is checked.
func Names(files []File) (rules, buckets []string) {
	known, named := map[string]bool{}, map[string]bool{}
	for _, f := range files {
		l := &loader{kind: rulesKind()}
		l.open(f)
		for _, t := range l.tops {
			t.names(known, named)
		}
	}
	return slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(named))
}

func (t top) names(rules, buckets map[string]bool) {
	for _, item := range t.keys.list("rules", false) {
		o := t.d.entries(item, "a rule")
		if n := o.values["name"]; n != nil && t.d.name(n, "name") {
			rules[n.Value] = true
		}
		for _, bucket := range o.names("bucket") {
			buckets[bucket] = true
		}
	}
	if n := t.keys.values["buckets"]; n != nil {
		for _, key := range t.d.entries(n, "buckets").keys {
			if t.d.name(key, "the name of a bucket") {
				buckets[key.Value] = true
			}
		}
	}
}
