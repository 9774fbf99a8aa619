package rules

import (
	"reflect"
	"slices"
	"strings"

	"hookrun/engine/verify"
)

// The shape of a rules file, as types: the readers take the keys that they know
// from them, and Schema tells editors the rest. A field has the key in its tag
// yaml and what is said of it in doc; need says that it has to be there; least,
// most, words and form bound its value.

// keys are the keys of a mapping of the shape T, in their order.
func keys[T any]() []string { return keysOfShape(reflect.TypeFor[T]()) }

func keysOfShape(t reflect.Type) []string { return appendKeys(make([]string, 0, 2*t.NumField()), t) }

func appendKeys(all []string, t reflect.Type) []string {
	for i := range t.NumField() { // and not fieldsOf: this is done for each rule
		if f := t.Field(i); f.Anonymous {
			all = appendKeys(all, f.Type)
		} else {
			all = append(all, f.Tag.Get("yaml"))
		}
	}
	return all
}

// fieldsOf are the fields of a shape, with those of the shapes embedded in it.
func fieldsOf(t reflect.Type) []reflect.StructField {
	var all []reflect.StructField
	for i := range t.NumField() {
		if f := t.Field(i); f.Anonymous {
			all = append(all, fieldsOf(f.Type)...)
		} else {
			all = append(all, f)
		}
	}
	return all
}

// What stands behind a key, where it is no mapping of known keys.
type (
	fixedText    struct{} // without {{ }} and ${ }
	templateText struct{} // {{ }} and ${ } are put in
	openText     struct{} // {{ }} is put in; no secret can stand in it
	scriptText   struct{} // neither is put in
	secretText   struct{} // as a rule ${env:NAME} or ${file:PATH}
	exprText     struct{} // an expression
	timeText     struct{} // a length of time
	sizeText     struct{} // a number of bytes
	nameText     struct{} // of a rule, a bucket
	wordText     struct{} // an identifier
	octalText    struct{} // bits of a file's mode
	statusText   struct{} // a status, or a template of one
	choiceText   struct{} // one of words
	noneText     struct{} // none
	flagValue    struct{} // true or false
	countValue   struct{} // a whole number
	jsonValue    struct{} // anything
)

// either is one of two shapes.
type either[A, B any] struct{}

// some is a shape, or a list of it.
type some[T any] struct{ either[T, []T] }

// headerMap and variableMap have names of their own for keys.
type (
	headerMap   map[string]templateText
	variableMap map[string]templateText
	exitMap     map[string]countValue
)

// fileShape is the top of a file.
type fileShape struct {
	Relay          relayShape             `yaml:"relay" doc:"The relay that webhooks come from. Without it, and without RELAY_KEY and RELAY_SECRET in the environment, they are taken over HTTP on this machine."`
	Buckets        map[string]bucketShape `yaml:"buckets" doc:"How each bucket is trusted and answered, by its name."`
	TrustedProxies some[fixedText]        `yaml:"trusted_proxies" doc:"Addresses and networks of the proxies whose word on where a request came from is believed."`
	Defaults       defaultsShape          `yaml:"defaults" doc:"What every rule starts from."`
	FileRoots      []fixedText            `yaml:"file_roots" doc:"Folders that file actions may write to. Without it that is the folder that hookrun was started in."`
	HTTPAllow      some[fixedText]        `yaml:"http_allow" doc:"Hosts and networks that are not public and that the http actions of all rules may reach all the same: a host, *.host, host:port or a network."`
	MaxRuns        countValue             `yaml:"max_runs" least:"1" most:"10000" doc:"Runs at one time. Without it 4 for each CPU."`
	QueueLimit     countValue             `yaml:"queue_limit" least:"1" most:"10000000" doc:"Runs that may wait; beyond it no event is taken, and senders are told to come again."`
	OnReload       onReloadShape          `yaml:"on_reload" doc:"What becomes of rules that were edited while hookrun runs."`
	Admin          adminShape             `yaml:"admin" doc:"The dashboard and its API. The flag -admin goes before it."`
	Rules          []ruleShape            `yaml:"rules" doc:"The rules. All that match an event run, in this order."`
}

