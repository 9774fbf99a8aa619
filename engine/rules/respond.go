package rules

import (
	"net/http"
	"strconv"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// maxRespondHeaders bounds the headers of an answer.
const maxRespondHeaders = 50

// bucketRespond reads the answer of a bucket, which knows no steps.
func (o object) bucketRespond() *engine.Respond {
	v, ok := o.part("respond", `{status: 202, body: queued}`, respondKeys()...)
	if !ok {
		return nil
	}
	for _, key := range []string{"wait", "stream", "status_from_exit"} {
		if n := v.keyNode(key); n != nil {
			o.d.fail(n, "put it into the respond of a rule: it is about a run", "%s cannot stand in the respond of a bucket", key)
		}
	}
	r := &engine.Respond{}
	v.answer(r, engine.NewCompiler(engine.World{}))
	return r
}

func respondKeys() []string { return keys[respondShape]() }

// respond reads the answer of a rule, which sees the steps where it waits for
// them.
func (x *ruleReader) respond() *engine.Respond {
	v, ok := x.part("respond", `{status: 200, body: "{{ steps.build.stdout }}", wait: 10s}`, respondKeys()...)
	if !ok {
		return nil
	}
	r := &engine.Respond{Wait: v.wait()}
	c := engine.NewCompiler(engine.World{})
	if r.Wait > 0 {
		c = engine.NewCompiler(engine.World{Steps: x.main, Closing: true})
	}
	v.answer(r, c)
	r.StatusFromExit = v.statusFromExit()
	r.Stream = engine.Stream(v.choice("stream", "sse sends server-sent events, text the lines as they are", string(engine.StreamSSE), string(engine.StreamText)))
	v.fits(r, x)
	return r
}

// wait reads how long the sender waits for the run.
func (o object) wait() time.Duration {
	d := o.duration("wait", 0)
	if d > engine.MaxWait {
		o.d.fail(o.values["wait"], "senders wait no longer; let an action send the outcome to an address of theirs", "wait is more than %s", engine.MaxWait)
	}
	return d
}

// answer reads what any answer has.
func (o object) answer(r *engine.Respond, c *engine.Compiler) {
	o.d.atOnce = r.Wait == 0
	defer func() { o.d.atOnce = false }()
	r.Status = o.answerText("status", c)
	if r.Status != nil {
		o.status(r.Status)
	}
	r.Body = o.answerText("body", c)
	headers, ok := o.part("headers", "{Content-Type: application/json}", o.anyKeys("headers")...)
	if !ok {
		return
	}
	if len(headers.keys) > maxRespondHeaders {
		o.d.fail(headers.node, "", "more than %d headers", maxRespondHeaders)
	}
	for _, key := range headers.keys {
		name := http.CanonicalHeaderKey(key.Value)
		switch {
		case !token.MatchString(key.Value):
			o.d.fail(key, "", "%q is no name of a header", key.Value)
		case ownHeader(name):
			o.d.fail(key, "hookrun sets it itself", "the header %s cannot be set", name)
		}
		r.Header = append(r.Header, engine.HeaderTemplate{Name: name, Value: headers.answerText(key.Value, c)})
	}
}

// ownHeader reports whether a header belongs to the connection or the length of
// the answer (RFC 9110, 7.6.1).
func ownHeader(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Date":
		return true
	}
	return false
}

// anyKeys are all the keys of a mapping in o.
func (o object) anyKeys(key string) []string {
	var names []string
	if n := o.values[key]; n != nil && n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			names = append(names, n.Content[i].Value)
		}
	}
	return names
}

func (o object) answerText(key string, c *engine.Compiler) *engine.Template {
	n := o.values[key]
	if n == nil {
		return nil
	}
	return o.d.template(n, c, field{key, "no secret goes into an answer", "whoever can send to the bucket would get it"})
}

// status checks a status that is the same for every event.
func (o object) status(t *engine.Template) {
	text, fixed := t.Literal()
	if !fixed {
		return
	}
	if v, err := strconv.Atoi(text); err != nil || v < 200 || v > 599 {
		o.d.fail(o.values["status"], "202", "status must be a number from 200 to 599, not %s", show(o.values["status"]))
	}
}

// statusFromExit reads which exit code is which status.
func (o object) statusFromExit() map[int]int {
	v, ok := o.part("status_from_exit", "{3: 404}", o.anyKeys("status_from_exit")...)
	if !ok {
		return nil
	}
	codes := map[int]int{}
	for _, key := range v.keys {
		code, err := strconv.Atoi(key.Value)
		if err != nil || code < 0 || code > 255 {
			o.d.fail(key, "write status_from_exit: {3: 404}", "%q is no exit code from 0 to 255", key.Value)
		}
		status, err := strconv.Atoi(v.values[key.Value].Value)
		if err != nil || status < 200 || status > 599 {
			o.d.fail(v.values[key.Value], "", "the status must be a number from 200 to 599, not %s", show(v.values[key.Value]))
		}
		codes[code] = status
	}
	return codes
}

// fits notes what of an answer goes together with nothing else there.
func (o object) fits(r *engine.Respond, x *ruleReader) {
	waits := r.Wait > 0
	each := x.values["for_each"] != nil
	switch {
	case r.Stream != engine.StreamNever && (waits || r.Status != nil || r.Body != nil || r.StatusFromExit != nil):
		o.d.fail(o.keyNode("stream"), "leave the others out", "stream is the whole answer: status, body, wait and status_from_exit cannot stand beside it")
	case each && (waits || r.Stream != engine.StreamNever):
		o.d.fail(o.node, "answer at once: a list may start many runs", "respond cannot wait for a rule with for_each")
	case r.StatusFromExit != nil && !waits:
		o.d.fail(o.keyNode("status_from_exit"), "add wait: 10s", "status_from_exit is known only after wait")
	case r.StatusFromExit != nil && r.Status != nil:
		o.d.fail(o.keyNode("status_from_exit"), "leave one of them out", "status and status_from_exit say the same")
	}
}
