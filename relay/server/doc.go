// Package server is the public side of a relay: the intake, which takes
// webhooks over HTTP and hands each to an Inbox.
//
//	ANY /hooks/{bucket}[/more/path]
//	ANY /v1/webhooks/{bucket}[/more/path]
//	GET /healthz
//
// It promises that a sender is told 2xx only after Deliver returned without an
// error, that a webhook reaches the inbox whole or not at all, and that it is
// never answered with a redirect: most senders don't follow one, or drop the
// body on the way. What a sender can cost is bounded in time, connections,
// requests a second and memory; who comes through a trusted proxy is told apart
// by X-Forwarded-For.
//
// An inbox may answer in the place of the receipt: at once, when a run has ended,
// or line by line while it goes on. The webhook is on disk by then, and neither
// it nor its run depends on whether the sender stays.
//
// It decides nothing about a webhook. Who may send, what matches and what runs
// is the inbox's business.
package server