type relayShape struct {
	URL      fixedText                      `yaml:"url" form:"^wss?://" doc:"Address of the relay. Without it wss://my.webhookrelay.com/v1/socket."`
	Key      secretText                     `yaml:"key" doc:"Key to the relay. Without it ${env:RELAY_KEY}."`
	Secret   secretText                     `yaml:"secret" doc:"Secret to the relay. Without it ${env:RELAY_SECRET}."`
	Buckets  some[nameText]                 `yaml:"buckets" doc:"Buckets to subscribe to. Without it those that the rules name; all, where a rule names none."`
	Group    fixedText                      `yaml:"group" form:"^[a-zA-Z0-9][a-zA-Z0-9~_.-]{0,127}$" doc:"Name of those who share the webhooks of the buckets, each going to one of them."`
	SelfTest either[timeText, relayNoTests] `yaml:"self_test" doc:"How often hookrun sends itself a webhook through the relay to see that it comes back, from 30s to 24h. Without it, or with 0, never."`
}

// relayNoTests is 0.
type relayNoTests struct{}

type bucketShape struct {
	Verify  either[noneText, verifyShape] `yaml:"verify" doc:"How the sender is known. none asks nobody."`
	Allow   some[fixedText]               `yaml:"allow" doc:"Addresses and networks that may send, of the webhooks that come over HTTP."`
	Respond bucketRespondShape            `yaml:"respond" doc:"The answer to the sender, where no rule has one. Without it 202."`
}

type verifyShape struct {
	Scheme                schemeText       `yaml:"scheme" need:"yes" doc:"Who signs, and so how: github, gitlab, stripe …; hmac is for senders that are not in the list."`
	Secret                some[secretText] `yaml:"secret" doc:"The secret that was given to the sender, or several, each of which is good."`
	Header                fixedText        `yaml:"header" doc:"Header that holds the signature or the token."`
	Query                 fixedText        `yaml:"query" doc:"Parameter of the URL that holds the token."`
	Algorithm             choiceText       `yaml:"algorithm" words:"sha1 sha256 sha384 sha512" doc:"Hash of the signature. Without it sha256."`
	Encoding              choiceText       `yaml:"encoding" words:"hex base64 base64url" doc:"How the signature is written. Without it hex."`
	Prefix                templateText     `yaml:"prefix" doc:"What stands before the signature, such as sha256=."`
	Payload               templateText     `yaml:"payload" doc:"What is signed, of {{raw}}, {{timestamp}}, {{id}} and {{url}}. Without it {{raw}}."`
	TimestampHeader       fixedText        `yaml:"timestamp_header" doc:"Header that holds the time of the signature."`
	IDHeader              fixedText        `yaml:"id_header" doc:"Header that holds the id of the delivery."`
	Tolerance             timeText         `yaml:"tolerance" doc:"How old a signature may be."`
	PublicURL             fixedText        `yaml:"public_url" form:"^https?://" doc:"The URL that the sender was given, where it is signed."`
	VerifyToken           secretText       `yaml:"verify_token" doc:"Token that the sender asks with when its webhook is set up."`
	Key                   secretText       `yaml:"key" doc:"Key of the tokens: a secret, or a public key as PEM."`
	JWKSURL               fixedText        `yaml:"jwks_url" form:"^https?://" doc:"Where the keys of the tokens are."`
	Audience              fixedText        `yaml:"audience" doc:"Whom a token must be for."`
	Issuer                fixedText        `yaml:"issuer" doc:"Who must have made a token, or for scheme sns the topic."`
	Algorithms            some[nameText]   `yaml:"algorithms" doc:"Algorithms that a token may be signed with."`
	AllowSubscribeConfirm flagValue        `yaml:"allow_subscribe_confirm" doc:"Confirm the subscription that a topic of SNS asks for."`
}

// schemeText is the name of a scheme of package verify.
type schemeText struct{}

type defaultsShape struct {
	Timeout timeText          `yaml:"timeout" doc:"How long one attempt of a run may take. Without it 1h."`
	Retry   plainRetriesShape `yaml:"retry" doc:"How often and when a failed run is tried again."`
}

type plainRetriesShape struct {
	Attempts countValue `yaml:"attempts" least:"1" most:"1000" doc:"Tries in all; 1 is a single one."`
	Backoff  timeText   `yaml:"backoff" doc:"Wait before the second try, doubled for each further one. Without it 10s."`
	Max      timeText   `yaml:"max" doc:"No wait is longer. Without it 5m."`
}

type retryShape struct {
	plainRetriesShape
	If exprText `yaml:"if" doc:"Whether another try may help, an expression over error and steps. Without it the action judges."`
}

