// Package engine turns events into runs of actions: it is the domain of hookrun
// and its pipeline, and knows nothing of where events come from, how rules are
// written or what an action does.
//
//	Submit ─► judge: rules × event ─► Store.Accept (one commit) ─► nil: only now the sender is told
//	queue ─► Run ─► attempt ─► step by step: Action.Do ─► Store.Update ─► done | failed | queued again
//
// What it promises: an event that Submit took is kept, with the verdict of every
// rule that its bucket concerns. The steps of each rule that matched run in order,
// each at least once until it succeeds or the run is given up. A finished step is
// not repeated, unless a crash falls between its effect and its record. Runs of
// one rule go one at a time, in order of arrival.
//
// What it does not promise: that a step runs once only. The id of its run, which
// is the same at every try, lets the other side notice.
//
// Its files stand in the order in which an event meets them: event, body, rule,
// scope, expr (with patch and budget), template, match, action, run, store,
// submit, queue, work, step, output, retry, engine.
package engine
