package rules

import (
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"hookrun/engine/verify"
)

// Schema is the JSON Schema (draft 2020-12) of a rules file, for editors. It sees
// what can be seen of a single value: that expressions compile, that names are
// unique and that files are there is what Load looks at.
func Schema() []byte {
	m := schemaMaker{defs: map[string]any{}}
	file := m.mapping(reflect.TypeFor[fileShape]())
	file["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	file["title"] = "hookrun rules"
	file["description"] = "Which webhooks start which actions."
	file["$defs"] = m.defs
	text, err := json.MarshalIndent(file, "", "  ")
	if err != nil {
		panic(err) // texts, lists and maps of them: always possible
	}
	return append(text, '\n')
}

// schemaMaker makes the schemas of shapes.
type schemaMaker struct {
	defs map[string]any // of mappings with known keys, by name
}

// of is the schema of a shape; tag bounds it.
func (m *schemaMaker) of(t reflect.Type, tag reflect.StructTag) map[string]any {
	if s := leaf(t, tag); s != nil {
		return s
	}
	if parts, ok := reflect.Zero(t).Interface().(interface{ alternatives() []reflect.Type }); ok {
		var all []any
		for _, part := range parts.alternatives() {
			all = append(all, m.of(part, tag))
		}
		return map[string]any{"anyOf": all}
	}
	switch t.Kind() {
	case reflect.Slice:
		return m.list(t, tag)
	case reflect.Map:
		return m.named(t)
	}
	return m.reference(t)
}

func (either[A, B]) alternatives() []reflect.Type {
	return []reflect.Type{reflect.TypeFor[A](), reflect.TypeFor[B]()}
}

func (m *schemaMaker) list(t reflect.Type, tag reflect.StructTag) map[string]any {
	s := map[string]any{"type": "array", "minItems": 1, "items": m.of(t.Elem(), "")}
	if most, ok := bound(tag, "most"); ok {
		s["maxItems"] = most
	}
	return s
}

// named is the schema of a mapping whose keys are names.
func (m *schemaMaker) named(t reflect.Type) map[string]any {
	s := map[string]any{"type": "object", "additionalProperties": m.of(t.Elem(), "")}
	switch t {
	case reflect.TypeFor[variableMap]():
		s["propertyNames"] = map[string]any{"pattern": identifier.String(), "not": map[string]any{"pattern": "^[Hh][Oo][Oo][Kk][Rr][Uu][Nn]_"}}
	case reflect.TypeFor[headerMap]():
		s["propertyNames"] = map[string]any{"pattern": token.String()}
	case reflect.TypeFor[exitMap]():
		s["propertyNames"] = map[string]any{"pattern": "^[0-9]{1,3}$"}
		s["additionalProperties"] = map[string]any{"type": "integer", "minimum": 200, "maximum": 599}
	}
	return s
}

// reference is a $ref to the schema of a mapping with known keys, or of an action.
func (m *schemaMaker) reference(t reflect.Type) map[string]any {
	name := strings.TrimSuffix(t.Name(), "Shape")
	if _, made := m.defs[name]; !made {
		m.defs[name] = nil // it may lead to itself
		switch t {
		case reflect.TypeFor[actionShape]():
			m.defs[name] = m.action()
		case reflect.TypeFor[closingShape]():
			m.defs[name] = m.closing()
		default:
			m.defs[name] = m.mapping(t)
		}
	}
	return map[string]any{"$ref": "#/$defs/" + name}
}

func (m *schemaMaker) action() map[string]any {
	var all []any
	for _, kind := range kinds() {
		all = append(all, m.reference(kindShape(kind)))
	}
	return map[string]any{"type": "object", "oneOf": all}
}

// closing is an action that is not retried and does not outlive hookrun.
func (m *schemaMaker) closing() map[string]any {
	s := m.reference(reflect.TypeFor[actionShape]())
	s["not"] = anyOf(needs("retry"), needs("detach"))
	return s
}

// mapping is the schema of a mapping with known keys.
func (m *schemaMaker) mapping(t reflect.Type) map[string]any {
	properties := map[string]any{}
	s := map[string]any{"type": "object", "additionalProperties": false, "properties": properties}
	var needed []string
	for _, f := range fieldsOf(t) {
		key := f.Tag.Get("yaml")
		property := m.of(f.Type, f.Tag)
		property["description"] = f.Tag.Get("doc")
		properties[key] = property
		if f.Tag.Get("need") != "" {
			needed = append(needed, key)
		}
	}
	if needed != nil {
		s["required"] = needed
	}
	if shape, ok := reflect.Zero(t).Interface().(shapeOf); ok {
		shape.refine(s)
	}
	return s
}

// Forms of single values. hookrun takes numbers and true for the texts that they
// are written as.
const (
	timeForm   = `^\+?([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))*$`
	octalForm  = `^0?o?[0-7]{3}$`
	exprForm   = `\{\{`                    // in a text
	secretForm = `(^|[^$])\$\{(env|file):` // likewise
	bracedForm = `^\s*\{\{.*\}\}`
)

// leaf is the schema of a single value, nil for all that is none.
func leaf(t reflect.Type, tag reflect.StructTag) map[string]any {
	switch reflect.Zero(t).Interface().(type) {
	case templateText:
		return scalar()
	case secretText, scriptText:
		return without(exprForm)
	case openText:
		return without(secretForm)
	case exprText:
		return without(bracedForm + "|" + secretForm)
	case fixedText:
		s := without(exprForm + "|" + secretForm)
		if form := tag.Get("form"); form != "" {
			s["pattern"] = form
		}
		return s
	case nameText:
		s := scalar()
		s["minLength"], s["maxLength"] = 1, maxName
		return s
	case wordText:
		return map[string]any{"type": "string", "pattern": identifier.String(), "maxLength": maxName}
	case timeText:
		return map[string]any{"type": "string", "pattern": timeForm, "examples": []string{"30s", "10m", "1h30m"}}
	case relayNoTests:
		return map[string]any{"enum": []any{0, "0", "0s"}}
	case sizeText:
		return map[string]any{"type": "string", "pattern": byteSize.String(), "examples": []string{"512KiB", "100MiB", "2GiB"}}
	case octalText:
		return map[string]any{"type": []string{"string", "integer"}, "pattern": octalForm}
	case statusText:
		return anyOf(map[string]any{"type": "integer", "minimum": 200, "maximum": 599}, map[string]any{"type": "string", "pattern": exprForm + "|^[2-5][0-9]{2}$"})
	case statusSpan:
		return map[string]any{"type": "string", "pattern": `^[1-5]([xX][xX]|[0-9]{2}(\s*-\s*[1-5][0-9]{2})?)$`}
	case schemeText:
		return map[string]any{"enum": verify.Schemes()}
	case choiceText:
		return map[string]any{"enum": strings.Fields(tag.Get("words"))}
	case noneText:
		return map[string]any{"const": noVerify}
	case flagValue:
		return map[string]any{"type": "boolean"}
	case countValue:
		return count(tag)
	case jsonValue:
		return map[string]any{}
	}
	return nil
}

// scalar is any single value.
func scalar() map[string]any {
	return map[string]any{"type": []string{"string", "number", "boolean"}}
}

// without is a single value that holds nothing of a form.
func without(form string) map[string]any {
	s := scalar()
	s["not"] = map[string]any{"type": "string", "pattern": form}
	return s
}

func anyOf(all ...any) map[string]any { return map[string]any{"anyOf": all} }

func count(tag reflect.StructTag) map[string]any {
	s := map[string]any{"type": "integer"}
	if least, ok := bound(tag, "least"); ok {
		s["minimum"] = least
	}
	if most, ok := bound(tag, "most"); ok {
		s["maximum"] = most
	}
	return s
}

// bound is a number that a tag gives.
func bound(tag reflect.StructTag, key string) (n int, ok bool) {
	value := tag.Get(key)
	if value == "" {
		return 0, false
	}
	n, err := strconv.Atoi(value)
	if err != nil {
		panic(fmt.Sprintf("%s:%q is no number", key, value)) // a shape of ours is wrong
	}
	return n, true
}

// sorted gives a map in the order of its keys.
func sorted[V any](m map[string]V) iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			if !yield(key, m[key]) {
				return
			}
		}
	}
}