type onReloadShape struct {
	ConfirmIfChangesOver countValue `yaml:"confirm_if_changes_over" need:"yes" least:"0" most:"1000000" doc:"Rules that would have decided otherwise more often than so on the events of the last day wait for hookrun rules accept."`
}

type adminShape struct {
	Listen fixedText      `yaml:"listen" doc:"Address of the dashboard. Without it 127.0.0.1:8081. Beyond this machine it needs a token."`
	Token  secretText     `yaml:"token" doc:"What a person logs in with, and what the API takes as a bearer token."`
	Hosts  some[nameText] `yaml:"hosts" doc:"Names that a browser reaches the dashboard by, beside those of this machine: behind a proxy, say. They need a token."`
	TLS    adminTLSShape  `yaml:"tls" doc:"The certificate of the dashboard. Without it plain HTTP."`
}

type adminTLSShape struct {
	Cert fixedText `yaml:"cert" need:"yes" doc:"File of the certificate, and of those that it was signed with: PEM."`
	Key  fixedText `yaml:"key" need:"yes" doc:"File of its key: PEM."`
}

type ruleShape struct {
	Name        nameText                      `yaml:"name" need:"yes" doc:"Name of the rule: logs and history know it by that. Unique over all files."`
	Enabled     flagValue                     `yaml:"enabled" doc:"false keeps the rule out."`
	Mode        choiceText                    `yaml:"mode" words:"live shadow" doc:"shadow asks the rule and keeps what it would run, and runs nothing. Without it live."`
	Bucket      some[nameText]                `yaml:"bucket" doc:"Buckets that the rule is for. Without it all."`
	Method      some[nameText]                `yaml:"method" doc:"HTTP methods that the rule is for. Without it all."`
	Verify      either[noneText, verifyShape] `yaml:"verify" doc:"How the sender is known, in the place of what is said of the bucket. none asks nobody."`
	When        exprText                      `yaml:"when" doc:"The condition, an expression over bucket, method, path, query, headers, body, raw, event and meta. Without it every event matches."`
	Stop        flagValue                     `yaml:"stop" doc:"true: once this rule matches, those behind it are not asked."`
	ForEach     forEachShape                  `yaml:"for_each" doc:"Makes a run of each element of a list in the event."`
	Dedupe      dedupeShape                   `yaml:"dedupe" doc:"Recognises what was done already."`
	Throttle    throttleShape                 `yaml:"throttle" doc:"Lets one run through in a while."`
	AtMost      atMostShape                   `yaml:"at_most" doc:"A breaker: more runs than these trip the rule."`
	Concurrency either[noneText, laneShape]   `yaml:"concurrency" doc:"How many runs go at one time: without it one. none lifts the limit."`
	Cancels     some[cancelShape]             `yaml:"cancels" doc:"Whose unfinished runs an event ends."`
	Timeout     timeText                      `yaml:"timeout" doc:"How long one attempt of a run may take. Without it that of defaults, or 1h."`
	Retry       retryShape                    `yaml:"retry" doc:"How often and when a failed run is tried again."`
	OnInterrupt choiceText                    `yaml:"on_interrupt" words:"resume fail done" doc:"What becomes of an action that the end of hookrun cuts off: resume does it again, fail gives up, done takes it as done."`
	OnCrash     choiceText                    `yaml:"on_crash" words:"resume fail" doc:"What becomes of an action that a crash of hookrun cuts off."`
	Actions     []actionShape                 `yaml:"actions" most:"100" doc:"What is done, in this order. One that fails ends the run, and a retry goes on at it."`
	OnSuccess   []closingShape                `yaml:"on_success" most:"100" doc:"What is done once all actions are done."`
	OnFailure   []closingShape                `yaml:"on_failure" most:"100" doc:"What is done once the run has failed for good."`
	Always      []closingShape                `yaml:"always" most:"100" doc:"What is done at the end, however the actions ended."`
	Respond     respondShape                  `yaml:"respond" doc:"The answer to the sender. Without it that of the bucket, or 202."`
}

type forEachShape struct {
	List exprText `yaml:"list" need:"yes" doc:"The list, an expression."`
	As   wordText `yaml:"as" need:"yes" doc:"Name that expressions see the element by."`
	Key  exprText `yaml:"key" doc:"What tells elements apart, an expression. The default of the other keys of the rule."`
}

