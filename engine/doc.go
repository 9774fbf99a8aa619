// Package engine turns events into runs of actions: it is the domain of hookrun
// and its pipeline, and knows nothing of where events come from, how rules are
// written or what an action does.
//
//	Submit ─► trust: who sent it ─► judge: rules × event ─► Store.Accept: fate, in one commit ─► nil: only now the sender is told
//	queue ─► work ─► step by step: Action.Do ─► Store.Update ─► queued again | closing steps ─► done | failed | …
//
// What it promises: an event that Submit took is kept, with the verdict of every
// rule that its bucket concerns and with every run that it asked for, those that
// dedupe, throttle and their like kept from starting too, each with its reason.
// The steps of each rule that matched run in order, each at least once until it
// succeeds or the run is given up. A finished step is not repeated, unless a
// crash falls between its effect and its record. Runs of one lane start in order
// of arrival, and no more of them at one time than the rule allows.
//
// An event whose sender nobody knows runs nothing; a Rejection tells of it.
//
// What it does not promise: that a step runs once only. The id of its run, which
// is the same at every try, lets the other side notice.
//
// Its files stand in the order in which an event meets them: event, body, files, rule,
// trust, reject, scope, expr (with patch and budget), template, match, action, run, store,
// submit, start, fate, queue, work, step, output, retry, respond, hand, engine.
package engine
