package rules

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Bounds of what holds runs back.
const (
	maxLimit = 1000    // runs of one lane at one time
	maxTrip  = 100_000 // runs before a breaker trips
)

// keyCompiler compiles the keys, which see the event and the element.
func (x *ruleReader) keyCompiler() *engine.Compiler {
	return engine.NewCompiler(engine.World{Element: x.element})
}

// forEach reads what makes a run of each element of a list.
func (x *ruleReader) forEach() *engine.ForEach {
	v, ok := x.part("for_each", "{list: "+said(x.values["for_each"], aWord, "body.alerts")+", as: item}", keys[forEachShape]()...)
	if !ok || !v.needs("for_each", "write for_each: {list: body.alerts, as: alert}", "list", "as") {
		return nil
	}
	x.element = v.elementName()
	return &engine.ForEach{
		List: v.value("list", engine.NewCompiler(engine.World{})),
		As:   x.element,
		Key:  v.key("key", x.keyCompiler()),
	}
}

// elementName reads the name that expressions see the element by.
func (o object) elementName() string {
	n := o.values["as"]
	if !o.d.scalar(n, "as") {
		return ""
	}
	if !identifier.MatchString(n.Value) || len(n.Value) > maxName {
		o.d.fail(n, "letters, digits and _, a letter first: expressions say alert.labels", "as %s is no name", show(n))
		return ""
	}
	taken := slices.Concat(engine.NewCompiler(engine.World{}).Names(), laterNames(), exprWords())
	if slices.Contains(taken, n.Value) {
		o.d.fail(n, "take another, such as item or alert", "%q means something else in expressions already", n.Value)
	}
	return n.Value
}

// laterNames are known in some places of a rule only.
func laterNames() []string { return []string{"steps", "error", "run"} }

// exprWords are those that no name can be, as the language needs them itself.
func exprWords() []string {
	return []string{
		"let", "if", "else", "in", "not", "and", "or", "true", "false", "nil",
		"matches", "contains", "startsWith", "endsWith", "findLast", "findLastIndex",
	}
}

// concurrency reads how many runs go at one time.
func (x *ruleReader) concurrency() engine.Concurrency {
	if n := x.values["concurrency"]; n != nil && n.Kind == yaml.ScalarNode && n.Value == "none" {
		return engine.Concurrency{None: true}
	}
	v, ok := x.part("concurrency", "{limit: "+said(x.values["concurrency"], aCount, "3")+"}", keys[laneShape]()...)
	if !ok {
		return engine.Concurrency{}
	}
	return engine.Concurrency{
		Group: v.group(),
		Key:   v.key("key", x.keyCompiler()),
		Limit: v.number("limit", maxLimit, "concurrency: none lifts the limit"),
		OnBusy: engine.OnBusy(v.choice("on_busy", "queue waits, skip gives up, replace stops the one before, latest lets only the newest wait",
			string(engine.BusyQueue), string(engine.BusySkip), string(engine.BusyReplace), string(engine.BusyLatest))),
	}
}

// group reads the name under which rules share their lanes.
func (o object) group() string {
	n := o.values["group"]
	if n == nil || !o.d.scalar(n, "group") || !o.d.name(n, "group") || !o.d.plain(n, "group") {
		return ""
	}
	return n.Value
}

// keptByDefault is how long finished runs are kept where nobody says: what is
// older can't be compared with.
const keptByDefault = 30 * 24 * time.Hour

// lookBack is duration for how far back runs are looked at.
func (o object) lookBack(key string) time.Duration {
	d := o.duration(key, 0)
	if d > keptByDefault {
		days := int(math.Ceil(d.Hours() / 24))
		o.d.warn(o.values[key], fmt.Sprintf("-keep-age %dd keeps it so long", days), "%s (%s) is longer than history is kept by default", key, o.values[key].Value)
	}
	return d
}

func (x *ruleReader) dedupe() *engine.Dedupe {
	v, ok := x.part("dedupe", "{key: "+said(x.values["dedupe"], aWord, "body.id")+", within: 24h}", keys[dedupeShape]()...)
	if !ok || !v.needs("dedupe", `write dedupe: {key: 'headers["X-GitHub-Delivery"]', within: 24h}`, "key", "within") {
		return nil
	}
	v.notConstant("key")
	return &engine.Dedupe{Key: v.key("key", x.keyCompiler()), Within: v.lookBack("within")}
}

// aConstant is an expression that reads nothing, as far as that is easily seen.
var aConstant = regexp.MustCompile("^\\s*(?:\"[^\"]*\"|'[^']*'|`[^`]*`|[0-9.]+|true|false)\\s*$")

// notConstant warns of a key that is the same for every event.
func (o object) notConstant(key string) {
	if n := o.values[key]; n.Kind == yaml.ScalarNode && aConstant.MatchString(n.Value) {
		o.d.warn(n, "write what tells events apart, such as body.id", "the key is the same for every event: all but the first are duplicates")
	}
}

func (x *ruleReader) throttle() *engine.Throttle {
	v, ok := x.part("throttle", "{every: "+said(x.values["throttle"], aTime, "30s")+"}", keys[throttleShape]()...)
	if !ok || !v.needs("throttle", "write throttle: {every: 30s}", "every") {
		return nil
	}
	mode := v.choice("mode", "first runs the first of a burst, last the last one when it is over", "first", "last")
	return &engine.Throttle{Every: v.lookBack("every"), Key: v.key("key", x.keyCompiler()), Last: mode == "last"}
}

// atMost reads the breaker. v is the mapping that it stands in.
func (x *ruleReader) atMost() (most *engine.AtMost, v object) {
	v, ok := x.part("at_most", "{runs: "+said(x.values["at_most"], aCount, "10")+", per: 1h}", keys[atMostShape]()...)
	if !ok || !v.needs("at_most", "write at_most: {runs: 10, per: 1h}", "runs", "per") {
		return nil, v
	}
	return &engine.AtMost{
		Runs: v.number("runs", maxTrip, "one more of them in the time of per trips the rule"),
		Per:  v.lookBack("per"),
		Key:  v.key("key", x.keyCompiler()),
	}, v
}