type dedupeShape struct {
	Key    exprText `yaml:"key" need:"yes" doc:"What is the same for events that are the same, an expression. A run whose key is nil or empty is compared with none."`
	Within timeText `yaml:"within" need:"yes" doc:"How far back is looked."`
}

type throttleShape struct {
	Every timeText   `yaml:"every" need:"yes" doc:"One run in this time."`
	Key   exprText   `yaml:"key" doc:"One run for each key, an expression. Without it one for all."`
	Mode  choiceText `yaml:"mode" words:"first last" doc:"first runs the first of a burst, last the last one when it is over. Without it first."`
}

type atMostShape struct {
	Runs   countValue     `yaml:"runs" need:"yes" least:"1" most:"100000" doc:"One more of them in the time of per trips the rule."`
	Per    timeText       `yaml:"per" need:"yes" doc:"The time that they are counted in."`
	Key    exprText       `yaml:"key" doc:"Counts each key by itself, an expression. Without it all together."`
	OnTrip []closingShape `yaml:"on_trip" most:"100" doc:"What is done in the place of the first run that is too many."`
}

type laneShape struct {
	Group  nameText   `yaml:"group" doc:"Rules of one group share the limit."`
	Key    exprText   `yaml:"key" doc:"A limit for each key, an expression. Without it one for all."`
	Limit  countValue `yaml:"limit" least:"1" most:"1000" doc:"Runs at one time. Without it 1."`
	OnBusy choiceText `yaml:"on_busy" words:"queue skip replace latest" doc:"What becomes of a run beyond the limit: queue waits, skip gives up, replace stops the one before, latest lets only the newest wait. Without it queue."`
}

type cancelShape struct {
	Rule some[nameText] `yaml:"rule" need:"yes" doc:"Rules whose runs are ended."`
	Key  exprText       `yaml:"key" doc:"Only runs with the same key are ended, an expression. Without it all."`
}

type bucketRespondShape struct {
	Status  statusText `yaml:"status" doc:"Status, from 200 to 599."`
	Headers headerMap  `yaml:"headers" doc:"Headers, by name."`
	Body    openText   `yaml:"body" doc:"Body. {{ }} is put in, secrets are not."`
}

type respondShape struct {
	bucketRespondShape
	Wait           timeText   `yaml:"wait" doc:"How long the sender waits for the run, which the answer sees as steps then. Without it the answer goes at once."`
	StatusFromExit exitMap    `yaml:"status_from_exit" doc:"Which exit code of the last command is which status."`
	Stream         choiceText `yaml:"stream" words:"sse text" doc:"Sends the output of the run while it runs: as server-sent events, or as lines of text."`
}

// actionShape is one of the four.
type actionShape struct{}

// closingShape is one in a list that stands beside actions.
type closingShape struct{}

// kindShape is the shape of the actions of a kind.
func kindShape(kind string) reflect.Type {
	switch kind {
	case "exec":
		return reflect.TypeFor[execShape]()
	case "shell":
		return reflect.TypeFor[shellShape]()
	case "file":
		return reflect.TypeFor[writeShape]()
	default:
		return reflect.TypeFor[callShape]()
	}
}

type execShape struct {
	Exec []either[openText, argShape] `yaml:"exec" need:"yes" doc:"A command and its arguments: no shell reads them, and each stays one argument whatever a sender puts into it."`
	commandShape
	commonShape
}

type argShape struct {
	Value openText   `yaml:"value" need:"yes" doc:"The argument."`
	Dash  choiceText `yaml:"dash" words:"allow" doc:"allow lets a value from outside begin with a dash, which makes it a flag."`
}

type shellShape struct {
	Shell scriptText `yaml:"shell" need:"yes" doc:"A script for /bin/sh. It is constant: values come in through env."`
	commandShape
	commonShape
}

type commandShape struct {
	Dir     openText     `yaml:"dir" doc:"Folder that the command runs in."`
	Env     variableMap  `yaml:"env" doc:"Variables of the environment that the command sees, by name."`
	Stdin   templateText `yaml:"stdin" doc:"What the command reads."`
	Outputs []wordText   `yaml:"outputs" most:"64" doc:"Names that the command writes to the file of HOOKRUN_OUTPUT, as NAME=VALUE, for the actions behind it."`
	Detach  flagValue    `yaml:"detach" doc:"true: the command outlives hookrun, which picks it up again when it is back."`
	RunAs   fixedText    `yaml:"run_as" doc:"User that the command runs as, or user:group, by names or numbers."`
	Umask   octalText    `yaml:"umask" doc:"What is taken from the modes of the files that the command makes: 027."`
	Limits  limitsShape  `yaml:"limits" doc:"What the command may use."`
}

