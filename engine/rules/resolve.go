package rules

import (
	"fmt"

	"gopkg.in/yaml.v3"
)

// Bounds of the tree of one file after its aliases are put in. The file's own
// size bounds the rest.
const (
	maxDepth    = 64      // of lists and mappings in each other
	maxExpanded = 200_000 // nodes that all aliases of a file stand for
)

// resolver puts what aliases and merge keys stand for into a tree. An anchored
// node is resolved once and shared, so that no file costs more than its size.
type resolver struct {
	d        *decoder
	done     map[*yaml.Node]resolved // anchored nodes
	open     map[*yaml.Node]bool     // anchored nodes being resolved
	expanded int                     // held against maxExpanded
}

// resolved is a node without aliases, and the number of nodes in it.
type resolved struct {
	node *yaml.Node
	size int
}

// resolve returns the tree without aliases and merge keys, nil after a problem.
func (d *decoder) resolve(root *yaml.Node) *yaml.Node {
	r := &resolver{d: d, done: map[*yaml.Node]resolved{}, open: map[*yaml.Node]bool{}}
	got, ok := r.node(root, 0)
	if !ok {
		return nil
	}
	return got.node
}

func (r *resolver) node(n *yaml.Node, depth int) (resolved, bool) {
	if depth > maxDepth {
		r.d.fail(n, "", "lists and mappings more than %d deep", maxDepth)
		return resolved{}, false
	}
	if n.Kind == yaml.AliasNode {
		return r.alias(n, depth)
	}
	if n.Style&yaml.TaggedStyle != 0 && !coreTag(n.ShortTag()) {
		r.d.fail(n, `a text that begins with ! needs quotes`, "unknown YAML tag %q", n.Tag)
		return resolved{}, false
	}
	if n.Anchor == "" {
		return r.content(n, depth)
	}
	if got, ok := r.done[n]; ok {
		return got, true
	}
	r.open[n] = true
	got, ok := r.content(n, depth)
	delete(r.open, n)
	r.done[n] = got
	return got, ok
}

func (r *resolver) alias(n *yaml.Node, depth int) (resolved, bool) {
	if r.open[n.Alias] {
		r.d.fail(n, "", "the alias *%s stands inside of its own anchor", n.Value)
		return resolved{}, false
	}
	got, ok := r.node(n.Alias, depth)
	if r.expanded += got.size; r.expanded > maxExpanded {
		r.d.fail(n, "", "the file's aliases stand for more than %d values", maxExpanded)
		return resolved{}, false
	}
	return got, ok
}

// content resolves what stands in n.
func (r *resolver) content(n *yaml.Node, depth int) (resolved, bool) {
	out := *n
	out.Content = nil
	got := resolved{&out, 1}
	var merges []*yaml.Node
	for i, child := range n.Content {
		c, ok := r.node(child, depth+1)
		if !ok {
			return resolved{}, false
		}
		got.size += c.size
		if n.Kind == yaml.MappingNode && i%2 == 1 && isMerge(n.Content[i-1]) {
			out.Content = out.Content[:len(out.Content)-1]
			merges = append(merges, c.node)
			continue
		}
		out.Content = append(out.Content, c.node)
	}
	for _, m := range merges {
		if err := merge(&out, m); err != nil {
			r.d.fail(m, "", "%v", err)
			return resolved{}, false
		}
	}
	return got, true
}

// merge adds the entries of from, a mapping or a list of mappings, whose keys
// are not there yet.
func merge(to, from *yaml.Node) error {
	if from.Kind == yaml.SequenceNode {
		for _, m := range from.Content {
			if m.Kind != yaml.MappingNode {
				return fmt.Errorf("<< takes mappings, not %s", describe(m))
			}
			if err := merge(to, m); err != nil {
				return err
			}
		}
		return nil
	}
	if from.Kind != yaml.MappingNode {
		return fmt.Errorf("<< takes a mapping, not %s", describe(from))
	}
	there := map[string]bool{}
	for i := 0; i+1 < len(to.Content); i += 2 {
		there[to.Content[i].Value] = true
	}
	for i := 0; i+1 < len(from.Content); i += 2 {
		if key := from.Content[i]; !there[key.Value] {
			to.Content = append(to.Content, key, from.Content[i+1])
		}
	}
	return nil
}

func isMerge(key *yaml.Node) bool { return key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge" }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

func coreTag(tag string) bool {
	switch tag {
	case "!!str", "!!int", "!!float", "!!bool", "!!null", "!!seq", "!!map":
		return true
	}
	return false
}
