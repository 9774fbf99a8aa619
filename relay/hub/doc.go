// Package hub is the middle of a relay: it takes the webhooks that come in at
// public inputs, keeps each on disk, and brings it to those who subscribed.
//
//	sender ─► relay/server ─► Deliver ─► Store.Accept ─┬─► 2xx, or what an output answers
//	                                                   └─► publish ─► subscribers ─► WebSocket
//
// There are two kinds of subscribers. A plain one, which is any client of Webhook
// Relay, gets what comes while it is connected, as fast as it reads; one that
// reads too slowly is cut off. A consumer is a client that acknowledges what it
// gets: the hub keeps its position in each bucket, and after an absence it gets
// what came meanwhile, in order. Clients of one group share a position.
//
//	            auth            subscribe          frames
//	connected ───────► logged in ───────► streaming ─────► cut: slow, silent, revoked, replaced, restarting
//
// What a consumer has not acknowledged is sent again: when its connection ends,
// when another member of its group is left, when the hub starts. So it may get a
// webhook twice, and tells by the delivery's id.
//
// The wire is that of relay/wire. No close reason holds the word "closed": a
// widespread client takes it as a reason to stay away.
package hub