type limitsShape struct {
	CPU    timeText   `yaml:"cpu" doc:"Time on a CPU, in whole seconds."`
	Memory sizeText   `yaml:"memory" doc:"Memory, on Linux: 512MiB."`
	Files  countValue `yaml:"files" least:"16" most:"2147483647" doc:"Files that are open at one time."`
	Output sizeText   `yaml:"output" doc:"Bytes that it may print before it is stopped: 10MiB."`
}

type writeShape struct {
	File    openText     `yaml:"file" need:"yes" doc:"Path of the file, below one of file_roots."`
	Content templateText `yaml:"content" need:"yes" doc:"What is written."`
	Write   choiceText   `yaml:"write" words:"create replace append" doc:"replace writes the file anew, whole or not at all; append adds to it; create refuses one that is there. Without it replace."`
	Mode    octalText    `yaml:"mode" doc:"Mode of the file: 0644."`
	commonShape
}

type callShape struct {
	HTTP      templateText                         `yaml:"http" need:"yes" doc:"URL that is called."`
	Method    fixedText                            `yaml:"method" doc:"HTTP method. Without it POST, or GET where there is no body."`
	Headers   headerMap                            `yaml:"headers" doc:"Headers, by name."`
	Body      templateText                         `yaml:"body" doc:"Body."`
	JSON      jsonValue                            `yaml:"json" doc:"Body as JSON: any value, whose texts may hold {{ }}."`
	Expect    some[either[countValue, statusSpan]] `yaml:"expect" doc:"Statuses that are good: 2xx, 204, 200-299 or a list of them. Without it 2xx."`
	HTTPAllow some[fixedText]                      `yaml:"http_allow" doc:"Hosts and networks that are not public and that this action may reach all the same."`
	commonShape
}

// statusSpan is 2xx or 200-299.
type statusSpan struct{}

type commonShape struct {
	ID              wordText   `yaml:"id" doc:"Name that expressions know the action by: steps.build. Without it its number."`
	If              exprText   `yaml:"if" doc:"Whether it is done at all, an expression that sees the steps before."`
	Timeout         timeText   `yaml:"timeout" doc:"How long it may take. Without it only the rule's bounds it."`
	Retry           retryShape `yaml:"retry" doc:"How often and when this action is tried again."`
	ContinueOnError flagValue  `yaml:"continue_on_error" doc:"true: when it has failed for good, the run goes on."`
	OnInterrupt     choiceText `yaml:"on_interrupt" words:"resume fail done" doc:"What becomes of it when the end of hookrun cuts it off: resume does it again, fail gives up, done takes it as done."`
	OnCrash         choiceText `yaml:"on_crash" words:"resume fail" doc:"What becomes of it when a crash of hookrun cuts it off."`
}

// shapeOf says what the schema has to say of a shape that its fields can't.
type shapeOf interface{ refine(s map[string]any) }

func (fileShape) refine(s map[string]any) {
	s["patternProperties"] = map[string]any{"^x-": map[string]any{"description": "A place for anchors."}}
}

// A rule without actions only cancels.
func (ruleShape) refine(s map[string]any) {
	s["anyOf"] = []any{needs("actions"), needs("cancels")}
}

func (callShape) refine(s map[string]any) {
	s["not"] = needs("body", "json")
}

// needs is the schema of a mapping that has all these keys.
func needs(names ...string) map[string]any { return map[string]any{"required": names} }

// refine says which keys each scheme takes.
func (verifyShape) refine(s map[string]any) {
	schemes := map[string][]string{} // by what they take
	for _, scheme := range verify.Schemes() {
		takes := strings.Join(verify.Keys(scheme), " ")
		schemes[takes] = append(schemes[takes], scheme)
	}
	var all []any
	for takes, names := range sorted(schemes) {
		all = append(all, map[string]any{
			"if":   map[string]any{"properties": map[string]any{"scheme": map[string]any{"enum": names}}, "required": []string{"scheme"}},
			"then": map[string]any{"propertyNames": map[string]any{"enum": slices.Concat([]string{"scheme"}, strings.Fields(takes))}},
		})
	}
	s["allOf"] = all
}
